//! kill -9 of anybody, at any moment.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{World, eventually, is_dead, strike};

fn start(world: &World, options: &[&str]) {
    let head = [&["run", "-d", "--name", "it", "--network", "none"], options].concat();
    world.twill(&[head.as_slice(), &["bb", "sleep", "1000"]].concat()).ok();
}

fn status(world: &World) -> String {
    let all = world.twill(&["ps", "-a", "--no-trunc"]).ok();
    all.lines().skip(1).collect::<Vec<_>>().join("\n")
}

#[test]
fn of_the_monitor() {
    let Some(world) = World::new() else { return };
    start(&world, &[]);
    let first = world.pid("it");
    strike(world.monitor("it"));
    assert!(status(&world).contains("Exited (137)"), "{}", status(&world));
    assert_eq!(world.inspect("it", "/State/Error"), "the monitor of the container was killed");
    assert!(is_dead(first), "whoever says that it ended has made sure");
    world.twill(&["start", "it"]).ok();
    assert_eq!(world.inspect("it", "/State/Status"), "running");
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn of_the_container() {
    let Some(world) = World::new() else { return };
    start(&world, &[]);
    strike(world.pid("it"));
    assert_eq!(world.twill(&["wait", "it"]).ok(), "137");
    assert!(status(&world).contains("Exited (137)"));
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn of_both_and_then_only_a_removal() {
    let Some(world) = World::new() else { return };
    start(&world, &[]);
    world.twill(&["exec", "-d", "it", "sleep", "555"]).ok();
    let (first, monitor) = (world.pid("it"), world.monitor("it"));
    strike(monitor);
    // It may be gone with its monitor.
    _ = kill(Pid::from_raw(first), Signal::SIGKILL);
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn of_the_monitor_of_one_that_was_to_vanish() {
    let Some(world) = World::new() else { return };
    start(&world, &["--rm"]);
    strike(world.monitor("it"));
    assert_eq!(status(&world), "");
    world.assert_nothing_left();
}

#[test]
fn of_the_foreground_command_leaves_the_container_running() {
    let Some(world) = World::new() else { return };
    let mut caller = world.spawn(
        &["run", "--name", "it", "--network", "none", "bb", "sh", "-c", "echo up; sleep 1000"],
        Stdio::null(),
    );
    assert!(crate::world::readable(&caller));
    caller.kill().unwrap();
    caller.wait().unwrap();
    assert_eq!(world.inspect("it", "/State/Status"), "running");
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}

/// Every few milliseconds of a start there is another half-made thing.
#[test]
fn of_everybody_in_the_middle_of_a_start() {
    let Some(world) = World::new() else { return };
    for delay in (0..60_u64).step_by(3) {
        let mut caller = world.spawn(
            &["run", "--name", "it", "--network", "none", "bb", "sleep", "1000"],
            Stdio::null(),
        );
        _ = nix::poll::poll(&mut [], u16::try_from(delay).unwrap());
        for child in children(caller.id()) {
            // The pid of a child that nobody has waited for is still its own.
            kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
        }
        caller.kill().unwrap();
        caller.wait().unwrap();
        // Truth, then a clean slate, whatever there was.
        let known = world.twill(&["ps", "-a"]).ok().contains("it");
        let said = world.twill(&["rm", "-f", "it"]);
        assert_eq!(said.code, 0, "after {delay} ms, known: {known}: {}", said.err);
        eventually("all processes are gone", || !sleeps());
    }
    assert_eq!(status(&world), "");
    world.twill(&["run", "--rm", "--name", "it", "--network", "none", "bb", "true"]).ok();
    world.assert_nothing_left();
}

fn children(pid: u32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Is any process left in our cgroup's containers?
fn sleeps() -> bool {
    let Ok(containers) = std::fs::read_dir("/sys/fs/cgroup/pids/twill") else { return false };
    containers.flatten().any(|one| {
        std::fs::read_to_string(one.path().join("cgroup.procs"))
            .is_ok_and(|procs| !procs.is_empty())
    })
}

#[test]
fn a_log_is_whole_after_a_crash() {
    let Some(world) = World::new() else { return };
    world
        .twill(&[
            "run",
            "-d",
            "--name",
            "it",
            "--network",
            "none",
            "bb",
            "sh",
            "-c",
            "echo kept; sleep 1000",
        ])
        .ok();
    eventually("it has spoken", || world.twill(&["logs", "it"]).out == "kept\n");
    strike(world.monitor("it"));
    assert_eq!(world.twill(&["logs", "-f", "it"]).ok(), "kept");
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn of_the_disk() {
    let Some(world) = World::new() else { return };
    let root = small_disk(&world);
    let on = |words: &[&str]| world.twill(&[&["--root", root.as_str()], words].concat());
    on(&["import", world.path("bb.tar").to_str().unwrap(), "bb"]).ok();
    on(&["create", "--name", "other", "bb", "true"]).ok();
    // It is fed when its start is on record: a disk that is full by then is another matter.
    let script = "read go; cat /dev/zero > /fill; echo full; exit 5";
    let run = ["--root", &root, "run", "-i", "--name", "it", "--network", "none", "bb", "sh", "-c"];
    assert_eq!(world.twill_fed(&[run.as_slice(), &[script]].concat(), b"go\n").code, 5);
    assert!(on(&["ps", "-a"]).ok().contains("Exited"));
    on(&["run", "--network", "none", "bb", "true"]).fails(125, "No space left on device");
    on(&["rm", "it"]).ok();
    World::run(&["mount", "-o", "remount,ro", &root]);
    assert_eq!(on(&["ps", "-a"]).ok().lines().count(), 2);
    World::run(&["mount", "-o", "remount,rw", &root]);
    on(&["run", "--rm", "--network", "none", "bb", "true"]).ok();
    on(&["rm", "other"]).ok();
    World::run(&["umount", &root]);
    world.assert_nothing_left();
}

#[test]
fn of_a_disk_that_what_runs_has_filled() {
    let Some(world) = World::new() else { return };
    let root = small_disk(&world);
    let on = |words: &[&str]| world.twill(&[&["--root", root.as_str()], words].concat());
    on(&["import", world.path("bb.tar").to_str().unwrap(), "bb"]).ok();
    let free = || rustix::fs::statvfs(root.as_str()).unwrap().f_bavail;
    for policy in ["no", "always"] {
        for end in [&["stop", "-t", "0", "it"][..], &["kill", "it"], &["rm", "-f", "it"]] {
            // Not before its start is on record: a disk that is full by then is another matter.
            let script =
                "until [ -e /go ]; do sleep 0.01; done; cat /dev/zero > /fill; exec sleep 1000";
            let run = ["run", "-d", "--name", "it", "--network", "none", "--restart", policy];
            on(&[&run[..], &["bb", "sh", "-c", script]].concat()).ok();
            on(&["exec", "it", "touch", "/go"]).ok();
            eventually("the disk is full", || free() == 0);
            on(end).ok();
            eventually("nothing runs", || on(&["ps", "-q"]).out.is_empty());
            if end[0] != "rm" {
                on(&["rm", "it"]).ok();
            }
            assert_eq!(on(&["ps", "-aq"]).ok(), "", "{policy} {end:?}");
        }
    }
    World::run(&["umount", &root]);
    world.assert_nothing_left();
}

#[test]
fn an_end_that_is_watched_is_not_taken_for_one() {
    let Some(world) = World::new() else { return };
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    world.twill(&["ps", "-a"]);
                }
            });
        }
        for _ in 0..20 {
            world.twill(&["run", "--rm", "--network", "none", "bb", "true"]);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let format = "{{.Action}} {{.Actor.Attributes.exitCode}}";
    let said = world.twill(&["events", "--since", "1h", "--until", "0s", "--format", format]).ok();
    let ends: Vec<&str> = said.lines().filter(|line| line.starts_with("die")).collect();
    assert_eq!(ends, ["die 0"; 20]);
    world.assert_nothing_left();
}

#[test]
fn of_a_file() {
    let Some(world) = World::new() else { return };
    let id = world.twill(&["create", "--name", "torn", "bb", "true"]).ok();
    let state = world.path("lib/containers").join(&id).join("state.json");
    std::fs::write(&state, "").unwrap();
    world.twill(&["ps", "-a"]).fails(0, &format!("hint: `twill rm -f {}` removes it", &id[..12]));
    world.twill(&["rm", "torn"]).fails(1, "cannot understand");
    world.twill(&["rm", "-f", "torn"]).ok();
    world.twill(&["create", "--name", "torn", "bb", "true"]).ok();
    world.twill(&["rm", "torn"]).ok();
    world.assert_nothing_left();
}

/// A disk for images and containers that is soon full, mounted.
fn small_disk(world: &World) -> String {
    let root = world.path("small");
    std::fs::create_dir(&root).unwrap();
    let root = root.to_str().unwrap().to_owned();
    World::run(&["mount", "-t", "tmpfs", "-o", "size=6m", "none", &root]);
    root
}
