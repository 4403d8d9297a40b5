//! Namespaces of the host and of other containers.

use std::fs;

use crate::world::World;

fn namespace(pid: i32, name: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string()
}

fn start(world: &World, name: &str, options: &[&str]) -> i32 {
    let head = ["run", "-d", "--network", "none", "--name", name];
    let line = [head.as_slice(), options, &["bb", "sleep", "1000"]].concat();
    world.twill(&line).ok();
    world.pid(name)
}

#[test]
fn namespaces_are_the_hosts_or_those_of_another() {
    let Some(world) = World::new() else { return };
    let host = std::process::id().cast_signed();
    let donor = start(&world, "donor", &["--ipc", "shareable"]);
    for (option, mode, name, other) in [
        ("--pid", "host", "pid", host),
        ("--ipc", "host", "ipc", host),
        ("--uts", "host", "uts", host),
        ("--pid", "container:donor", "pid", donor),
        ("--ipc", "container:donor", "ipc", donor),
    ] {
        let pid = start(&world, "it", &[option, mode]);
        for kind in ["pid", "ipc", "uts", "mnt"] {
            let same = namespace(pid, kind) == namespace(other, kind);
            assert_eq!(same, kind == name, "{option} {mode}: {kind}");
        }
        world.twill(&["exec", "it", "true"]).ok();
        world.twill(&["rm", "-f", "it"]).ok();
    }
    assert!(world.twill(&["exec", "donor", "true"]).code == 0, "the donor never noticed");
    let id = world.inspect("donor", "/Id");
    world
        .twill(&["create", "--name", "it", "--network", "none", "--pid", "container:donor", "bb"])
        .ok();
    let mode = format!("container:{}", id.as_str().unwrap());
    assert_eq!(world.inspect("it", "/HostConfig/PidMode"), mode.as_str());
    world.twill(&["rm", "-f", "donor"]).ok();
    world.twill(&["start", "it"]).fails(1, "cannot join PID of a non running container");
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn memory_is_shared_with_those_who_may_join() {
    let Some(world) = World::new() else { return };
    start(&world, "private", &[]);
    world
        .twill(&["create", "--ipc", "container:private", "bb"])
        .fails(1, "non-shareable IPC (hint: use IpcMode:shareable for the donor container)");
    start(&world, "donor", &["--ipc", "shareable"]);
    start(&world, "it", &["--ipc", "container:donor"]);
    world.twill(&["exec", "donor", "sh", "-c", "echo shared > /dev/shm/x"]).ok();
    assert_eq!(world.twill(&["exec", "it", "cat", "/dev/shm/x"]).ok(), "shared");
    // Nothing of it goes when one of them goes.
    world.twill(&["rm", "-f", "it"]).ok();
    assert_eq!(world.twill(&["exec", "donor", "cat", "/dev/shm/x"]).ok(), "shared");
    // A donor whose /dev/shm leads elsewhere shares that, as it is seen from inside.
    world.twill(&["rm", "-f", "donor", "private"]).ok();
    world.assert_nothing_left();
}

#[test]
fn processes_of_the_host_outlive_a_container_that_sees_them() {
    let Some(world) = World::new() else { return };
    let script = "sleep 1000 & sleep 1001 & echo ready; exec sleep 1002";
    let head =
        ["run", "-d", "--pid", "host", "--name", "it", "--network", "none", "bb", "sh", "-c"];
    world.twill(&[head.as_slice(), &[script]].concat()).ok();
    crate::world::eventually("it is ready", || world.twill(&["logs", "it"]).out.contains("ready"));
    world.twill(&["stop", "-t", "0", "it"]).ok();
    let left = fs::read_dir("/proc").unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        let name = fs::read(path.join("cmdline")).unwrap_or_default();
        let own = fs::read_to_string(path.join("cgroup")).unwrap_or_default();
        name.starts_with(b"sleep\x00100")
            && own.contains(world.inspect("it", "/Id").as_str().unwrap())
    });
    assert_eq!(left.count(), 0);
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}
