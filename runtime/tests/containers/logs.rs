use std::process::Stdio;

use crate::world::{Said, World};

#[test]
fn what_was_written_is_kept_by_stream_and_time() {
    let Some(world) = World::new() else { return };
    let script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf end";
    world.twill(&["run", "--name", "talk", "--network", "none", "bb", "sh", "-c", script]).ok();
    let said = world.twill(&["logs", "talk"]);
    assert_eq!(said.out, "out 1\nout 2\nout 3\nend");
    assert_eq!(said.err, "err 1\nerr 2\nerr 3\n");
    let last = world.twill(&["logs", "--tail", "1", "talk"]);
    assert_eq!(last.out, "end");
    assert_eq!(world.twill(&["logs", "--tail", "0", "talk"]).out, "");
    let line = world.twill(&["logs", "-t", "-n", "1", "talk"]).out;
    let (time, text) = line.split_once(' ').unwrap();
    assert_eq!((time.len(), text), (30, "end"));
    assert!(time.parse::<jiff::Timestamp>().is_ok());
    world.twill(&["logs", "nosuch"]).fails(1, "No such container");
    world.twill(&["rm", "talk"]).ok();
    world.assert_nothing_left();
}

#[test]
fn following_ends_with_the_container_and_misses_nothing() {
    let Some(world) = World::new() else { return };
    let script = "read go; for i in $(seq 500); do echo line $i; done";
    world
        .twill(&["run", "-di", "--name", "talk", "--network", "none", "bb", "sh", "-c", script])
        .ok();
    let follower = world.spawn(&["logs", "-f", "talk"], Stdio::null());
    world.twill_fed(&["attach", "talk"], b"go\n").ok();
    let said = Said::new(follower.wait_with_output().unwrap());
    let lines: Vec<String> = (1..=500).map(|number| format!("line {number}\n")).collect();
    let want = lines.concat();
    assert_eq!((said.code, said.out), (0, want));
    world.twill(&["rm", "talk"]).ok();
    world.assert_nothing_left();
}

#[test]
fn following_survives_the_removal_of_the_container() {
    let Some(world) = World::new() else { return };
    let script = "read go; echo last words";
    world
        .twill(&[
            "run",
            "-di",
            "--rm",
            "--name",
            "talk",
            "--network",
            "none",
            "bb",
            "sh",
            "-c",
            script,
        ])
        .ok();
    let follower = world.spawn(&["logs", "-f", "talk"], Stdio::null());
    world.twill_fed(&["attach", "talk"], b"go\n").ok();
    assert_eq!(Said::new(follower.wait_with_output().unwrap()).code, 0);
    world.assert_nothing_left();
}
