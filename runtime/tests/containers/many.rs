use std::collections::BTreeSet;
use std::process::Stdio;

use crate::world::{Said, World};

#[test]
fn twenty_start_at_once() {
    let Some(world) = World::new() else { return };
    let run = ["run", "-d", "--network", "none", "bb", "sleep", "1000"];
    let children: Vec<_> = (0..20).map(|_| world.spawn(&run, Stdio::null())).collect();
    let ids: BTreeSet<String> = children
        .into_iter()
        .map(|child| Said::new(child.wait_with_output().unwrap()).ok())
        .collect();
    assert_eq!(ids.len(), 20);
    let listed: BTreeSet<String> =
        world.twill(&["ps", "-q", "--no-trunc"]).ok().lines().map(str::to_owned).collect();
    assert_eq!(listed, ids);
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    world.twill(&[&["rm", "-f"], all.as_slice()].concat()).ok();
    world.assert_nothing_left();
}

#[test]
fn of_many_with_one_name_one_wins() {
    let Some(world) = World::new() else { return };
    let run = ["run", "-d", "--name", "web", "--network", "none", "bb", "sleep", "1000"];
    let children: Vec<_> = (0..10).map(|_| world.spawn(&run, Stdio::null())).collect();
    let said: Vec<Said> =
        children.into_iter().map(|child| Said::new(child.wait_with_output().unwrap())).collect();
    assert_eq!(said.iter().filter(|one| one.code == 0).count(), 1);
    for lost in said.iter().filter(|one| one.code != 0) {
        assert!(lost.code == 125 && lost.err.contains("Conflict"), "{}", lost.err);
    }
    assert_eq!(world.twill(&["ps", "-aq"]).ok().lines().count(), 1);
    // Two removals at once are one removal.
    let removals: Vec<_> =
        (0..4).map(|_| world.spawn(&["rm", "-f", "web"], Stdio::null())).collect();
    for removal in removals {
        assert_eq!(Said::new(removal.wait_with_output().unwrap()).code, 0);
    }
    world.assert_nothing_left();
}

#[test]
fn starts_ends_and_questions_at_once() {
    let Some(world) = World::new() else { return };
    let run = ["run", "--rm", "--network", "none", "bb", "true"];
    let children: Vec<_> = (0..30)
        .map(|number| {
            if number % 3 == 2 {
                world.spawn(&["ps", "-a"], Stdio::null())
            } else {
                world.spawn(&run, Stdio::null())
            }
        })
        .collect();
    for child in children {
        Said::new(child.wait_with_output().unwrap()).ok();
    }
    world.assert_nothing_left();
}
