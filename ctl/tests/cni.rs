//! `twillctl cni`: the configuration is written where runtimes look, and what is in a pod's way is found.

#![expect(clippy::unwrap_used, reason = "it fails the test, with its line")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use support::{Answer, twillctl};
use tempfile::TempDir;

/// Directories of a host.
struct Host {
    root: TempDir,
}

impl Host {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn cni(&self, verb: &str, more: &[&str]) -> Answer {
        let directory = self.path("net.d");
        let place = ["cni", verb, "--directory", directory.to_str().unwrap()];
        twillctl(&[&place[..], more].concat())
    }

    fn check(&self) -> Answer {
        let path = self.path("bin");
        self.cni("check", &["--cni-path", path.to_str().unwrap(), "-o", "json"])
    }

    /// One that says of which version it is, and answers STATUS so.
    fn plugin(&self, version: &str, status: &str) {
        fs::create_dir_all(self.path("bin")).unwrap();
        let script = format!(
            "#!/bin/sh\n[ -n \"$CNI_COMMAND\" ] || {{ echo 'twill-cni {version}: CNI plugin' >&2; exit; }}\n\
             {status}\n"
        );
        put(&self.path("bin/twill-cni"), &script);
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path("bin/twill-cni"), mode).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path("net.d").join(name)).unwrap()
    }
}

fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[test]
fn a_configuration_is_written_once_and_not_over_another() {
    let host = Host::new();
    let first = host.cni("install", &[]).ok();
    assert!(first.contains("10-twill.conflist") && first.contains("written"), "{first}");
    assert!(host.read("10-twill.conflist").contains("\"type\": \"twill-cni\""));
    assert!(host.cni("install", &[]).ok().contains("as it should be"));
    let json = host.cni("install", &["-o", "json", "--name", "pods"]).ok();
    assert!(json.contains("\"change\": \"replaced\"") && json.contains("\"before\": []"), "{json}");
    assert!(host.read("10-twill.conflist").contains("\"name\": \"pods\""));

    let edited = host.read("10-twill.conflist").replace("\"dns\": true", "\"dns\": false");
    for other in [edited.as_str(), "{}", "not JSON"] {
        put(&host.path("net.d/10-twill.conflist"), other);
        let refused = host.cni("install", &[]);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.words.contains("--force"), "{refused:?}");
        assert_eq!(host.read("10-twill.conflist"), other, "it is left alone");
    }
    assert!(host.cni("install", &["--force"]).ok().contains("replaced"));
    let names: Vec<_> = fs::read_dir(host.path("net.d")).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing else is left there");

    let (file, elsewhere) = (host.path("net.d/10-twill.conflist"), host.path("elsewhere"));
    fs::rename(&file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    for options in [&[][..], &["--force"]] {
        let linked = host.cni("install", options);
        assert_eq!(linked.code, 1, "{linked:?}");
        assert!(linked.words.contains("is a symbolic link"), "{linked:?}");
    }
    assert!(file.is_symlink());
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let other = host.cni("install", &["--force"]);
    assert_eq!(other.code, 1, "{other:?}");
    assert!(other.words.contains("it is no file"), "{other:?}");
}

#[test]
fn whoever_comes_first_is_told() {
    let host = Host::new();
    fs::create_dir_all(host.path("net.d")).unwrap();
    put(&host.path("net.d/05-other.conf"), "{}");
    put(&host.path("net.d/99-last.conf"), "{}");
    let answer = host.cni("install", &[]);
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(answer.words.contains("05-other.conf") && !answer.words.contains("99"), "{answer:?}");
    let answer = host.cni("install", &["--file", "00-twill.conflist"]);
    assert_eq!((answer.code, answer.words.as_str()), (0, ""), "{answer:?}");
    let network = host.cni("install", &["--network-name", "green"]);
    assert_eq!(network.code, 0, "{network:?}");
    let green = host.read("20-twill-green.conflist");
    for word in ["\"name\": \"green\"", "twill-green", "networks/green.env", "endpoint-green"] {
        assert!(green.contains(word), "{green}");
    }
    // The host's own network comes before that of `green`, and is no stranger.
    fs::remove_file(host.path("net.d/05-other.conf")).unwrap();
    fs::remove_file(host.path("net.d/00-twill.conflist")).unwrap();
    let again = host.cni("install", &["--network-name", "green"]);
    assert_eq!((again.code, again.words.as_str()), (0, ""), "{again:?}");
    // But that of `green` is one to the host's own.
    let file = ["--network-name", "green", "--file", "05-green.conflist"];
    host.cni("install", &file).ok();
    let own = host.cni("install", &[]);
    assert!(own.words.contains("05-green.conflist"), "{own:?}");
    let long = host.cni("install", &["--network-name", "much-too-long-for-it"]);
    assert_eq!(long.code, 2, "{long:?}");
    assert!(long.words.contains("--bridge"), "{long:?}");
}

#[test]
fn a_check_finds_what_is_in_a_pods_way() {
    let host = Host::new();
    let nothing = host.check();
    assert_eq!(nothing.code, 6, "{nothing:?}");
    for word in ["cannot read", "twillctl cni install", "no program `twill-cni`"] {
        assert!(nothing.data.contains(word), "{word}: {nothing:?}");
    }

    host.cni("install", &[]).ok();
    let subnet = host.path("subnet.env");
    put(
        &subnet,
        "FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.2.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
    );
    let file = format!("\"type\": \"twill-cni\", \"subnetFile\": \"{}\"", subnet.display());
    let list = host.read("10-twill.conflist").replace("\"type\": \"twill-cni\"", &file);
    put(&host.path("net.d/10-twill.conflist"), &list);
    let version = env!("CARGO_PKG_VERSION");
    host.plugin(version, "exit 0");
    let well = host.check();
    assert_eq!(well.code, 0, "{well:?}");
    assert!(well.data.contains("10.88.2.0/24") && !well.data.contains("fail"), "{well:?}");

    let status =
        r#"echo '{"code":50,"msg":"all addresses are in use","details":"remove pods"}'; exit 1"#;
    for (name, version, status, file, words) in [
        ("an old plugin", "0.0.1", "exit 0", "", "is of version 0.0.1"),
        ("no room", version, status, "", "all addresses are in use"),
        ("another before it", version, "exit 0", "00-a.conf", "00-a.conf comes before"),
    ] {
        host.plugin(version, status);
        if !file.is_empty() {
            put(&host.path("net.d").join(file), "{}");
        }
        let answer = host.check();
        assert_eq!(answer.code, 6, "{name}: {answer:?}");
        assert!(answer.data.contains(words), "{name}: {answer:?}");
    }
    fs::remove_file(&subnet).unwrap();
    assert!(host.check().data.contains("twilld.service writes it"));
}
