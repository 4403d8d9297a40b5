use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{Said, World, readable, strike};

const POLITE: &str = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done";

fn start(world: &World, script: &str) {
    world.twill(&["run", "-d", "--name", "it", "--network", "none", "bb", "sh", "-c", script]).ok();
    crate::world::eventually("it is ready", || world.twill(&["logs", "it"]).out.contains("ready"));
}

#[test]
fn a_stop_asks_first() {
    let Some(world) = World::new() else { return };
    start(&world, POLITE);
    assert_eq!(world.twill(&["stop", "it"]).ok(), "it");
    assert_eq!(world.inspect("it", "/State/ExitCode"), 5);
    assert_eq!(world.twill(&["logs", "it"]).ok(), "ready\nbye");
    assert_eq!(world.twill(&["stop", "it"]).ok(), "it", "what is stopped can be stopped");
    assert_eq!(world.twill(&["wait", "it"]).ok(), "5");
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_stop_insists_in_the_end() {
    let Some(world) = World::new() else { return };
    start(&world, "trap '' TERM; echo ready; while :; do sleep 0.05; done");
    let begin = Instant::now();
    world.twill(&["stop", "-t", "1", "it"]).ok();
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(world.inspect("it", "/State/ExitCode"), 137);
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn signals_reach_the_first_process() {
    let Some(world) = World::new() else { return };
    start(&world, "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done");
    world.twill(&["kill", "-s", "usr1", "it"]).ok();
    assert_eq!(world.twill(&["wait", "it"]).ok(), "7");
    world.twill(&["kill", "it"]).fails(1, "is not running");
    world.twill(&["kill", "-s", "bogus", "it"]).fails(1, "Invalid signal: bogus");
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_signal_for_the_foreground_command_is_handed_on() {
    let Some(world) = World::new() else { return };
    let child =
        world.spawn(&["run", "--rm", "--network", "none", "bb", "sh", "-c", POLITE], Stdio::null());
    assert!(readable(&child));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    let said = Said::new(child.wait_with_output().unwrap());
    assert_eq!((said.code, said.out.as_str()), (5, "ready\nbye\n"));
    world.assert_nothing_left();
}

#[test]
fn a_host_that_goes_down_stops_containers_politely() {
    let Some(world) = World::new() else { return };
    start(&world, POLITE);
    kill(Pid::from_raw(world.monitor("it")), Signal::SIGTERM).unwrap();
    assert_eq!(world.twill(&["wait", "it"]).ok(), "5");
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_removal_wants_force_for_what_runs() {
    let Some(world) = World::new() else { return };
    start(&world, POLITE);
    world.twill(&["rm", "it"]).fails(1, "container is running");
    assert_eq!(world.twill(&["rm", "-f", "it", "nosuch"]).code, 0);
    world.twill(&["rm", "it"]).fails(1, "No such container: it");
    world.assert_nothing_left();
}

#[test]
fn a_removal_that_cannot_tidy_is_no_failure() {
    let Some(world) = World::new() else { return };
    // Names that cannot be listed.
    std::fs::write(world.path("lib/names"), "").unwrap();
    let said = world.twill(&["rm", "-f", "nosuch"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("twill: warning: "), "{}", said.err);
    world.assert_nothing_left();
}

#[test]
fn a_foreground_run_whose_container_is_removed_ends_as_one_that_was_killed() {
    let Some(world) = World::new() else { return };
    let words = ["run", "--name", "it", "--network", "none", "bb", "sh", "-c", POLITE];
    let child = world.spawn(&words, Stdio::null());
    assert!(readable(&child));
    world.twill(&["rm", "-f", "it"]).ok();
    assert_eq!(Said::new(child.wait_with_output().unwrap()).code, 137);
    // Even if the monitor cannot say so any more.
    let child = world.spawn(&words, Stdio::null());
    assert!(readable(&child));
    let client = Pid::from_raw(child.id().cast_signed());
    kill(client, Signal::SIGSTOP).unwrap();
    strike(world.monitor("it"));
    world.twill(&["rm", "-f", "it"]).ok();
    kill(client, Signal::SIGCONT).unwrap();
    assert_eq!(Said::new(child.wait_with_output().unwrap()).code, 137);
    world.assert_nothing_left();
}
