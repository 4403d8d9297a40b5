//! What an event means to somebody who saw the ones before.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use twill_core::ids::{NodeId, Revision, Subnet, Underlay};
use twill_core::lease::{Event, Key, Lease, Listing, Malformed};

use crate::leases;

/// Above the lines of a table.
pub(super) const HEADER: &str =
    "TIME                      EVENT    SUBNET              PUBLIC-IP        BACKEND  NODE";

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    /// It was there when the watch began.
    There,
    New,
    Renewed,
    Changed,
    Gone,
    Spoilt,
}

/// One line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Line {
    pub(super) what: What,
    key: String,
    revision: Revision,
    /// Of a key that is gone: the last that was known.
    lease: Option<Lease>,
    why: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    time: String,
    event: What,
    key: &'a str,
    subnet: Option<Subnet>,
    public_ip: Option<Underlay>,
    backend: Option<&'a str>,
    node: Option<NodeId>,
    hostname: Option<&'a str>,
    reserved: Option<bool>,
    why: Option<&'a str>,
    revision: Revision,
}

/// The leases as the lines so far told them.
#[derive(Debug, Default)]
pub(super) struct Story {
    leases: BTreeMap<Key, Lease>,
    spoilt: BTreeMap<String, Malformed>,
    begun: bool,
}

impl Story {
    /// The lines of one event. A snapshot after the first gives those of everything that was missed.
    pub(super) fn tell(&mut self, event: Event) -> Vec<Line> {
        match event {
            Event::Snapshot(listing) => self.catch_up(listing),
            Event::Put(lease) => self.put(lease).into_iter().collect(),
            Event::Malformed(entry) => self.spoil(entry).into_iter().collect(),
            Event::Gone(key, revision) => {
                self.end(&key.to_string(), revision).into_iter().collect()
            }
            Event::GoneMalformed(key, revision) => self.end(&key, revision).into_iter().collect(),
        }
    }

    fn catch_up(&mut self, listing: Listing) -> Vec<Line> {
        let begun = std::mem::replace(&mut self.begun, true);
        let spoilt = listing.malformed.iter().map(|entry| entry.key.clone());
        let now: Vec<String> =
            listing.leases.iter().map(|lease| lease.key.to_string()).chain(spoilt).collect();
        let known = self.leases.keys().map(ToString::to_string).chain(self.spoilt.keys().cloned());
        let gone: Vec<String> = known.filter(|key| !now.contains(key)).collect();
        let mut lines: Vec<Line> =
            gone.iter().filter_map(|key| self.end(key, listing.revision)).collect();
        lines.extend(listing.leases.into_iter().filter_map(|lease| self.put(lease)));
        lines.extend(listing.malformed.into_iter().filter_map(|entry| self.spoil(entry)));
        for line in lines.iter_mut().filter(|line| !begun && line.what == What::New) {
            line.what = What::There;
        }
        lines
    }

    /// Nothing for what was told already: after a break some events come twice.
    fn put(&mut self, lease: Lease) -> Option<Line> {
        let key = lease.key.to_string();
        let was_spoilt = self.spoilt.remove(&key).is_some();
        let what = match self.leases.get(&lease.key) {
            Some(before) if before.revision >= lease.revision && !was_spoilt => return None,
            // With another etcd lease too: flanneld takes a new one each time.
            Some(before)
                if before.value == lease.value
                    && before.lease_id.is_some() == lease.lease_id.is_some() =>
            {
                What::Renewed
            }
            Some(_) => What::Changed,
            None if was_spoilt => What::Changed,
            None => What::New,
        };
        self.leases.insert(lease.key, lease.clone());
        Some(Line { what, key, revision: lease.revision, lease: Some(lease), why: None })
    }

    fn spoil(&mut self, entry: Malformed) -> Option<Line> {
        let before = self.spoilt.insert(entry.key.clone(), entry.clone());
        if before.is_some_and(|before| before.revision >= entry.revision) {
            return None;
        }
        let lease = entry.lease.and_then(|key| self.leases.get(&key)).cloned();
        let (key, revision, why) = (entry.key, entry.revision, Some(entry.why));
        Some(Line { what: What::Spoilt, key, revision, lease, why })
    }

    fn end(&mut self, key: &str, revision: Revision) -> Option<Line> {
        let spoilt = self.spoilt.remove(key);
        let lease = key.parse().ok().and_then(|key: Key| self.leases.remove(&key));
        if spoilt.is_none() && lease.is_none() {
            return None;
        }
        Some(Line { what: What::Gone, key: key.to_owned(), revision, lease, why: None })
    }
}

impl Line {
    /// Whose lease it is, or was.
    pub(super) fn node(&self) -> Option<NodeId> {
        self.lease.as_ref()?.value.node
    }

    /// For people.
    pub(super) fn text(&self, time: Timestamp, hostname: Option<&str>) -> String {
        let (subnet, public_ip, backend, node) = match &self.lease {
            None => (self.key.clone(), "-".to_owned(), "-", "-".to_owned()),
            Some(lease) => {
                let id = lease.value.node.map(|id| id.to_string());
                let name = hostname.map(ToOwned::to_owned).or(id);
                let address = lease.value.public_ip.to_string();
                let backend = leases::backend(&lease.value.backend);
                (
                    lease.subnet().to_string(),
                    address,
                    backend,
                    name.unwrap_or_else(|| "-".to_owned()),
                )
            }
        };
        let reserved =
            self.is_reserved().is_some_and(|reserved| reserved && self.what != What::Gone);
        let mut rest = node;
        rest.extend(reserved.then_some(", reserved".to_owned()));
        rest.extend(self.why.as_ref().map(|why| format!(", {why}")));
        let line = format!(
            "{}  {:<7}  {subnet:<18}  {public_ip:<15}  {backend:<7}  {rest}",
            stamp(time),
            self.what.word()
        );
        // Other programs chose some of these words: none of them steers this terminal.
        line.chars().flat_map(printable).collect::<String>().trim_end().to_owned()
    }

    /// For programs: one line.
    pub(super) fn json(&self, time: Timestamp, hostname: Option<&str>) -> String {
        let lease = self.lease.as_ref();
        let document = Document {
            time: stamp(time),
            event: self.what,
            key: &self.key,
            subnet: self.key.parse().ok().map(|key: Key| key.subnet),
            public_ip: lease.map(|lease| lease.value.public_ip),
            backend: lease.map(|lease| leases::backend(&lease.value.backend)),
            node: self.node(),
            hostname,
            reserved: self.is_reserved(),
            why: self.why.as_deref(),
            revision: self.revision,
        };
        // Numbers and texts always have a JSON form.
        serde_json::to_string(&document).unwrap_or_default()
    }

    fn is_reserved(&self) -> Option<bool> {
        self.lease.as_ref().map(|lease| lease.lease_id.is_none())
    }
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::New => "new",
            Self::Renewed => "renewed",
            Self::Changed => "changed",
            Self::Gone => "gone",
            Self::Spoilt => "spoilt",
        }
    }
}

fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn printable(letter: char) -> Vec<char> {
    if letter.is_control() { letter.escape_default().collect() } else { vec![letter] }
}
