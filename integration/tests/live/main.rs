//! The network's configuration changes under containers that talk.
//!
//! ```text
//!   node1: c1 ══TCP══► c2 :node2          c3 ──ping──► c1, c1 ──ping──► c2, c2 ──ping──► c3
//!   node3: c3 ══TCP══► c1                 each 10 ms
//! ```
#![expect(clippy::print_stdout, reason = "what was measured is part of what a test says")]

mod changes;
mod traffic;

use std::time::Duration;

/// What a busy machine may need for something that takes milliseconds on an idle one.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);
