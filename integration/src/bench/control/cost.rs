//! What something cost a host: time, processor, calls into the kernel, programs started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::by_hand::say;
use crate::host::Host;
use crate::wait::{probe, wait_until};

/// A host that has used no processor for so long has nothing left to do.
const QUIET: Duration = Duration::from_millis(400);

/// How long it may take until then.
const LIMIT: Duration = Duration::from_mins(2);

/// What something cost. Averages may have fractions of calls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
    pub(super) calls: f64,
    pub(super) programs: f64,
}

impl Cost {
    /// Each by itself: a round is never slow in all respects.
    pub(super) fn median(of: &[Self]) -> Self {
        let middle = |key: fn(&Self) -> f64| {
            let mut all: Vec<f64> = of.iter().map(key).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        Self {
            wall: Duration::from_secs_f64(middle(|cost| cost.wall.as_secs_f64())),
            cpu: Duration::from_secs_f64(middle(|cost| cost.cpu.as_secs_f64())),
            calls: middle(|cost| cost.calls),
            programs: middle(|cost| cost.programs),
        }
    }

    /// One after the other.
    pub(super) fn and(self, next: Self) -> Self {
        Self {
            wall: self.wall + next.wall,
            cpu: self.cpu + next.cpu,
            calls: self.calls + next.calls,
            programs: self.programs + next.programs,
        }
    }

    /// Without what it costs to do the same with nothing.
    pub(super) fn less(self, nothing: Self) -> Self {
        Self {
            wall: self.wall.saturating_sub(nothing.wall),
            cpu: self.cpu.saturating_sub(nothing.cpu),
            calls: (self.calls - nothing.calls).max(0.0),
            programs: (self.programs - nothing.programs).max(0.0),
        }
    }

    /// One of so many.
    pub(super) fn divided(self, by: usize) -> Self {
        let part = 1.0 / f64::from(u32::try_from(by).unwrap_or(u32::MAX));
        Self {
            wall: self.wall.mul_f64(part),
            cpu: self.cpu.mul_f64(part),
            calls: self.calls * part,
            programs: self.programs * part,
        }
    }

    pub(super) fn print(self, name: &str) {
        let Self { wall, cpu, calls, programs } = self;
        let [wall, cpu] = [wall, cpu].map(milliseconds);
        say(&format!("{name:<34} {wall:>10.2} {cpu:>10.2} {calls:>10.0} {programs:>10.0}"));
    }

    /// How many times as much as `ours` this is.
    pub(super) fn print_over(self, ours: Self) {
        let times = |theirs: f64, ours: f64| {
            if ours > 0.0 { format!("{:.4}x", theirs / ours) } else { "-".to_owned() }
        };
        let [wall, cpu] = [(self.wall, ours.wall), (self.cpu, ours.cpu)]
            .map(|(theirs, ours)| times(theirs.as_secs_f64(), ours.as_secs_f64()));
        let calls = times(self.calls, ours.calls);
        let programs = times(self.programs, ours.programs);
        say(&format!("{:<34} {wall:>10} {cpu:>10} {calls:>10} {programs:>10}", "  ratio"));
    }
}

/// Times from rounds that nobody disturbed, counts from those under strace.
pub(super) fn both(plain: &[Cost], traced: &[Cost]) -> Cost {
    let Cost { wall, cpu, .. } = Cost::median(plain);
    Cost { wall, cpu, ..Cost::median(traced) }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The processor time of all processes that the host has had.
pub(super) fn cpu(host: &Host) -> Result<Duration> {
    let places = ["/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/unified/cpu.stat"];
    let text = places.iter().find_map(|path| fs::read_to_string(host.path(path)).ok());
    let text = text.context("no cpu.stat: this needs a kernel with cgroup2")?;
    let used = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    Ok(Duration::from_micros(used.context("no usage_usec in cpu.stat")?.parse()?))
}

/// Waits until nothing happens on the host any more; answers its processor time then.
pub(super) fn quiet(host: &Host) -> Result<Duration> {
    let mut last = (cpu(host)?, Instant::now());
    wait_until(&format!("{} is quiet", host.name()), LIMIT, || {
        match cpu(host) {
            // A timer of the runtime is nothing.
            Ok(used) if used.saturating_sub(last.0) > Duration::from_micros(300) => {
                last = (used, Instant::now());
            }
            _quiet => {}
        }
        last.1.elapsed() > QUIET
    })?;
    cpu(host)
}

/// A strace that counts what a process and its children call.
pub(super) struct Trace {
    child: Child,
    summary: PathBuf,
}

impl Trace {
    /// Attaches to a process of a host, by our own number.
    pub(super) fn of(pid: Pid, summary: PathBuf) -> Result<Self> {
        let said = summary.with_extension("said");
        let child = Command::new("strace")
            .args(["-f", "-c", "-o"])
            .arg(&summary)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stderr(fs::File::create(&said)?)
            .spawn()
            .context("cannot start strace: is it installed?")?;
        let trace = Self { child, summary };
        wait_until("strace is attached", LIMIT, || {
            fs::read_to_string(&said).is_ok_and(|said| said.contains("attached"))
        })?;
        Ok(trace)
    }

    /// Detaches, and counts.
    pub(super) fn end(mut self) -> Result<Cost> {
        // Others are held back, in our children too.
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGQUIT)?;
        probe("strace ends", LIMIT, || self.child.try_wait().ok().flatten())?;
        counts_in(&self.summary)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Both fail only for one that has been waited for.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What `strace -c` counted.
pub(super) fn counts_in(summary: &Path) -> Result<Cost> {
    let text = fs::read_to_string(summary);
    counts(&text.with_context(|| format!("cannot read {}", summary.display()))?)
}

/// `% time, seconds, usecs/call, calls, errors, syscall`; the errors are left out where there are none.
fn counts(text: &str) -> Result<Cost> {
    let (mut calls, mut programs) = (None, 0.0);
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_share, _seconds, _each, number, rest @ ..] = fields.as_slice() else { continue };
        let Ok(number) = number.parse::<f64>() else { continue };
        match rest {
            ["execve"] => programs = number,
            [failed, "execve"] => programs = number - failed.parse::<f64>()?,
            [.., "total"] => calls = Some(number),
            _other => {}
        }
    }
    let Some(calls) = calls else { bail!("strace counted nothing: {text}") };
    ensure!(calls >= programs, "strace counted more programs than calls: {text}");
    Ok(Cost { calls, programs, ..Cost::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_read() {
        let text = "\
            % time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n \
            60.00    0.000600          10        60           read\n \
            30.00    0.000300          10        30        12 openat\n \
            10.00    0.000100          20         5         3 execve\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.001000          10        95        15 total\n";
        let counted = |text: &str| counts(text).map(|cost| (cost.calls, cost.programs));
        assert_eq!(counted(text).unwrap(), (95.0, 2.0));
        assert_eq!(counted(&text.replace(" 3 execve", " execve")).unwrap(), (95.0, 5.0));
        assert!(counts("").is_err());
    }

    #[test]
    fn medians_and_parts() {
        let cost = |ms| Cost { wall: Duration::from_millis(ms), calls: 10.0, ..Cost::default() };
        let median = Cost::median(&[cost(9), cost(1), cost(4)]);
        assert_eq!((median.wall, median.calls), (Duration::from_millis(4), 10.0));
        let part = median.less(cost(2)).divided(2);
        assert_eq!((part.wall, part.calls), (Duration::from_millis(1), 0.0));
    }
}
