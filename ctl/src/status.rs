//! `twillctl status`: what the agent of this host says about itself.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use serde::Serialize;
use twill_core::ids::NetworkName;
use twill_core::status::{EtcdState, HostStatus, InIpv6, NetworkStatus, Status, Watched};

use crate::agent::{self, Answer, Told, not_yet};
use crate::args::Output;
use crate::failure::Failure;
use crate::report::{self, Report};
use crate::table;

/// The exit code of an agent that is not ready.
pub(crate) const NOT_READY: u8 = 3;

/// Asks, renders, judges.
pub(crate) async fn show(
    (socket, network): (&Path, Option<&NetworkName>),
    output: Output,
) -> Result<Report, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (status, answer) = match agent::status(socket, network).await? {
        Told::Status(status, answer) => (status, answer),
        Told::Several(several, answer) => return Ok(all(&several, &answer, (output, now))),
        Told::NotYet(answer) => {
            return Ok(Report {
                notes: vec![not_yet(&answer)],
                code: NOT_READY,
                ..Report::default()
            });
        }
    };
    let ready = agent::ask(socket, &agent::of(network, "/readyz")).await?;
    let mut report = Report::of(match output {
        Output::Json => json(&answer, &*status),
        Output::Table => text(&status, now),
    });
    if ready.status != StatusCode::OK {
        report.notes.push(not_yet(&ready));
    }
    if ready.status != StatusCode::OK || !converged(&status) {
        report.code = NOT_READY;
    }
    Ok(report)
}

/// A host in several networks is ready if it is in each of them.
fn all(several: &HostStatus, answer: &Answer, (output, now): (Output, u64)) -> Report {
    let mut report = Report::default();
    let mut sections = Vec::new();
    if let Some(watch) = &several.watch {
        sections.push(followed(watch));
        if let Some(why) = &watch.unready {
            report.notes.push(why.clone());
            report.code = NOT_READY;
        }
    }
    for NetworkStatus { name, ready, unready, status } in &several.networks {
        if !ready {
            report.notes.push(format!("network {name} is not ready: {}", unready.join("; ")));
        }
        if !ready || !status.as_ref().is_some_and(converged) {
            report.code = NOT_READY;
        }
        let of_network = status.as_ref().map(|status| text(status, now));
        let of_network =
            of_network.unwrap_or_else(|| table::pairs(vec![("Waiting", unready.join("; "))]));
        sections.push(format!("NETWORK {name}\n{of_network}"));
    }
    report.data = match output {
        Output::Json => json(answer, several),
        Output::Table => sections.join("\n"),
    };
    report
}

/// How it stands with the list of networks.
fn followed(watch: &Watched) -> String {
    let how = match (watch.etcd, &watch.error) {
        (EtcdState::Connected, _) => "followed".to_owned(),
        (EtcdState::Away, Some(error)) => format!("not followed: {error}"),
        (EtcdState::Away, None) => "not asked for yet".to_owned(),
    };
    let mut text = table::pairs(vec![("Networks", format!("all under {}, {how}", watch.prefix))]);
    if !watch.refused.is_empty() {
        let rows = watch.refused.iter().map(|why| [why.clone()]).collect();
        text = text + "\n" + &table::columns(["LEFT OUT"], rows);
    }
    text
}

fn converged(status: &Status) -> bool {
    status.pending.is_empty() && status.last_error.is_none()
}

/// The agent's own document, with members that this version does not know.
fn json(answer: &Answer, document: &impl Serialize) -> String {
    let value: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    value.map_or_else(|| report::json(document), |value| report::json(&value))
}

fn text(status: &Status, now: u64) -> String {
    let lease = match status.lease_expires {
        None => "reserved, never ends".to_owned(),
        Some(end) if end <= now => "ended".to_owned(),
        Some(end) => format!("ends in {} unless renewed", table::span(end - now)),
    };
    let since = status.standing.etcd_since.map(|since| table::span(now.saturating_sub(since)));
    let etcd = match (status.etcd, since) {
        (EtcdState::Connected, _) => "connected".to_owned(),
        (EtcdState::Away, None) => "away; the last known network stays in force".to_owned(),
        (EtcdState::Away, Some(span)) => {
            format!("away for {span}; the last known network stays in force")
        }
    };
    let state = match (&status.last_error, status.pending.len()) {
        (Some(error), _) => format!("failing: {error}"),
        (None, 0) => "converged".to_owned(),
        (None, 1) => "1 write to do".to_owned(),
        (None, writes) => format!("{writes} writes to do"),
    };
    let also = match &status.earlier[..] {
        [] => String::new(),
        earlier => format!("; still serves {}", earlier.join(", ")),
    };
    let mut rows = vec![
        ("Host", format!("{} ({})", status.hostname, status.node)),
        ("Version", status.version.clone()),
        ("Network", status.network.to_string()),
        ("Subnet", status.subnet.to_string()),
        ("Backend", format!("{} on {}, MTU {}{also}", status.backend, status.device, status.mtu)),
        ("Public IP", status.public_ip.to_string()),
        ("Firewall", status.firewall.clone().unwrap_or_else(|| "not chosen yet".to_owned())),
        ("Lease", lease),
        ("etcd", etcd),
        ("State", state),
    ];
    if let Some(beside) = &status.ipv6 {
        let InIpv6 { network, subnet, public_ip, device } = beside;
        let text = format!("{subnet} of {network}, at {public_ip} by {device}");
        rows.insert(4, ("IPv6", text));
    }
    if let Some(error) = &status.config_error {
        rows.push(("Config", format!("the newest is not applied: {error}")));
    }
    table::pairs(rows) + &lists(status)
}

/// What there may be several of, each under a header of its own.
fn lists(status: &Status) -> String {
    let mut text = String::new();
    let row = |first: &dyn ToString, second: &dyn ToString| [first.to_string(), second.to_string()];
    if !status.peers.is_empty() {
        let rows = status.peers.iter().map(|peer| row(&peer.subnet, &peer.public_ip)).collect();
        text = text + "\n" + &table::columns(["PEER", "PUBLIC-IP"], rows);
    }
    if !status.ignored.is_empty() {
        let rows = status.ignored.iter().map(|lease| row(&lease.key, &lease.why)).collect();
        text = text + "\n" + &table::columns(["IGNORED", "WHY"], rows);
    }
    if !status.standing.degraded.is_empty() {
        let rows = status.standing.degraded.iter().map(|reason| [reason.clone()]).collect();
        text = text + "\n" + &table::columns(["DEGRADED"], rows);
    }
    if !status.pending.is_empty() {
        let rows = status.pending.iter().map(|change| [change.clone()]).collect();
        text = text + "\n" + &table::columns(["TO DO"], rows);
    }
    text
}

#[cfg(test)]
pub(crate) use tests::status as example;

#[cfg(test)]
mod tests {
    use twill_core::ids::{Mtu, NodeId, Underlay};
    use twill_core::status::{Ignored, Peer, Reason, SCHEMA, Source, Standing};

    use super::*;
    use crate::golden;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn a_host_that_is_well() {
        golden::check("status-well.txt", &text(&status(), NOW));
    }

    #[test]
    fn a_host_with_every_trouble() {
        let status = Status {
            lease_expires: Some(NOW),
            etcd: EtcdState::Away,
            standing: Standing {
                source: Source::Picture,
                picture_kept: Some(NOW - 7200),
                etcd_since: Some(NOW - 3660),
                lease_left: Some(0),
                degraded: vec![
                    "the network is that of this host's picture of 2h00m ago".to_owned(),
                ],
            },
            ignored: vec![Ignored {
                key: "10.88.9.0-24".to_owned(),
                why: "its backend is host-gw, ours vxlan".to_owned(),
                reason: Reason::OtherBackend,
            }],
            pending: vec!["put route 10.88.7.0/24".to_owned()],
            last_error: Some("cannot add route 10.88.7.0/24: network is down".to_owned()),
            earlier: vec!["udp on port 8285".to_owned()],
            config_error: Some("Backend.Type is \"nosuch\", which is not a backend".to_owned()),
            ..status()
        };
        golden::check("status-trouble.txt", &text(&status, NOW));
        assert!(!converged(&status));
    }

    #[test]
    fn a_host_in_several_networks() {
        let network = |name: &str, unready: &[&str], status| NetworkStatus {
            name: name.parse().unwrap(),
            ready: unready.is_empty(),
            unready: unready.iter().map(|why| (*why).to_owned()).collect(),
            status,
        };
        let why = "etcd has no network configuration under /coreos.com/network/green/config";
        let several = HostStatus {
            schema: SCHEMA,
            networks: vec![network("blue", &[], Some(status())), network("green", &[why], None)],
            watch: None,
        };
        let body = serde_json::to_vec(&several).unwrap().into();
        let answer = Answer { status: StatusCode::OK, body };
        let report = all(&several, &answer, (Output::Table, NOW));
        golden::check("status-several.txt", &report.data);
        assert_eq!(report.notes, [format!("network green is not ready: {why}")]);
        assert_eq!(report.code, NOT_READY);
        let well = HostStatus { networks: several.networks[..1].to_vec(), ..several };
        assert_eq!(all(&well, &answer, (Output::Table, NOW)).code, 0);
    }

    #[test]
    fn a_host_whose_networks_come_and_go() {
        let watch = Watched {
            prefix: "/coreos.com/network".to_owned(),
            etcd: EtcdState::Away,
            error: Some("cannot list the networks: no answer".to_owned()),
            refused: vec!["`a b` is not a name for a network".to_owned()],
            unready: None,
        };
        let blue = NetworkStatus {
            name: "blue".parse().unwrap(),
            ready: true,
            unready: vec![],
            status: None,
        };
        let blue = NetworkStatus { status: Some(status()), ..blue };
        let networks = vec![blue];
        let several = HostStatus { schema: SCHEMA, networks, watch: Some(watch.clone()) };
        let body = serde_json::to_vec(&several).unwrap().into();
        let answer = Answer { status: StatusCode::OK, body };
        let report = all(&several, &answer, (Output::Table, NOW));
        golden::check("status-followed.txt", &report.data);
        assert_eq!(report.code, 0, "what it is in is well");
        let nowhere = HostStatus { networks: Vec::new(), ..several };
        let code = |host: &HostStatus| all(host, &answer, (Output::Table, NOW)).code;
        assert_eq!(code(&nowhere), 0, "etcd has told before it went that there is none");
        let unready = Some("the networks under /coreos.com/network are not known yet".to_owned());
        let unknown = Watched { unready, ..watch.clone() };
        assert_eq!(code(&HostStatus { watch: Some(unknown), ..nowhere.clone() }), NOT_READY);
        let watch = Watched { etcd: EtcdState::Connected, error: None, refused: vec![], ..watch };
        let nowhere = HostStatus { watch: Some(watch), ..nowhere };
        let report = all(&nowhere, &answer, (Output::Table, NOW));
        assert_eq!(report.data, "Networks  all under /coreos.com/network, followed\n");
        assert_eq!(report.code, 0, "and knows that it is in none");
    }

    #[test]
    fn a_reservation_alone_in_its_network() {
        let status = Status { lease_expires: None, peers: Vec::new(), ..status() };
        assert!(text(&status, NOW).contains("reserved, never ends\n"));
        assert!(!text(&status, NOW).contains("PEER"));
    }

    pub(crate) fn status() -> Status {
        Status {
            schema: SCHEMA,
            version: "0.1.0".to_owned(),
            node: NodeId::from_random([0x5a; 16]),
            hostname: "node1".to_owned(),
            backend: "vxlan".to_owned(),
            device: "flannel.1".to_owned(),
            mtu: Mtu::new(1450).unwrap(),
            network: "10.88.0.0/16".parse().unwrap(),
            subnet: "10.88.34.0/24".parse().unwrap(),
            public_ip: Underlay([192, 168, 140, 22].into()),
            ipv6: None,
            lease_expires: Some(NOW + 86_340),
            etcd: EtcdState::Connected,
            standing: Standing::default(),
            peers: vec![Peer {
                subnet: "10.88.7.0/24".parse().unwrap(),
                public_ip: Underlay([192, 168, 140, 23].into()),
                backend: "vxlan 1 on port 8472".to_owned(),
                since: Some(NOW - 3600),
                pending: Vec::new(),
            }],
            ignored: Vec::new(),
            pending: Vec::new(),
            last_error: None,
            earlier: Vec::new(),
            config_error: None,
            firewall: Some("iptables (nf_tables)".to_owned()),
        }
    }
}
