use std::fs;

use crate::world::{World, eventually};

/// The value in a container's cgroup, whichever hierarchy and version have it.
fn limit(world: &World, name: &str, files: [&str; 2]) -> String {
    let id = world.inspect(name, "/Id");
    let below = format!("twill/{}", id.as_str().unwrap());
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap();
    let roots = hierarchies.map(|one| one.unwrap().path()).chain(["/sys/fs/cgroup".into()]);
    let mut found = roots.flat_map(|root| files.map(|file| root.join(&below).join(file)));
    found.find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default().trim().to_owned()
}

const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];
const PIDS: [&str; 2] = ["pids.max", "pids.max"];

#[test]
fn limits_hold_from_the_start_and_change_at_once() {
    let Some(world) = World::new() else { return };
    let run = ["run", "-d", "--name", "web", "--network", "none"];
    let limits = ["-m", "64m", "--cpus", "0.5", "--pids-limit", "20", "--cpu-shares", "512"];
    world.twill(&[&run[..], &limits, &["bb", "sleep", "1000"]].concat()).ok();
    assert_eq!(limit(&world, "web", MEMORY), (64 << 20).to_string());
    assert_eq!(limit(&world, "web", PIDS), "20");
    assert!(limit(&world, "web", ["cpu.cfs_quota_us", "cpu.max"]).starts_with("50000"));
    assert_eq!(world.inspect("web", "/HostConfig/NanoCpus"), 500_000_000);
    for (memory, bytes) in [("1g", 1 << 30), ("32m", 32 << 20)] {
        assert_eq!(world.twill(&["update", "-m", memory, "web"]).ok(), "web");
        assert_eq!(limit(&world, "web", MEMORY), bytes.to_string());
        assert_eq!(world.inspect("web", "/HostConfig/Memory"), bytes);
    }
    world.twill(&["update", "--pids-limit", "-1", "--cpus", "1", "web"]).ok();
    assert_eq!(limit(&world, "web", PIDS), "max");
    assert!(limit(&world, "web", ["cpu.cfs_quota_us", "cpu.max"]).starts_with("100000"));
    world.twill(&["restart", "-t", "0", "web"]).ok();
    assert_eq!(limit(&world, "web", MEMORY), (32 << 20).to_string(), "the next start knows it");
    world.twill(&["rm", "-f", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn limits_changed_between_two_runs_hold_for_the_next() {
    let Some(world) = World::new() else { return };
    let run = ["run", "-d", "--name", "web", "--network", "none", "--restart", "always"];
    let script = "test -e /go && exec sleep 1000; exit 1";
    world.twill(&[&run[..], &["-m", "64m", "bb", "sh", "-c", script]].concat()).ok();
    // Each wait is twice as long as the one before: there is time.
    eventually("it waits", || {
        world.inspect("web", "/RestartCount").as_u64() > Some(3)
            && world.inspect("web", "/State/Status") == "restarting"
    });
    world.twill(&["update", "-m", "32m", "web"]).ok();
    let id = world.twill(&["inspect", "-f", "{{.Id}}", "web"]).ok();
    fs::write(world.path("lib/containers").join(id).join("upper/go"), "").unwrap();
    eventually("it stays", || world.twill(&["exec", "web", "pidof", "sleep"]).code == 0);
    assert_eq!(limit(&world, "web", MEMORY), (32 << 20).to_string());
    world.twill(&["rm", "-f", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_limit_on_processes_stops_the_next_one() {
    let Some(world) = World::new() else { return };
    let script = "sleep 1000 & sleep 1000 & sleep 1000 & sleep 1000 & wait";
    let run = ["run", "--rm", "--network", "none", "--pids-limit", "3", "bb", "sh", "-c", script];
    let said = world.twill(&run);
    assert!(said.code != 0 && said.err.contains("can't fork"), "{} {}", said.code, said.err);
    world.assert_nothing_left();
}

#[test]
fn limits_that_cannot_be_are_refused() {
    let Some(world) = World::new() else { return };
    world.twill(&["create", "--name", "web", "--network", "none", "bb"]).ok();
    let update = |limits: &[&str]| world.twill(&[&["update"], limits, &["web"]].concat());
    update(&[]).fails(1, "you must provide one or more flags");
    update(&["-m", "1m"]).fails(1, "Minimum memory limit allowed is 6MB");
    update(&["-m", "lots"]).fails(125, "invalid size: 'lots'");
    update(&["--cpus", "1000"]).fails(1, "Range of CPUs is from 0.01 to");
    update(&["--cpuset-cpus", "x"]).fails(1, "invalid format: x");
    let said = world.twill(&["update", "-m", "64m", "nosuch", "web"]);
    assert_eq!((said.code, said.out.as_str()), (1, "web\n"));
    let run = |limit: &str| world.twill(&["run", "--network", "none", "-m", limit, "bb", "true"]);
    run("1m").fails(125, "Minimum memory limit allowed is 6MB");
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}
