use std::io::Write as _;
use std::process::Stdio;

use crate::world::{Said, World, eventually, readable, strike};

#[test]
fn output_and_exit_codes_are_the_containers() {
    let Some(world) = World::new() else { return };
    let run = |command: &[&str]| {
        world.twill(&[&["run", "--rm", "--network", "none", "bb"], command].concat())
    };
    let said = run(&["sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (3, "out\n", "err\n"));
    assert_eq!(run(&["true"]).code, 0);
    assert_eq!(run(&["sh", "-c", "exit 255"]).code, 255);
    run(&["nosuch"]).fails(127, "exec: \"nosuch\": executable file not found in $PATH");
    run(&["/bin/nosuch"]).fails(127, "no such file or directory");
    run(&["/etc/plain"]).fails(126, "permission denied");
    run(&["/etc"]).fails(126, "permission denied");
    world.assert_nothing_left();
}

#[test]
fn a_signal_is_128_and_its_number() {
    let Some(world) = World::new() else { return };
    world
        .twill(&["run", "-d", "--name", "victim", "--network", "none", "bb", "sleep", "1000"])
        .ok();
    world.twill(&["kill", "victim"]).ok();
    assert_eq!(world.twill(&["wait", "victim"]).ok(), "137");
    assert_eq!(world.inspect("victim", "/State/ExitCode"), 137);
    world.twill(&["rm", "victim"]).ok();
    world.assert_nothing_left();
}

#[test]
fn input_ends_when_the_callers_does() {
    let Some(world) = World::new() else { return };
    let cat = ["run", "--rm", "-i", "--network", "none", "bb", "cat"];
    assert_eq!(world.twill_fed(&cat, b"abc").ok(), "abc");
    assert_eq!(world.twill_fed(&cat, b"").ok(), "");
    // More than any pipe or buffer on the way holds, in both directions at once.
    let long = "0123456789abcdef".repeat(1 << 18);
    assert!(world.twill_fed(&cat, long.as_bytes()).ok() == long);
    let deaf = ["run", "--rm", "-i", "--network", "none", "bb", "true"];
    assert_eq!(world.twill_fed(&deaf, long.as_bytes()).code, 0);
    // Without -i there is none.
    let closed = ["run", "--rm", "--network", "none", "bb", "cat"];
    assert_eq!(world.twill_fed(&closed, b"abc").ok(), "");
    world.assert_nothing_left();
}

#[test]
fn a_container_starts_again_with_what_it_left() {
    let Some(world) = World::new() else { return };
    let script = "echo once more >> /file; wc -l < /file";
    let id = world
        .twill(&["create", "--name", "again", "--network", "none", "bb", "sh", "-c", script])
        .ok();
    assert_eq!(world.inspect("again", "/State/Status"), "created");
    for round in 1..=3 {
        assert_eq!(world.twill(&["start", "-a", "again"]).ok(), round.to_string());
    }
    assert_eq!(world.twill(&["logs", "again"]).ok(), "1\n2\n3");
    assert_eq!(world.inspect("again", "/Id"), id.as_str());
    world.twill(&["rm", &id[..12]]).ok();
    world.assert_nothing_left();
}

#[test]
fn one_can_come_back_to_a_running_container() {
    let Some(world) = World::new() else { return };
    let script = "while read line; do echo got $line; test $line != end || exit 4; done; exit 5";
    world
        .twill(&["run", "-di", "--name", "echo", "--network", "none", "bb", "sh", "-c", script])
        .ok();
    assert_eq!(world.inspect("echo", "/Config/StdinOnce"), false);
    // Its input stays open, however those end who fed it: what they said came, and no end.
    let mut first = world.spawn(&["attach", "echo"], Stdio::piped());
    first.stdin.as_mut().unwrap().write_all(b"one\n").unwrap();
    assert!(readable(&first));
    strike(i32::try_from(first.id()).unwrap());
    first.wait().unwrap();
    let mut second = world.spawn(&["attach", "echo"], Stdio::piped());
    second.stdin.take().unwrap().write_all(b"two\n").unwrap();
    assert!(readable(&second));
    let said = world.twill_fed(&["attach", "echo"], b"end\n");
    assert_eq!((said.code, said.out.as_str()), (4, "got end\n"));
    assert_eq!(Said::new(second.wait_with_output().unwrap()).out, "got two\ngot end\n");
    assert_eq!(world.twill(&["logs", "echo"]).ok(), "got one\ngot two\ngot end");
    world.twill(&["attach", "echo"]).fails(1, "You cannot attach to a stopped container");
    world.twill(&["rm", "echo"]).ok();
    world.assert_nothing_left();
}

#[test]
fn only_the_streams_that_are_named_are_connected() {
    let Some(world) = World::new() else { return };
    let both = ["--network", "none", "bb", "sh", "-c", "echo out; echo err >&2; exit 3"];
    let run = |options: &[&str]| world.twill(&[&["run", "--rm"], options, &both].concat());
    for (options, out, err) in [
        (&["-a", "stdout"][..], "out\n", ""),
        (&["--attach", "STDERR"], "", "err\n"),
        (&["-a", "stdout", "-a", "stderr"], "out\n", "err\n"),
    ] {
        let said = run(options);
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (3, out, err), "{options:?}");
    }
    run(&["-a", "stdio"]).fails(125, "valid streams are STDIN, STDOUT and STDERR");
    run(&["-d", "-a", "stdout"]).fails(125, "cannot specify both --attach and --detach");
    world.assert_nothing_left();
}

#[test]
fn who_only_feeds_a_container_leaves_it_running() {
    let Some(world) = World::new() else { return };
    // More than the way to it holds: whoever feeds it leaves when all of it is under way.
    let long = "0123456789abcdef".repeat(1 << 14);
    let script = "wc -c; echo fed >&2; sleep 1000";
    let feed = ["run", "-i", "-a", "stdin", "--name", "it", "--network", "none", "bb", "sh", "-c"];
    let said = world.twill_fed(&[&feed[..], &[script]].concat(), long.as_bytes());
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_eq!(world.inspect("it", "/Id"), said.out.trim_end());
    let want = format!("{}\nfed\n", long.len());
    eventually("it was fed to the end", || {
        let logs = world.twill(&["logs", "it"]);
        logs.out + &logs.err == want
    });
    assert_eq!(world.inspect("it", "/State/Running"), true);
    let noted = |name: &str| {
        ["Stdin", "Stdout", "Stderr"]
            .map(|stream| world.inspect(name, &format!("/Config/Attach{stream}")))
    };
    assert_eq!(noted("it"), [true, false, false]);
    world.twill(&["create", "--name", "other", "-i", "-a", "stderr", "bb"]).ok();
    assert_eq!(noted("other"), [true, false, true]);
    world.twill(&["rm", "-f", "it", "other"]).ok();
    world.assert_nothing_left();
}
