//! Real containers, driven through the real program, each test in a world of its own: mount, network
//! and cgroup namespaces, below a cgroup of its own. Every test ends by asserting that nothing is left.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod bridge;
mod committing;
mod crash;
mod daily;
mod ending;
mod escapes;
mod exec;
mod extremes;
mod failures;
mod files;
mod health;
mod host;
mod hostile;
mod in_use;
mod inside;
mod ipv6;
mod isolation;
mod layers;
mod limits;
mod lists;
mod logs;
mod making;
mod many;
mod networks;
#[cfg(target_arch = "x86_64")]
mod points;
mod policies;
mod ports;
mod powers;
mod renumber;
mod running;
mod sharing;
mod storage;
mod terminal;
mod volumes;
mod world;
