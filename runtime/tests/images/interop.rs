//! Archives go to Debian's podman and skopeo, and come back from them, the same.
//!
//! Each program works on a store of its own, in mount and network namespaces of the test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use tar::EntryType;

use crate::archives::{Picture, Tar, docker, header};
use crate::commands::run;
use crate::support::Lab;
use crate::tree;

/// Programs that others wrote.
struct Others {
    folder: PathBuf,
}

impl Others {
    /// `None`, loudly, where they are not installed; a failure when they were promised.
    #[expect(clippy::print_stderr, reason = "a skipped test must be heard")]
    fn new(lab: &Lab) -> Option<Self> {
        let missing = ["podman", "skopeo"].into_iter().find(|name| {
            !["/usr/bin", "/usr/local/bin"]
                .iter()
                .any(|folder| Path::new(folder).join(name).exists())
        });
        if let Some(name) = missing {
            let required = std::env::var_os("REQUIRE_ROOT").is_some_and(|value| value == "1");
            assert!(!required, "REQUIRE_ROOT=1, but {name} is missing: scripts/deps.sh test");
            eprintln!("SKIPPED: {name} is missing: scripts/deps.sh test");
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        for place in ["/run", "/var/tmp"] {
            let kind = Some("tmpfs");
            mount(kind, place, kind, MsFlags::empty(), None::<&str>).unwrap();
        }
        let folder = lab.beside("others");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)
            .unwrap();
        Some(Self { folder })
    }

    #[track_caller]
    fn podman(&self, arguments: &[&str]) -> String {
        let folder = self.folder.display();
        let places = [
            format!("--root={folder}/store"),
            format!("--runroot={folder}/run"),
            format!("--tmpdir={folder}/tmp"),
        ];
        let mut words: Vec<&str> = places.iter().map(String::as_str).collect();
        words.extend([
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--events-backend=none",
        ]);
        words.extend(arguments);
        self.ask("podman", &words)
    }

    #[track_caller]
    fn skopeo(&self, arguments: &[&str]) -> String {
        let policy = format!("--policy={}", self.folder.join("policy.json").display());
        let mut words = vec![policy.as_str()];
        words.extend(arguments);
        self.ask("skopeo", &words)
    }

    #[track_caller]
    #[expect(
        clippy::disallowed_methods,
        reason = "a test starts the programs that it compares with"
    )]
    fn ask(&self, program: &str, words: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(words).env("HOME", &self.folder).env("TMPDIR", &self.folder);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {words:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Two layers with one of everything that a tree may have.
fn rich() -> Picture {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let mut program = header("bin/su", EntryType::Regular, 2);
    program.set_mode(0o4755);
    let mut owned = header("home/", EntryType::Directory, 0);
    owned.set_mode(0o2750);
    owned.set_uid(1000);
    owned.set_gid(100_000);
    owned.set_mtime(1_000_000_000);
    // cap_dac_override: a value with a byte 10 in it.
    let capability = b"\x01\0\0\x02\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let below = Tar::new()
        .folder("bin/")
        .raw(program, b"su")
        .raw(owned, b"")
        .file("home/a", b"12345")
        .hard_link("home/b", "home/a")
        .symlink("home/link", "../bin/su")
        .symlink("home/dangling", "/nowhere/at/all")
        .extended(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.note", b"n"),
        ])
        .file("bin/able", b"able")
        .extended(&[("path", &long.as_bytes()[..121])])
        .folder("short")
        .extended(&[("path", long.as_bytes())])
        .file("short", b"long")
        .entry("queue", EntryType::Fifo, b"")
        .folder("dev/")
        .device("dev/null", EntryType::Char, (1, 3))
        .file("gone", b"1")
        .folder("emptied/")
        .file("emptied/old", b"1")
        .folder("tree/")
        .file("tree/kept", b"1")
        .file("tree/gone", b"1");
    let above = Tar::new()
        .file(".wh.gone", b"")
        .folder("emptied/")
        .file("emptied/.wh..wh..opq", b"")
        .file("emptied/new", b"2")
        .folder("tree/")
        .file("tree/.wh.gone", b"")
        .file("tree/new", &[7; 5000]);
    Picture { layers: vec![below.bytes(), above.bytes()], names: vec!["rich:1"] }
}

#[test]
fn what_save_writes_is_read_by_podman_and_skopeo_and_comes_back() {
    let Some(lab) = Lab::new() else { return };
    let Some(others) = Others::new(&lab) else { return };
    let id = rich().id();
    lab.load(docker(&[rich()])).unwrap();
    let want = tree::of(&lab, "rich:1");
    assert!(want.len() > 15 && !want.contains_key("gone") && !want.contains_key("emptied/old"));
    let path = |name: &str| lab.beside(name).display().to_string();
    let saved = path("saved.tar");
    run(&lab, &["save", "-o", &saved, "rich:1"]);

    let said = others.podman(&["load", "-q", "-i", &saved]);
    assert!(said.contains("docker.io/library/rich:1"), "{said}");
    let seen = others.podman(&["image", "inspect", "--format", "{{.Id}}", "rich:1"]);
    assert_eq!(seen.trim(), id.hex(), "an image keeps its id");
    for format in ["docker-archive", "oci-archive"] {
        let file = path(format);
        others.podman(&["save", "-q", "--format", format, "-o", &file, "docker.io/library/rich:1"]);
    }
    let many = path("many.tar");
    run(&lab, &["tag", "rich:1", "rich:2"]);
    run(&lab, &["save", "-o", &many, "rich:1", "rich:2"]);
    others.podman(&["load", "-q", "-i", &many]);
    // Of several images podman takes Docker's list, whose short names it calls its own.
    others.podman(&["image", "exists", "localhost/rich:2"]);

    let from = [format!("docker-archive:{saved}"), format!("oci-archive:{saved}:1")];
    for source in &from {
        let seen: Value = serde_json::from_str(&others.skopeo(&["inspect", source])).unwrap();
        assert_eq!(seen["Layers"].as_array().map(Vec::len), Some(2), "{source}: {seen}");
    }
    let copy = |options: &[&str], name: &str| {
        let to = format!("oci-archive:{}:docker.io/library/rich:1", path(name));
        others.skopeo(&[&["copy", "-q"], options, &[&from[0], &to]].concat());
    };
    copy(&[], "gzip");
    copy(&["--dest-compress-format=zstd"], "zstd");
    copy(&["--dest-compress-format=zstd:chunked"], "chunked");
    others.skopeo(&["copy", "-q", &from[1], &format!("docker-archive:{}:rich:1", path("docker"))]);

    let archives =
        ["saved.tar", "docker-archive", "oci-archive", "gzip", "zstd", "chunked", "docker"];
    for archive in archives {
        let lab = Lab::new().unwrap();
        let said = run(&lab, &["load", "-i", &path(archive)]);
        assert_eq!(said, "Loaded image: rich:1\n", "{archive}");
        // Where skopeo and podman change from Docker's form to OCI's, they write the configuration anew.
        if matches!(archive, "saved.tar" | "docker-archive") {
            assert_eq!(lab.store.resolve("rich:1").unwrap().id, id, "{archive}");
        }
        assert_eq!(tree::of(&lab, "rich:1"), want, "{archive}");
    }
}

#[test]
fn what_export_writes_is_imported_by_podman_and_the_other_way_round() {
    let Some(lab) = Lab::new() else { return };
    let Some(others) = Others::new(&lab) else { return };
    lab.load(docker(&[rich()])).unwrap();
    let want = tree::of(&lab, "rich:1");
    let path = |name: &str| lab.beside(name).display().to_string();
    run(&lab, &["create", "--network", "none", "--name", "it", "rich:1", "/bin/su"]);
    run(&lab, &["export", "-o", &path("exported"), "it"]);
    others.podman(&["import", "-q", &path("exported"), "localhost/flat:1"]);
    others.podman(&["save", "-q", "-o", &path("flat"), "localhost/flat:1"]);
    assert_eq!(run(&lab, &["load", "-i", &path("flat")]), "Loaded image: localhost/flat:1\n");
    assert_same(&tree::of(&lab, "localhost/flat:1"), &want);

    others.podman(&["create", "--network", "none", "--name", "it", "localhost/flat:1", "/bin/su"]);
    others.podman(&["export", "-o", &path("theirs"), "it"]);
    run(&lab, &["import", &path("theirs"), "theirs:1"]);
    assert_same(&tree::of(&lab, "theirs:1"), &want);
    run(&lab, &["rm", "it"]);
}

/// All that is wanted is there as it should be, and nothing that was hidden; a container has some more.
#[track_caller]
fn assert_same(found: &tree::Tree, want: &tree::Tree) {
    for gone in ["gone", "tree/gone", "emptied/old"] {
        assert!(!found.contains_key(gone), "{gone}");
    }
    let found: BTreeMap<_, _> = found.iter().filter(|(name, _)| want.contains_key(*name)).collect();
    assert_eq!(found, want.iter().collect());
}
