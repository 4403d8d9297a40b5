//! What runtimes put into the environment and on stdin, and what they get back.

use crate::call::{World, add, call, with};

const NETWORK: &str = "{\"cniVersion\":\"1.0.0\",\"name\":\"pods\"}";

#[test]
fn a_person_gets_one_line() {
    let answer = call(&[], "");
    assert_eq!((answer.exit_code, answer.stdout.as_str()), (0, ""));
    assert_eq!(answer.stderr.lines().count(), 1);
    assert!(answer.stderr.ends_with("speaks CNI 0.3.1, 0.4.0, 1.0.0, 1.1.0\n"), "{answer:?}");
}

#[test]
fn whoever_asks_gets_help() {
    let answer = crate::call::help();
    assert_eq!(answer.exit_code, 0, "{answer:?}");
    assert!(answer.stdout.contains("CNI_COMMAND=DEL"), "{answer:?}");
    assert_eq!(answer.stderr.lines().count(), 1);
}

#[test]
fn version_looks_at_nothing_else() {
    let dummies = [
        ("CNI_COMMAND", "VERSION"),
        ("CNI_PATH", "dummy"),
        ("CNI_NETNS", "dummy"),
        ("CNI_IFNAME", "a/b"),
        ("CNI_CONTAINERID", ""),
        ("CNI_ARGS", "="),
    ];
    for stdin in ["", "{", "{\"cniVersion\":\"9.9.9\"}"] {
        let result = call(&dummies, stdin).result();
        let versions = serde_json::json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
        assert_eq!(result["supportedVersions"], versions);
    }
}

#[test]
fn wrong_environments() {
    let container = ("CNI_CONTAINERID", "a");
    let interface = ("CNI_IFNAME", "eth0");
    check("no container", &[("CNI_COMMAND", "DEL"), interface], 4, "CNI_CONTAINERID is not set");
    check("no interface", &[("CNI_COMMAND", "DEL"), container], 4, "CNI_IFNAME is not set");
    check("no namespace", &with("ADD", "a", &[]), 4, "CNI_NETNS is not set");
    check("an empty variable is none", &with("DEL", "", &[]), 4, "CNI_CONTAINERID is not set");
    check(
        "an id out of line",
        &with("DEL", "../a", &[]),
        4,
        "CNI_CONTAINERID is `../a`, which cannot be the id of a container",
    );
    check(
        "a name that no interface can have",
        &[("CNI_COMMAND", "DEL"), container, ("CNI_IFNAME", "sixteen-letters-")],
        4,
        "CNI_IFNAME: `sixteen-letters-` cannot be the name of a network interface",
    );
    check(
        "an unknown verb",
        &with("add", "a", &[]),
        4,
        "CNI_COMMAND is `add`, which is none of ADD, DEL, CHECK, STATUS, GC, VERSION",
    );
}

#[test]
fn environments_that_cannot_be_used() {
    let netns = ("CNI_NETNS", "/nowhere");
    check(
        "arguments that are none",
        &with("ADD", "a", &[netns, ("CNI_ARGS", "IP")]),
        4,
        "CNI_ARGS holds `IP`, which has no `=`",
    );
    check(
        "a namespace that is not there",
        &with("ADD", "a", &[netns]),
        8,
        "cannot open network namespace /nowhere: No such file or directory (os error 2)",
    );
    check(
        "a namespace that is a file",
        &with("ADD", "a", &[("CNI_NETNS", "/proc/self/status")]),
        8,
        "/proc/self/status is not a network namespace",
    );
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let pipe = pipe.to_str().unwrap();
    check(
        "a namespace that is a pipe",
        &with("ADD", "a", &[("CNI_NETNS", pipe)]),
        8,
        &format!("{pipe} is not a network namespace"),
    );
    check("a check of nothing", &with("CHECK", "a", &[]), 4, "CNI_NETNS is not set");
    check(
        "a verb that this release of the specification has not",
        &with("STATUS", "a", &[]),
        1,
        "CNI 1.0.0 knows neither STATUS nor GC",
    );
}

#[test]
fn wrong_configurations() {
    let broken = "{\"cniVersion\":\"1.0.0\",";
    let variables = with("DEL", "a", &[]);
    assert_eq!(call(&variables, broken).failure().0, 6);
    assert_eq!(call(&variables, "").failure().0, 6);
    assert_eq!(call(&variables, "{\"name\":\"pods\"}").failure().0, 1);
    assert_eq!(call(&variables, "{\"cniVersion\":\"1.0.0\"}").failure().0, 7);
    let endless = " ".repeat((1 << 20) + 1);
    assert_eq!(call(&variables, &endless).failure().0, 5);
}

#[test]
fn errors_are_answered_in_the_release_that_was_asked_in() {
    let Some(world) = World::new() else { return };
    let pod = world.pod();
    let mut network = world.network("0.4.0");
    network["mtu"] = serde_json::json!("wide");
    let answer = add("a", &pod, &network);
    assert_eq!(answer.failure().0, 7);
    assert!(answer.stdout.contains("\"cniVersion\": \"0.4.0\""), "{answer:?}");
}

#[track_caller]
fn check(name: &str, variables: &[(&str, &str)], code: u64, message: &str) {
    let answer = call(variables, NETWORK);
    // Whatever is wrong, there is a way out.
    assert!(answer.stdout.contains("\"details\""), "{name}: {answer:?}");
    let (answered, words) = answer.failure();
    assert_eq!((answered, words.as_str()), (code, message), "{name}");
}
