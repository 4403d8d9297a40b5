//! The agent's way to the kernel, each test on a host of its own.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it has to be")]

mod adopt;
#[path = "../../../integration/src/deeds.rs"]
#[expect(dead_code, reason = "the firewall has its part of the deeds")]
mod deeds;
mod device;
mod events;
mod firewall;
mod host;
mod many;
mod path;
mod programs;
mod sizes;
mod tables;
mod turn;
mod uplink;
