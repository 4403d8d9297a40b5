use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::world::{Said, World, eventually, strike};

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
    let script = "echo first words; read go; echo last words";
    let run = ["run", "-di", "--rm", "--name", "talk", "--network", "none", "bb", "sh", "-c"];
    world.twill(&[run.as_slice(), &[script]].concat()).ok();
    let mut follower = world.spawn(&["logs", "-f", "talk"], Stdio::null());
    let mut said = BufReader::new(follower.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "first words\n");
    world.twill_fed(&["attach", "talk"], b"go\n").ok();
    assert_eq!(Said::new(follower.wait_with_output().unwrap()).code, 0);
    world.assert_nothing_left();
}

#[test]
fn a_log_that_is_full_makes_way_and_is_read_as_one() {
    let Some(world) = World::new() else { return };
    let script = "read go; for i in $(seq 300); do echo line $i; done";
    let head = ["run", "-di", "--name", "talk", "--network", "none"];
    let options = ["--log-opt", "max-size=40k", "--log-opt", "max-file=4"];
    world.twill(&[head.as_slice(), &options, &["bb", "sh", "-c", script]].concat()).ok();
    let follower = world.spawn(&["logs", "-f", "talk"], Stdio::null());
    world.twill_fed(&["attach", "talk"], b"go\n").ok();
    let said = Said::new(follower.wait_with_output().unwrap());
    let lines: Vec<String> = (1..=300).map(|number| format!("line {number}\n")).collect();
    assert_eq!(said.out, lines.concat());
    assert_eq!(world.twill(&["logs", "talk"]).out, lines.concat());
    assert_eq!(world.twill(&["logs", "-n", "1", "talk"]).out, "line 300\n");
    let config = world.inspect("talk", "/HostConfig/LogConfig/Config");
    assert_eq!(config, serde_json::json!({"max-size": "40k", "max-file": "4"}));
    world.twill(&["rm", "talk"]).ok();
    for (option, want) in [
        ("max-file=2", "max-file can only be used with max-size"),
        ("bogus=1", "unknown log opt 'bogus' for json-file log driver"),
        ("max-size=x", "invalid value for 'max-size'"),
        ("max-size", "invalid logging opts format"),
    ] {
        world.twill(&["run", "--log-opt", option, "bb"]).fails(125, want);
    }
    world.assert_nothing_left();
}

/// The files of a container's log, but the one that is being written.
fn older(world: &World) -> Vec<PathBuf> {
    let log = world.inspect("talk", "/LogPath");
    let folder = Path::new(log.as_str().unwrap()).parent().unwrap();
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.to_string_lossy().contains("/log.json.")).collect()
}

fn is_half(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "half")
}

const COMPRESSED: [&str; 6] =
    ["--log-opt", "max-size=20k", "--log-opt", "max-file=40", "--log-opt", "compress=true"];

#[test]
fn what_made_way_is_compressed_and_read_as_before() {
    let Some(world) = World::new() else { return };
    let script = "read go; for i in $(seq 1000); do echo line $i; done
                  read go; for i in $(seq 1001 2000); do echo line $i; done";
    let head = ["run", "-di", "--name", "talk", "--network", "none"];
    world.twill(&[head.as_slice(), &COMPRESSED, &["bb", "sh", "-c", script]].concat()).ok();
    let follower = world.spawn(&["logs", "-f", "talk"], Stdio::null());
    let mut attached = world.spawn(&["attach", "talk"], Stdio::piped());
    let mut input = attached.stdin.take().unwrap();
    input.write_all(b"go\n").unwrap();
    let compressed = || {
        let names = older(&world);
        names.iter().filter(|path| path.extension().is_some_and(|it| it == "gz")).count()
    };
    // The last of them are left to the next, or to the next run.
    eventually("the first are compressed", || compressed() > 1);
    input.write_all(b"go\n").unwrap();
    attached.wait_with_output().unwrap();
    let said = Said::new(follower.wait_with_output().unwrap());
    let lines: Vec<String> = (1..=2000).map(|number| format!("line {number}\n")).collect();
    assert_eq!(said.out, lines.concat());
    assert_eq!(world.twill(&["logs", "talk"]).out, lines.concat());
    assert_eq!(world.twill(&["logs", "-n", "1990", "talk"]).out, lines[10..].concat());
    let times = world.twill(&["logs", "-t", "talk"]).out;
    let first = times.lines().nth(500).unwrap().split(' ').next().unwrap();
    let since = world.twill(&["logs", "--since", first, "talk"]).out;
    assert!(since.contains("line 501\n") && since.ends_with("line 2000\n"));
    assert!(compressed() > 1, "{:?}", older(&world));
    world.twill(&["rm", "talk"]).ok();
    let early = ["run", "--log-opt", "compress=true", "--log-opt", "max-size=1k", "bb"];
    world.twill(&early).fails(125, "compress cannot be true when max-file is less than 2");
    world.assert_nothing_left();
}

#[test]
fn a_kill_over_compressing_neither_loses_nor_doubles_a_line() {
    let Some(world) = World::new() else { return };
    let script = "i=0; while :; do i=$((i + 1)); echo $i; done";
    let head = ["create", "--name", "talk", "--network", "none"];
    let options =
        ["--log-opt", "max-size=300k", "--log-opt", "max-file=4", "--log-opt", "compress=1"];
    world.twill(&[head.as_slice(), &options, &["bb", "sh", "-c", script]].concat()).ok();
    for _ in 0..5 {
        older(&world)
            .iter()
            .filter(|path| is_half(path))
            .for_each(|it| fs::remove_file(it).unwrap());
        world.twill(&["start", "talk"]).ok();
        let monitor = world.monitor("talk");
        eventually("it compresses", || older(&world).iter().any(|path| is_half(path)));
        strike(monitor);
        let kept = world.twill(&["logs", "talk"]).out;
        let kept: Vec<u64> = kept.lines().map(|line| line.parse().unwrap()).collect();
        // Each run begins at one.
        let follows = |pair: &[u64]| pair[1] == pair[0] + 1 || pair[1] == 1;
        assert!(kept.len() > 1000);
        let torn = kept.windows(2).find(|pair| !follows(pair));
        assert_eq!(torn, None, "{:?}", older(&world));
    }
    world.twill(&["rm", "-f", "talk"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_log_that_may_not_grow_keeps_the_end() {
    let Some(world) = World::new() else { return };
    let script = "for i in $(seq 2000); do echo line $i; done";
    let head = ["run", "--name", "talk", "--network", "none"];
    let options = ["--log-opt", "max-size=20k", "--log-opt", "max-file=2"];
    world.twill(&[head.as_slice(), &options, &["bb", "sh", "-c", script]].concat()).ok();
    let kept = world.twill(&["logs", "talk"]).out;
    assert!(kept.ends_with("line 2000\n") && !kept.contains("line 1\n"));
    world.twill(&["rm", "talk"]).ok();
    world.assert_nothing_left();
}

#[test]
fn lines_are_chosen_by_time_and_shown_with_details() {
    let Some(world) = World::new() else { return };
    let head = ["run", "--name", "talk", "--network", "none", "--label", "tier=front", "-e", "A=1"];
    let options = ["--log-opt", "labels=tier", "--log-opt", "env=A"];
    let tail = ["bb", "sh", "-c", "echo first; sleep 0.05; echo second"];
    world.twill(&[head.as_slice(), &options, &tail].concat()).ok();
    assert_eq!(
        world.twill(&["logs", "--details", "talk"]).out,
        "A=1,tier=front first\nA=1,tier=front second\n"
    );
    let times = world.twill(&["logs", "-t", "talk"]).out;
    let times: Vec<&str> = times.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(world.twill(&["logs", "--since", times[1], "talk"]).out, "second\n");
    assert_eq!(world.twill(&["logs", "--until", times[0], "talk"]).out, "first\n");
    assert_eq!(world.twill(&["logs", "--since", "10m", "talk"]).out, "first\nsecond\n");
    assert_eq!(world.twill(&["logs", "--until", "10m", "talk"]).out, "");
    world.twill(&["logs", "--since", "bogus", "talk"]).fails(1, "is no time");
    world.twill(&["rm", "talk"]).ok();
    world.assert_nothing_left();
}
