//! Ways out of containers that were published, tried from inside.
//!
//! Capabilities, the filter of system calls and devices have tests of their own; so has what a caller leaves
//! open for a container's programs to find.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use crate::world::{World, eventually};

fn inside(world: &World, options: &[&str], script: &str) -> crate::world::Said {
    let head = ["run", "--rm", "--network", "none"];
    world.twill(&[&head, options, &["bb", "sh", "-c", script]].concat())
}

#[test]
fn what_is_hidden_is_empty_and_what_is_to_be_read_cannot_be_written() {
    let Some(world) = World::new() else { return };
    world.twill(&["run", "-d", "--name", "it", "--network", "none", "bb", "sleep", "1000"]).ok();
    let paths = |pointer: &str| -> Vec<String> {
        serde_json::from_value(world.inspect("it", pointer)).unwrap()
    };
    let (hidden, fixed) = (paths("/HostConfig/MaskedPaths"), paths("/HostConfig/ReadonlyPaths"));
    let exec = |script: &str| world.twill(&["exec", "it", "sh", "-c", script]);
    let mut met = 0;
    for path in &hidden {
        let look = format!(
            "[ -e {path} ] || exit 3; if [ -d {path} ]; then ls -A {path}; else cat {path}; fi"
        );
        let said = exec(&look);
        assert_eq!(said.out, "", "{path} tells something");
        met += usize::from(said.code == 0);
    }
    assert!(met > 3, "hardly anything that is to be hidden is there: {hidden:?}");
    for path in &fixed {
        let said = exec(&format!(
            "[ -e {path} ] || exit 3; awk '$2 == \"{path}\" {{ print $4 }}' /proc/mounts"
        ));
        let is_fixed = said.out.trim().split(',').any(|option| option == "ro");
        assert!(said.code == 3 || is_fixed, "{path}: {}", said.out);
    }
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn what_the_kernel_would_run_outside_cannot_be_named() {
    let Some(world) = World::new() else { return };
    // Opened for writing and no more: what is written there would be the host's.
    for (what, script) in [
        ("who is told of dumped cores", ": >> /proc/sys/kernel/core_pattern"),
        ("who loads modules", ": >> /proc/sys/kernel/modprobe"),
        ("who is told of devices", ": >> /sys/kernel/uevent_helper"),
        ("who runs unknown programs", ": >> /proc/sys/fs/binfmt_misc/register"),
        ("keys that the kernel obeys", ": >> /proc/sysrq-trigger"),
        // CVE-2022-0492.
        ("who is told of empty groups", ": >> /sys/fs/cgroup/memory/release_agent"),
        ("that groups tell when they are empty", ": >> /sys/fs/cgroup/pids/notify_on_release"),
        ("groups of one's own", "mkdir /tmp/c && mount -t cgroup -o rdma cgroup /tmp/c"),
        ("a user namespace", "unshare -Ur true"),
        ("a mount namespace", "unshare -m true"),
        ("files of the kernel's", "mkdir /tmp/p && mount -t proc proc /tmp/p"),
        ("the system's other files", "mount -o remount,rw /sys"),
        ("the log of the kernel", "dmesg"),
        ("memory", "test -e /dev/mem -o -e /dev/kmem -o -e /dev/port"),
        ("disks", "ls /dev/sd* /dev/vd* /dev/nvme* /dev/loop* 2>/dev/null | grep ."),
    ] {
        let said = inside(&world, &[], script);
        assert_ne!(said.code, 0, "{what}: open: {}", said.out);
    }
    world.assert_nothing_left();
}

/// CVE-2021-30465 and its like: a volume whose links lead to where another one is to be mounted.
#[test]
fn links_in_a_volume_lead_no_mount_out() {
    let Some(world) = World::new() else { return };
    let (tree, victim, mine) = (world.path("tree"), world.path("victim"), world.path("mine"));
    for directory in [&tree, &victim, &mine] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(mine.join("mark"), "").unwrap();
    symlink(&victim, tree.join("absolute")).unwrap();
    let up = format!("../../../../../../../../..{}", victim.display());
    symlink(&up, tree.join("relative")).unwrap();
    symlink("/proc/1/root", tree.join("magic")).unwrap();
    symlink("/proc/self/cwd", tree.join("cwd")).unwrap();
    let volume = format!("{}:/tree", tree.display());
    let plain = format!("{}:/tree/plain", mine.display());
    inside(&world, &["-v", &volume, "-v", &plain], "test -e /tree/plain/mark").ok();
    for link in ["absolute", "relative", "magic", "cwd"] {
        for deeper in ["", "/below"] {
            let onto = format!("{}:/tree/{link}{deeper}", mine.display());
            let said = inside(&world, &["-v", &volume, "-v", &onto], "true");
            let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
            assert!(!mounts.contains("/mine"), "{link}{deeper}: {}", said.err);
            let seen: Vec<_> = fs::read_dir(&victim).unwrap().collect();
            assert!(seen.is_empty(), "{link}{deeper}: {seen:?}");
        }
    }
    world.assert_nothing_left();
}

/// The same while another container turns a directory into a link and back as fast as it can.
#[test]
fn a_volume_that_changes_all_the_time_leads_no_mount_out() {
    let Some(world) = World::new() else { return };
    let (tree, mine) = (world.path("tree"), world.path("mine"));
    let victim = world.path("victim");
    for directory in [&tree, &victim, &mine] {
        fs::create_dir(directory).unwrap();
    }
    symlink(&victim, tree.join("link")).unwrap();
    let volume = format!("{}:/tree", tree.display());
    let turn = "cd /tree; mkdir place; while :; do mv -T place dir; mv -T link place; mv -T place link; mv -T dir place; done";
    let turner =
        ["run", "-d", "--name", "it", "--network", "none", "-v", &volume, "bb", "sh", "-c", turn];
    world.twill(&turner).ok();
    let onto = format!("{}:/tree/place/below", mine.display());
    let mut mounted = 0;
    for _ in 0..25 {
        // It may fail: there are moments of no such directory.
        let said = inside(&world, &["-v", &volume, "-v", &onto], "true");
        mounted += u32::from(said.code == 0);
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert!(!mounts.contains("/mine"), "{}", said.err);
        let seen: Vec<_> = fs::read_dir(&victim).unwrap().collect();
        assert!(seen.is_empty(), "{seen:?}: {}", said.err);
    }
    assert!(mounted > 0, "it never came to a mount");
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn mounts_do_not_spread() {
    let Some(world) = World::new() else { return };
    let shared = world.path("shared");
    for directory in ["in", "out"] {
        fs::create_dir_all(shared.join(directory)).unwrap();
    }
    let place = shared.to_str().unwrap();
    World::run(&["mount", "--bind", place, place]);
    World::run(&["mount", "--make-shared", place]);
    let volume = format!("{place}:/shared");
    let mount = "mount -t tmpfs x /shared/in && touch /shared/in/theirs && exec sleep 1000";
    let run = [
        "run",
        "-d",
        "--name",
        "it",
        "--network",
        "none",
        "--cap-add",
        "SYS_ADMIN",
        "-v",
        &volume,
        "bb",
        "sh",
        "-c",
        mount,
    ];
    world.twill(&run).ok();
    let exec = |script: &str| world.twill(&["exec", "it", "sh", "-c", script]);
    eventually("it has mounted", || exec("test -e /shared/in/theirs").code == 0);
    assert!(!shared.join("in/theirs").exists(), "a container's mount is seen outside");
    let out = shared.join("out");
    World::run(&["mount", "-t", "tmpfs", "x", out.to_str().unwrap()]);
    fs::write(out.join("ours"), "").unwrap();
    assert_ne!(exec("test -e /shared/out/ours").code, 0, "a mount of the host's is seen inside");
    world.twill(&["rm", "-f", "it"]).ok();
    World::run(&["umount", out.to_str().unwrap()]);
    World::run(&["umount", place]);
    world.assert_nothing_left();
}

/// CVE-2016-9962, CVE-2019-5736, CVE-2024-21626: what comes in from the host is looked at by whoever is
/// inside already, as fast as it can.
#[test]
fn nothing_that_comes_in_shows_a_way_out() {
    let Some(world) = World::new() else { return };
    // Two of the host's files: of its root, and of where the runtime keeps its own.
    let root = format!("root{}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
    let own = "containers";
    let look = format!(
        "touch /ready; while :; do for p in /proc/[0-9]*; do \
         for f in $p/{root} $p/cwd/{own} $p/cwd/../{own}; do [ -e $f ] && echo $f >> /found; done; \
         for d in $p/fd/*; do [ -e $d/{own} -o -e $d/Cargo.toml ] && echo $d >> /found; done; \
         x=$(readlink $p/exe); case $x in *twill*|*memfd*) echo new >> $p/exe && echo $p/exe >> /found;; esac; \
         done; done 2>/dev/null"
    );
    let run = ["run", "-d", "--name", "it", "--network", "none", "bb", "sh", "-c", &look];
    world.twill(&run).ok();
    eventually("it looks", || world.twill(&["exec", "it", "test", "-e", "/ready"]).code == 0);
    for _ in 0..30 {
        world.twill(&["exec", "it", "true"]).ok();
        let mut fed = world.spawn(&["exec", "-i", "it", "cat"], Stdio::null());
        fed.wait().unwrap();
    }
    let found = world
        .twill(&["exec", "it", "sh", "-c", "cat /found 2>/dev/null; ls /proc/1/root | wc -l"])
        .ok();
    assert_eq!(found.lines().count(), 1, "{found}");
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn programs_have_their_three_streams_and_no_more() {
    let Some(world) = World::new() else { return };
    // The fourth is the listing's own.
    let list = "ls -1 /proc/self/fd | tr '\\n' ' '";
    assert_eq!(inside(&world, &[], list).ok(), "0 1 2 3");
    world.twill(&["run", "-d", "--name", "it", "--network", "none", "bb", "sleep", "1000"]).ok();
    assert_eq!(world.twill(&["exec", "it", "sh", "-c", list]).ok(), "0 1 2 3");
    assert_eq!(
        world.twill(&["exec", "it", "sh", "-c", "ls -1 /proc/1/fd | tr '\\n' ' '"]).ok(),
        "0 1 2"
    );
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn devices_are_dockers() {
    let Some(world) = World::new() else { return };
    let list = "cd /dev; for f in *; do stat -c '%F %a %n' $f; done";
    let all = inside(&world, &[], list).ok();
    // `core` is there where the kernel has /proc/kcore.
    let all = all.strip_prefix("symbolic link 777 core\n").unwrap_or(&all);
    let want = "symbolic link 777 fd
character special file 666 full
directory 1777 mqueue
character special file 666 null
symbolic link 777 ptmx
directory 755 pts
character special file 666 random
directory 1777 shm
symbolic link 777 stderr
symbolic link 777 stdin
symbolic link 777 stdout
character special file 666 tty
character special file 666 urandom
character special file 666 zero";
    assert_eq!(all, want);
    world.assert_nothing_left();
}
