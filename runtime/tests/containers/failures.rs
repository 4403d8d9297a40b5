use std::fs;

use crate::world::World;

/// Each gives one line, a way out and the right code, and leaves nothing.
#[test]
fn what_cannot_be_started_leaves_nothing() {
    let Some(world) = World::new() else { return };
    let check = |arguments: &[&str], code: i32, text: &str| {
        let said = world.twill(&[&["run"], arguments].concat());
        let lines = said.err.lines().filter(|line| line.starts_with("twill: ")).count();
        assert_eq!(lines, 1, "{}", said.err);
        said.fails(code, text);
        world.assert_nothing_left();
    };
    check(&["nosuch"], 125, "Unable to find image 'nosuch:latest' locally\nhint: ");
    check(&["bb", "true"], 125, "subnet.env, which says which subnet this host has");
    check(&["bb", "true"], 125, "hint: ");
    check(&["--network", "none", "bb", "nosuch"], 127, "not found in $PATH");
    check(&["-d", "--network", "none", "bb", "nosuch"], 127, "not found in $PATH");
    check(&["--network", "none", "-u", "nobody", "bb", "true"], 125, "unable to find user nobody");
    check(&["--network", "none", "-w", "relative", "bb"], 125, "needs to be an absolute path");
    check(&["--network", "none", "-w", "/etc/passwd/x", "bb"], 125, "in the container /etc/passwd");
    check(&["--network", "none", "--name", "a", "bb"], 125, "Invalid container name (a)");
    check(&["--network", "none", "--hostname", "a b", "bb"], 125, "invalid hostname");
    check(&["--network", "none", "--domainname", "a b", "bb"], 125, "invalid domain name");
    check(&["--network", "none", "-e", "=x", "bb"], 125, "invalid environment variable");
    check(&["--network", "bogus", "bb"], 125, "network bogus not found");
    check(&["--bogus", "bb"], 125, "unknown flag: --bogus");
    check(&[], 1, "\"twill run\" requires at least 1 argument");
    check(&["-it", "--network", "none", "bb"], 1, "the input device is not a TTY");
    for text in ["", "FLANNEL_SUBNET=10.5.2.1/24", "rubbish"] {
        fs::write(world.path("subnet.env"), text).unwrap();
        check(&["bb", "true"], 125, "subnet.env cannot be used");
    }
}

#[test]
fn a_name_belongs_to_one() {
    let Some(world) = World::new() else { return };
    let id = world.twill(&["create", "--name", "web", "--network", "none", "bb"]).ok();
    let said = world.twill(&["run", "--name", "web", "--network", "none", "bb"]);
    said.fails(
        125,
        &format!("Conflict. The container name \"/web\" is already in use by container \"{id}\""),
    );
    assert_eq!(world.twill(&["ps", "-aq", "--no-trunc"]).ok(), id);
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn several_names_one_of_them_wrong() {
    let Some(world) = World::new() else { return };
    for name in ["one", "two"] {
        world.twill(&["create", "--name", name, "--network", "none", "bb"]).ok();
    }
    let said = world.twill(&["rm", "one", "nosuch", "two"]);
    assert_eq!((said.code, said.out.as_str()), (1, "one\ntwo\n"));
    let said = world.twill(&["inspect", "nosuch"]);
    assert_eq!((said.code, said.out.trim_end()), (1, "[]"));
    assert!(said.err.contains("No such object: nosuch"));
    world.assert_nothing_left();
}

#[test]
fn a_start_that_fails_keeps_a_container_that_was_there() {
    let Some(world) = World::new() else { return };
    world.twill(&["create", "--name", "web", "--network", "none", "bb", "nosuch"]).ok();
    world.twill(&["start", "web"]).fails(1, "not found in $PATH");
    assert_eq!(world.inspect("web", "/State/Status"), "created");
    assert_eq!(world.inspect("web", "/State/ExitCode"), 127);
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}
