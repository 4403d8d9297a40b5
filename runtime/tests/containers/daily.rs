use std::fs;

use crate::world::{Said, World, eventually, strike};

const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.02; done";

fn start(world: &World, name: &str, more: &[&str], script: &str) {
    let run = ["run", "-d", "--name", name, "--network", "none"];
    world.twill(&[&run, more, &["bb", "sh", "-c", script]].concat()).ok();
}

fn status(world: &World, name: &str) -> String {
    let filter = format!("name=^/{name}$");
    world.twill(&["ps", "-a", "-f", &filter, "--format", "{{.Status}}"]).ok()
}

#[test]
fn a_restart_keeps_what_was_written() {
    let Some(world) = World::new() else { return };
    start(
        &world,
        "web",
        &[],
        "echo once >> /log; trap 'exit 0' TERM; while :; do sleep 0.05; done",
    );
    let log = || world.twill(&["exec", "web", "cat", "/log"]).out;
    eventually("it runs", || log() == "once\n");
    let before = world.pid("web");
    assert_eq!(world.twill(&["restart", "web"]).ok(), "web");
    eventually("it runs again", || log() == "once\nonce\n");
    assert_ne!(world.pid("web"), before);
    // What rests is started, and what is not there does not keep the others from it.
    world.twill(&["stop", "web"]).ok();
    let said = world.twill(&["restart", "-t", "0", "nosuch", "web"]);
    assert_eq!((said.code, said.out.as_str()), (1, "web\n"));
    assert!(said.err.contains("No such container: nosuch"), "{}", said.err);
    assert_eq!(world.inspect("web", "/State/Running"), true);
    world.twill(&["rm", "-f", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_restart_is_no_end_for_one_that_vanishes_with_it() {
    let Some(world) = World::new() else { return };
    start(&world, "brief", &["--rm"], "echo kept >> /log; exec sleep 1000");
    for _ in 0..2 {
        world.twill(&["restart", "-t", "0", "brief"]).ok();
    }
    assert_eq!(world.inspect("brief", "/State/Running"), true);
    eventually("it has written thrice", || {
        world.twill(&["exec", "brief", "cat", "/log"]).out == "kept\nkept\nkept\n"
    });
    world.twill(&["stop", "-t", "0", "brief"]).ok();
    world.twill(&["inspect", "brief"]).fails(1, "No such object: brief");
    world.assert_nothing_left();
}

#[test]
fn a_paused_container_stands_still_and_goes_on() {
    let Some(world) = World::new() else { return };
    start(&world, "web", &[], COUNT);
    let root = format!("/proc/{}/root/count", world.pid("web"));
    let count = || fs::read_to_string(&root).unwrap_or_default();
    eventually("it counts", || !count().is_empty());
    world.twill(&["unpause", "web"]).fails(1, "container web is not paused");
    assert_eq!(world.twill(&["pause", "web"]).ok(), "web");
    assert!(status(&world, "web").ends_with(" (Paused)"));
    assert_eq!(world.inspect("web", "/State/Status"), "paused");
    assert_eq!(world.inspect("web", "/State/Running"), true);
    world.twill(&["pause", "web"]).fails(1, "container web is already paused");
    world.twill(&["start", "web"]).fails(1, "cannot start a paused container");
    world.twill(&["exec", "web", "true"]).fails(1, "unpause the container before exec");
    world.twill(&["attach", "web"]).fails(1, "unpause the container before attach");
    world.twill(&["rm", "web"]).fails(1, "is paused and must be unpaused first");
    assert_eq!(world.twill(&["ps", "-q", "-f", "status=running"]).ok(), "");
    // All its processes have halted, so nothing can have changed since.
    let stopped = count();
    World::run(&["true"]);
    assert_eq!(count(), stopped);
    assert_eq!(world.twill(&["unpause", "web"]).ok(), "web");
    eventually("it counts on", || count() != stopped);
    world.twill(&["pause", "web"]).ok();
    world.twill(&["rm", "-f", "web"]).ok();
    world.twill(&["pause", "web"]).fails(1, "No such container: web");
    world.assert_nothing_left();
}

#[test]
fn signals_that_end_let_a_paused_container_go_on() {
    let Some(world) = World::new() else { return };
    let polite = "trap 'exit 5' TERM; trap 'echo hup' HUP; while :; do sleep 0.02; done";
    for (ending, code) in [(["stop", "web"], 5), (["kill", "web"], 137)] {
        start(&world, "web", &[], polite);
        world.twill(&["pause", "web"]).ok();
        world.twill(&ending).ok();
        assert_eq!(world.twill(&["wait", "web"]).ok(), code.to_string(), "{ending:?}");
        world.twill(&["rm", "web"]).ok();
    }
    start(&world, "web", &[], polite);
    world.twill(&["pause", "web"]).ok();
    world.twill(&["kill", "-s", "HUP", "web"]).ok();
    eventually("it got the signal", || world.twill(&["logs", "web"]).out == "hup\n");
    world.twill(&["pause", "web"]).ok();
    world.twill(&["restart", "web"]).ok();
    assert_eq!(world.inspect("web", "/State/Status"), "running");
    // The host goes down, and the monitor with it.
    world.twill(&["pause", "web"]).ok();
    strike(world.monitor("web"));
    assert!(status(&world, "web").starts_with("Exited (137)"));
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_container_answers_to_its_new_name_only() {
    let Some(world) = World::new() else { return };
    start(&world, "web", &["--rm"], "exec sleep 1000");
    world.twill(&["create", "--name", "db", "--network", "none", "bb"]).ok();
    assert_eq!(world.twill(&["rename", "web", "front"]).ok(), "");
    world
        .twill(&["rename", "front", "db"])
        .fails(1, "The container name \"/db\" is already in use");
    world.twill(&["rename", "front", "a"]).fails(1, "Invalid container name (a)");
    world.twill(&["rename", "front", "front"]).fails(1, "same name as its current name");
    world.twill(&["rename", "nosuch", "x1"]).fails(1, "No such container: nosuch");
    world.twill(&["stop", "web"]).fails(1, "No such container: web");
    world.twill(&["rename", "db", "web"]).ok();
    // It vanishes under its new name, though its monitor knew the old one.
    world.twill(&["stop", "-t", "0", "front"]).ok();
    assert_eq!(world.twill(&["ps", "-a", "--format", "{{.Names}}"]).ok(), "web");
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn of_many_that_want_one_name_one_gets_it() {
    let Some(world) = World::new() else { return };
    for number in 0..8 {
        let name = format!("c{number}");
        world.twill(&["create", "--name", &name, "--network", "none", "bb"]).ok();
    }
    let names: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
    let renames: Vec<_> = names
        .iter()
        .map(|name| world.spawn(&["rename", name, "one"], std::process::Stdio::null()))
        .collect();
    let said: Vec<Said> =
        renames.into_iter().map(|child| Said::new(child.wait_with_output().unwrap())).collect();
    assert_eq!(said.iter().filter(|said| said.code == 0).count(), 1);
    assert!(said.iter().filter(|said| said.code != 0).all(|said| said.err.contains("Conflict")));
    let listed = world.twill(&["ps", "-a", "--format", "{{.Names}}"]).ok();
    assert_eq!(listed.lines().filter(|name| *name == "one").count(), 1);
    for name in listed.lines() {
        world.twill(&["rm", name]).ok();
    }
    world.assert_nothing_left();
}

#[test]
fn the_processes_of_a_container_are_listed() {
    let Some(world) = World::new() else { return };
    start(&world, "web", &["-u", "www"], "sleep 1001 & exec sleep 1002");
    let top = |options: &[&str]| world.twill(&[&["top", "web"], options].concat());
    eventually("both are there", || top(&[]).ok().lines().count() == 3);
    let listed = top(&[]).ok();
    assert!(listed.starts_with("UID                 PID                 PPID"), "{listed}");
    assert!(listed.contains("sleep 1001") && listed.contains("sleep 1002"), "{listed}");
    let pids = top(&["-o", "pid,args"]).ok();
    assert!(pids.lines().any(|line| line.starts_with(&world.pid("web").to_string())), "{pids}");
    top(&["-o", "args"]).fails(1, "Couldn't find PID field in ps output");
    top(&["--bogus"]).fails(1, "cannot run ps");
    world.twill(&["port", "web"]).ok();
    world.twill(&["port", "web", "80"]).fails(1, "No public port '80' published for web");
    world.twill(&["kill", "web"]).ok();
    world.twill(&["wait", "web"]).ok();
    world.twill(&["top", "web"]).fails(1, "container web is not running");
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}
