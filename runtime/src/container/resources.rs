//! How much of the host a container may use. What is `None` is not limited.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The length of a turn, in microseconds, of which a container gets a share.
const PERIOD: u64 = 100_000;
/// With less a container does not even start.
const LEAST_MEMORY: i64 = 6 << 20;

/// The limits of one container.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// Bytes of memory and swap together; -1 for as much as there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<i64>,
    /// Bytes that are not taken from it when memory is short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<i64>,
    /// Billionths of a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    /// Its weight among others; 1024 is the usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// Processors, as in `0-2,5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
    /// Processes and threads; nothing or less than one for any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<i64>,
}

impl Resources {
    /// Memory and swap together: as Docker, twice the memory unless something else was asked for.
    #[must_use]
    pub fn memory_and_swap(&self) -> Option<i64> {
        self.memory_swap.or_else(|| self.memory.map(|memory| memory.saturating_mul(2)))
    }

    /// Microseconds of a turn that it may run on all processors together, and the length of a turn.
    #[must_use]
    pub fn cpu_quota(&self) -> Option<(u64, u64)> {
        self.nano_cpus.map(|nano| (nano.saturating_mul(PERIOD) / 1_000_000_000, PERIOD))
    }

    /// The same with what is newly asked for.
    #[must_use]
    pub fn with(&self, newer: &Self) -> Self {
        let Self { memory, memory_swap, memory_reservation, nano_cpus, cpu_shares, .. } = *newer;
        Self {
            memory: memory.or(self.memory),
            memory_swap: memory_swap.or(self.memory_swap),
            memory_reservation: memory_reservation.or(self.memory_reservation),
            nano_cpus: nano_cpus.or(self.nano_cpus),
            cpu_shares: cpu_shares.or(self.cpu_shares),
            cpuset_cpus: newer.cpuset_cpus.clone().or_else(|| self.cpuset_cpus.clone()),
            cpuset_mems: newer.cpuset_mems.clone().or_else(|| self.cpuset_mems.clone()),
            pids_limit: newer.pids_limit.or(self.pids_limit),
        }
    }

    /// Refuses what cannot be, in Docker's words.
    pub fn check(&self, processors: u64) -> Result<()> {
        let refuse = |text: String| Err(Error::Usage(text));
        if self.memory.is_some_and(|memory| memory < LEAST_MEMORY) {
            return refuse("Minimum memory limit allowed is 6MB".into());
        }
        match (self.memory, self.memory_swap) {
            (None, Some(swap)) if swap > 0 => {
                return refuse(
                    "You should always set the Memory limit when using Memoryswap limit, see usage"
                        .into(),
                );
            }
            (Some(memory), Some(swap)) if swap > 0 && swap < memory => {
                return refuse(
                    "Minimum memoryswap limit should be larger than memory limit, see usage".into(),
                );
            }
            _ => {}
        }
        if let (Some(memory), Some(reservation)) = (self.memory, self.memory_reservation)
            && memory < reservation
        {
            return refuse(
                "Minimum memory limit can not be less than memory reservation limit, see usage"
                    .into(),
            );
        }
        if let Some(wanted) = &self.cpuset_cpus {
            check_processors(wanted, &online())?;
        }
        if let Some(nano) = self.nano_cpus
            && !(10_000_000..=processors.saturating_mul(1_000_000_000)).contains(&nano)
        {
            return refuse(range_of_processors(processors));
        }
        Ok(())
    }
}

fn range_of_processors(all: u64) -> String {
    format!("Range of CPUs is from 0.01 to {all}.00, as there are only {all} CPUs available")
}

/// Which ones there are matters, not how many: one in the middle may be switched off.
fn check_processors(wanted: &str, online: &str) -> Result<()> {
    let available: BTreeSet<u64> = ranges(online).flatten().collect();
    if ranges(wanted).flatten().all(|processor| available.contains(&processor)) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "Requested CPUs are not available - requested {wanted}, available: {online}"
    )))
}

/// How many processors this host has.
#[must_use]
pub fn processors() -> u64 {
    let lengths = ranges(&online()).map(|range| range.end() - range.start() + 1).sum::<u64>();
    lengths.max(1)
}

/// Which ones it has, as the kernel says it.
fn online() -> String {
    let text = fs::read_to_string("/sys/devices/system/cpu/online");
    text.map_or_else(|_one_at_least| "0".to_owned(), |text| text.trim().to_owned())
}

/// Those of a list like `0-2,5`.
fn ranges(text: &str) -> impl Iterator<Item = RangeInclusive<u64>> {
    text.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        (first <= last).then_some(first..=last)
    })
}

/// Bytes as people write them: `64m`, `1.5g`, `512k`, `100b`, `1000`. In steps of 1024, as Docker.
pub fn parse_bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower[digits.len()..].trim_end_matches('b').trim_end_matches('i');
    let power = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(invalid()),
    };
    // Exactly, in thousandths and not in floating point.
    let (whole, fraction) = digits.trim().split_once('.').unwrap_or((digits.trim(), "0"));
    let whole: u64 = whole.parse().map_err(|_not_a_number| invalid())?;
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid());
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let fraction: u128 = fraction.parse().map_err(|_not_a_number| invalid())?;
    let bytes = (u128::from(whole) << power) + (fraction << power) / scale;
    i64::try_from(bytes).map_err(|_too_large| invalid())
}

/// The same, and `-1` for no limit.
pub fn parse_bytes_or_all(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { parse_bytes(text) }
}

/// Processors as people write them: `0.5`, `2`, `1.25`.
pub fn parse_cpus(text: &str) -> Result<u64, String> {
    let invalid = || format!("failed to parse {text} as a rational number");
    if text.strip_prefix('-').is_some_and(|rest| rest.parse::<f64>().is_ok()) {
        return Err(range_of_processors(processors()));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if text.is_empty() || text == "." || !(whole.len() <= 9 && fraction.len() <= 9) {
        return Err(invalid());
    }
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(invalid());
    }
    let whole: u64 = format!("0{whole}").parse().map_err(|_not_a_number| invalid())?;
    let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_not_a_number| invalid())?;
    Ok(whole * 1_000_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, want) in [
            ("64m", Some(64 << 20)),
            ("64M", Some(64 << 20)),
            ("64MB", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            ("1.5g", Some(3 << 29)),
            ("512k", Some(512 << 10)),
            ("100b", Some(100)),
            ("1000", Some(1000)),
            ("0", Some(0)),
            ("2 g", Some(2 << 30)),
            ("", None),
            ("m", None),
            ("-5m", None),
            ("1.m", None),
            ("1x", None),
            ("1e3", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("9999999p", None),
        ] {
            assert_eq!(parse_bytes(text).ok(), want, "{text:?}");
        }
        assert_eq!(parse_bytes_or_all("-1"), Ok(-1));
    }

    #[test]
    fn processors_in_parts() {
        for (text, want) in [
            ("0.5", Some(500_000_000)),
            (".5", Some(500_000_000)),
            ("2", Some(2_000_000_000)),
            ("1.25", Some(1_250_000_000)),
            ("2.", Some(2_000_000_000)),
            ("", None),
            (".", None),
            ("-1", None),
            ("1,5", None),
            ("0.0000000001", None),
            ("9999999999", None),
        ] {
            assert_eq!(parse_cpus(text).ok(), want, "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |resources: Resources, want: Option<&str>| {
            let refused = resources.check(2).err().map(|error| error.to_string());
            match (refused, want) {
                (None, None) => {}
                (Some(got), Some(want)) => assert!(got.contains(want), "{got}"),
                other => panic!("{resources:?}: {other:?}"),
            }
        };
        let memory = |bytes| Resources { memory: Some(bytes), ..Resources::default() };
        check(Resources::default(), None);
        check(memory(64 << 20), None);
        check(memory(1), Some("Minimum memory limit allowed is 6MB"));
        check(Resources { memory_swap: Some(1 << 30), ..Resources::default() }, Some("always set"));
        check(Resources { memory_swap: Some(-1), ..memory(1 << 30) }, None);
        check(Resources { memory_swap: Some(1 << 29), ..memory(1 << 30) }, Some("larger"));
        check(
            Resources { memory_reservation: Some(2 << 30), ..memory(1 << 30) },
            Some("less than"),
        );
        let cpus = |nano| Resources { nano_cpus: Some(nano), ..Resources::default() };
        check(cpus(2_000_000_000), None);
        check(cpus(2_000_000_001), Some("from 0.01 to 2.00, as there are only 2 CPUs available"));
        check(cpus(9_999_999), Some("Range of CPUs"));
    }

    #[test]
    fn processors_that_are_switched_off_are_refused() {
        for (wanted, online, good) in [
            ("0,6", "0,2,4,6", true),
            ("6", "0,2,4,6", true),
            ("1", "0,2,4,6", false),
            ("2-4", "0,2,4,6", false),
            ("0-2,5", "0-5", true),
            ("0-18446744073709551615", "0-1", false),
            ("1", "0", false),
        ] {
            assert_eq!(check_processors(wanted, online).is_ok(), good, "{wanted} of {online}");
        }
        let refused = check_processors("7", "0,2,4,6").unwrap_err().to_string();
        assert!(refused.ends_with("requested 7, available: 0,2,4,6"), "{refused}");
    }

    #[test]
    fn what_is_newly_asked_for_wins() {
        let before = Resources { memory: Some(1), pids_limit: Some(2), ..Resources::default() };
        let newer = Resources { memory: Some(3), cpu_shares: Some(4), ..Resources::default() };
        let got = before.with(&newer);
        assert_eq!((got.memory, got.pids_limit, got.cpu_shares), (Some(3), Some(2), Some(4)));
        assert_eq!(got.memory_and_swap(), Some(6));
    }
}
