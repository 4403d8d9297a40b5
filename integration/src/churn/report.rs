//! What a soak has shown, for people.

use std::fmt;
use std::time::Duration;

use super::datagrams::Count;
use super::vitals::Vitals;
use super::{Churn, STALL, Stalls};

/// Numbers of one soak.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) churn: Churn,
    pub(super) took: Duration,
    pub(super) carried: (u64, Count),
    pub(super) events: u64,
    pub(super) stalls: Stalls,
    pub(super) before: [Vitals; 2],
    pub(super) after: [Vitals; 2],
}

impl fmt::Display for Stalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { longest, count, explained } = self;
        write!(
            f,
            "longest stall of a stream {longest:.2?}, {count} over {STALL:?}, {explained} of them of the whole machine"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { churn, took, carried, events, stalls, before, after } = self;
        let (bytes, Count { sent, arrived }) = carried;
        writeln!(
            f,
            "soak {} of the data path ({:?}), {took:.0?}: strangers came, moved or went {events} times",
            churn.seed, churn.carrier
        )?;
        writeln!(
            f,
            "streams carried {} MiB, every byte right; {arrived} of {sent} datagrams arrived, each right",
            bytes >> 20
        )?;
        writeln!(f, "{stalls}")?;
        writeln!(f, "| twilld | descriptors | threads | resident, KiB |")?;
        writeln!(f, "|---|---|---|---|")?;
        for (place, (before, after)) in before.iter().zip(after).enumerate() {
            let Vitals { descriptors, threads, memory } = before;
            let number = place + 1;
            writeln!(f, "| node{number} before | {descriptors} | {threads} | {memory} |")?;
            let Vitals { descriptors, threads, memory } = after;
            writeln!(f, "| node{number} after | {descriptors} | {threads} | {memory} |")?;
        }
        Ok(())
    }
}
