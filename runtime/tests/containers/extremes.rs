//! Limits that are met, everything at once, and state that outlives its machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{Said, World, eventually, is_dead, strike};

#[test]
fn whoever_needs_more_memory_than_there_is_ends_and_that_is_told() {
    let Some(world) = World::new() else { return };
    let eat = "x=x; while :; do x=$x$x; done";
    let limits = ["-m", "20m", "--memory-swap", "20m"];
    let head = ["run", "--name", "it", "--network", "none"];
    let said = world.twill(&[&head[..], &limits, &["bb", "sh", "-c", eat]].concat());
    assert_eq!(said.code, 137, "{}", said.err);
    assert_eq!(world.inspect("it", "/State/OOMKilled"), true);
    let events = ["events", "--since", "1h", "--until", "0s", "-f", "container=it", "--format"];
    let events = world.twill(&[&events[..], &["{{.Action}}"]].concat()).ok();
    assert!(events.lines().any(|event| event == "oom"), "{events}");
    world.twill(&["start", "it"]).ok();
    assert_eq!(world.twill(&["wait", "it"]).ok(), "137");
    world.twill(&["rm", "it"]).ok();
    world.twill(&[
        "run",
        "--name",
        "it",
        "--network",
        "none",
        "bb",
        "sh",
        "-c",
        "kill -9 $$; exit 137",
    ]);
    assert_eq!(world.inspect("it", "/State/OOMKilled"), false, "killed, but not for memory");
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

/// In nanoseconds, in whichever hierarchy and version has it.
fn processor_time(world: &World, name: &str) -> u64 {
    let id = world.inspect(name, "/Id");
    let below = format!("twill/{}", id.as_str().unwrap());
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap();
    let roots = hierarchies.map(|one| one.unwrap().path()).chain(["/sys/fs/cgroup".into()]);
    let places: Vec<PathBuf> = roots.map(|root| root.join(&below)).collect();
    let read = |file: &str| places.iter().find_map(|it| fs::read_to_string(it.join(file)).ok());
    if let Some(text) = read("cpuacct.usage") {
        return text.trim().parse().unwrap();
    }
    let text = read("cpu.stat").unwrap();
    let used = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).unwrap();
    used.parse::<u64>().unwrap() * 1000
}

/// However little this machine has left for it, it never gets more.
#[test]
fn nobody_gets_more_of_the_processors_than_was_said() {
    let Some(world) = World::new() else { return };
    let burn = "while :; do :; done & while :; do :; done";
    let run =
        ["run", "-d", "--name", "it", "--network", "none", "--cpus", "0.3", "bb", "sh", "-c", burn];
    world.twill(&run).ok();
    let (before, began) = (processor_time(&world, "it"), Instant::now());
    let used = || Duration::from_nanos(processor_time(&world, "it") - before);
    eventually("it has used its share for a while", || used() > Duration::from_millis(600));
    let (used, took) = (used(), began.elapsed());
    // One share more may have been left from before, and one may have been given out in advance.
    let most = took.mul_f64(0.3 * 1.05) + Duration::from_millis(60);
    assert!(used <= most, "{used:?} in {took:?}");
    world.twill(&["rm", "-f", "it"]).ok();
    world.assert_nothing_left();
}

/// Why a command may fail whose container is in others' hands.
const REASONS: [&str; 7] = [
    "No such container",
    "is not running",
    "is already in use by container",
    "is being removed",
    "removal of container",
    "was killed",
    "is restarting",
];

fn run_line(name: &str) -> String {
    format!("run -d --name {name} --network none bb sleep 1000")
}

/// Fifty commands about ten containers, none of which knows of another.
#[test]
fn fifty_commands_at_once_each_end_well_or_with_a_reason() {
    let Some(world) = World::new() else { return };
    for round in 0..2 {
        for number in 0..5 {
            let line = run_line(&format!("c{number}"));
            world.twill(&line.split(' ').collect::<Vec<_>>()).ok();
        }
        let children: Vec<_> = (0..50)
            .map(|number| {
                let name = format!("c{}", (number / 5 + round) % 10);
                let line = match number % 5 {
                    0 => run_line(&name),
                    1 => format!("stop -t 0 {name}"),
                    2 => format!("exec {name} true"),
                    3 => format!("rm -f {name}"),
                    _ => format!("restart -t 0 {name}"),
                };
                let child = world.spawn(&line.split(' ').collect::<Vec<_>>(), Stdio::null());
                (line, child)
            })
            .collect();
        for (line, child) in children {
            let said = Said::new(child.wait_with_output().unwrap());
            let well = said.code == 0 || line.starts_with("exec") && said.code == 137;
            let reason = REASONS.iter().any(|reason| said.err.contains(reason));
            assert!(well || reason, "{line}: {} {}", said.code, said.err);
        }
        assert_truth(&world);
        for container in world.twill(&["ps", "-aq"]).ok().lines() {
            world.twill(&["rm", "-f", container]).ok();
        }
        world.assert_nothing_left();
    }
}

/// Whoever comes second finds it running; `run` does not take that for a failure and clears nothing away.
#[test]
fn somebody_else_starts_what_run_has_made() {
    let Some(world) = World::new() else { return };
    for _ in 0..8 {
        let line = run_line("it");
        let runs = world.spawn(&line.split(' ').collect::<Vec<_>>(), Stdio::null());
        eventually("it is there", || world.twill(&["start", "it"]).code == 0);
        let said = Said::new(runs.wait_with_output().unwrap());
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(world.inspect("it", "/State/Status"), "running");
        world.twill(&["rm", "-f", "it"]).ok();
    }
    world.assert_nothing_left();
}

/// Its end is seen before all of it is cleared away.
#[test]
fn what_has_just_ended_starts_again() {
    let Some(world) = World::new() else { return };
    let run = ["run", "--name", "it", "--network", "none", "bb", "echo", "once"];
    world.twill(&run).ok();
    for _ in 0..9 {
        world.twill(&["start", "it"]).ok();
        world.twill(&["wait", "it"]).ok();
    }
    assert_eq!(world.twill(&["logs", "it"]).ok().lines().count(), 10);
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[track_caller]
fn assert_truth(world: &World) {
    for line in world.twill(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok().lines() {
        let (name, state) = line.split_once(' ').unwrap();
        let pid = world.inspect(name, "/State/Pid").as_i64().unwrap();
        let runs = pid != 0 && !is_dead(i32::try_from(pid).unwrap());
        assert_eq!(runs, state == "running", "{line}: process {pid}");
    }
}

/// The disk of a machine that is no more, in another one.
#[test]
fn containers_of_a_dead_machine_rest_and_start_again() {
    let Some(world) = World::new() else { return };
    let script = "echo once >> /count; exec sleep 1000";
    for (name, policy) in [("plain", "no"), ("always", "always")] {
        let run = [
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "none",
            "--restart",
            policy,
            "-v",
            "data:/data",
            "bb",
            "sh",
            "-c",
            script,
        ];
        world.twill(&run).ok();
    }
    let root = world.path("copy");
    dies(&world, &root);
    let there = |words: &[&str]| {
        let mut command = world.command(words);
        command.env("TWILL_ROOT", &root).env("TWILL_RUN_ROOT", world.path("run-copy"));
        Said::new(command.output().unwrap())
    };
    let states = there(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok();
    assert_eq!(states, "always exited\nplain exited");
    there(&["start", "plain"]).ok();
    assert_eq!(
        there(&["exec", "plain", "cat", "/count"]).ok(),
        "once\nonce",
        "its files are there"
    );
    for name in ["plain", "always"] {
        there(&["rm", "-f", name]).ok();
    }
    assert_eq!(there(&["ps", "-aq"]).ok(), "");
    there(&["volume", "rm", "data"]).ok();
    there(&["rmi", "bb"]).ok();
    World::run(&["umount", "/proc/sys/kernel/random/boot_id"]);
    world.assert_nothing_left();
}

/// What was on its disk is at `root`; whatever is asked next is asked in another boot.
fn dies(world: &World, root: &Path) {
    World::run(&["cp", "-a", world.path("lib").to_str().unwrap(), root.to_str().unwrap()]);
    // Nobody there tidies up.
    for name in ["plain", "always"] {
        let pid = world.pid(name);
        strike(world.monitor(name));
        _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        world.twill(&["rm", "-f", name]).ok();
    }
    world.assert_nothing_left();
    let boot = world.path("boot_id");
    fs::write(&boot, "11111111-2222-3333-4444-555555555555\n").unwrap();
    World::run(&["mount", "--bind", boot.to_str().unwrap(), "/proc/sys/kernel/random/boot_id"]);
}
