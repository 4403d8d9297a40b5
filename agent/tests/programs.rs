//! How often the agent runs the host's programs for its rules: one listing a look, one transaction a change.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::fs;

use support::network::{HOST_GW, HOST_GW_PEER};
use support::process::wait_for;
use support::{World, iptables, write_program};

/// In front of the real ones.
const DIRECTORY: &str = "/run/programs";
/// Each run, a line.
const RUNS: &str = "/run/programs/runs";
const REAL: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything with which rules can be read or written.
const FRONTS: [&str; 6] = [
    "iptables",
    "iptables-nft",
    "iptables-legacy",
    "ip6tables",
    "ip6tables-nft",
    "ip6tables-legacy",
];

#[test]
fn a_change_is_one_transaction_and_a_look_one_listing() {
    let Some(world) = World::with_config(HOST_GW) else { return };
    world.peer(HOST_GW_PEER);
    count();
    let start = |resync: &str| {
        fs::write(RUNS, "").expect("forgotten");
        let mut command =
            World::command(&["--firewall=iptables", "--ip-masq", "--resync=60", resync]);
        command.env("PATH", format!("{DIRECTORY}:{REAL}"));
        let mut twilld = world.start(command);
        twilld.says("bootstrap done");
        twilld
    };

    let twilld = start("--iptables-resync=600");
    wait_for("the rules", || runs().iter().any(|run| run == RESTORE));
    // What it hears of these comes to an end with those of one change.
    iptables("-F FLANNEL-FWD");
    wait_for("quiet", || runs().iter().rev().take(2).eq([SAVE, RESTORE]));
    let (_looks, changes) = settled();
    assert_eq!(changes, [RESTORE; 2], "all of the first rules at once, and this change");
    for _time in 0..3 {
        fs::write(RUNS, "").expect("forgotten");
        iptables("-F FLANNEL-FWD");
        // It hears of its own rules as well, and looks once more.
        wait_for("a look after the change", || runs().len() >= 3);
        assert_eq!(runs(), [SAVE, RESTORE, SAVE]);
    }
    twilld.stops();

    let twilld = start("--iptables-resync=1");
    let (looks, _changes) = settled();
    wait_for("three looks by the timer", || runs().len() >= looks + 3);
    let (_looks, changes) = settled();
    assert_eq!(changes, [""; 0], "everything is as it was left");
    twilld.stops();
}

const SAVE: &str = "iptables-save";
const RESTORE: &str = "iptables-restore --noflush --wait";

/// Puts something before each program that notes its runs when they end: what is done then they do not see.
fn count() {
    fs::create_dir(DIRECTORY).expect("a directory");
    for front in FRONTS {
        for program in [front.to_owned(), format!("{front}-save"), format!("{front}-restore")] {
            let script = format!(
                "#!/bin/sh\nPATH={REAL}\nexport PATH\n{program} \"$@\"\ncode=$?\n\
                 echo {program} \"$@\" >> {RUNS}\nexit $code\n"
            );
            write_program(&format!("{DIRECTORY}/{program}"), &script);
        }
    }
}

/// Asking for a version is neither a look nor a change.
fn runs() -> Vec<String> {
    let text = fs::read_to_string(RUNS).expect("the runs");
    let lines = text.lines().filter(|line| !line.ends_with("--version"));
    lines.map(|line| line.trim_end().to_owned()).collect()
}

/// How many listings there were, and everything else.
fn settled() -> (usize, Vec<String>) {
    let (looks, others): (Vec<_>, Vec<_>) =
        runs().into_iter().partition(|line| line.ends_with("-save"));
    (looks.len(), others)
}
