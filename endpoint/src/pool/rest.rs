//! Addresses that were given back a moment ago. They are given again last: connections and caches may
//! remember who had them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Entry, Locked, Pool};
use crate::error::Error;

/// As long as the kernel remembers a flow of datagrams without answers, and then some.
const REST: Duration = Duration::from_mins(2);
/// Longer than what a busy host writes in that time; the file is written anew beyond.
const LONGEST: usize = 1 << 16;

impl Pool {
    /// Notes that these have been given back. In one write, so that many may do it at once; a note that is
    /// lost costs nothing but the rest.
    pub(super) fn lay_to_rest(&self, entry: &Entry) {
        let now = milliseconds();
        let line = |address| format!("{address} {now}\n");
        let lines = entry.addresses.iter().map(line).collect::<Vec<String>>().concat();
        let file = OpenOptions::new().create(true).append(true).open(self.path("freed"));
        let noted = file.and_then(|mut file| file.write_all(lines.as_bytes()));
        if let Err(error) = noted {
            tracing::debug!(%error, "addresses that were given back may be given again at once");
        }
    }
}

impl Locked<'_> {
    /// Those that are at rest, the longest first.
    pub(crate) fn resting(&self) -> Result<Vec<IpAddr>, Error> {
        let bytes = match fs::read(self.pool.path("freed")) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes.map_err(|source| self.pool.failed("freed", source))?,
        };
        // Another's writing is no reason not to give an address: such lines are passed over.
        let text = String::from_utf8_lossy(&bytes);
        let found = at_rest(&text, milliseconds());
        if text.len() > LONGEST {
            let line = |(since, address): &(u64, IpAddr)| format!("{address} {since}\n");
            let kept = found.iter().map(line).collect::<Vec<String>>().concat();
            let new = self.pool.path(".new");
            let written = fs::write(&new, kept);
            let written = written.and_then(|()| fs::rename(&new, self.pool.path("freed")));
            written.map_err(|source| self.pool.failed("freed", source))?;
        }
        Ok(found.into_iter().map(|(_since, address)| address).collect())
    }
}

/// Since 1970.
fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Each address once, by when it was given back last. What lies in the future was written by a clock that has
/// been set since: it is let go.
fn at_rest(text: &str, now: u64) -> Vec<(u64, IpAddr)> {
    let mut last = BTreeMap::new();
    for line in text.lines() {
        let parsed = line.split_once(' ').and_then(|(address, since)| {
            Some((address.parse::<IpAddr>().ok()?, since.parse::<u64>().ok()?))
        });
        if let Some((address, since)) = parsed {
            last.insert(address, since);
        }
    }
    let rests =
        |since: &u64| now.checked_sub(*since).is_some_and(|age| u128::from(age) < REST.as_millis());
    let mut found: Vec<(u64, IpAddr)> =
        last.into_iter().filter(|(_, since)| rests(since)).map(|(it, since)| (since, it)).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_rest() {
        let text = "10.5.2.3 100000\n10.5.2.2 100001\nfd00::7 100002\n10.5.2.4 8\n10.5.2.3 100003\n10.5.2.9 900000\n\
            torn\n10.5.2.5\n10.5.2.6 x\n";
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            at_rest(text, 120_010),
            [(100_001, ip("10.5.2.2")), (100_002, ip("fd00::7")), (100_003, ip("10.5.2.3"))]
        );
        assert_eq!(at_rest(text, 500_000), []);
        assert_eq!(at_rest("", 0), []);
    }

    /// Also with what nobody of us has written.
    #[test]
    fn the_notes_are_written_anew_when_they_are_long() {
        let directory = tempfile::tempdir().unwrap();
        let pool = Pool::new(directory.path());
        let file = pool.path("freed");
        let old = "10.5.2.4 8\n".repeat(LONGEST / 8);
        let fresh = format!("10.5.2.3 {}\n", milliseconds());
        fs::write(&file, [b"\xff\n", old.as_bytes(), fresh.as_bytes()].concat()).unwrap();
        let locked = pool.lock("a boot").unwrap();
        for _ in 0..2 {
            assert_eq!(locked.resting().unwrap(), ["10.5.2.3".parse::<IpAddr>().unwrap()]);
            assert_eq!(fs::read_to_string(&file).unwrap(), fresh);
        }
    }
}
