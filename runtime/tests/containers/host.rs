use std::process::Stdio;

use crate::world::{Said, World, eventually, readable};

fn run(world: &World, name: &str, script: &str) {
    world.twill(&["run", "-d", "--name", name, "--network", "none", "bb", "sh", "-c", script]).ok();
}

#[test]
fn what_happens_is_written_down() {
    let Some(world) = World::new() else { return };
    // In a past that ends now, and goes on.
    let child = world
        .spawn(&["events", "--format", "{{.Action}} {{.Actor.Attributes.name}}"], Stdio::null());
    let started = || {
        world.twill(&["create", "--name", "probe", "--network", "none", "bb"]).ok();
        world.twill(&["rm", "probe"]).ok();
        readable(&child)
    };
    eventually("somebody listens", started);
    run(&world, "web", "exit 3");
    assert_eq!(world.twill(&["wait", "web"]).ok(), "3");
    world.twill(&["rename", "web", "db"]).ok();
    world.twill(&["rm", "db"]).ok();
    let past = |more: &[&str]| {
        let events = ["events", "--since", "1h", "--until", "0s"];
        world.twill(&[&events, more].concat()).ok()
    };
    let format = ["--format", "{{.Action}} {{.Actor.Attributes.name}}"];
    let mine = ["-f", "container=web", "-f", "container=db"];
    assert_eq!(
        past(&[&format[..], &mine].concat()),
        "create web\nstart web\ndie web\nrename db\ndestroy db"
    );
    assert!(past(&["-f", "event=die"]).contains("exitCode=3, image=bb, name=web)"));
    assert!(past(&["-f", "type=image"]).contains(" image import sha256:"));
    let json: serde_json::Value =
        serde_json::from_str(&past(&["-f", "event=rename", "--format", "json"])).unwrap();
    assert_eq!(json["Actor"]["Attributes"]["oldName"], "/web");
    world.twill(&["events", "--since", "never"]).fails(1, "`never` is no time");
    world.twill(&["events", "-f", "bogus=1"]).fails(1, "invalid filter 'bogus'");
    let mut child = child;
    child.kill().unwrap();
    let said = Said::new(child.wait_with_output().unwrap());
    assert!(
        said.out.contains("create web\nstart web\ndie web\nrename db\ndestroy db\n"),
        "{}",
        said.out
    );
    world.assert_nothing_left();
}

#[test]
fn how_a_container_ended_is_written_down_whoever_saw_it() {
    let Some(world) = World::new() else { return };
    for (name, end) in [("stopped", "stop"), ("killed", "kill")] {
        run(&world, name, "trap 'exit 0' TERM; while :; do sleep 0.05; done");
        world.twill(&[end, name]).ok();
        world.twill(&["wait", name]).ok();
    }
    run(&world, "lost", "exec sleep 1000");
    crate::world::strike(world.monitor("lost"));
    world.twill(&["ps"]).ok();
    let actions = |name: &str| {
        let filter = format!("container={name}");
        let events = ["events", "--until", "0s", "-f", &filter, "--format", "{{.Action}}"];
        world.twill(&events).ok().replace('\n', " ")
    };
    assert_eq!(actions("stopped"), "create start kill die stop");
    assert_eq!(actions("killed"), "create start kill die");
    assert_eq!(actions("lost"), "create start die");
    world.twill(&["rm", "stopped", "killed", "lost"]).ok();
    world.assert_nothing_left();
}

#[test]
fn the_use_of_a_container_is_measured() {
    let Some(world) = World::new() else { return };
    run(&world, "busy", "while :; do :; done");
    run(&world, "idle", "exec sleep 1000");
    let stats = |more: &[&str]| world.twill(&[&["stats", "--no-stream"], more].concat());
    let listed = stats(&[]).ok();
    assert!(listed.starts_with("CONTAINER ID   NAME      CPU %"), "{listed}");
    assert_eq!(listed.lines().count(), 3);
    let percent = |name: &str| {
        let said = stats(&["--format", "{{.CPUPerc}}", name]).ok();
        said.strip_suffix('%').unwrap().parse::<f64>().unwrap()
    };
    eventually("one is busy", || percent("busy") > 5.0 && percent("idle") < 5.0);
    let one = stats(&["--format", "{{.Name}} {{.PIDs}} {{.NetIO}}", "idle"]).ok();
    assert_eq!(one, "idle 1 0B / 0B");
    let memory = stats(&["--format", "{{.MemUsage}}", "idle"]).ok();
    assert!(!memory.starts_with("0B / "), "{memory}");
    world.twill(&["update", "-m", "64m", "idle"]).ok();
    assert!(stats(&["--format", "{{.MemUsage}}", "idle"]).ok().ends_with(" / 64MiB"));
    stats(&["nosuch"]).fails(1, "No such container: nosuch");
    // Again and again, until nobody looks any more.
    let mut child = world.spawn(&["stats", "idle"], Stdio::null());
    assert!(readable(&child));
    drop(child.stdout.take());
    child.wait().unwrap();
    world.twill(&["rm", "-f", "busy", "idle"]).ok();
    assert_eq!(stats(&[]).ok().lines().count(), 1);
    world.assert_nothing_left();
}

#[test]
fn the_host_is_described() {
    let Some(world) = World::new() else { return };
    run(&world, "one", "exec sleep 1000");
    run(&world, "two", "exec sleep 1000");
    world.twill(&["pause", "two"]).ok();
    world.twill(&["create", "--name", "three", "--network", "none", "bb"]).ok();
    let counts = "{{.Containers}} {{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}} {{.Images}}";
    assert_eq!(world.twill(&["info", "-f", counts]).ok(), "3 1 1 1 1");
    let said = world.twill(&["info"]).ok();
    assert!(said.contains("\nCgroup Version: ") && said.contains("\nTotal Memory: "), "{said}");
    let version = world.twill(&["version", "--format", "{{.Client.Version}}"]).ok();
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    assert!(world.twill(&["version"]).ok().contains(&version));
    world.twill(&["rm", "-f", "one", "two", "three"]).ok();
    world.assert_nothing_left();
}

#[test]
fn groups_are_the_same_commands() {
    let Some(world) = World::new() else { return };
    let id = world.twill(&["container", "create", "--name", "web", "--network", "none", "bb"]).ok();
    world.twill(&["container", "run", "--bogus", "bb"]).fails(125, "unknown flag: --bogus");
    assert_eq!(world.twill(&["container", "ls", "-aq", "--no-trunc"]).ok(), id);
    assert_eq!(world.twill(&["container", "list", "-aq", "--no-trunc"]).ok(), id);
    assert_eq!(world.twill(&["container", "inspect", "-f", "{{.Id}}", "web"]).ok(), id);
    world.twill(&["container", "inspect", "bb:latest"]).fails(1, "No such container: bb:latest");
    world.twill(&["image", "inspect", "web"]).fails(1, "No such image: web");
    world.twill(&["image", "tag", "bb", "other"]).ok();
    assert_eq!(world.twill(&["image", "ls", "--format", "{{.Repository}}"]).ok(), "bb\nother");
    let history = world.twill(&["image", "history", "bb:latest"]).ok();
    assert!(history.starts_with("IMAGE ") && history.lines().count() > 1, "{history}");
    world.twill(&["image", "rm", "other"]).ok();
    world.twill(&["container", "rm", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn what_rests_is_pruned_after_a_question() {
    let Some(world) = World::new() else { return };
    run(&world, "up", "exec sleep 1000");
    for (name, label) in [("old", "keep=yes"), ("older", "keep=no")] {
        let run = ["run", "--name", name, "--network", "none", "-l", label, "bb", "sh", "-c"];
        world.twill(&[&run[..], &["head -c 1000 /dev/zero > /f"]].concat()).ok();
    }
    let names = || world.twill(&["ps", "-a", "--format", "{{.Names}}"]).ok();
    let said = world.twill_fed(&["container", "prune"], b"n\n").ok();
    assert!(said.ends_with("[y/N] Total reclaimed space: 0B"), "{said}");
    world.twill(&["container", "prune", "-f", "--filter", "until=1h"]).ok();
    assert_eq!(names(), "older\nold\nup", "none is an hour old");
    world.twill(&["container", "prune", "-f", "--filter", "label!=keep=yes"]).ok();
    assert_eq!(names(), "old\nup");
    let said = world.twill_fed(&["container", "prune"], b"y\n").ok();
    assert!(said.contains("Deleted Containers:\n"), "{said}");
    assert!(said.ends_with("Total reclaimed space: 1kB"), "{said}");
    assert_eq!(names(), "up");
    world.twill(&["container", "prune", "-f", "--filter", "bogus=1"]).fails(1, "invalid filter");
    world.twill(&["image", "prune", "-af"]).ok();
    assert_eq!(world.twill(&["images", "-q"]).ok().lines().count(), 1, "one is used");
    world.twill(&["rm", "-f", "up"]).ok();
    let said = world.twill(&["image", "prune", "-af"]).ok();
    assert!(said.contains("untagged: bb:latest\ndeleted: sha256:"), "{said}");
    assert_eq!(world.twill(&["images", "-q"]).ok(), "");
    world.assert_nothing_left();
}
