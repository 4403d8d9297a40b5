//! `twillctl peers`: the hosts that this one sends to, and the leases of which it makes no use.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use twill_core::ids::{NetworkName, Underlay};
use twill_core::lease::Key;
use twill_core::status::{Ignored, NetworkStatus, Peer, Reason, Status};

use crate::agent::{self, Told, not_yet};
use crate::args::Output;
use crate::failure::Failure;
use crate::report::{self, Report};
use crate::status::NOT_READY;
use crate::table;

/// One host as `-o json` shows it.
#[derive(Debug, Eq, PartialEq, Serialize)]
struct Row {
    /// Where it is a peer, on a host in several networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkName>,
    /// Its block; of a lease that nobody can read, its key.
    subnet: String,
    /// Where it listens; `null` of a lease that is not used.
    public_ip: Option<Underlay>,
    /// How it is sent to.
    backend: Option<String>,
    /// Seconds since 1970 at which this host's agent learned of it as it is now.
    since: Option<u64>,
    state: State,
    /// The writes that the kernel still lacks for it.
    pending: Vec<String>,
    /// Why it is not used.
    why: Option<String>,
    /// The same as one of a few words.
    reason: Option<Reason>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    InPlace,
    Pending,
    Ignored,
}

/// Asks, and renders.
pub(crate) async fn list(
    (socket, network): (&Path, Option<&NetworkName>),
    output: Output,
) -> Result<Report, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut report = Report::default();
    let rows = match agent::status(socket, network).await? {
        Told::Status(status, _answer) => rows(&status),
        Told::Several(several, _answer) => {
            let mut all = Vec::new();
            for NetworkStatus { name, unready, status, .. } in several.networks {
                let Some(status) = status else {
                    report.notes.push(format!("network {name}: {}", unready.join("; ")));
                    report.code = NOT_READY;
                    continue;
                };
                let named = |row| Row { network: Some(name.clone()), ..row };
                all.extend(rows(&status).into_iter().map(named));
            }
            all
        }
        Told::NotYet(answer) => {
            let notes = vec![not_yet(&answer)];
            return Ok(Report { notes, code: NOT_READY, ..Report::default() });
        }
    };
    report.data = match output {
        Output::Json => report::json(&rows),
        Output::Table => text(&rows, now),
    };
    Ok(report)
}

/// The peers by subnet, then what is not used. A peer that cannot be reached is in both lists of the
/// agent, and once in this one.
fn rows(status: &Status) -> Vec<Row> {
    let mut ignored: BTreeMap<&str, &Ignored> =
        status.ignored.iter().map(|lease| (lease.key.as_str(), lease)).collect();
    let mut rows: Vec<Row> = Vec::new();
    for peer in &status.peers {
        let key = Key::from(peer.subnet).to_string();
        rows.push(row(peer, ignored.remove(key.as_str())));
    }
    rows.extend(ignored.into_values().map(|lease| Row {
        network: None,
        subnet: subnet(&lease.key),
        public_ip: None,
        backend: None,
        since: None,
        state: State::Ignored,
        pending: Vec::new(),
        why: Some(lease.why.clone()),
        reason: Some(lease.reason),
    }));
    rows
}

fn row(peer: &Peer, ignored: Option<&Ignored>) -> Row {
    let state = match (ignored, peer.pending.is_empty()) {
        (Some(_why), _) => State::Ignored,
        (None, true) => State::InPlace,
        (None, false) => State::Pending,
    };
    Row {
        network: None,
        subnet: peer.subnet.to_string(),
        public_ip: Some(peer.public_ip),
        backend: Some(peer.backend.clone()).filter(|name| !name.is_empty()),
        since: peer.since,
        state,
        pending: peer.pending.clone(),
        why: ignored.map(|lease| lease.why.clone()),
        reason: ignored.map(|lease| lease.reason),
    }
}

/// As people write it, if it is one.
fn subnet(key: &str) -> String {
    key.parse::<Key>().map_or_else(|_none| key.to_owned(), |key| key.words())
}

/// The same for people.
fn text(rows: &[Row], now: u64) -> String {
    let dash = || "-".to_owned();
    let cells = |row: &Row| {
        let state = match row.state {
            State::InPlace => "in place".to_owned(),
            State::Pending => format!("pending: {}", row.pending.join("; ")),
            State::Ignored => format!("ignored: {}", row.why.as_deref().unwrap_or("no reason")),
        };
        [
            row.subnet.clone(),
            row.public_ip.map_or_else(dash, |address| address.to_string()),
            row.backend.clone().unwrap_or_else(dash),
            row.since.map_or_else(dash, |since| table::span(now.saturating_sub(since))),
            state,
        ]
    };
    let header = ["SUBNET", "PUBLIC-IP", "BACKEND", "KNOWN-FOR", "STATE"];
    if rows.iter().all(|row| row.network.is_none()) {
        return table::columns(header, rows.iter().map(cells).collect());
    }
    let behind = |name: String, [a, b, c, d, e]: [String; 5]| [name, a, b, c, d, e];
    let name = |row: &Row| row.network.as_ref().map_or_else(dash, ToString::to_string);
    let rows = rows.iter().map(|row| behind(name(row), cells(row))).collect();
    table::columns(
        behind("NETWORK".to_owned(), header.map(str::to_owned)).each_ref().map(String::as_str),
        rows,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn peers_in_every_state() {
        let peer = |subnet: &str, host: &str, pending: &[&str]| Peer {
            subnet: subnet.parse().unwrap(),
            public_ip: host.parse().unwrap(),
            backend: "host-gw".to_owned(),
            since: Some(NOW - 3661),
            pending: pending.iter().map(|row| (*row).to_owned()).collect(),
        };
        let ignored = |key: &str, why: &str, reason| Ignored {
            key: key.to_owned(),
            why: why.to_owned(),
            reason,
        };
        let status = Status {
            peers: vec![
                peer("10.88.7.0/24", "192.168.140.23", &[]),
                peer("10.88.8.0/24", "192.168.140.24", &["route 10.88.8.0/24 via 192.168.140.24"]),
                peer("10.88.9.0/24", "203.0.113.9", &[]),
            ],
            ignored: vec![
                ignored(
                    "10.88.5.0-24",
                    "its backend is udp, ours is host-gw",
                    Reason::OtherBackend,
                ),
                ignored("10.88.9.0-24", "it is behind a router", Reason::OutOfReach),
                ignored("strange", "no key of a lease", Reason::Malformed),
            ],
            ..crate::status::example()
        };
        let mut rows = rows(&status);
        golden::check("peers.txt", &text(&rows, NOW));
        golden::check("peers.json", &report::json(&rows));
        rows.truncate(2);
        for (row, name) in rows.iter_mut().zip(["blue", "green"]) {
            row.network = Some(name.parse().unwrap());
        }
        golden::check("peers-several.txt", &text(&rows, NOW));
        assert!(report::json(&rows).contains("\"network\": \"green\""));
    }
}
