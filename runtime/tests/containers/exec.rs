use crate::world::{World, eventually};

fn with_container(world: &World) {
    world
        .twill(&[
            "run",
            "-d",
            "--name",
            "web",
            "--network",
            "none",
            "-e",
            "A=1",
            "bb",
            "sleep",
            "1000",
        ])
        .ok();
}

#[test]
fn it_is_as_confined_as_the_container() {
    let Some(world) = World::new() else { return };
    with_container(&world);
    let exec = |options: &[&str], script: &str| {
        world.twill(&[&["exec"], options, &["web", "sh", "-c", script]].concat()).ok()
    };
    let wanted = "^(Cap|Seccomp:|NoNew|SigIgn|Groups|Uid|Gid)";
    let of = |file: &str| world.twill(&["exec", "web", "grep", "-E", wanted, file]).ok();
    assert_eq!(of("/proc/self/status"), of("/proc/1/status"));
    assert_eq!(exec(&[], "cat /proc/self/cgroup"), exec(&[], "cat /proc/1/cgroup"));
    assert_eq!(exec(&[], "echo $A; ulimit -n; pwd"), "1\n1024\n/");
    assert_eq!(
        exec(&["-u", "www", "-w", "/etc", "-e", "B=2"], "id -u; id -G; pwd; echo $A$B$HOME"),
        "33\n33 4\n/etc\n12/srv"
    );
    assert_eq!(
        exec(&["-u", "www"], "grep -E 'CapEff|Seccomp:' /proc/self/status"),
        "CapEff:\t0000000000000000\nSeccomp:\t2"
    );
    assert_eq!(world.twill_fed(&["exec", "-i", "web", "cat"], b"piped").ok(), "piped");
    assert_eq!(world.twill_fed(&["exec", "web", "cat"], b"piped").ok(), "");
    world.twill(&["rm", "-f", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn its_exit_codes_say_what_happened() {
    let Some(world) = World::new() else { return };
    with_container(&world);
    let exec = |command: &[&str]| world.twill(&[&["exec", "web"], command].concat());
    assert_eq!(exec(&["sh", "-c", "exit 6"]).code, 6);
    assert_eq!(exec(&["sh", "-c", "kill -9 $$"]).code, 137);
    exec(&["nosuch"]).fails(127, "executable file not found in $PATH");
    exec(&["/etc/plain"]).fails(126, "permission denied");
    world.twill(&["exec", "-w", "/nosuch", "web", "true"]).fails(126, "chdir to cwd (/nosuch)");
    world.twill(&["exec", "-u", "nobody", "web", "true"]).fails(126, "unable to find user nobody");
    world.twill(&["exec", "nosuch", "true"]).fails(1, "No such container: nosuch");
    world.twill(&["stop", "-t", "0", "web"]).ok();
    world.twill(&["exec", "web", "true"]).fails(1, "is not running");
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_detached_command_lives_and_dies_with_the_container() {
    let Some(world) = World::new() else { return };
    with_container(&world);
    world.twill(&["exec", "-d", "web", "sleep", "777"]).ok();
    let sees = || world.twill(&["exec", "web", "ps", "-o", "args"]).ok().contains("sleep 777");
    eventually("the command runs", sees);
    world.twill(&["exec", "-d", "web", "nosuch"]).fails(127, "not found");
    world.twill(&["rm", "-f", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn it_ends_when_its_caller_is_killed() {
    let Some(world) = World::new() else { return };
    with_container(&world);
    let mut caller = world.spawn(&["exec", "web", "sleep", "888"], std::process::Stdio::null());
    let sees = || world.twill(&["exec", "web", "ps", "-o", "args"]).ok().contains("sleep 888");
    eventually("the command runs", sees);
    caller.kill().unwrap();
    caller.wait().unwrap();
    eventually("the command has ended", || !sees());
    world.twill(&["rm", "-f", "web"]).ok();
    world.assert_nothing_left();
}
