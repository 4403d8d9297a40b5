//! What a process costs while nothing happens.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::by_hand::say;
use crate::fabric::{Backend, Fabric};
use crate::host::Host;
use crate::wait::wait_until;

/// How long a process is watched.
const WATCHED: Duration = Duration::from_secs(15);

/// The agent of node1, which has one peer.
pub(super) fn agent(fabric: &mut Fabric, backend: Backend) -> Result<()> {
    let pid = fabric.agent(1)?.pid();
    let name = format!("twilld ({})", backend.name());
    print(&name, Path::new(&format!("/proc/{pid}")), "12 MiB")
}

/// The monitor of the one container on `host`.
pub(super) fn monitor(host: &Host) -> Result<()> {
    let is_monitor = |proc: &Path| {
        let words = fs::read(proc.join("cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).skip(1).any(|word| word == b"monitor")
    };
    let mut all = fs::read_dir(host.path("/proc"))?.flatten().map(|entry| entry.path());
    let found = all.find(|proc| is_monitor(proc)).context("no monitor runs")?;
    print("twill's monitor", &found, "")
}

fn print(name: &str, proc: &Path, wanted: &str) -> Result<()> {
    let status = fs::read_to_string(proc.join("status"))?;
    let field = |name: &str| -> Option<f64> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let resident = field("VmRSS:").context("no VmRSS")? / 1024.0;
    let anonymous = field("RssAnon:").context("no RssAnon")? / 1024.0;
    say(&format!("{:<44} {resident:>6.1} MiB {:>14} {wanted}", format!("{name}: resident"), ""));
    say(&format!("{:<44} {anonymous:>6.1} MiB", format!("{name}: its own memory")));
    let before = busy(proc)?;
    let start = Instant::now();
    wait_until("time passes", WATCHED * 2, || start.elapsed() >= WATCHED)?;
    let busy = busy(proc)?.saturating_sub(before);
    let share = busy.as_secs_f64() / start.elapsed().as_secs_f64();
    say(&format!("{:<44} {:>8.3} %", format!("{name}: idle CPU of a core"), share * 100.0));
    Ok(())
}

/// Time on a processor, of all threads (proc(5): schedstat, in nanoseconds).
pub(super) fn busy(proc: &Path) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for task in fs::read_dir(proc.join("task"))?.flatten() {
        let text = fs::read_to_string(task.path().join("schedstat"))?;
        let nanoseconds = text.split(' ').next().context("an empty schedstat")?.parse()?;
        total += Duration::from_nanos(nanoseconds);
    }
    Ok(total)
}
