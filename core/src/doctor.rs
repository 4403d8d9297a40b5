//! Judges what was found on a host: what keeps its containers from others', why, and the way out.
//!
//! Pure: whoever looks at the kernel, at etcd and at the peers hands over what was seen.

mod drift;
mod gate;
mod kernel;
mod refused;
mod tables;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{Family, Subnet};

pub(crate) use drift::MENDS;
pub use drift::{addresses, devices, forwarding_from, rows, rules};
pub use gate::gate;
pub use kernel::{Build, features};
pub use refused::refused;
pub use tables::foreign_tables;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and may not for long, or not for everybody.
    Warn,
    /// Something does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub check: String,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was seen, and why that is bad if it is.
    pub what: String,
    /// The way out, unless all is well.
    pub hint: Option<String>,
}

impl Finding {
    /// As it should be.
    #[must_use]
    pub fn ok(check: &str, what: impl Into<String>) -> Self {
        Self { check: check.to_owned(), verdict: Verdict::Ok, what: what.into(), hint: None }
    }

    /// It works, but.
    #[must_use]
    pub fn warn(check: &str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, hint: Some(hint.into()), ..Self::ok(check, what) }
    }

    /// It does not work.
    #[must_use]
    pub fn fail(check: &str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, hint: Some(hint.into()), ..Self::ok(check, what) }
    }
}

/// `net.ipv4.ip_forward`, or `net.ipv6.conf.all.forwarding`.
#[must_use]
pub fn forwarding(family: Family, value: &str) -> Finding {
    let check = "ip_forward";
    let setting = match family {
        Family::V4 => "net.ipv4.ip_forward",
        Family::V6 => "net.ipv6.conf.all.forwarding",
    };
    match value {
        "1" => Finding::ok(check, "the host passes packets on"),
        _off => Finding::fail(
            check,
            "the host passes no packets on between containers and the tunnel",
            format!(
                "sysctl -w {setting}=1, and find out who switches it off: the agent puts it back each \
                 time"
            ),
        ),
    }
}

/// `rp_filter` of all interfaces, and of that one: the stricter counts.
#[must_use]
pub fn source_check(device: &str, [all, own]: [&str; 2]) -> Finding {
    let check = "rp_filter";
    // Loose, 2, wins over strict, 1, which wins over off (ip-sysctl.txt: the maximum).
    if all.max(own) == "1" {
        return Finding::fail(
            check,
            format!("the source check of {device} is strict and may drop packets of peers"),
            "sysctl -w net.ipv4.conf.all.rp_filter=2",
        );
    }
    Finding::ok(check, format!("the source check of {device} lets peers' packets in"))
}

/// `net.bridge.bridge-nf-call-iptables`; `None` without the module.
#[must_use]
pub fn bridge_filter(value: Option<&str>) -> Finding {
    let check = "bridge-nf";
    match value {
        None => Finding::ok(check, "packets within a bridge pass no iptables"),
        Some("1") => Finding::ok(check, "packets within a bridge pass iptables as well"),
        Some(_off) => Finding::ok(check, "br_netfilter is there, and switched off"),
    }
}

/// What `iptables -S` says: the rules of the table `filter`.
#[must_use]
pub fn forward_chain(rules: &str) -> Finding {
    let check = "FORWARD";
    let docker = rules.lines().any(|rule| rule == "-A DOCKER-USER -j TWILL-FWD");
    let ours = |rule: &str| {
        rule.ends_with("-j TWILL-FWD")
            || rule.ends_with("-j FLANNEL-FWD")
            || (docker && rule.ends_with("-j DOCKER-USER"))
    };
    let mut before = None;
    for rule in rules.lines().filter(|rule| rule.starts_with("-A FORWARD ")) {
        if ours(rule) {
            return match before {
                Some(rule) => in_front(check, rule),
                None => Finding::ok(check, "packets from and to other hosts pass"),
            };
        }
        before = before.or(stops(rule).then_some(rule));
    }
    match before {
        Some(rule) => in_front(check, rule),
        None if rules.lines().any(|rule| rule == "-P FORWARD DROP") => Finding::fail(
            check,
            "the policy is DROP, and no rule lets the overlay network pass",
            "leave --iptables-forward-rules on; `journalctl -u twilld` says why rules are missing",
        ),
        None => Finding::ok(check, "nothing stops packets from and to other hosts"),
    }
}

/// What `iptables -t raw -S PREROUTING` says: Docker 28 and later drop there what comes to a container
/// by another interface than its bridge.
#[must_use]
pub fn raw_chain(rules: &str, subnet: Subnet) -> Finding {
    let check = "raw PREROUTING";
    // What stands behind ours does not count.
    let before = rules.lines().take_while(|rule| !rule.ends_with("-j TWILL-RAW"));
    match before.filter(|rule| stops(rule)).find(|rule| is_for(rule, subnet)) {
        Some(rule) => Finding::fail(
            check,
            format!("`{rule}` drops what other hosts send to this container"),
            "`journalctl -u twilld` says why the rule of ours is missing; or start dockerd with \
             --allow-direct-routing",
        ),
        None => Finding::ok(check, "nothing is dropped before it is routed"),
    }
}

fn in_front(check: &str, rule: &str) -> Finding {
    Finding::warn(
        check,
        format!("`{rule}` comes before ours and may stop the overlay network"),
        "move that rule behind ours, or remove it",
    )
}

fn stops(rule: &str) -> bool {
    rule.contains("-j DROP") || rule.contains("-j REJECT")
}

/// Does it name destinations within that block?
fn is_for(rule: &str, subnet: Subnet) -> bool {
    let mut words = rule.split_whitespace().skip_while(|word| *word != "-d").skip(1);
    let block = |word: &str| match word.parse::<IpAddr>() {
        Ok(address) => Subnet::new(address, Family::of(address).bits()),
        Err(_no_address) => word.parse().ok(),
    };
    words.next().and_then(block).is_some_and(|to| to.overlaps(subnet))
}

/// What interfaces carry, in bytes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mtus {
    /// What the agent told container runtimes.
    pub told: u32,
    /// The tunnel device, or the uplink without one: its name, and what it carries.
    pub device: (String, Option<u32>),
    /// Bridges that containers are on.
    pub bridges: Vec<(String, u32)>,
}

/// Does everything carry what it says it carries?
#[must_use]
pub fn mtus(seen: &Mtus) -> Vec<Finding> {
    let check = "MTU";
    let (device, carried) = (&seen.device.0, seen.device.1);
    let mut findings = vec![match carried {
        None => Finding::fail(
            "device",
            format!("there is no interface {device}"),
            "the agent makes it again; `journalctl -u twilld` says why it cannot",
        ),
        Some(carried) if carried < seen.told => Finding::fail(
            check,
            format!("containers are told {} bytes, {device} carries {carried}", seen.told),
            "`journalctl -u twilld`: who changes the MTU of the device?",
        ),
        Some(carried) => Finding::ok(check, format!("{device} carries {carried} bytes")),
    }];
    findings.extend(seen.bridges.iter().filter(|(_name, mtu)| *mtu > seen.told).map(
        |(bridge, mtu)| {
            Finding::warn(
                check,
                format!("bridge {bridge} carries {mtu} bytes, the tunnel {}", seen.told),
                "`twill network sync`; for Docker restart dockerd, which reads its --mtu only then",
            )
        },
    ));
    findings
}

/// Does somebody keep this host's clock?
#[must_use]
pub fn clock(kept: bool) -> Finding {
    let check = "clock";
    if kept {
        return Finding::ok(check, "a server of time keeps this host's clock");
    }
    Finding::warn(
        check,
        "no server of time keeps this host's clock: after a reboot without etcd nobody knows whether \
         the lease still holds",
        "enable chrony or systemd-timesyncd",
    )
}

/// How long etcd took for one read.
#[must_use]
pub fn etcd(took: Duration) -> Finding {
    let (check, shown) = ("etcd", milliseconds(took));
    if took < Duration::from_millis(250) {
        return Finding::ok(check, format!("answers within {shown}"));
    }
    Finding::warn(
        check,
        format!("takes {shown} for one read"),
        "look at etcd's disk and at the way to it: etcd_disk_wal_fsync_duration_seconds",
    )
}

/// What became of a few packets to one address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Echoes {
    /// How many were sent.
    pub sent: u32,
    /// How many came back.
    pub answered: u32,
    /// The mean time there and back of those.
    pub mean: Duration,
}

/// A peer by its own address, and through the tunnel if there is one to it.
#[must_use]
pub fn reach(subnet: Subnet, public: (&str, Echoes), overlay: Option<(&str, Echoes)>) -> Finding {
    let check = format!("peer {subnet}");
    let Some(overlay) = overlay else { return directly(&check, public) };
    let what = format!("{}; {}", told(public), told(overlay));
    match (public.1.answered, overlay.1.answered) {
        (0, 0) => Finding::fail(&check, what, "is that host up, and is its address right?"),
        (_there, 0) => Finding::fail(
            &check,
            what,
            "the host is there and the tunnel is not: is its agent up, and does a firewall between \
             the hosts drop UDP 8472 (vxlan), 8285 (udp) or 51820 and 51821 (wireguard)?",
        ),
        _some if public.1.is_lossy() || overlay.1.is_lossy() => {
            Finding::warn(&check, what, "packets are lost on the way: look at the link")
        }
        // Whoever drops ICMP between the hosts, all of it, does not see what is inside.
        _well => Finding::ok(&check, what),
    }
}

impl Echoes {
    /// Some came back and some did not.
    fn is_lossy(self) -> bool {
        (1..self.sent).contains(&self.answered)
    }
}

fn directly(check: &str, public: (&str, Echoes)) -> Finding {
    let (what, echoes) = (told(public), public.1);
    match echoes.answered {
        0 => Finding::warn(
            check,
            what,
            "is that host up? A firewall may drop echoes and let the rest pass",
        ),
        _some if echoes.is_lossy() => {
            Finding::warn(check, what, "packets are lost on the way: look at the link")
        }
        _all => Finding::ok(check, what),
    }
}

fn told((address, echoes): (&str, Echoes)) -> String {
    let lost = echoes.sent - echoes.answered;
    match (echoes.answered, lost) {
        (0, _) => format!("{address} does not answer"),
        (_, 0) => format!("{address} answers in {}", milliseconds(echoes.mean)),
        _some => format!(
            "{address} answers in {}, {lost} of {} lost",
            milliseconds(echoes.mean),
            echoes.sent
        ),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        for (finding, verdict) in [
            (forwarding(Family::V4, "1"), Verdict::Ok),
            (forwarding(Family::V4, "0"), Verdict::Fail),
            (forwarding(Family::V6, "0"), Verdict::Fail),
            (source_check("flannel.1", ["0", "0"]), Verdict::Ok),
            (source_check("flannel.1", ["1", "0"]), Verdict::Fail),
            (source_check("flannel.1", ["0", "1"]), Verdict::Fail),
            (source_check("flannel.1", ["1", "2"]), Verdict::Ok),
            (bridge_filter(None), Verdict::Ok),
            (clock(true), Verdict::Ok),
            (clock(false), Verdict::Warn),
            (etcd(Duration::from_millis(3)), Verdict::Ok),
            (etcd(Duration::from_millis(900)), Verdict::Warn),
        ] {
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert_eq!(finding.hint.is_none(), verdict == Verdict::Ok, "{finding:?}");
        }
    }

    #[test]
    fn forward_chains() {
        let jump = "-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD";
        let docker = "-A FORWARD -j DOCKER-USER";
        for (name, rules, verdict) in [
            ("ours alone", format!("-P FORWARD DROP\n{jump}\n"), Verdict::Ok),
            ("drops behind", format!("-P FORWARD DROP\n{jump}\n-A FORWARD -j DROP\n"), Verdict::Ok),
            (
                "ours in Docker's place",
                format!("{docker}\n-A FORWARD -j DROP\n-A DOCKER-USER -j TWILL-FWD\n"),
                Verdict::Ok,
            ),
            (
                "a reject in front",
                format!("-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with x\n{jump}\n"),
                Verdict::Warn,
            ),
            ("a drop, and none of ours", format!("{docker}\n-A FORWARD -j DROP\n"), Verdict::Warn),
            ("none, and open", "-P FORWARD ACCEPT\n".to_owned(), Verdict::Ok),
            ("none, and closed", "-P FORWARD DROP\n".to_owned(), Verdict::Fail),
        ] {
            assert_eq!(forward_chain(&rules).verdict, verdict, "{name}");
        }
    }

    #[test]
    fn dockers_drops() {
        let subnet = "10.88.34.0/24".parse().unwrap();
        let policy = "-P PREROUTING ACCEPT\n";
        let drop = |to: &str| format!("-A PREROUTING -d {to} ! -i docker0 -j DROP\n");
        for (rules, verdict) in [
            (String::new(), Verdict::Ok),
            (drop("10.88.34.2/32"), Verdict::Fail),
            (drop("10.88.34.2"), Verdict::Fail),
            (drop("172.17.0.2/32"), Verdict::Ok),
            ("-A PREROUTING -d 10.88.34.2/32 -j ACCEPT\n".to_owned(), Verdict::Ok),
            ("-A PREROUTING -j TWILL-RAW\n".to_owned() + &drop("10.88.34.2/32"), Verdict::Ok),
        ] {
            assert_eq!(raw_chain(&format!("{policy}{rules}"), subnet).verdict, verdict, "{rules}");
        }
        let subnet = "fd00:88:0:5e::/64".parse().unwrap();
        for (rules, verdict) in [
            (drop("fd00:88:0:5e::2/128"), Verdict::Fail),
            (drop("fd00:88:0:5e::2"), Verdict::Fail),
            (drop("fd00:99::2"), Verdict::Ok),
            (drop("10.88.34.2"), Verdict::Ok),
        ] {
            assert_eq!(raw_chain(&rules, subnet).verdict, verdict, "{rules}");
        }
    }

    #[test]
    fn sizes() {
        let seen = |device, bridge| Mtus {
            told: 1450,
            device: ("flannel.1".to_owned(), device),
            bridges: vec![("twill0".to_owned(), bridge)],
        };
        for (name, seen, verdicts) in [
            ("all fits", seen(Some(1450), 1450), vec![Verdict::Ok]),
            ("the device is gone", seen(None, 1450), vec![Verdict::Fail]),
            ("the device was cut", seen(Some(1300), 1450), vec![Verdict::Fail]),
            ("a bridge of before", seen(Some(1450), 1500), vec![Verdict::Ok, Verdict::Warn]),
        ] {
            let found: Vec<_> = mtus(&seen).iter().map(|finding| finding.verdict).collect();
            assert_eq!(found, verdicts, "{name}");
        }
    }

    #[test]
    fn peers() {
        let subnet = "10.88.9.0/24".parse().unwrap();
        let echoes = |answered| Echoes { sent: 3, answered, mean: Duration::from_micros(400) };
        for (public, overlay, verdict, words) in [
            (3, 3, Verdict::Ok, "answers in 0.4 ms"),
            (0, 0, Verdict::Fail, "192.0.2.9 does not answer; 10.88.9.0 does not answer"),
            (3, 0, Verdict::Fail, "10.88.9.0 does not answer"),
            // Its firewall drops ICMP; the tunnel is what counts.
            (0, 3, Verdict::Ok, "192.0.2.9 does not answer"),
            (3, 2, Verdict::Warn, "1 of 3 lost"),
            (2, 3, Verdict::Warn, "192.0.2.9 answers in 0.4 ms, 1 of 3 lost"),
        ] {
            let found =
                reach(subnet, ("192.0.2.9", echoes(public)), Some(("10.88.9.0", echoes(overlay))));
            assert_eq!(found.verdict, verdict, "{found:?}");
            assert!(found.what.contains(words), "{found:?}");
        }
        for (public, verdict) in [(3, Verdict::Ok), (1, Verdict::Warn), (0, Verdict::Warn)] {
            let found = reach(subnet, ("192.0.2.9", echoes(public)), None);
            assert_eq!(found.verdict, verdict, "{found:?}");
        }
    }
}
