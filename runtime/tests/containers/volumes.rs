//! `twill volume`, and what becomes of volumes with their containers.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};

use crate::storage::inside;
use crate::world::{World, strike};

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn volumes_are_made_listed_and_removed() {
    let Some(world) = World::new() else { return };
    assert_eq!(world.twill(&["volume", "create", "--label", "tier=db", "data"]).ok(), "data");
    assert_eq!(world.twill(&["volume", "create", "data"]).ok(), "data");
    let made_up = world.twill(&["volume", "create"]).ok();
    assert_eq!(made_up.len(), 64);
    inside(&world, &["-v", "more:/x"], "echo hello > /x/file").ok();
    assert_eq!(inside(&world, &["-v", "more:/y"], "cat /y/file").ok(), "hello");
    for (options, want) in [
        (&["-q", "-f", "name=dat"][..], "data"),
        (&["-q", "-f", "label=tier"], "data"),
        (&["-q", "-f", "label=tier=web"], ""),
        (&["--format", "{{.Name}} {{.Driver}} {{.Scope}}", "-f", "name=more"], "more local local"),
        (&["--format", "{{.Label \"tier\"}}", "-f", "name=data"], "db"),
        (&["-f", "name=more"], "DRIVER    VOLUME NAME\nlocal     more"),
    ] {
        let line = [&["volume", "ls"], options].concat();
        assert_eq!(world.twill(&line).ok(), want, "{options:?}");
    }
    let shown: Value =
        serde_json::from_str(&world.twill(&["volume", "inspect", "data"]).ok()).unwrap();
    let mut shown = shown[0].clone();
    assert!(shown["CreatedAt"].take().as_str().unwrap().ends_with('Z'));
    let place = world.path("lib/volumes/data/_data");
    assert_eq!(
        shown,
        json!({"CreatedAt": null, "Driver": "local", "Labels": {"tier": "db"}, "Mountpoint": place, "Name": "data", "Options": {}, "Scope": "local"})
    );
    world.twill(&["volume", "inspect", "nosuch"]).fails(1, "get nosuch: no such volume");
    world.twill(&["volume", "rm", "nosuch"]).fails(1, "get nosuch: no such volume");
    world.twill(&["volume", "rm", "-f", "nosuch"]).ok();
    world
        .twill(&["volume", "create", "a/b"])
        .fails(1, "includes invalid characters for a local volume name");
    world.twill(&["volume", "ls", "-f", "bogus=1"]).fails(1, "invalid filter 'bogus'");
    let said = world.twill(&["volume", "rm", "data", "nosuch", "more"]);
    assert_eq!((said.code, said.out.as_str()), (1, "data\nmore\n"));
    let pruned = world.twill(&["volume", "prune", "-f"]).ok();
    assert_eq!(pruned, format!("Deleted Volumes:\n{made_up}\n\nTotal reclaimed space: 0B"));
    let events = world
        .twill(&[
            "events",
            "--since",
            "1h",
            "--until",
            "0s",
            "-f",
            "type=volume",
            "-f",
            "volume=data",
            "--format",
            "{{.Action}}",
        ])
        .ok();
    assert_eq!(events, "create\ndestroy");
    world.assert_nothing_left();
}

#[test]
fn a_volume_in_use_stays() {
    let Some(world) = World::new() else { return };
    let id = world.twill(&["create", "--name", "it", "-v", "data:/data", "bb"]).ok();
    let text = format!("remove data: volume is in use - [{id}]");
    world.twill(&["volume", "rm", "data"]).fails(1, &text);
    assert_eq!(world.twill(&["volume", "ls", "-q", "-f", "dangling=false"]).ok(), "data");
    assert_eq!(world.twill(&["volume", "ls", "-q", "-f", "dangling=true"]).ok(), "");
    assert_eq!(world.twill(&["volume", "prune", "-af"]).ok(), "Total reclaimed space: 0B");
    world.twill(&["rm", "-v", "it"]).ok();
    assert_eq!(
        world.twill(&["volume", "ls", "-q"]).ok(),
        "data",
        "a name is never lost with a container"
    );
    world.twill(&["volume", "rm", "data"]).ok();
    world.assert_nothing_left();
}

#[test]
fn volumes_without_a_name_go_with_their_container() {
    let Some(world) = World::new() else { return };
    let all = || world.twill(&["volume", "ls", "-q"]).ok().lines().count();
    inside(&world, &["-v", "/x"], "touch /x/y").ok();
    assert_eq!(all(), 0, "--rm takes it");
    world.twill(&["create", "--name", "it", "-v", "/x", "bb"]).ok();
    world.twill(&["rm", "it"]).ok();
    assert_eq!(all(), 1, "rm leaves it");
    world.twill(&["create", "--name", "it", "-v", "/x", "bb"]).ok();
    world.twill(&["rm", "-v", "it"]).ok();
    assert_eq!(all(), 1, "rm -v takes it");
    world.twill(&["create", "--name", "it", "-v", "/x", "bb"]).ok();
    world.twill(&["create", "--name", "it", "-v", "/x", "bb"]).fails(1, "Conflict");
    assert_eq!(all(), 2, "what was not made leaves none");
    world.twill(&["rm", "-v", "it"]).ok();
    world
        .twill(&["run", "--name", "it", "--network", "none", "-v", "/x", "bb", "nosuch"])
        .fails(127, "nosuch");
    assert_eq!(all(), 1, "nor does what did not start");
    world.twill(&["volume", "prune", "-f"]).ok();
    world.assert_nothing_left();
}

/// An image with a volume that has something in it, owned by somebody.
fn image(world: &World) {
    let root = world.path("root");
    for directory in ["bin", "etc", "data/deep"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
    fs::write(root.join("data/deep/file"), "of the image\n").unwrap();
    std::os::unix::fs::symlink("deep/file", root.join("data/link")).unwrap();
    for path in ["data", "data/deep/file"] {
        std::os::unix::fs::chown(root.join(path), Some(33), Some(34)).unwrap();
    }
    let archive = world.path("image.tar");
    World::run(&["tar", "-C", root.to_str().unwrap(), "-cf", archive.to_str().unwrap(), "."]);
    world.twill(&["import", "-c", "VOLUME /data", archive.to_str().unwrap(), "vol"]).ok();
}

#[test]
fn the_first_use_of_a_volume_brings_what_the_image_has() {
    let Some(world) = World::new() else { return };
    image(&world);
    let run = |options: &[&str], script: &str| {
        let head = ["run", "--rm", "--network", "none"];
        world.twill(&[head.as_slice(), options, &["vol", "/bin/sh", "-c", script]].concat()).ok()
    };
    let read = "read line < /data/link; echo $line";
    assert_eq!(run(&[], read), "of the image");
    assert_eq!(world.twill(&["volume", "ls", "-q"]).ok(), "", "the image's own went with --rm");
    assert_eq!(run(&["-v", "named:/data"], read), "of the image");
    let data = world.path("lib/volumes/named/_data");
    for path in [data.clone(), data.join("deep/file")] {
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (33, 34), "{}", path.display());
    }
    run(&["-v", "named:/data"], "echo changed > /data/deep/file");
    assert_eq!(run(&["-v", "named:/data"], read), "changed", "only the first use copies");
    run(&["-v", "bare:/data:nocopy"], "echo /data/*; test ! -e /data/link");
    assert_eq!(fs::read_dir(world.path("lib/volumes/bare/_data")).unwrap().count(), 0);
    // What somebody died over is swept, and what is in the volume stays.
    let beside = world.path("lib/volumes/named/.filling");
    fs::create_dir_all(beside.join("half")).unwrap();
    assert_eq!(run(&["-v", "named:/data"], read), "changed");
    assert!(!beside.exists());
    // Somebody lives in the empty one: it stays the same directory for both.
    let head = ["run", "-d", "--name", "it", "--network", "none", "-v", "shared:/x:nocopy"];
    world.twill(&[head.as_slice(), &["bb", "sleep", "1000"]].concat()).ok();
    run(&["-v", "shared:/data"], "test ! -e /data/link; echo here > /data/new");
    assert_eq!(world.twill(&["exec", "it", "cat", "/x/new"]).ok(), "here");
    world.twill(&["rm", "-f", "it"]).ok();
    world.twill(&["volume", "rm", "shared"]).ok();
    world.twill(&["volume", "rm", "named", "bare"]).ok();
    world.assert_nothing_left();
}

#[test]
fn an_image_has_no_say_in_where_its_volumes_come_from() {
    let Some(world) = World::new() else { return };
    world.twill(&["volume", "create", "secrets"]).ok();
    let make = |path: &str| {
        world.twill(&["create", "--name", "made", "bb"]).ok();
        let change = format!("VOLUME {path}");
        world.twill(&["commit", "-c", &change, "made", "evil"]).ok();
        world.twill(&["rm", "made"]).ok();
    };
    let run = |script: &str| {
        world.twill(&["run", "--rm", "--network", "none", "evil", "sh", "-c", script])
    };
    make("/:/host");
    assert_eq!(run("test ! -e /host && echo /:/host/*").ok(), "/:/host/*");
    for (path, why) in [
        ("secrets:/x", "mount path must be absolute"),
        ("relative", "mount path must be absolute"),
        ("/dev", "/dev is the container's own"),
    ] {
        make(path);
        run("true").fails(125, why);
    }
    assert_eq!(world.twill(&["volume", "ls", "-q"]).ok(), "secrets");
    world.twill(&["volume", "rm", "secrets"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_volume_may_be_a_path_of_the_host_or_memory() {
    let Some(world) = World::new() else { return };
    let shared = world.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "of the host").unwrap();
    let device = format!("device={}", shared.display());
    let create = |name: &str, options: &[&str]| {
        let options = options.iter().flat_map(|option| ["-o", option]);
        world.twill(&[&["volume", "create"], &options.collect::<Vec<_>>()[..], &[name]].concat())
    };
    create("host", &["type=none", "o=bind", &device]).ok();
    create("fixed", &["type=none", "o=bind,ro", &device]).ok();
    create("memory", &["type=tmpfs", "device=tmpfs", "o=size=1m,uid=33"]).ok();
    create("nowhere", &["type=none", "o=bind", "device=/nosuch/place"]).ok();
    inside(&world, &["-v", "host:/x"], "cat /x/file; echo more >/x/more").ok();
    assert_eq!(fs::read_to_string(shared.join("more")).unwrap(), "more\n");
    inside(&world, &["-v", "fixed:/x"], "touch /x/y").fails(1, "Read-only file system");
    inside(&world, &["-v", "nowhere:/x"], "true").fails(125, "does not exist: /nosuch/place");
    let look = "stat -c %u /x; df -k /x | tail -1 | awk '{print $2}'; ls /x; touch /x/y";
    for _ in 0..2 {
        let seen = inside(&world, &["-v", "memory:/x"], look).ok();
        assert_eq!(seen, "33\n1024", "it is new each time");
    }
    inside(&world, &["-v", "memory:/x:ro"], "touch /x/y").fails(1, "Read-only file system");
    let shown = world.twill(&["volume", "inspect", "-f", "{{json .Options}}", "memory"]).ok();
    assert_eq!(shown, r#"{"device":"tmpfs","o":"size=1m,uid=33","type":"tmpfs"}"#);
    for (options, text) in [
        (&["x=1"][..], "create data: invalid option: \"x\""),
        (&["type=tmpfs"], "create data: missing required option: \"device\""),
        (&["type=nfs", "device=:/x"], "create data: volumes of type \"nfs\" are not mounted here"),
    ] {
        create("data", options).fails(1, text);
    }
    world.twill(&["volume", "prune", "-af"]).ok();
    assert_eq!(fs::read_to_string(shared.join("file")).unwrap(), "of the host");
    world.assert_nothing_left();
}

#[test]
fn containers_that_run_at_once_share_a_volume_of_memory() {
    let Some(world) = World::new() else { return };
    let options = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m"];
    world.twill(&[&["volume", "create"], &options[..], &["memory"]].concat()).ok();
    let hold = |name: &str| {
        let head = ["run", "-d", "--name", name, "--network", "none", "-v", "memory:/x", "bb"];
        world.twill(&[&head[..], &["sleep", "1000"]].concat()).ok();
    };
    hold("first");
    world.twill(&["exec", "first", "sh", "-c", "echo word >/x/file"]).ok();
    let twice = ["-v", "memory:/x", "-v", "memory:/y"];
    assert_eq!(
        inside(&world, &twice, "cat /x/file; echo more >/y/file; cat /x/file").ok(),
        "word\nmore"
    );
    hold("second");
    // Whoever had it first is gone, and what it left with it: the others go on.
    strike(world.monitor("first"));
    world.twill(&["rm", "-f", "first"]).ok();
    assert_eq!(world.twill(&["exec", "second", "cat", "/x/file"]).ok(), "more");
    assert_eq!(
        inside(&world, &["-v", "memory:/x:ro"], "cat /x/file; touch /x/y 2>&1").out,
        "more\ntouch: /x/y: Read-only file system\n"
    );
    hold("third");
    world.twill(&["stop", "-t", "0", "second"]).ok();
    world.twill(&["start", "second"]).ok();
    assert_eq!(
        world.twill(&["exec", "second", "cat", "/x/file"]).ok(),
        "more",
        "the third kept it"
    );
    world.twill(&["rm", "-f", "second", "third"]).ok();
    assert_eq!(inside(&world, &["-v", "memory:/x"], "ls /x").ok(), "", "it went with the last one");
    assert_eq!(fs::read_dir(world.path("lib/volumes/memory/_data")).unwrap().count(), 0);
    world.twill(&["volume", "rm", "memory"]).ok();
    world.assert_nothing_left();
}

#[test]
fn an_empty_directory_of_the_host_gets_what_the_image_has() {
    let Some(world) = World::new() else { return };
    image(&world);
    let create = |name: &str, options: &str| {
        let place = world.path(name);
        fs::create_dir(&place).unwrap();
        let (device, how) = (format!("device={}", place.display()), format!("o={options}"));
        let made = ["volume", "create", "-o", "type=none", "-o", &how, "-o", &device, name];
        world.twill(&made).ok();
        place
    };
    let run = |volume: &str, script: &str| {
        let head = ["run", "--rm", "--network", "none", "-v"];
        world.twill(&[&head[..], &[volume, "vol", "/bin/sh", "-c", script]].concat()).ok()
    };
    let read = "read line < /data/link; echo $line";
    let names = |place: &std::path::Path| fs::read_dir(place).unwrap().count();
    let host = create("host", "bind");
    assert_eq!(run("host:/data", read), "of the image");
    for path in [host.clone(), host.join("deep/file")] {
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (33, 34), "{}", path.display());
    }
    run("host:/data", "echo changed > /data/deep/file");
    assert_eq!(run("host:/data", read), "changed", "only an empty one is filled");
    // The image has nothing there: neither is something copied, nor does the directory change hands.
    let bare = create("bare", "bind");
    std::os::unix::fs::chown(&bare, Some(7), Some(7)).unwrap();
    for volume in ["bare:/nothing", "bare:/data:nocopy"] {
        run(volume, "true");
        assert_eq!((names(&bare), fs::metadata(&bare).unwrap().uid()), (0, 7), "{volume}");
    }
    let fixed = create("fixed", "bind,ro");
    run("fixed:/data", "true");
    assert_eq!(names(&fixed), 0, "nobody writes there");
    // Somebody emptied it between two runs of one container: it stays so.
    let run = ["run", "--name", "it", "--network", "none", "-v", "bare:/data", "vol"];
    world.twill(&[&run[..], &["/bin/sh", "-c", "echo /data/*"]].concat()).ok();
    assert_eq!(names(&bare), 2);
    fs::remove_dir_all(bare.join("deep")).unwrap();
    fs::remove_file(bare.join("link")).unwrap();
    assert_eq!(world.twill(&["start", "-a", "it"]).ok(), "/data/*");
    world.twill(&["rm", "it"]).ok();
    world.twill(&["volume", "prune", "-af"]).ok();
    assert_eq!(fs::read_to_string(host.join("deep/file")).unwrap(), "changed\n");
    world.assert_nothing_left();
}
