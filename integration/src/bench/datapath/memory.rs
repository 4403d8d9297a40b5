//! What a process has of the machine's memory.

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::Pid;

/// In KiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// All pages that are there, shared ones too.
    pub(super) resident: u32,
    /// Those that no file stands behind: heap, stacks, buffers.
    pub(super) anonymous: u32,
    /// The most that was ever resident.
    pub(super) peak: u32,
}

impl Memory {
    pub(super) fn of(pid: Pid) -> Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .with_context(|| format!("process {pid} is gone"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self {
            resident: field(&rollup, "Rss:")?,
            anonymous: field(&rollup, "Anonymous:")?,
            peak: field(&status, "VmHWM:")?,
        })
    }
}

fn field(text: &str, name: &str) -> Result<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.with_context(|| format!("no {name}"))?.parse().with_context(|| format!("in {name}"))
}
