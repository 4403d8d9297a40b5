//! What containers may do more or less than others, and that `exec` follows.

use std::fs;

use crate::world::World;

/// Docker's `CapEff`.
const DEFAULT: u64 = 0xa804_25fb;
const CHOWN: u64 = 1;
const SYS_ADMIN: u64 = 1 << 21;
const SYS_TIME: u64 = 1 << 25;
const NET_ADMIN: u64 = 1 << 12;

const STATUS: &str = "grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status";

/// One line of a status file.
fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} in {status}")).trim().to_owned()
}

fn mask(status: &str, name: &str) -> u64 {
    u64::from_str_radix(&field(status, name), 16).unwrap()
}

/// All that this program could give away.
fn all() -> u64 {
    mask(&fs::read_to_string("/proc/self/status").unwrap(), "CapPrm")
}

#[test]
fn powers_hold_for_the_first_process_and_for_others() {
    let Some(world) = World::new() else { return };
    let all = all();
    for (options, capabilities, seccomp, no_new) in [
        (&[][..], DEFAULT, "2", "0"),
        (&["--cap-add", "net_admin"], DEFAULT | NET_ADMIN, "2", "0"),
        (
            &["--cap-add", "CAP_SYS_TIME", "--cap-drop", "CHOWN"],
            (DEFAULT | SYS_TIME) & !CHOWN,
            "2",
            "0",
        ),
        (&["--cap-drop", "ALL"], 0, "2", "0"),
        (&["--cap-drop", "all", "--cap-add", "CHOWN"], CHOWN, "2", "0"),
        (&["--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"], all & !SYS_ADMIN, "2", "0"),
        (&["--privileged"], all, "0", "0"),
        (&["--security-opt", "seccomp=unconfined"], DEFAULT, "0", "0"),
        (&["--security-opt", "no-new-privileges"], DEFAULT, "2", "1"),
        (&["--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"], 0, "2", "1"),
    ] {
        let head = ["run", "-d", "--name", "it", "--network", "none"];
        let script = format!("{STATUS} && exec sleep 1000");
        let tail = ["bb", "sh", "-c", script.as_str()];
        world.twill(&[head.as_slice(), options, &tail].concat()).ok();
        crate::world::eventually("it has spoken", || {
            world.twill(&["logs", "it"]).ok().lines().count() == 4
        });
        let first = world.twill(&["logs", "it"]).ok();
        let other = world.twill(&["exec", "it", "sh", "-c", STATUS]).ok();
        for status in [first, other] {
            assert_eq!(mask(&status, "CapEff"), capabilities, "{options:?}");
            assert_eq!(mask(&status, "CapBnd"), capabilities, "{options:?}");
            assert_eq!(field(&status, "Seccomp"), seccomp, "{options:?}");
            assert_eq!(field(&status, "NoNewPrivs"), no_new, "{options:?}");
        }
        world.twill(&["rm", "-f", "it"]).ok();
    }
    world.assert_nothing_left();
}

#[test]
fn the_filter_follows_the_capabilities() {
    let Some(world) = World::new() else { return };
    let run = |options: &[&str], command: &[&str]| {
        let head = ["run", "--rm", "--network", "none"];
        world.twill(&[head.as_slice(), options, &["bb"], command].concat())
    };
    let mount = ["mount", "-t", "tmpfs", "tmpfs", "/tmp"];
    assert_ne!(run(&[], &["mkdir", "/tmp"]).code, 125);
    let mount_it = ["sh", "-c", "mkdir -p /tmp && mount -t tmpfs tmpfs /tmp"];
    run(&[], &mount_it).fails(1, "permission denied");
    run(&["--cap-add", "SYS_ADMIN"], &mount_it).ok();
    run(&["--privileged"], &mount_it).ok();
    run(&["--cap-drop", "SYS_CHROOT"], &["chroot", "/", "true"]).fails(1, "not permitted");
    run(&[], &["chroot", "/", "true"]).ok();
    // A process of `exec` with more capabilities is behind the container's filter all the same.
    world.twill(&["run", "-d", "--name", "it", "--network", "none", "bb", "sleep", "1000"]).ok();
    world.twill(&["exec", "it", "mkdir", "/tmp"]).ok();
    let privileged = [&["exec", "--privileged", "it"], mount.as_slice()].concat();
    assert_eq!(world.twill(&privileged).code, 1);
    let said = world.twill(&["exec", "--privileged", "it", "sh", "-c", STATUS]).ok();
    assert_eq!((mask(&said, "CapEff"), field(&said, "Seccomp").as_str()), (all(), "2"));
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_profile_of_the_users_holds_for_all_processes() {
    let Some(world) = World::new() else { return };
    let profile = world.path("profile.json");
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "archMap": null, "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "args": null,
         "includes": {}, "excludes": {"caps": ["CAP_SYS_ADMIN"]}}]}"#;
    fs::write(&profile, text).unwrap();
    let option = format!("seccomp={}", profile.display());
    let head = ["run", "-d", "--name", "it", "--network", "none", "--security-opt", &option];
    let tail = ["bb", "sh", "-c", "mkdir /a; exec sleep 1000"];
    world.twill(&[head.as_slice(), &tail].concat()).ok();
    world.twill(&["exec", "it", "mkdir", "/b"]).fails(1, "not implemented");
    crate::world::eventually("it was told", || {
        world.twill(&["logs", "it"]).err.contains("not implemented")
    });
    let shown = world.inspect("it", "/HostConfig/SecurityOpt/0");
    assert!(shown.as_str().unwrap().starts_with("seccomp={\""), "{shown}");
    // What is written down counts, not what becomes of the file.
    fs::remove_file(&profile).unwrap();
    world.twill(&["restart", "-t", "0", "it"]).ok();
    world.twill(&["exec", "it", "mkdir", "/b"]).fails(1, "not implemented");
    world.twill(&["rm", "-f", "it"]).ok();
    let tail = ["--cap-add", "SYS_ADMIN", "bb", "mkdir", "/a"];
    fs::write(&profile, text).unwrap();
    let head = ["run", "--rm", "--network", "none", "--security-opt", &option];
    world.twill(&[head.as_slice(), &tail].concat()).ok();
    world.assert_nothing_left();
}

#[test]
fn what_is_hidden_is_shown_only_when_asked_for() {
    let Some(world) = World::new() else { return };
    let run = |options: &[&str], script: &str| {
        let head = ["run", "--rm", "--network", "none"];
        world.twill(&[head.as_slice(), options, &["bb", "sh", "-c", script]].concat())
    };
    let look = "echo 0 > /proc/sys/kernel/shm_rmid_forced && ls /proc/bus >/dev/null; wc -c < /proc/timer_list";
    assert_ne!(run(&[], look).code, 125);
    run(&[], "echo 0 > /proc/sys/kernel/shm_rmid_forced").fails(1, "Read-only file system");
    run(&["--security-opt", "systempaths=unconfined"], "echo 0 > /proc/sys/kernel/shm_rmid_forced")
        .ok();
    run(&["--privileged"], "echo 0 > /proc/sys/kernel/shm_rmid_forced").ok();
    run(
        &["--privileged"],
        "test -w /sys/kernel && test -b /dev/loop0 -o -c /dev/kmsg -o -c /dev/fuse",
    )
    .ok();
    world.assert_nothing_left();
}

#[test]
fn wrong_powers_are_refused_before_anything_is_made() {
    let Some(world) = World::new() else { return };
    for (options, want) in [
        (["--cap-add", "bogus"], "invalid CapAdd: unknown capability: \"CAP_BOGUS\""),
        (["--cap-drop", "bogus"], "invalid CapDrop: unknown capability: \"CAP_BOGUS\""),
        (["--security-opt", "bogus=1"], "invalid --security-opt: \"bogus=1\""),
        (["--security-opt", "seccomp=/nosuch"], "opening seccomp profile (/nosuch) failed"),
        (["--ulimit", "bogus=1"], "invalid ulimit type: bogus"),
        (["--ulimit", "nofile=2:1"], "must be less than or equal to hard limit: 2 > 1"),
        (["--sysctl", "kernel.panic=1"], "sysctl 'kernel.panic=1' is not allowed"),
        (["--device", "/dev/null:/etc/x"], "/etc/x is not below /dev"),
        (["--pid", "bogus"], "invalid PID mode"),
        (["--ipc", "bogus"], "invalid IPC mode: bogus"),
        (["--uts", "container:x"], "invalid UTS mode"),
        (["--ipc", "container:nosuch"], "No such container: nosuch"),
        (["--env-file", "/nosuch"], "open /nosuch: no such file or directory"),
        (["--stop-signal", "bogus"], "bogus"),
        (["--shm-size", "x"], "invalid size: 'x'"),
        (["--pull", "always"], "there is no registry to pull from yet"),
        (["--pull", "bogus"], "invalid pull option: 'bogus'"),
        (["--expose", "0"], "invalid range format for --expose: 0"),
    ] {
        let line = [&["run"], options.as_slice(), &["bb"]].concat();
        world.twill(&line).fails(125, want);
    }
    world.twill(&["run", "--pull", "never", "nosuch"]).fails(125, "No such image: nosuch:latest");
    world.twill(&["create", "--pull", "never", "nosuch"]).fails(1, "No such image: nosuch:latest");
    world
        .twill(&["create", "--pull", "always", "bb"])
        .fails(1, "there is no registry to pull from yet");
    world.twill(&["create", "--pull", "missing", "nosuch"]).fails(1, "nosuch:latest");
    let line = ["run", "--uts", "host", "--hostname", "x", "bb"];
    world.twill(&line).fails(125, "conflicting options: hostname and the UTS mode");
    let line = ["run", "--network", "host", "--sysctl", "net.core.somaxconn=1", "bb"];
    world.twill(&line).fails(125, "not allowed in host network namespace");
    let line = ["run", "--ipc", "host", "--sysctl", "kernel.msgmax=1", "bb"];
    world.twill(&line).fails(125, "not allowed in host ipc namespace");
    world.assert_nothing_left();
}
