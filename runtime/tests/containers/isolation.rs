//! Limits, devices, groups, read-only roots, a first process that reaps.

use std::fs;

use serde_json::json;

use crate::world::{World, eventually};

fn run(world: &World, options: &[&str], script: &str) -> crate::world::Said {
    let head = ["run", "--rm", "--network", "none"];
    world.twill(&[head.as_slice(), options, &["bb", "sh", "-c", script]].concat())
}

#[test]
fn options_of_the_process() {
    let Some(world) = World::new() else { return };
    fs::write(world.path("env"), "# comment\nA=file\nB=two words\nFROM_HERE\n").unwrap();
    let file = world.path("env").display().to_string();
    for (options, script, want) in [
        (&["--env-file", &file, "-e", "A=option"][..], "echo $A $B", "option two words"),
        (
            &["--ulimit", "nofile=100:200", "--ulimit", "core=0"],
            "ulimit -Sn; ulimit -Hn; ulimit -c",
            "100\n200\n0",
        ),
        (&["--group-add", "adm", "--group-add", "777"], "id -G", "0 4 777"),
        (&["-u", "www", "--group-add", "0"], "id -G", "33 0 4"),
        (&["--shm-size", "1m"], "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d ' ' -f 2", "1024"),
        (&[], "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d ' ' -f 2", "65536"),
        (&["--sysctl", "net.core.somaxconn=77"], "cat /proc/sys/net/core/somaxconn", "77"),
        (&["--sysctl", "kernel.shmmni=99"], "cat /proc/sys/kernel/shmmni", "99"),
        (
            &["--hostname", "web", "--domainname", "example.test"],
            "hostname; cat /proc/sys/kernel/domainname",
            "web\nexample.test",
        ),
        (
            &["--read-only"],
            "touch /x 2>/dev/null || echo no; touch /dev/shm/x /dev/x && echo yes",
            "no\nyes",
        ),
        (&["--read-only"], "echo x 2>/dev/null > /etc/hosts || echo no", "no"),
        (&["--read-only", "-w", "/new/dir"], "pwd", "/new/dir"),
        (
            &["--device", "/dev/null:/dev/x/y"],
            "echo gone > /dev/x/y && ls -l /dev/x/y | cut -c 1",
            "c",
        ),
        (
            &["--device", "/dev/zero:/dev/z:r"],
            "head -c 2 /dev/z | od -An -tx1; echo x 2>/dev/null > /dev/z || echo no",
            " 00 00",
        ),
        (&["--init"], "echo $$ $PPID; cat /proc/1/comm", "2 1\ntwill-init"),
        (&["--ipc", "none"], "test -e /dev/shm || echo none", "none"),
        (&["--pid", "host"], "test $$ -gt 2 && test -d /proc/2 && echo host", "host"),
    ] {
        assert_eq!(run(&world, options, script).ok(), want, "{options:?}");
    }
    world.assert_nothing_left();
}

#[test]
fn exec_has_the_limits_and_groups_of_its_container() {
    let Some(world) = World::new() else { return };
    let head = ["run", "-d", "--name", "it", "--network", "none", "--read-only"];
    let options = ["--ulimit", "nofile=100:200", "--group-add", "777"];
    world.twill(&[head.as_slice(), &options, &["bb", "sleep", "1000"]].concat()).ok();
    let said = world.twill(&["exec", "it", "sh", "-c", "ulimit -Sn; ulimit -Hn; id -G; touch /x"]);
    assert_eq!(said.out, "100\n200\n0 777\n");
    assert!(said.err.contains("Read-only file system"), "{}", said.err);
    assert_eq!(world.twill(&["exec", "-u", "www", "it", "id", "-G"]).ok(), "33 4 777");
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_limit_beyond_our_own_is_refused_when_it_starts() {
    let Some(world) = World::new() else { return };
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let may_raise = u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << 24) != 0;
    let Some(own) = own.filter(|_| !may_raise) else { return };
    let limit = format!("nofile={}", own + 1);
    run(&world, &["--ulimit", &limit], "true").fails(125, "cannot set the ulimit nofile");
    world.assert_nothing_left();
}

#[test]
fn devices_are_for_those_who_asked() {
    let Some(world) = World::new() else { return };
    let missing = "error gathering device information while adding custom device \"/dev/nosuch\": no such file or directory";
    run(&world, &["--device", "/dev/nosuch"], "true").fails(125, missing);
    let plain = "adding custom device \"/etc/passwd\": not a device node";
    run(&world, &["--device", "/etc/passwd:/dev/x"], "true").fails(125, plain);
    // The kernel's log is a device that no other container may open, even if it makes the node.
    let open = "mknod /dev/log c 1 11 && head -c 0 /dev/log && echo open || echo closed";
    let without = run(&world, &[], open).ok();
    assert!(without.ends_with("closed"), "{without}");
    world.assert_nothing_left();
}

#[test]
fn a_reaper_reaps_and_hands_signals_on() {
    let Some(world) = World::new() else { return };
    let script = "trap 'echo told; exit 5' TERM; (sleep 0.01 & exec true) & wait; \
                  echo ready; while :; do sleep 0.05; done";
    let head = ["run", "-d", "--init", "--name", "it", "--network", "none", "bb", "sh", "-c"];
    world.twill(&[head.as_slice(), &[script]].concat()).ok();
    eventually("it is ready", || world.twill(&["logs", "it"]).out.contains("ready"));
    eventually("there is no zombie", || {
        let all = world.twill(&["exec", "it", "sh", "-c", "cat /proc/[0-9]*/stat"]).out;
        !all.contains(") Z ")
    });
    world.twill(&["stop", "it"]).ok();
    assert_eq!(world.inspect("it", "/State/ExitCode"), 5);
    assert_eq!(world.inspect("it", "/HostConfig/Init"), true);
    assert_eq!(world.inspect("it", "/Path"), "sh");
    world.twill(&["rm", "it"]).ok();
    for (options, code) in [
        (&["bb", "nosuch"][..], 127),
        (&["bb", "/etc/plain"], 126),
        (&["bb", "sh", "-c", "kill -9 $$"], 137),
        (&["bb", "sh", "-c", "exit 7"], 7),
    ] {
        let head = ["run", "--rm", "--init", "--network", "none"];
        assert_eq!(world.twill(&[head.as_slice(), options].concat()).code, code, "{options:?}");
    }
    world.assert_nothing_left();
}

#[test]
fn a_reaper_holds_nothing_of_the_hosts() {
    let Some(world) = World::new() else { return };
    let head = ["run", "-d", "--init", "--name", "it", "--network", "none", "bb", "sleep", "1000"];
    world.twill(&head).ok();
    let pid = world.pid("it");
    let open = |pid: i32| {
        let all = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let names = all.map(|entry| fs::read_link(entry.unwrap().path()).unwrap());
        names.map(|name| name.display().to_string()).collect::<Vec<_>>()
    };
    eventually("it has settled", || open(pid).len() == 4);
    let all = open(pid);
    assert!(all.iter().all(|name| !name.starts_with('/') || name == "/dev/null"), "{all:?}");
    let root = rustix::fs::stat("/").unwrap();
    let cwd = rustix::fs::stat(format!("/proc/{pid}/cwd")).unwrap();
    assert_ne!((root.st_dev, root.st_ino), (cwd.st_dev, cwd.st_ino));
    // Nor can it be looked into.
    let said = world.twill(&["exec", "it", "cat", "/proc/1/environ"]);
    assert_eq!(said.code, 1, "{}", said.out);
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn wishes_about_the_end_are_written_down() {
    let Some(world) = World::new() else { return };
    let id_file = world.path("id");
    let path = id_file.display().to_string();
    let head = ["run", "-d", "--name", "it", "--network", "none", "--cidfile", &path];
    let options = ["--stop-signal", "USR1", "--stop-timeout", "0", "--expose", "80-81"];
    let script = "trap '' TERM; trap 'exit 3' USR1; echo ready; while :; do sleep 0.05; done";
    let id = world.twill(&[head.as_slice(), &options, &["bb", "sh", "-c", script]].concat()).ok();
    assert_eq!(fs::read_to_string(&id_file).unwrap(), id);
    for (pointer, want) in [
        ("/Config/StopSignal", json!("SIGUSR1")),
        ("/Config/StopTimeout", json!(0)),
        ("/Config/ExposedPorts", json!({"80/tcp": {}, "81/tcp": {}})),
        ("/HostConfig/ContainerIDFile", json!(path)),
        ("/HostConfig/Privileged", json!(false)),
        ("/HostConfig/CapAdd", json!(null)),
    ] {
        assert_eq!(world.inspect("it", pointer), want, "{pointer}");
    }
    eventually("it is ready", || world.twill(&["logs", "it"]).out.contains("ready"));
    world.twill(&["stop", "-t", "10", "it"]).ok();
    assert_eq!(world.inspect("it", "/State/ExitCode"), 3);
    // Its own patience is none at all.
    world.twill(&["start", "it"]).ok();
    world.twill(&["exec", "it", "kill", "-STOP", "1"]).ok();
    world.twill(&["stop", "it"]).ok();
    let again = ["create", "--cidfile", &path, "bb"];
    world
        .twill(&again)
        .fails(1, "container ID file found, make sure the other container isn't running or delete");
    world.twill(&["create", "--cidfile", &format!("{path}2"), "nosuch"]).fails(1, "nosuch");
    for _twice in 0..2 {
        let nothing =
            ["run", "--network", "none", "--cidfile", &format!("{path}3"), "bb", "nosuch"];
        world.twill(&nothing).fails(127, "nosuch");
    }
    assert!(!world.path("id2").exists());
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn whose_view_of_the_cgroups_it_has_is_said() {
    let Some(world) = World::new() else { return };
    world.twill(&["run", "-d", "--name", "it", "--network", "none", "bb", "sleep", "1000"]).ok();
    let view = |process: &str| fs::read_link(format!("/proc/{process}/ns/cgroup")).unwrap();
    let is_shared = view(&world.pid("it").to_string()) == view("thread-self");
    let want = if is_shared { "host" } else { "private" };
    assert_eq!(world.inspect("it", "/HostConfig/CgroupnsMode"), want);
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}
