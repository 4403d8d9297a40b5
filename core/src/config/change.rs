//! What another configuration means for hosts that run under the present one.
//!
//! `twillctl network set` shows it before it writes, and the agent says it when it applies.

use std::fmt;

use super::{Backend, NetworkConfig, Range, Udp, Vxlan, Wireguard};
use crate::extension::{Command, Extension};
use crate::ids::{Family, Subnet};

/// One member that differs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// The member, with the whole way to it: `Backend.MTU`.
    pub member: &'static str,
    /// What it is, in words for people.
    pub from: String,
    /// What it becomes.
    pub to: String,
    /// What running hosts do about it.
    pub effect: Effect,
    /// What people should know besides.
    pub note: &'static str,
}

/// What running hosts do about a difference, the gentlest first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Effect {
    /// Every host applies it at once; flows go on.
    Live,
    /// Every host applies it at once; its device is made anew or told, and flows wait for that.
    Pause,
    /// Hosts apply it where they can. One that cannot stays as it is, and says so.
    Hands,
    /// A host whose subnet is not admitted any more joins again, with another subnet.
    Rejoin,
}

const NOTHING: &str = "";
const PEERS: &str = "hosts serve the old and the new way until all have moved";
const SAME_LINK: &str =
    "the hosts must share a link and be known by the addresses of their own interfaces";
const MODULE: &str = "the kernel of every host must have wireguard; hosts serve the old and the new way until all have moved";
const WORD: &str = "packets get lost until peers know of it, as soon as etcd tells them";
const SECRET: &str =
    "sessions that stand go on for two minutes at most; hosts must all have the same by then";
const NOBODY: &str = "nothing carries packets any more but what you set up yourself";
const COMMANDS: &str = "the commands run as root on every host";
const CONTAINERS: &str = "new containers have the new MTU, running ones after `twill network sync`";
const FIREWALL: &str = "hosts that run twilld with --firewall auto; running flows go on";
const OTHERS: &str = "the others keep theirs";
const EVERYBODY: &str = "that is every host";
const FAMILY: &str = "that is every host; its subnet of the other family stays as it is";
const APART: &str =
    "that is every host, and those that have moved do not reach the others until they have as well";

/// What differs, in the order of the configuration; nothing if hosts would notice nothing.
#[must_use]
pub fn changes(old: &NetworkConfig, new: &NetworkConfig) -> Vec<Difference> {
    let mut found = subnets(old, new);
    found.extend(backend(&old.backend, &new.backend));
    let engine = |nftables| if nftables { "on" } else { "off" }.to_owned();
    found.extend((old.nftables != new.nftables).then(|| Difference {
        member: "EnableNFTables",
        from: engine(old.nftables),
        to: engine(new.nftables),
        effect: Effect::Live,
        note: FIREWALL,
    }));
    found
}

fn subnets(old: &NetworkConfig, new: &NetworkConfig) -> Vec<Difference> {
    let mut found = Vec::new();
    for family in [Family::V4, Family::V6] {
        let range =
            |config: &NetworkConfig| config.ranges().find(|range| range.network.family() == family);
        match (range(old), range(new)) {
            (Some(old), Some(new)) => found.extend(ranges(&old, &new)),
            (None, None) => {}
            (from, to) => {
                let words = |range: Option<Range>| {
                    range.map_or("none".to_owned(), |range| range.network.to_string())
                };
                let member = super::draft::members(family).network;
                // Their subnets of the other family stay where they are.
                let stays = old.networks().any(|old| new.networks().any(|new| new == old));
                let note = if stays { FAMILY } else { APART };
                let (from, to) = (words(from), words(to));
                found.push(Difference { member, from, to, effect: Effect::Rejoin, note });
            }
        }
    }
    found
}

fn ranges(old: &Range, new: &Range) -> Vec<Difference> {
    let same_len = old.subnet_len == new.subnet_len;
    let lowest = same_len && new.subnet_min <= old.subnet_min;
    let highest = same_len && new.subnet_max >= old.subnet_max;
    let nobody_stays =
        !same_len || new.subnet_min > old.subnet_max || new.subnet_max < old.subnet_min;
    let note = if !old.network.overlaps(new.network) {
        APART
    } else if nobody_stays {
        EVERYBODY
    } else {
        OTHERS
    };
    let row = |member, from: String, to: String, kept| {
        let (effect, note) =
            if kept && !nobody_stays { (Effect::Live, NOTHING) } else { (Effect::Rejoin, note) };
        (from != to).then_some(Difference { member, from, to, effect, note })
    };
    let base = |subnet: Subnet| subnet.base().to_string();
    let names = super::draft::members(new.network.family());
    [
        row(names.network, old.network.to_string(), new.network.to_string(), lowest && highest),
        row(names.len, old.subnet_len.to_string(), new.subnet_len.to_string(), same_len),
        row(names.min, base(old.subnet_min), base(new.subnet_min), lowest),
        row(names.max, base(old.subnet_max), base(new.subnet_max), highest),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn backend(old: &Backend, new: &Backend) -> Vec<Difference> {
    match (old, new) {
        (Backend::Udp(old), Backend::Udp(new)) => udp(*old, *new),
        (Backend::Vxlan(old), Backend::Vxlan(new)) => vxlan(old, new),
        (Backend::Wireguard(old), Backend::Wireguard(new)) => wireguard(old, new),
        (Backend::Extension(old), Backend::Extension(new)) => commands(old, new),
        (Backend::HostGw, Backend::HostGw) | (Backend::Alloc, Backend::Alloc) => Vec::new(),
        (old, new) => {
            let (effect, note) = match new {
                Backend::HostGw => (Effect::Hands, SAME_LINK),
                Backend::Alloc => (Effect::Live, NOBODY),
                Backend::Extension(_) => (Effect::Hands, COMMANDS),
                Backend::Wireguard(_) => (Effect::Hands, MODULE),
                Backend::Udp(_) | Backend::Vxlan(_) => (Effect::Live, PEERS),
            };
            let (from, to) = (old.name().to_owned(), new.name().to_owned());
            vec![Difference { member: "Backend.Type", from, to, effect, note }]
        }
    }
}

fn udp(old: Udp, new: Udp) -> Vec<Difference> {
    let row = |member, [from, to]: [String; 2], note| {
        (from != to).then_some(Difference { member, from, to, effect: Effect::Live, note })
    };
    let both = |text: fn(Udp) -> String| [text(old), text(new)];
    let port = row("Backend.Port", both(|udp| udp.port.to_string()), PEERS);
    let direct = both(|udp| switch(udp.direct_routing));
    port.into_iter().chain(row("Backend.DirectRouting", direct, NOTHING)).collect()
}

fn commands(old: &Extension, new: &Extension) -> Vec<Difference> {
    let words = |command: Option<&Command>| {
        command.map_or("none".to_owned(), |command| command.to_json().to_string())
    };
    let pairs = old.commands().into_iter().zip(new.commands());
    let differing = pairs.filter(|((_name, old), (_same, new))| old != new);
    differing
        .map(|((name, old), (_same, new))| Difference {
            member: name,
            from: words(old),
            to: words(new),
            effect: Effect::Hands,
            note: COMMANDS,
        })
        .collect()
}

fn switch(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

fn vxlan(old: &Vxlan, new: &Vxlan) -> Vec<Difference> {
    let row = |member, [from, to]: [String; 2], effect, note| {
        (from != to).then_some(Difference { member, from, to, effect, note })
    };
    let both = |text: &dyn Fn(&Vxlan) -> String| [text(old), text(new)];
    let mtu = |vxlan: &Vxlan| {
        vxlan.mtu.map_or("that of each host's interface".to_owned(), |mtu| mtu.to_string())
    };
    [
        row("Backend.VNI", both(&|vxlan| vxlan.vni.to_string()), Effect::Live, PEERS),
        row("Backend.Port", both(&|vxlan| vxlan.udp_port().to_string()), Effect::Live, PEERS),
        row("Backend.MTU", both(&mtu), Effect::Live, CONTAINERS),
        row("Backend.GBP", both(&|vxlan| switch(vxlan.gbp)), Effect::Pause, NOTHING),
        row("Backend.Learning", both(&|vxlan| switch(vxlan.learning)), Effect::Live, NOTHING),
        row(
            "Backend.DirectRouting",
            both(&|vxlan| switch(vxlan.direct_routing)),
            Effect::Live,
            NOTHING,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn wireguard(old: &Wireguard, new: &Wireguard) -> Vec<Difference> {
    let row = |member, [from, to]: [String; 2], effect, note| {
        (from != to).then_some(Difference { member, from, to, effect, note })
    };
    let both = |text: &dyn Fn(&Wireguard) -> String| [text(old), text(new)];
    let mtu = |it: &Wireguard| {
        it.mtu.map_or("that of each host's interface".to_owned(), |mtu| mtu.to_string())
    };
    // Neither is shown.
    let secret = match (old.psk, new.psk) {
        (Some(_), Some(_)) if old.psk != new.psk => ["one".to_owned(), "another".to_owned()],
        _others => both(&|it| if it.psk.is_some() { "one" } else { "none" }.to_owned()),
    };
    let keepalive = |it: &Wireguard| match it.keepalive {
        0 => "off".to_owned(),
        seconds => format!("{seconds} s"),
    };
    let port = |it: &Wireguard| it.port.to_string();
    let port_v6 = |it: &Wireguard| it.port_v6.to_string();
    let interval = "Backend.PersistentKeepaliveInterval";
    [
        row("Backend.ListenPort", both(&port), Effect::Pause, WORD),
        row("Backend.ListenPortV6", both(&port_v6), Effect::Pause, WORD),
        row("Backend.MTU", both(&mtu), Effect::Live, CONTAINERS),
        row("Backend.PSK", secret, Effect::Live, SECRET),
        row(interval, both(&keepalive), Effect::Live, NOTHING),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Effect {
    /// What running hosts do, in words for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Live => "applied live",
            Self::Pause => "applied live; flows wait while each host changes its device",
            Self::Hands => "applied live where it can be; a host that cannot says so",
            Self::Rejoin => "a host whose subnet is not admitted any more takes another one",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { member, from, to, effect, note } = self;
        write!(f, "{member} from {from} to {to}: {}", effect.words())?;
        if note.is_empty() { Ok(()) } else { write!(f, "; {note}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    const VXLAN: &str = r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan"}}"#;
    const WIREGUARD: &str = r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard"}}"#;
    const UDP: &str = r#"{"Network":"10.88.0.0/16"}"#;

    /// Each entry of the golden is a change, and what it means.
    #[test]
    fn says_what_a_change_means() {
        let rows = [
            (VXLAN, r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan","Port":8472}}"#),
            (
                VXLAN,
                r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan","Port":4789,"MTU":1400}}"#,
            ),
            (VXLAN, r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan","VNI":7,"GBP":true}}"#),
            (
                VXLAN,
                r#"{"Network":"10.88.0.0/16","Backend":{"Type":"vxlan","Learning":true,"DirectRouting":true}}"#,
            ),
            (VXLAN, UDP),
            (UDP, VXLAN),
            (UDP, r#"{"Network":"10.88.0.0/16","Backend":{"Type":"udp","Port":7000}}"#),
            (UDP, r#"{"Network":"10.88.0.0/16","Backend":{"Type":"udp","DirectRouting":true}}"#),
            (UDP, r#"{"Network":"10.88.0.0/16","Backend":{"Type":"host-gw"}}"#),
            (UDP, WIREGUARD),
            (WIREGUARD, UDP),
            (
                WIREGUARD,
                r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","ListenPort":7000,"ListenPortV6":7001,"MTU":1400}}"#,
            ),
            (
                WIREGUARD,
                r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","PersistentKeepaliveInterval":25,"PSK":"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="}}"#,
            ),
            (
                r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","PSK":"XasIfmJKikt54X+Lg4AO5m87sSkmGLb9HC+LJ/+I4Os="}}"#,
                r#"{"Network":"10.88.0.0/16","Backend":{"Type":"wireguard","PSK":"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="}}"#,
            ),
            (UDP, r#"{"Network":"10.88.0.0/16","Backend":{"Type":"alloc"}}"#),
            (UDP, r#"{"Network":"10.88.0.0/16","Backend":{"Type":"extension"}}"#),
            (
                r#"{"Network":"10.88.0.0/16","Backend":{"Type":"extension","ShutdownCommand":"a b"}}"#,
                r#"{"Network":"10.88.0.0/16","Backend":{"Type":"extension","ShutdownCommand":["a","b c"],"SubnetAddCommand":"x"}}"#,
            ),
            (UDP, r#"{"Network":"10.88.0.0/15"}"#),
            (UDP, r#"{"Network":"10.88.0.0/17"}"#),
            (UDP, r#"{"Network":"10.99.0.0/16"}"#),
            (UDP, r#"{"Network":"10.88.0.0/16","SubnetLen":25}"#),
            (UDP, r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.0.0"}"#),
            (UDP, r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.9.0","SubnetMax":"10.88.20.0"}"#),
        ];
        let told = |(old, new): (&str, &str)| {
            let found = changes(&read(old), &read(new));
            let lines = found.iter().map(|difference| format!("    {difference}\n"));
            format!("{old}\n{new}\n{}", lines.collect::<String>())
        };
        golden::check("config-changes.txt", &rows.map(told).concat());
    }

    /// What is said must be true of every subnet that a host may have.
    #[test]
    fn a_host_keeps_its_subnet_unless_a_difference_says_that_it_may_not() {
        let bounds =
            [("10.88.0.0", "10.88.7.0"), ("10.88.2.0", "10.88.4.0"), ("10.88.4.0", "10.88.6.0")];
        let all: Vec<NetworkConfig> = ["10.88.0.0/20", "10.88.0.0/21"]
            .iter()
            .flat_map(|network| [24, 25].map(|len| (network, len)))
            .flat_map(|(network, len)| bounds.map(|(min, max)| (network, len, min, max)))
            .filter_map(|(network, len, min, max)| {
                let text = format!(
                    r#"{{"Network":"{network}","SubnetLen":{len},"SubnetMin":"{min}","SubnetMax":"{max}"}}"#
                );
                NetworkConfig::parse(text.as_bytes()).ok()
            })
            .collect();
        assert_eq!(all.len(), 12, "{} configurations", all.len());
        for (old, new) in all.iter().flat_map(|old| all.iter().map(move |new| (old, new))) {
            let after = |subnet: &Subnet| subnet.next().filter(|next| *next <= old.subnet_max);
            let every = std::iter::successors(Some(old.subnet_min), after)
                .all(|subnet| new.admits(subnet.into()));
            let found = changes(old, new);
            let moves = found.iter().any(|difference| difference.effect == Effect::Rejoin);
            assert_eq!(every, !moves, "{old:?} to {new:?}: {found:?}");
            assert_eq!(found.is_empty(), old == new);
        }
    }

    fn read(text: &str) -> NetworkConfig {
        NetworkConfig::parse(text.as_bytes()).expect(text)
    }
}
