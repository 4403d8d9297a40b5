use std::process::Stdio;

use crate::world::{Said, World, eventually, strike};

fn run(world: &World, policy: &str, script: &str) -> Said {
    let run = ["run", "-d", "--name", "web", "--network", "none", "--restart", policy];
    world.twill(&[&run[..], &["bb", "sh", "-c", script]].concat())
}

fn count(world: &World) -> u64 {
    world.inspect("web", "/RestartCount").as_u64().unwrap()
}

fn status(world: &World) -> String {
    world.inspect("web", "/State/Status").as_str().unwrap().to_owned()
}

#[test]
fn one_that_fails_starts_again_so_many_times() {
    let Some(world) = World::new() else { return };
    run(&world, "on-failure:2", "echo once; exit 3").ok();
    eventually("it has given up", || status(&world) == "exited");
    assert_eq!((count(&world), world.inspect("web", "/State/ExitCode").as_u64()), (2, Some(3)));
    assert_eq!(world.twill(&["logs", "web"]).ok(), "once\nonce\nonce");
    // A person's start begins anew.
    world.twill(&["update", "--restart", "on-failure:1", "web"]).ok();
    world.twill(&["start", "web"]).ok();
    eventually("it has given up again", || status(&world) == "exited" && count(&world) == 1);
    world.twill(&["rm", "web"]).ok();
    // What ends well has not failed.
    run(&world, "on-failure", "exit 0").ok();
    world.twill(&["wait", "web"]).ok();
    eventually("it rests", || status(&world) == "exited");
    assert_eq!(count(&world), 0);
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn one_that_always_runs_is_stopped_by_people_only() {
    let Some(world) = World::new() else { return };
    for end in [&["stop", "web"][..], &["kill", "web"], &["stop", "-t", "0", "web"]] {
        run(&world, "always", "sleep 0.05").ok();
        eventually("it has started thrice", || count(&world) > 2);
        world.twill(end).ok();
        eventually("it rests", || status(&world) == "exited");
        world.twill(&["rm", "web"]).ok();
    }
    // While it waits for its next start.
    run(&world, "unless-stopped", "exit 1").ok();
    eventually("it waits", || count(&world) > 2 && status(&world) == "restarting");
    assert_eq!(world.inspect("web", "/State/Running"), true);
    let listed = world.twill(&["ps", "--format", "{{.Status}}"]).ok();
    assert!(listed.starts_with("Restarting (1) ") || listed.starts_with("Up "), "{listed}");
    world.twill(&["stop", "web"]).ok();
    assert_eq!(status(&world), "exited");
    world.twill(&["start", "web"]).ok();
    eventually("it waits again", || count(&world) > 2 && status(&world) == "restarting");
    // A policy that is changed meanwhile holds at once.
    world.twill(&["update", "--restart", "no", "web"]).ok();
    eventually("it rests", || status(&world) == "exited");
    world.twill(&["update", "--restart", "always", "web"]).ok();
    world.twill(&["start", "web"]).ok();
    eventually("it waits once more", || count(&world) > 1 && status(&world) == "restarting");
    world.twill(&["rm", "web"]).fails(1, "cannot remove container");
    world.twill(&["rm", "-f", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn each_run_has_all_that_the_first_had() {
    let Some(world) = World::new() else { return };
    let script =
        "echo $(ls /proc/self/fd | wc -l) $(hostname) $(cat /n | wc -l); echo x >> /n; exit 1";
    let run = ["run", "-d", "--name", "web", "--hostname", "h", "--network", "none"];
    let more = ["--restart", "on-failure:5", "-m", "64m", "bb", "sh", "-c", script];
    world.twill(&[&run[..], &more].concat()).ok();
    eventually("it has given up", || status(&world) == "exited");
    let said = world.twill(&["logs", "web"]).ok();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(" h ")).collect();
    assert_eq!(lines.len(), 6, "{said}");
    for (number, line) in lines.iter().enumerate() {
        let descriptors = lines[0].split(' ').next().unwrap();
        assert_eq!(*line, format!("{descriptors} h {number}"));
    }
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn a_monitor_keeps_nothing_of_runs_that_are_over() {
    let Some(world) = World::new() else { return };
    run(&world, "always", "sleep 0.01").ok();
    let id = world.twill(&["inspect", "-f", "{{.Id}}", "web"]).ok();
    let monitor = monitor(&id);
    let descriptors = || std::fs::read_dir(format!("/proc/{monitor}/fd")).unwrap().count();
    // Each wait is twice as long as the one before: there is time to look.
    let waits = |times| count(&world) >= times && status(&world) == "restarting";
    eventually("it waits", || waits(3));
    let first = descriptors();
    eventually("it waits again", || waits(5));
    // It may still be clearing up.
    eventually("no more is open than then", || descriptors() <= first);
    // The container dies with its monitor; nobody is there to start it again.
    strike(monitor);
    assert_eq!(status(&world), "exited");
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}

/// By its command line: it is there between two runs as well.
fn monitor(id: &str) -> i32 {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        entry.unwrap().file_name().to_str().and_then(|name| name.parse::<i32>().ok())
    });
    let is_monitor = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).ends_with(&format!("monitor\0{id}\0"))
    };
    processes.into_iter().find(is_monitor).unwrap()
}

#[test]
fn a_foreground_run_sees_the_first_end() {
    let Some(world) = World::new() else { return };
    let run =
        ["run", "--name", "web", "--network", "none", "--restart", "always", "bb", "sh", "-c"];
    let said = world.twill(&[&run[..], &["echo hi; exit 4"]].concat());
    assert_eq!((said.code, said.out.as_str()), (4, "hi\n"));
    eventually("it goes on without us", || count(&world) > 0);
    let waiting = world.spawn(&["wait", "web"], Stdio::null());
    assert_eq!(Said::new(waiting.wait_with_output().unwrap()).ok(), "4");
    world.twill(&["rm", "-f", "web"]).ok();
    let both = ["run", "--rm", "--restart", "always", "--network", "none", "bb", "true"];
    world.twill(&both).fails(125, "cannot specify both --restart and --rm");
    world.twill(&["run", "--restart", "bogus", "bb"]).fails(125, "invalid restart policy 'bogus'");
    world.assert_nothing_left();
}

#[test]
fn a_host_that_is_back_runs_what_it_ran() {
    let Some(world) = World::new() else { return };
    let run = |name: &str, policy: &str| {
        let run = ["run", "-d", "--name", name, "--network", "none", "--restart", policy];
        let script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";
        world.twill(&[&run[..], &["bb", "sh", "-c", script]].concat()).ok();
        eventually("it is ready", || world.twill(&["logs", name]).out.contains("ready"));
    };
    for (name, policy) in [
        ("plain", "no"),
        ("always", "always"),
        ("stopped", "unless-stopped"),
        ("kept", "unless-stopped"),
    ] {
        run(name, policy);
    }
    world.twill(&["stop", "stopped"]).ok();
    // The host goes down: one politely, the others with the power.
    let kept = monitor(&world.twill(&["inspect", "-f", "{{.Id}}", "kept"]).ok());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(kept), nix::sys::signal::SIGTERM).unwrap();
    eventually("its monitor has ended", || crate::world::is_dead(kept));
    for name in ["plain", "always"] {
        strike(world.monitor(name));
    }
    let running = || world.twill(&["ps", "--format", "{{.Names}}"]).ok();
    assert_eq!(running(), "");
    assert_eq!(world.twill(&["boot"]).ok(), "always\nkept");
    assert_eq!(running(), "kept\nalways");
    assert_eq!(world.twill(&["boot"]).ok(), "", "all is as it should be");
    world.twill(&["rm", "-f", "plain", "always", "stopped", "kept"]).ok();
    world.assert_nothing_left();
}
