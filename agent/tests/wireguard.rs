//! The `wireguard` backend where the kernel has none: the start is refused before anything is written.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::path::Path;

use support::network::{VXLAN, status};
use support::process::wait_for;
use support::{World, get, try_command};

const WIREGUARD: &str = r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard"}}"#;

/// In a namespace of the world's own.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
fn lacks_wireguard() -> bool {
    if try_command("ip link add wg0 type wireguard").is_err() {
        return true;
    }
    eprintln!("SKIPPED: this kernel has wireguard, and the test is about one that has not");
    false
}

#[test]
fn is_refused_with_the_kernel_by_name_and_a_way_out() {
    let Some(world) = World::with_config(WIREGUARD) else { return };
    if !lacks_wireguard() {
        return;
    }
    let mut twilld = world.twilld(&[]);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    twilld.refuses(1, &["the kernel", release.trim(), "has no WireGuard"]);
    let said = twilld.said();
    let hint = said.lines().find(|line| line.starts_with("hint: ")).expect("a way out");
    assert!(hint.contains("modprobe wireguard") && hint.contains("--backend vxlan"), "{hint}");
    world.assert_untouched();
    assert!(!Path::new("/run/state/wireguard-key").exists(), "nobody needs a key yet");
}

/// A network that moves on without this host: it goes on as before and says why.
#[test]
fn a_host_that_runs_goes_on_as_before() {
    let Some(world) = World::with_config(VXLAN) else { return };
    if !lacks_wireguard() {
        return;
    }
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    world.configure(WIREGUARD);
    wait_for("word", || status("config_error").contains("has no WireGuard"));
    let ready = get("/readyz");
    assert!(ready.contains("200 OK") && ready.contains("degraded: "), "{ready}");
    assert!(status("backend").contains("vxlan"), "{}", get("/status"));
    twilld.stops();
}
