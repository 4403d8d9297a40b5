//! What a process holds.

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::{GROWTH, POOL};

/// At one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vitals {
    pub(super) descriptors: usize,
    pub(super) threads: u64,
    /// Resident, in KiB.
    pub(super) memory: u64,
}

impl Vitals {
    pub(super) fn of(pid: Pid) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            Ok(number.with_context(|| format!("no {name}"))?.parse()?)
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Self { descriptors, threads: field("Threads:")?, memory: field("VmRSS:")? })
    }

    /// Is this no more than `before`, but for what memory and a pool of threads may differ by?
    pub(super) fn fits(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads + POOL
            && self.memory <= before.memory + GROWTH
    }
}
