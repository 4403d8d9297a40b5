//! kill -9 at every point between two changes that a command makes to the system, of the one who makes
//! them and of everybody.
//!
//! The points are the system calls that change something: files, mounts, processes, groups, links, rules.
//! A run of the suite takes `SOME` of each command, spread over all; `TWILL_KILL_POINTS=all` takes all.

mod look;
mod tracer;

use std::collections::BTreeSet;
use std::process::Command;

use crate::bridge::host;
use crate::world::{Said, World, eventually, is_dead};
use look::look;
use tracer::Victim;

const SOME: usize = 9;

/// A command and its surroundings.
struct Case {
    /// Done before, unharmed.
    before: &'static [&'static str],
    line: &'static str,
    /// Clears away what it made, whether it had come to it or not.
    after: &'static [&'static str],
}

const RM: &str = "rm -f it";

#[test]
fn of_run() {
    check(&[Case {
        before: &[],
        line: "run -d --name it -p 8080:80 -v data:/data --tmpfs /t --restart always bb sleep 1000",
        after: &[RM, "volume rm -f data", "volume prune -f"],
    }]);
}

#[test]
fn of_run_in_the_foreground() {
    check(&[Case { before: &[], line: "run --rm --name it bb true", after: &[RM] }]);
}

#[test]
fn of_what_ends_a_container() {
    let before = &["run -d --name it -p 8080:80 --restart always bb sleep 1000"];
    let lines = ["stop -t 0 it", "kill it", "restart -t 0 it", "rm -f it", "pause it"];
    check(&lines.map(|line| Case { before, line, after: &[RM] }));
}

#[test]
fn of_what_changes_a_container() {
    let before = &["run -d --name it bb sleep 1000"];
    check(&[
        Case { before, line: "exec it true", after: &[RM] },
        Case { before, line: "exec -d it sleep 1000", after: &[RM] },
        Case { before, line: "update --memory 64m it", after: &[RM] },
        Case { before, line: "rename it that", after: &[RM, "rm -f that"] },
        Case { before: &["create --name it bb true"], line: "start it", after: &[RM] },
        Case {
            before: &[],
            line: "create --name it -v /data bb true",
            after: &["rm -fv it", "volume prune -f"],
        },
    ]);
}

#[test]
fn of_what_makes_and_removes_images_and_volumes() {
    let cleared = &["rmi -f made", "image prune -f"];
    let made = &["run --name it bb touch /made", "commit it made", RM];
    check(&[
        Case {
            before: &["run --name it bb touch /made"],
            line: "commit it made",
            after: &[RM, "rmi -f made", "image prune -f"],
        },
        Case { before: made, line: "rmi made", after: cleared },
        Case { before: &[], line: "tag bb made", after: cleared },
        Case {
            before: &[],
            line: "volume create data",
            after: &["volume rm -f data", "volume prune -f"],
        },
        Case {
            before: &["volume create data"],
            line: "volume rm data",
            after: &["volume rm -f data", "volume prune -f"],
        },
    ]);
}

/// Strikes at each point in turn, in one world. After each: the truth is told, what clears a container away
/// does so, nothing is left and no other container has noticed.
fn check(cases: &[Case]) {
    let Some(world) = host() else { return };
    say(&world, "run -d --name other bb sleep 1000").ok();
    let other = world.pid("other");
    for case in cases {
        // Once, for what is made to stay: the bridge, directories, tables of the firewall.
        let points = unharmed(&world, case);
        let clean = look(&world);
        let (points, mut struck) = (points.max(unharmed(&world, case)), 0);
        for victim in [Victim::One, Victim::All] {
            let step = if all() { 1 } else { points.div_ceil(SOME) };
            // The last ones may come in another order, or not at all.
            for at in (1..=points).step_by(step) {
                let met = strike(&world, case, ((at, victim), &clean));
                struck += usize::from(met);
                assert!(!is_dead(other) && world.pid("other") == other, "the other one noticed");
            }
        }
        assert!(struck > 2, "{}: {struck} of {points} changes were met", case.line);
    }
    say(&world, "rm -f other").ok();
    world.assert_nothing_left();
}

/// Does it all; tells how many changes there were.
fn unharmed(world: &World, case: &Case) -> usize {
    for line in case.before {
        say(world, line).ok();
    }
    let words: Vec<&str> = case.line.split(' ').collect();
    let traced = tracer::run(&world.command(&words), None);
    assert!(!traced.hung, "{}: did not end", case.line);
    for line in case.after {
        say(world, line).ok();
    }
    traced.points
}

/// Once, at that point. Tells whether there was such a point.
fn strike(world: &World, case: &Case, (at, clean): ((usize, Victim), &BTreeSet<String>)) -> bool {
    for line in case.before {
        say(world, line).ok();
    }
    let words: Vec<&str> = case.line.split(' ').collect();
    let traced = tracer::run(&world.command(&words), Some(at));
    let when = format!("{}: {:?} at {:?}", case.line, at.1, traced.struck);
    assert!(!traced.hung, "{when}: did not end");
    // An end is noticed a moment later.
    eventually(&format!("{when}: the truth is told"), || lies(world).is_empty());
    for line in case.after {
        let said = say(world, line);
        assert_eq!(said.code, 0, "{when}: {line}: {}", said.err);
    }
    let left = difference(clean, &look(world));
    if !left.is_empty() {
        eventually(&format!("{when}: {left:?} is gone"), || look(world) == *clean);
    }
    traced.struck.is_some()
}

fn say(world: &World, line: &str) -> Said {
    world.twill(&line.split(' ').collect::<Vec<_>>())
}

fn all() -> bool {
    std::env::var("TWILL_KILL_POINTS").is_ok_and(|which| which == "all")
}

/// Those that are said to run and do not, or the reverse.
fn lies(world: &World) -> Vec<String> {
    let said = world.twill(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok();
    let is_lie = |line: &&str| {
        let (name, state) = line.split_once(' ').unwrap();
        let pid = world.inspect(name, "/State/Pid").as_i64().unwrap_or(0);
        let runs = pid != 0 && !is_dead(i32::try_from(pid).unwrap());
        runs != ["running", "paused"].contains(&state)
    };
    said.lines().filter(is_lie).map(str::to_owned).collect()
}

fn difference(before: &BTreeSet<String>, now: &BTreeSet<String>) -> Vec<String> {
    let more = now.difference(before).map(|line| format!("+ {line}"));
    let less = before.difference(now).map(|line| format!("- {line}"));
    more.chain(less).collect()
}

#[expect(clippy::disallowed_methods, reason = "tests start programs")]
fn program(name: &str) -> Command {
    Command::new(name)
}
