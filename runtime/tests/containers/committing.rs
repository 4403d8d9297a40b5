//! Commits that are disturbed, and what else they are asked.

use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{Said, World, eventually};

/// A container whose files take a while to pack, and a commit of it that has halted it.
fn begin(world: &World) -> Child {
    let script = "truncate -s 1G /big; touch /up; while :; do sleep 0.05; done";
    let head = ["run", "-d", "--name", "it", "--network", "none", "bb", "sh", "-c", script];
    world.twill(&head).ok();
    eventually("it is up", || world.twill(&["exec", "it", "test", "-e", "/up"]).code == 0);
    let commit = world.spawn(&["commit", "it", "made"], Stdio::null());
    eventually("it is halted", || is_paused(world));
    commit
}

fn is_paused(world: &World) -> bool {
    world.inspect("it", "/State/Paused") == true
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

#[test]
fn a_container_goes_on_however_its_commit_ends() {
    let Some(world) = World::new() else { return };
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL] {
        let mut commit = begin(&world);
        send(&commit, signal);
        assert!(!commit.wait().unwrap().success(), "{signal}");
        eventually("it goes on", || !is_paused(&world));
        world.twill(&["exec", "it", "true"]).ok();
        world.twill(&["rm", "-f", "it"]).ok();
        world.assert_nothing_left();
    }
}

#[test]
fn a_pause_that_is_given_meanwhile_stays() {
    let Some(world) = World::new() else { return };
    let mut commit = begin(&world);
    send(&commit, Signal::SIGSTOP);
    let pause = world.spawn(&["pause", "it"], Stdio::null());
    send(&commit, Signal::SIGKILL);
    commit.wait().unwrap();
    Said::new(pause.wait_with_output().unwrap()).ok();
    assert!(is_paused(&world));
    world.twill(&["pause", "it"]).fails(1, "already paused");
    world.twill(&["unpause", "it"]).ok();
    world.twill(&["unpause", "it"]).fails(1, "not paused");
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn no_image_is_made_of_a_container_that_is_removed_meanwhile() {
    let Some(world) = World::new() else { return };
    let commit = begin(&world);
    send(&commit, Signal::SIGSTOP);
    world.twill(&["rm", "-f", "it"]).ok();
    send(&commit, Signal::SIGCONT);
    Said::new(commit.wait_with_output().unwrap()).fails(1, "No such container: it");
    assert_eq!(world.twill(&["images", "-q", "made"]).ok(), "");
    world.assert_nothing_left();
}

#[test]
fn an_image_keeps_what_was_asked_of_the_container() {
    let Some(world) = World::new() else { return };
    let run = ["run", "--name", "it", "--network", "none", "--health-cmd", "true", "bb", "true"];
    world.twill(&run).ok();
    world.twill(&["commit", "it", "asked"]).ok();
    world.twill(&["rm", "it"]).ok();
    world.twill(&["create", "--name", "it", "--no-healthcheck", "asked", "old", "command"]).ok();
    world.twill(&["commit", "-c", "ENTRYPOINT [\"echo\", \"new\"]", "it", "quiet"]).ok();
    world.twill(&["rm", "it"]).ok();
    assert_eq!(world.twill(&["run", "--rm", "--network", "none", "quiet"]).ok(), "new");
    world.twill(&["create", "--name", "it", "quiet"]).ok();
    assert_eq!(world.inspect("it", "/State/Health"), serde_json::Value::Null);
    world.twill(&["rm", "it"]).ok();
    let script = "touch /.wh.plain";
    world.twill(&["run", "--name", "it", "--network", "none", "bb", "sh", "-c", script]).ok();
    world
        .twill(&["commit", "it", "marked"])
        .fails(1, "no image can have a file of that name: /.wh.plain");
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn filters_of_a_great_clearing_are_for_volumes_as_well() {
    let Some(world) = World::new() else { return };
    world.twill(&["create", "--name", "it", "bb"]).ok();
    let volume = world.twill(&["volume", "create", "--label", "keep"]).ok();
    let prune =
        |filter: &str| world.twill(&["system", "prune", "-f", "--volumes", "--filter", filter]);
    prune("until=1h").fails(1, r#"The "until" filter is not supported with "--volumes""#);
    prune("bogus=1").fails(1, "bogus");
    assert!(world.twill(&["ps", "-a"]).ok().contains(" it"), "nothing was removed before");
    let said = prune("label!=keep").ok();
    assert!(said.contains("Deleted Containers:") && !said.contains(&volume), "{said}");
    assert_eq!(world.twill(&["volume", "ls", "-q"]).ok(), volume);
    assert!(prune("label=keep").ok().contains(&volume));
    world.assert_nothing_left();
}
