use crate::world::World;

fn inside(world: &World, options: &[&str], script: &str) -> String {
    let head = [&["run", "--rm", "--network", "none"], options].concat();
    world.twill(&[&head, ["bb", "sh", "-c", script].as_slice()].concat()).ok()
}

#[test]
fn the_defaults_are_dockers() {
    let Some(world) = World::new() else { return };
    // Not through the shell, which ignores a signal of its own.
    let show = ["run", "--rm", "--network", "none", "bb", "cat", "/proc/self/status"];
    let status = world.twill(&show).ok();
    for want in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000a80425fb",
        "CapEff:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t0",
        "Seccomp:\t2",
        "SigBlk:\t0000000000000000",
    ] {
        assert!(status.lines().any(|line| line == want), "{want}: {status}");
    }
    // The two that glibc keeps to itself cannot be given back.
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff, 0);
    let groups = status.lines().find(|line| line.starts_with("Groups:")).unwrap();
    assert_eq!(groups.trim_end(), "Groups:\t0", "the caller's other groups stay outside");
    assert_eq!(inside(&world, &[], "echo $$"), "1");
    assert_eq!(inside(&world, &[], "ls -1 /sys/class/net; ulimit -n"), "lo\n1024");
    inside(&world, &[], "ping -c 1 127.0.0.1");
    world.assert_nothing_left();
}

#[test]
fn what_would_lead_out_is_closed() {
    let Some(world) = World::new() else { return };
    for (what, script) in [
        ("mounting", "mount -t tmpfs x /tmp"),
        ("a new namespace", "unshare -m true"),
        ("its own memory limit", "echo -1 > /sys/fs/cgroup/memory/memory.limit_in_bytes"),
        ("its own cgroup", "mkdir /sys/fs/cgroup/pids/x"),
        ("kernel parameters", "echo 1 > /proc/sys/kernel/sysrq"),
        ("the kernel's memory", "test -s /proc/kcore"),
        ("devices of the host", "mknod /tmp/d b 254 0 && head -c 1 /tmp/d"),
        ("the clock", "date -s 2020-01-01; test $(date +%Y) = 2020"),
        ("the host's name for others", "hostname other"),
    ] {
        let said = world.twill(&["run", "--rm", "--network", "none", "bb", "sh", "-c", script]);
        assert_ne!(said.code, 0, "{what} is open");
    }
    world.assert_nothing_left();
}

#[test]
fn wishes_are_granted() {
    let Some(world) = World::new() else { return };
    let check = |options: &[&str], script: &str, want: &str| {
        assert_eq!(inside(&world, options, script), want, "{options:?}");
    };
    check(
        &["-e", "A=1", "-e", "B="],
        "echo $A-$B-$HOME-$PATH",
        "1--/root-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    check(&["-w", "/made/for/it"], "pwd", "/made/for/it");
    check(
        &["--hostname", "loom"],
        "hostname; cat /etc/hostname; echo $HOSTNAME",
        "loom\nloom\nloom",
    );
    check(
        &["-u", "www"],
        "id -u; id -G; echo $HOME; grep CapEff /proc/self/status",
        "33\n33 4\n/srv\nCapEff:\t0000000000000000",
    );
    check(&["-u", "1234:5"], "id -u; id -g", "1234\n5");
    check(
        &["-u", "www"],
        "echo x > /dev/stdout; grep Seccomp: /proc/self/status",
        "x\nSeccomp:\t2",
    );
    let said = world.twill(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "/bin/echo",
        "bb",
        "a",
        "b",
    ]);
    assert_eq!(said.ok(), "a b");
    assert_eq!(
        inside(
            &world,
            &["--cgroup-parent", "/elsewhere"],
            "grep -c /elsewhere/ /proc/self/cgroup > /dev/null && echo in"
        ),
        "in"
    );
    world.assert_nothing_left();
}

#[test]
fn programs_find_signals_as_they_expect_them() {
    let Some(world) = World::new() else { return };
    // An ignored SIGPIPE would make `yes` complain instead of end.
    let said =
        world.twill(&["run", "--rm", "--network", "none", "bb", "sh", "-c", "yes | head -1"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("y\n", ""));
    world.assert_nothing_left();
}

/// The smallest program there is: `exit(42)`, in the machine language of 1985.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_program_runs() {
    let Some(world) = World::new() else { return };
    let program = [
        b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".as_slice(),
        // An executable for the i386 that starts behind its headers.
        b"\x02\0\x03\0\x01\0\0\0\x54\x80\x04\x08\x34\0\0\0\0\0\0\0\0\0\0\0\x34\0\x20\0\x01\0\0\0\0\0\0\0",
        // One segment, the whole file.
        b"\x01\0\0\0\0\0\0\0\0\x80\x04\x08\0\x80\x04\x08\x60\0\0\0\x60\0\0\0\x05\0\0\0\0\x10\0\0",
        // mov $1, %eax; mov $42, %ebx; int $0x80
        b"\xb8\x01\0\0\0\xbb\x2a\0\0\0\xcd\x80",
    ]
    .concat();
    let script = "cat > /exit && chmod +x /exit && /exit; echo $?";
    let run = ["run", "--rm", "-i", "--network", "none", "bb", "sh", "-c", script];
    assert_eq!(world.twill_fed(&run, &program).ok(), "42");
    world.assert_nothing_left();
}
