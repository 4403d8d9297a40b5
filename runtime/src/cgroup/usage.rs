//! What a container uses, as the kernel counts it.

use std::fs;

use super::Cgroup;

/// Counters and gauges of one moment. What this kernel does not count is zero.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Nanoseconds of processor time since its start.
    pub cpu: u64,
    /// Bytes of memory, without what the kernel could take back at once.
    pub memory: u64,
    /// Bytes that it may have; `None` for as many as there are.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes read from disks.
    pub read: u64,
    /// Bytes written to disks.
    pub written: u64,
}

impl Cgroup {
    /// Reads the counters.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let text = |file: &str| {
            let mut paths = self.directories.iter().map(|directory| directory.join(file));
            paths.find_map(|path| fs::read_to_string(path).ok())
        };
        if self.is_unified { v2(text) } else { v1(text) }
    }
}

fn v1(text: impl Fn(&str) -> Option<String>) -> Usage {
    let number = |file: &str| text(file).and_then(|text| text.trim().parse::<u64>().ok());
    let cache = text("memory.stat").and_then(|text| field(&text, "total_inactive_file"));
    let disk = text("blkio.throttle.io_service_bytes_recursive")
        .or_else(|| text("blkio.throttle.io_service_bytes"))
        .unwrap_or_default();
    let sum = |kind: &str| {
        let lines = disk.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            (words.next()? == kind).then_some(words.next()?.parse::<u64>().ok()?)
        });
        lines.sum()
    };
    Usage {
        cpu: number("cpuacct.usage").unwrap_or(0),
        memory: without(number("memory.usage_in_bytes").unwrap_or(0), cache),
        memory_limit: number("memory.limit_in_bytes"),
        pids: number("pids.current").unwrap_or(0),
        read: sum("Read"),
        written: sum("Write"),
    }
}

fn v2(text: impl Fn(&str) -> Option<String>) -> Usage {
    let number = |file: &str| text(file).and_then(|text| text.trim().parse::<u64>().ok());
    let cache = text("memory.stat").and_then(|text| field(&text, "inactive_file"));
    let micros = text("cpu.stat").and_then(|text| field(&text, "usage_usec")).unwrap_or(0);
    let disk = text("io.stat").unwrap_or_default();
    let sum = |prefix: &str| {
        disk.split_ascii_whitespace()
            .filter_map(|word| word.strip_prefix(prefix)?.parse::<u64>().ok())
            .sum()
    };
    Usage {
        cpu: micros.saturating_mul(1000),
        memory: without(number("memory.current").unwrap_or(0), cache),
        memory_limit: number("memory.max"),
        pids: number("pids.current").unwrap_or(0),
        read: sum("rbytes="),
        written: sum("wbytes="),
    }
}

fn without(usage: u64, cache: Option<u64>) -> u64 {
    usage.saturating_sub(cache.unwrap_or(0))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |name| all.iter().find(|(file, _)| *file == name).map(|(_, text)| (*text).to_owned())
    }

    #[test]
    fn both_versions_count_the_same() {
        let first = v1(files(&[
            ("cpuacct.usage", "2000000\n"),
            ("memory.usage_in_bytes", "3000\n"),
            ("memory.stat", "inactive_file 7\ntotal_inactive_file 1000\n"),
            ("memory.limit_in_bytes", "9000\n"),
            ("pids.current", "4\n"),
            (
                "blkio.throttle.io_service_bytes",
                "8:0 Read 10\n8:0 Write 20\n8:1 Read 1\nTotal 31\n",
            ),
        ]));
        let second = v2(files(&[
            ("cpu.stat", "usage_usec 2000\nuser_usec 1\n"),
            ("memory.current", "3000\n"),
            ("memory.stat", "inactive_file 1000\nactive_file 5\n"),
            ("memory.max", "9000\n"),
            ("pids.current", "4\n"),
            ("io.stat", "8:0 rbytes=10 wbytes=20 rios=3\n8:1 rbytes=1\n"),
        ]));
        let want = Usage {
            cpu: 2_000_000,
            memory: 2000,
            memory_limit: Some(9000),
            pids: 4,
            read: 11,
            written: 20,
        };
        assert_eq!((first, second), (want, want));
        assert_eq!(v2(files(&[("memory.max", "max\n")])), Usage::default());
        assert_eq!(v1(files(&[])), Usage::default());
    }
}
