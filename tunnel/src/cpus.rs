//! Which processors carry packets.

use std::str::FromStr;

use rustix::thread::{CpuSet, sched_setaffinity};

/// Some of the machine's processors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cpus(CpuSet);

/// Why a list of processors is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a list of processors such as 2 or 0,2-3")]
pub struct NotCpus;

impl FromStr for Cpus {
    type Err = NotCpus;

    /// The form of cpuset(7): numbers and ranges, parted by commas.
    fn from_str(text: &str) -> Result<Self, NotCpus> {
        let number = |text: &str| match text.parse() {
            Ok(number) if number < CpuSet::MAX_CPU => Ok(number),
            _other => Err(NotCpus),
        };
        let mut set = CpuSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(NotCpus);
            }
            (first..=last).for_each(|cpu| set.set(cpu));
        }
        Ok(Self(set))
    }
}

impl Cpus {
    /// Keeps the calling thread, the one of this number, on one of them: they take turns.
    ///
    /// Where the kernel refuses that (no such processor, or not one of ours), it says so in the log: packets are
    /// carried in any case.
    pub(crate) fn keep(&self, number: usize) {
        let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| self.0.is_set(*cpu)).collect();
        let cpu = all[number % all.len()];
        let mut one = CpuSet::new();
        one.set(cpu);
        if let Err(error) = sched_setaffinity(None, &one) {
            tracing::warn!(cpu, %error, "a thread of the tunnel cannot be kept on its processor");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let found = |text: &str| {
            let set = text.parse::<Cpus>().ok()?.0;
            Some((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect::<Vec<_>>())
        };
        for (text, wanted) in [
            ("0", Some(vec![0])),
            ("3,1", Some(vec![1, 3])),
            ("0-2,5,7-7", Some(vec![0, 1, 2, 5, 7])),
            ("1023", Some(vec![1023])),
            ("1024", None),
            ("", None),
            ("1,", None),
            ("2-1", None),
            ("0-1-2", None),
            ("-1", None),
            ("all", None),
        ] {
            assert_eq!(found(text), wanted, "{text:?}");
        }
    }
}
