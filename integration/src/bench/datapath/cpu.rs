//! Whose processor time a measure took.
//!
//! What belongs to it: this process, which makes and takes the traffic; the programs that carry it; and
//! the kernel's own threads for what it puts off. Work of the kernel within interrupts is part of the
//! processes that were interrupted, except on kernels that keep such time apart. Whatever else the
//! machine was busy with is somebody else's, and disturbed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::super::processes::busy;
use super::events::{Counts, Events, Kind};

/// Whom to watch on this machine.
#[derive(Debug)]
pub(super) struct Watch {
    kernel: Vec<Pid>,
    interrupts_apart: bool,
    tick: Duration,
    events: Events,
}

/// All clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    at: Instant,
    machine: Machine,
    own: Duration,
    path: Duration,
    kernel: Duration,
    events: Counts,
}

/// The time of all processors since the machine started.
#[derive(Clone, Copy, Debug, Default)]
struct Machine {
    busy: Duration,
    soft_interrupts: Duration,
    all: Duration,
}

/// What happened between two readings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) wall: Duration,
    /// By everybody who had to do with it.
    pub(super) by_all: Duration,
    /// By the programs that carry the packets.
    pub(super) by_path: Duration,
    /// The part of the machine that others used, from 0 to 1.
    pub(super) by_others: f64,
    /// By the whole machine.
    pub(super) events: Counts,
}

impl Watch {
    pub(super) fn new() -> Result<Self> {
        let ticks = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")?;
        let tick = Duration::from_secs(1) / u32::try_from(ticks)?;
        let (kernel, interrupts_apart) = (kernel_threads(), interrupts_are_apart());
        Ok(Self { kernel, interrupts_apart, tick, events: Events::start() })
    }

    /// What the machine counts besides.
    pub(super) fn counted(&self) -> Vec<Kind> {
        self.events.kinds()
    }

    /// Reads the clocks, those of `path`'s processes too.
    pub(super) fn read(&mut self, path: &[Pid]) -> Result<Reading> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let machine = machine(&stat, self.tick).context("no processors in /proc/stat")?;
        let all = |pids: &[Pid]| pids.iter().map(|pid| busy(&directory(*pid))).sum::<Result<_>>();
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let own = duration(usage.user_time()) + duration(usage.system_time());
        let mut kernel = all(&self.kernel)?;
        if self.interrupts_apart {
            kernel += machine.soft_interrupts;
        }
        let (path, events) = (all(path)?, self.events.read().context("cannot read counters")?);
        Ok(Reading { at: Instant::now(), machine, own, path, kernel, events })
    }
}

impl Reading {
    pub(super) fn since(&self, before: &Self) -> Used {
        let less = |key: fn(&Self) -> Duration| key(self).saturating_sub(key(before));
        let by_path = less(|reading| reading.path);
        let by_all = less(|reading| reading.own) + by_path + less(|reading| reading.kernel);
        let (busy, all) =
            (less(|reading| reading.machine.busy), less(|reading| reading.machine.all));
        let others = busy.saturating_sub(by_all).as_secs_f64();
        let by_others = if all.is_zero() { 0.0 } else { others / all.as_secs_f64() };
        let mut events = self.events;
        for (count, before) in events.iter_mut().zip(before.events) {
            *count = count.saturating_sub(before);
        }
        Used { wall: self.at - before.at, by_all, by_path, by_others, events }
    }
}

/// The first line of /proc/stat (proc(5)): user, nice, system, idle, iowait, irq, softirq, steal.
fn machine(stat: &str, tick: Duration) -> Option<Machine> {
    let numbers = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u32> = numbers
        .map(|number| number.parse::<u64>().map(|n| u32::try_from(n).unwrap_or(u32::MAX)))
        .collect::<Result<_, _>>()
        .ok()?;
    let [user, nice, system, idle, wait, hard, soft, stolen, ..] = ticks[..] else { return None };
    let sum = |of: &[u32]| of.iter().map(|ticks| tick * *ticks).sum::<Duration>();
    let busy = sum(&[user, nice, system, hard, soft, stolen]);
    Some(Machine { busy, soft_interrupts: tick * soft, all: busy + sum(&[idle, wait]) })
}

fn kernel_threads() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.map(Pid::from_raw)
        .filter(|pid| {
            fs::read_to_string(directory(*pid).join("comm"))
                .is_ok_and(|name| name.starts_with("ksoftirqd/"))
        })
        .collect()
}

/// As the kernel was built; one that does not tell is taken for a usual one.
fn interrupts_are_apart() -> bool {
    let script = "zcat /proc/config.gz 2>/dev/null || cat /boot/config-$(uname -r) 2>/dev/null";
    Command::new("sh").args(["-c", script]).output().is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).lines().any(|l| l == "CONFIG_IRQ_TIME_ACCOUNTING=y")
    })
}

fn directory(pid: Pid) -> std::path::PathBuf {
    Path::new("/proc").join(pid.to_string())
}

fn duration(time: TimeVal) -> Duration {
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec()).unwrap_or_default());
    seconds + Duration::from_micros(u64::try_from(time.tv_usec()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_machine_belongs_to_others() {
        let tick = Duration::from_millis(10);
        let before = machine("cpu  100 0 100 1000 0 0 0 0 0 0\ncpu0 1 2\n", tick).unwrap();
        let after = machine("cpu  150 10 130 1100 0 0 10 0 0 0\n", tick).unwrap();
        let start = Instant::now();
        let reading = |machine, ms: u64| Reading {
            at: start + Duration::from_millis(ms),
            machine,
            own: Duration::from_millis(ms / 2),
            path: Duration::from_millis(ms / 10),
            kernel: Duration::ZERO,
            events: [ms, ms * 2, 0],
        };
        let used = reading(after, 1000).since(&reading(before, 0));
        assert_eq!(used.wall, Duration::from_secs(1));
        assert_eq!(
            (used.by_all, used.by_path),
            (Duration::from_millis(600), Duration::from_millis(100))
        );
        assert_eq!(used.events, [1000, 2000, 0]);
        assert!((used.by_others - 0.2).abs() < 1e-9, "{used:?}");
        assert!(machine("cpu  1 2 3\n", tick).is_none());
    }
}
