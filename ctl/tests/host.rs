//! `twillctl host cleanup` becomes the twilld beside it.

#![expect(clippy::unwrap_used, reason = "it fails the test, with its line")]
#![expect(clippy::disallowed_methods, reason = "the test starts the real program")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

#[test]
fn the_options_reach_the_twilld_beside() {
    for place in ["bin/twilld", "sbin/twilld"] {
        let root = tempfile::tempdir().unwrap();
        for directory in ["bin", "sbin"] {
            std::fs::create_dir(root.path().join(directory)).unwrap();
        }
        let script = "#!/bin/sh\nprintf '<%s>' \"$@\"\nexit 7\n";
        std::fs::write(root.path().join(place), script).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(root.path().join(place), mode).unwrap();
        let output = cleanup(root.path(), &["--dry-run", "--state-dir", "/a b", "--help"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, "<cleanup><--dry-run><--state-dir></a b><--help>", "{place}");
        assert_eq!(output.status.code(), Some(7), "its exit code is ours");
    }
}

#[test]
fn without_a_twilld_there_is_a_way_out() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("bin")).unwrap();
    let output = cleanup(root.path(), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot run twilld") && said.contains("hint: "), "{said}");
}

fn cleanup(root: &Path, options: &[&str]) -> Output {
    let twillctl = root.join("bin/twillctl");
    std::fs::copy(env!("CARGO_BIN_EXE_twillctl"), &twillctl).unwrap();
    Command::new(twillctl)
        .args(["host", "cleanup"])
        .args(options)
        .env("PATH", "/nowhere")
        .output()
        .unwrap()
}
