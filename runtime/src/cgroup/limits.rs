//! What a container may use at most, changed while it runs.

use std::fs;
use std::io;

use super::Cgroup;
use crate::container::Resources;
use crate::error::{FileContext as _, Result, SystemContext as _};

const MEMORY_V1: &str = "memory.limit_in_bytes";

/// A value for a file of whichever hierarchy has it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Limit {
    file: &'static str,
    value: String,
}

impl Cgroup {
    /// Does this kernel count swap, so that it can be limited?
    #[must_use]
    pub fn counts_swap(&self) -> bool {
        let files = ["memory.memsw.limit_in_bytes", "memory.swap.max"];
        files.iter().any(|file| self.directories.iter().any(|one| one.join(file).exists()))
    }

    /// Writes down what is limited; what is not stays as it is.
    pub fn limit(&self, resources: &Resources) -> Result<()> {
        let mut limits = if self.is_unified { v2(resources) } else { v1(resources) };
        // Memory with swap may never be less than memory alone: one order is right for more, the
        // other for less, and the kernel tells which.
        if let [first, _, ..] = limits.as_slice()
            && first.file == MEMORY_V1
            && self.write(first).is_err()
        {
            limits.swap(0, 1);
        }
        limits.iter().try_for_each(|limit| self.write(limit))
    }

    fn write(&self, limit: &Limit) -> Result<()> {
        let mut paths = self.directories.iter().map(|directory| directory.join(limit.file));
        match paths.find(|path| path.exists()) {
            Some(path) => fs::write(&path, &limit.value).file("write", &path),
            // Limits that nobody counts against need not be written.
            None if limit.file.contains("sw") => Ok(()),
            None => {
                let missing = format!("this kernel, or the cgroup above, has no {}", limit.file);
                Err(io::Error::other(missing)).system("limit the container")
            }
        }
    }
}

fn v1(resources: &Resources) -> Vec<Limit> {
    let Resources { memory, pids_limit, cpu_shares, .. } = resources;
    let quota = resources.cpu_quota();
    let mut limits = Vec::new();
    let mut put =
        |file, value: Option<String>| limits.extend(value.map(|value| Limit { file, value }));
    put(MEMORY_V1, memory.map(|bytes| bytes.to_string()));
    put("memory.memsw.limit_in_bytes", resources.memory_and_swap().map(|bytes| bytes.to_string()));
    put("memory.soft_limit_in_bytes", resources.memory_reservation.map(|bytes| bytes.to_string()));
    put("cpu.cfs_period_us", quota.map(|(_, period)| period.to_string()));
    put("cpu.cfs_quota_us", quota.map(|(quota, _)| quota.to_string()));
    put("cpu.shares", cpu_shares.map(|shares| shares.to_string()));
    put("cpuset.cpus", resources.cpuset_cpus.clone());
    put("cpuset.mems", resources.cpuset_mems.clone());
    put("pids.max", pids_limit.map(at_most));
    limits
}

fn v2(resources: &Resources) -> Vec<Limit> {
    let Resources { memory, pids_limit, cpu_shares, .. } = resources;
    let mut limits = Vec::new();
    let mut put =
        |file, value: Option<String>| limits.extend(value.map(|value| Limit { file, value }));
    put("memory.max", memory.map(|bytes| bytes.to_string()));
    // Here swap is counted by itself.
    let swap = resources.memory_and_swap().map(|both| match (both, memory) {
        (-1, _) | (_, None) => "max".to_owned(),
        (both, Some(memory)) => (both - memory).max(0).to_string(),
    });
    put("memory.swap.max", swap);
    put("memory.low", resources.memory_reservation.map(|bytes| bytes.to_string()));
    put("cpu.max", resources.cpu_quota().map(|(quota, period)| format!("{quota} {period}")));
    // The kernel's own scale: 2…262144 becomes 1…10000.
    let weight = |shares: &u64| 1 + (shares.clamp(&2, &262_144) - 2) * 9999 / 262_142;
    put("cpu.weight", cpu_shares.as_ref().map(|shares| weight(shares).to_string()));
    put("cpuset.cpus", resources.cpuset_cpus.clone());
    put("cpuset.mems", resources.cpuset_mems.clone());
    put("pids.max", pids_limit.map(at_most));
    limits
}

fn at_most(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "max".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_files() {
        let all = Resources {
            memory: Some(64 << 20),
            memory_swap: None,
            memory_reservation: Some(32 << 20),
            nano_cpus: Some(500_000_000),
            cpu_shares: Some(1024),
            cpuset_cpus: Some("0-1".into()),
            cpuset_mems: None,
            pids_limit: Some(-1),
        };
        let lines = |limits: Vec<Limit>| -> Vec<String> {
            limits.into_iter().map(|limit| format!("{} {}", limit.file, limit.value)).collect()
        };
        assert_eq!(
            lines(v1(&all)),
            [
                "memory.limit_in_bytes 67108864",
                "memory.memsw.limit_in_bytes 134217728",
                "memory.soft_limit_in_bytes 33554432",
                "cpu.cfs_period_us 100000",
                "cpu.cfs_quota_us 50000",
                "cpu.shares 1024",
                "cpuset.cpus 0-1",
                "pids.max max",
            ]
        );
        assert_eq!(
            lines(v2(&all)),
            [
                "memory.max 67108864",
                "memory.swap.max 67108864",
                "memory.low 33554432",
                "cpu.max 50000 100000",
                "cpu.weight 39",
                "cpuset.cpus 0-1",
                "pids.max max",
            ]
        );
        assert_eq!(lines(v1(&Resources::default())), [""; 0]);
        let unlimited = Resources { memory_swap: Some(-1), ..all };
        assert!(lines(v2(&unlimited)).contains(&"memory.swap.max max".to_owned()));
        assert!(lines(v1(&unlimited)).contains(&"memory.memsw.limit_in_bytes -1".to_owned()));
    }

    #[test]
    fn what_is_worked_out_from_several_needs_all_that_hold() {
        let both = |memory: Option<i64>, swap: Option<i64>| Resources {
            memory: memory.map(|memory| memory << 20),
            memory_swap: swap.map(|swap| if swap < 0 { swap } else { swap << 20 }),
            ..Resources::default()
        };
        let lines = |limits: Vec<Limit>| -> Vec<String> {
            limits.into_iter().map(|limit| limit.value).collect()
        };
        for (name, before, newer, first, second) in [
            ("more swap", both(Some(64), None), both(None, Some(96)), [64, 96], [64, 32]),
            ("no swap", both(Some(64), Some(96)), both(None, Some(64)), [64, 64], [64, 0]),
            ("more memory", both(Some(64), Some(96)), both(Some(80), None), [80, 96], [80, 16]),
            ("twice", both(Some(64), None), both(Some(32), None), [32, 64], [32, 32]),
            ("memory at last", both(None, Some(-1)), both(Some(32), Some(32)), [32, 32], [32, 0]),
        ] {
            let merged = before.with(&newer);
            let bytes = |values: [i64; 2]| values.map(|value| (value << 20).to_string());
            assert_eq!(lines(v1(&merged)), bytes(first), "{name}");
            assert_eq!(lines(v2(&merged)), bytes(second), "{name}");
        }
        let unlimited = both(Some(64), Some(96)).with(&both(None, Some(-1)));
        assert_eq!(lines(v2(&unlimited))[1], "max");
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let root = tempfile::tempdir().unwrap();
        let cgroup = Cgroup { directories: vec![root.path().into()], is_unified: true };
        let resources = Resources { pids_limit: Some(7), ..Resources::default() };
        let refused = cgroup.limit(&resources).unwrap_err().chain();
        assert!(refused.contains("pids.max"), "{refused}");
        fs::write(root.path().join("pids.max"), "max").unwrap();
        cgroup.limit(&resources).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("pids.max")).unwrap(), "7");
    }
}
