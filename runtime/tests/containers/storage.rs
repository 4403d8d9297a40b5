//! Paths of the host, volumes and memory in containers.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use nix::mount::{MsFlags, mount};
use serde_json::json;

use crate::world::{Said, World, strike};

/// The output of a script in a container that vanishes.
pub(crate) fn inside(world: &World, options: &[&str], script: &str) -> Said {
    let head = ["run", "--rm", "--network", "none"];
    world.twill(&[head.as_slice(), options, &["bb", "sh", "-c", script]].concat())
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn paths_of_the_host_are_seen_and_written() {
    let Some(world) = World::new() else { return };
    let host = world.path("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "of the host\n").unwrap();
    let path = host.display().to_string();
    let (plain, read_only) = (format!("{path}:/x"), format!("{path}:/x:ro"));
    let single = format!("{path}/file:/etc/single");
    let long = format!("type=bind,source={path},target=/x,readonly");
    for (options, script, want) in [
        (&["-v", &plain][..], "cat /x/file; echo new > /x/new", "of the host"),
        (&["-v", &read_only], "cat /x/new; echo y 2>/dev/null > /x/y || echo no", "new\nno"),
        (&["--mount", &long], "echo y 2>/dev/null > /x/y || echo no", "no"),
        (&["-v", &single], "cat /etc/single", "of the host"),
        (&["--read-only", "-v", &plain], "echo z > /x/z && cat /x/z", "z"),
        (
            &["--tmpfs", "/m:size=1m,mode=700"],
            "stat -c %a /m; df -k /m | tail -1 | tr -s ' ' | cut -d ' ' -f 2",
            "700\n1024",
        ),
        (&["--tmpfs", "/m"], "cp /bin/busybox /m/true && /m/true 2>/dev/null || echo no", "no"),
        (
            &["--mount", "type=tmpfs,target=/m,tmpfs-size=1m"],
            "touch /m/x && grep -c ' /m tmpfs' /proc/mounts",
            "1",
        ),
        (
            &["--tmpfs", "/a/b", "-v", "/a"],
            "touch /a/x /a/b/y && ls /a /a/b",
            "/a:\nb\nx\n\n/a/b:\ny",
        ),
        (
            &["--tmpfs", "/etc/fresh", "-v", &single],
            "ls /etc/fresh; cat /etc/hosts | head -1",
            "127.0.0.1\tlocalhost",
        ),
    ] {
        assert_eq!(inside(&world, options, script).ok(), want, "{options:?}");
    }
    let made = format!("{path}/made/deep:/x");
    inside(&world, &["-v", &made], "touch /x/y").ok();
    assert!(host.join("made/deep/y").exists());
    let missing = format!("type=bind,source={path}/missing,target=/x");
    let text = "invalid mount config for type \"bind\": bind source path does not exist:";
    inside(&world, &["--mount", &missing], "true").fails(125, text);
    for (option, value, text) in [
        ("-v", "./x:/x", "includes invalid characters for a local volume name"),
        ("-v", "/srv:x", "mount path must be absolute"),
        ("-v", "/srv:/x:bogus", "invalid mode: bogus"),
        ("-v", "/srv:/proc/sys", "cannot be mounted because it is inside /proc"),
        ("-v", "/dev:/dev", "use --device for a device"),
        ("--tmpfs", "/x:bogus", "invalid tmpfs option"),
        ("--mount", "type=bogus,target=/x", "mount type unknown"),
    ] {
        inside(&world, &[option, value], "true").fails(125, text);
    }
    inside(&world, &["--tmpfs", "/x", "-v", "/x"], "true").fails(125, "Duplicate mount point: /x");
    world.assert_nothing_left();
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn inspect_and_ps_show_what_is_mounted() {
    let Some(world) = World::new() else { return };
    let host = world.path("host");
    let bind = format!("{}:/x:ro", host.display());
    let line = [
        "create",
        "--name",
        "it",
        "-v",
        &bind,
        "-v",
        "data:/data",
        "-v",
        "/anon",
        "--tmpfs",
        "/m:size=1m",
        "bb",
    ];
    world.twill(&line).ok();
    let lib = world.path("lib/volumes/data/_data");
    let mounts = world.inspect("it", "/Mounts");
    let found = |target: &str| {
        mounts.as_array().unwrap().iter().find(|it| it["Destination"] == target).cloned().unwrap()
    };
    assert_eq!(
        found("/x"),
        json!({"Type": "bind", "Source": host, "Destination": "/x", "Mode": "ro", "RW": false, "Propagation": "rprivate"})
    );
    assert_eq!(
        found("/data"),
        json!({"Type": "volume", "Name": "data", "Source": lib, "Destination": "/data", "Driver": "local", "Mode": "", "RW": true, "Propagation": ""})
    );
    let anonymous = found("/anon")["Name"].as_str().unwrap().to_owned();
    assert_eq!(anonymous.len(), 64);
    let mut binds: Vec<String> =
        serde_json::from_value(world.inspect("it", "/HostConfig/Binds")).unwrap();
    binds.sort();
    assert_eq!(binds, [bind.as_str(), "data:/data"]);
    assert_eq!(world.inspect("it", "/HostConfig/Tmpfs"), json!({"/m": "size=1m"}));
    assert_eq!(world.inspect("it", "/Config/Volumes"), json!({"/anon": {}}));
    let shown =
        world.twill(&["ps", "-a", "--no-trunc", "--format", "{{.LocalVolumes}} {{.Mounts}}"]).ok();
    assert!(
        shown.starts_with("2 ") && shown.contains("data") && shown.contains(&anonymous),
        "{shown}"
    );
    for (filter, want) in
        [("volume=data", 1), ("volume=/x", 1), ("volume=none", 0), ("volume=/data", 1)]
    {
        let found = world.twill(&["ps", "-aq", "-f", filter]).ok();
        assert_eq!(found.lines().count(), want, "{filter}");
    }
    world.twill(&["rm", "-v", "it"]).ok();
    world.twill(&["volume", "rm", "data"]).ok();
    assert_eq!(world.twill(&["volume", "ls", "-q"]).ok(), "");
    world.assert_nothing_left();
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn links_of_an_image_do_not_lead_a_mount_out() {
    let Some(world) = World::new() else { return };
    let escape = world.path("escape");
    fs::create_dir(&escape).unwrap();
    let root = world.path("root");
    fs::create_dir(&root).unwrap();
    symlink("/../../../../../../../tmp", root.join("up")).unwrap();
    symlink(&escape, root.join("direct")).unwrap();
    symlink("/proc", root.join("fake")).unwrap();
    let archive = world.path("links.tar");
    World::run(&["tar", "-C", root.to_str().unwrap(), "-cf", archive.to_str().unwrap(), "."]);
    let import = ["import", archive.to_str().unwrap(), "links"];
    world.twill(&import).ok();
    let busybox = "/bin/busybox:/busybox:ro";
    for target in ["/up/x", "/direct"] {
        let volume = format!("data:{target}");
        let line = [
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            busybox,
            "-v",
            &volume,
            "links",
            "/busybox",
            "touch",
        ];
        let file = format!("{target}/made");
        world.twill(&[line.as_slice(), &[&file]].concat()).ok();
        assert!(world.path("lib/volumes/data/_data/made").exists());
        fs::remove_file(world.path("lib/volumes/data/_data/made")).unwrap();
    }
    assert_eq!(fs::read_dir(&escape).unwrap().count(), 0);
    for target in ["/fake", "/fake/sys/kernel"] {
        let volume = format!("data:{target}");
        let line = [
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            busybox,
            "-v",
            &volume,
            "links",
            "/busybox",
            "true",
        ];
        world.twill(&line).fails(125, "cannot be mounted because it is inside /proc");
    }
    world.twill(&["volume", "rm", "data"]).ok();
    world.assert_nothing_left();
}

#[test]
fn mounts_of_the_host_appear_only_where_that_was_asked_for() {
    let Some(world) = World::new() else { return };
    // A world's mounts are private; a host's are shared.
    let host = world.path("host");
    fs::create_dir_all(host.join("later")).unwrap();
    let none = None::<&str>;
    mount(Some(&host), &host, none, MsFlags::MS_BIND, none).unwrap();
    mount(none, &host, none, MsFlags::MS_SHARED, none).unwrap();
    let path = host.display().to_string();
    for (name, mode) in [("private", "rprivate"), ("slave", "rslave")] {
        let volume = format!("{path}:/x:{mode}");
        let line = [
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "none",
            "-v",
            &volume,
            "bb",
            "sleep",
            "1000",
        ];
        world.twill(&line).ok();
    }
    mount(Some("tmpfs"), &host.join("later"), Some("tmpfs"), MsFlags::empty(), none).unwrap();
    fs::write(host.join("later/file"), "").unwrap();
    for (name, want) in [("private", 1), ("slave", 0)] {
        let said = world.twill(&["exec", name, "test", "-e", "/x/later/file"]);
        assert_eq!(said.code, want, "{name}");
    }
    world.twill(&["rm", "-f", "private", "slave"]).ok();
    nix::mount::umount(&host.join("later")).unwrap();
    nix::mount::umount(&host).unwrap();
    world.assert_nothing_left();
}

#[test]
fn a_read_only_mount_is_read_only_below_as_well() {
    let Some(world) = World::new() else { return };
    let host = world.path("host");
    fs::create_dir_all(host.join("below")).unwrap();
    let none = None::<&str>;
    mount(Some("tmpfs"), &host.join("below"), Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let volume = format!("{}:/x:ro", host.display());
    inside(&world, &["-v", &volume], "touch /x/below/y").fails(1, "Read-only file system");
    nix::mount::umount(&host.join("below")).unwrap();
    world.assert_nothing_left();
}

#[test]
fn volumes_stay_when_everything_is_killed() {
    let Some(world) = World::new() else { return };
    let line = [
        "run",
        "-d",
        "--rm",
        "--name",
        "it",
        "--network",
        "none",
        "-v",
        "data:/data",
        "-v",
        "/anon",
        "bb",
    ];
    let script = ["sh", "-c", "echo kept > /data/file; echo x > /anon/y; exec sleep 1000"];
    world.twill(&[line.as_slice(), &script].concat()).ok();
    let file = world.path("lib/volumes/data/_data/file");
    crate::world::eventually("it has written", || file.exists());
    strike(world.monitor("it"));
    assert_eq!(world.twill(&["ps", "-aq"]).ok(), "");
    assert_eq!(world.twill(&["volume", "ls", "-q"]).ok(), "data", "the nameless one went with it");
    assert_eq!(fs::read_to_string(file).unwrap(), "kept\n");
    let mut fed = world.spawn(&["volume", "prune"], Stdio::piped());
    drop(fed.stdin.take());
    let said = Said::new(fed.wait_with_output().unwrap());
    assert!(said.out.contains("anonymous local volumes not used"), "{}", said.out);
    world.twill(&["volume", "rm", "data"]).ok();
    world.assert_nothing_left();
}
