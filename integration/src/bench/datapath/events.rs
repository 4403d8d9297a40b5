//! What the processors of the machine count by themselves, and the kernel of them: as `perf stat --all-cpus`,
//! of everybody, also of who has nothing to do with it.

use nix::unistd::{SysconfVar, sysconf};
use perf_event::events::{Event, Hardware, Software};
use perf_event::{Builder, Counter};

/// What is counted, where the machine can.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Cycles,
    Instructions,
    Switches,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Cycles, Self::Instructions, Self::Switches];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Cycles => "Cycles",
            Self::Instructions => "Instructions",
            Self::Switches => "Context switches",
        }
    }

    /// On every processor that takes one.
    fn counters(self) -> Vec<Counter> {
        match self {
            Self::Cycles => everywhere(&Hardware::CPU_CYCLES),
            Self::Instructions => everywhere(&Hardware::INSTRUCTIONS),
            Self::Switches => everywhere(&Software::CONTEXT_SWITCHES),
        }
    }
}

/// One number for each kind; 0 of what is not counted.
pub(super) type Counts = [u64; Kind::ALL.len()];

/// Counters that run.
#[derive(Debug)]
pub(super) struct Events([Vec<Counter>; Kind::ALL.len()]);

impl Events {
    pub(super) fn start() -> Self {
        Self(Kind::ALL.map(Kind::counters))
    }

    /// What is counted here.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let counted =
            Kind::ALL.iter().zip(&self.0).filter(|(_kind, counters)| !counters.is_empty());
        counted.map(|(kind, _counters)| *kind).collect()
    }

    /// All since the start.
    pub(super) fn read(&mut self) -> std::io::Result<Counts> {
        let mut counts = Counts::default();
        for (count, counters) in counts.iter_mut().zip(&mut self.0) {
            for counter in counters {
                *count += counter.read()?;
            }
        }
        Ok(counts)
    }
}

/// What of all that is not counted on this machine, in words, if it is anything.
pub(super) fn missing(counted: &[Kind]) -> Option<String> {
    let missing = Kind::ALL.iter().filter(|kind| !counted.contains(kind));
    let titles: Vec<String> = missing.map(|kind| kind.title().to_lowercase()).collect();
    let last = titles.last()?;
    let named = match &titles[..titles.len() - 1] {
        [] => last.clone(),
        before => format!("{} and {last}", before.join(", ")),
    };
    Some(format!("This machine lets nobody count {named}."))
}

/// A machine without such a counter has none, and one that is virtual often has none.
fn everywhere(event: &(impl Event + Clone)) -> Vec<Counter> {
    let processors = sysconf(SysconfVar::_NPROCESSORS_CONF).ok().flatten();
    let processors = 0..processors.and_then(|count| usize::try_from(count).ok()).unwrap_or(1);
    let counter = |processor| {
        let mut builder = Builder::new(event.clone());
        builder.any_pid().one_cpu(processor).include_kernel().enabled(true);
        builder.build().ok()
    };
    processors.filter_map(counter).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_is_counted_grows() {
        let mut events = Events::start();
        let kinds = events.kinds();
        let before = events.read().unwrap();
        let start = Instant::now();
        for (at, kind) in Kind::ALL.iter().enumerate() {
            while kinds.contains(kind) && events.read().unwrap()[at] <= before[at] {
                assert!(start.elapsed() < Duration::from_secs(20), "{kind:?}: {before:?}");
                std::thread::yield_now();
            }
            assert!(kinds.contains(kind) || events.read().unwrap()[at] == 0, "{kind:?}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        assert_eq!(missing(&Kind::ALL), None);
        let said = missing(&[Kind::Switches]);
        assert_eq!(
            said.as_deref(),
            Some("This machine lets nobody count cycles and instructions.")
        );
        let said = missing(&[Kind::Cycles, Kind::Instructions]);
        assert_eq!(said.as_deref(), Some("This machine lets nobody count context switches."));
    }
}
