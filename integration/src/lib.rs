//! Many hosts on one machine: the lab, the demo, the whole-system tests.
//!
//! Everything here runs the real programs against a real etcd and the real kernel; nothing is
//! faked. The crate is a test harness, so its errors are `anyhow` chains meant for a reader of a
//! failed test, not for code that matches on them.

mod bench;
mod by_hand;
mod cgroups;
pub mod churn;
pub mod cli;
pub mod container;
#[expect(dead_code, reason = "each crate uses its part of the deeds")]
mod deeds;
mod demo;
pub mod docker;
mod enter;
pub mod etcd;
pub mod fabric;
pub mod flow;
pub mod guard;
mod guardian;
pub mod hold;
mod host;
mod http;
pub mod image;
mod interrupt;
pub mod join;
mod keyed;
mod lab;
pub mod machine;
pub mod observer;
pub mod package;
mod process;
mod programs;
pub mod registry;
pub mod rights;
mod snapshot;
pub mod soak;
mod status;
pub mod storm;
mod wait;

pub use container::{Endpoint, cni};
pub use enter::within;
pub use fabric::{Backend, Fabric};
pub use guardian::Stop;
pub use host::Host;
pub use keyed::has_wireguard;
pub use lab::Lab;
pub use machine::Machine;
pub use process::{Daemon, Outcome};
pub use programs::Programs;
pub use snapshot::Snapshot;
pub use status::status;
pub use wait::{pace, probe, wait_until};

/// Whether this process may build a lab.
///
/// Says so on standard error when it may not; with `REQUIRE_ROOT=1` in the environment that is a
/// failure, so that a suite cannot pass by skipping.
///
/// # Panics
/// Without root when `REQUIRE_ROOT=1`.
#[expect(clippy::print_stderr, reason = "a skipped test has to be loud")]
pub fn may_build_labs() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    let required = std::env::var_os("REQUIRE_ROOT").is_some_and(|value| value == "1");
    assert!(!required, "REQUIRE_ROOT=1, but this is not root: labs need namespaces");
    eprintln!("SKIPPED: labs need root; run the suite as root");
    false
}
