//! What can happen to a host.

use nix::sys::signal::Signal;
use twill_core::ids::Family;

use super::ledger::Way;
use super::setting::{Engine, Setting, Travel};
use crate::deeds::{
    Deed, FLAP, Hurts, ON_THE_GATE, ON_THE_RULES, ON_THE_TABLE, ON_THE_UPLINK, ON_TUN, ON_VXLAN,
    ipv6::is_of_ipv6,
};

/// One row of the table.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) says: String,
    pub(super) hurts: Hurts,
    /// Packets of which families may be lost.
    pub(super) hits: &'static [Family],
    /// The words of its lines are those of this one.
    pub(super) words: Family,
    pub(super) work: Work,
    /// Must the kernel be as it was within a second? Not where a program is started.
    pub(super) at_once: bool,
    /// Is the host of etcd spared? Nobody would find it at another address.
    pub(super) spares_etcd: bool,
}

/// How it is done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// By commands, and undone by the agent.
    Deed(&'static Deed),
    /// By commands, and taken back by others; the agent goes along both ways.
    Turn(&'static Turn),
    /// The cable's end is gone, and a new one comes.
    Unplug,
    /// The agent ends so, and is started again.
    Agent(Signal),
    /// By commands while that is so.
    While(Trouble, &'static Deed),
    /// etcd is killed, and is started again.
    Etcd,
}

/// What is so while somebody does something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    AgentDead,
    AgentHangs,
    EtcdAway,
}

impl Trouble {
    fn says(self) -> &'static str {
        match self {
            Self::AgentDead => "while the agent is dead",
            Self::AgentHangs => "while the agent hangs",
            Self::EtcdAway => "while etcd is away",
        }
    }
}

/// Another uplink than before, for a while. The words are those of deeds.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) there: &'static [&'static str],
    pub(super) back: &'static [&'static str],
    /// What stands in this host's rows, and what stands there instead.
    pub(super) words: &'static [[&'static str; 2]],
    /// In those of the others, too.
    pub(super) everywhere: bool,
    /// The interface with which other people's rows go.
    pub(super) destroys: &'static str,
}

const NAME: Turn = Turn {
    there: &["ip link set UPLINK name lan0"],
    back: &["ip link set lan0 name UPLINK"],
    words: &[["UPLINK", "lan0"]],
    everywhere: false,
    destroys: "",
};

const ADDRESS: Turn = Turn {
    there: &[
        "ip addr del SELF/24 dev UPLINK",
        "ip addr add ALIAS/24 dev UPLINK",
        "ip route replace default via ROUTER",
    ],
    back: &[
        "ip addr del ALIAS/24 dev UPLINK",
        "ip addr add SELF/24 dev UPLINK",
        "ip route replace default via ROUTER",
    ],
    words: &[["SELF", "ALIAS"]],
    everywhere: true,
    destroys: "UPLINK",
};

const ADDRESS_OF_IPV6: Turn = Turn {
    there: &["ip -6 addr del SELF/64 dev UPLINK", "ip -6 addr add ALIAS/64 dev UPLINK nodad"],
    back: &["ip -6 addr del ALIAS/64 dev UPLINK", "ip -6 addr add SELF/64 dev UPLINK nodad"],
    ..ADDRESS
};

const MTU: Turn = Turn {
    there: &["ip link set UPLINK mtu 1400"],
    back: &["ip link set UPLINK mtu 1500"],
    words: &[["WIDE4", "NARROW4"], ["WIDE6", "NARROW6"]],
    everywhere: false,
    destroys: "",
};

/// All that can happen in that world.
pub(super) fn faults(setting: Setting) -> Vec<Fault> {
    let mut faults = Vec::new();
    for family in setting.families() {
        let deeds = deeds(setting, *family);
        faults.extend(deeds.iter().map(|deed| of_deed(setting, deed, *family)));
        faults.extend(troubled(setting, &deeds, *family));
    }
    let table: &[Deed] = if setting.engine == Engine::Nftables { &ON_THE_TABLE } else { &[] };
    for deed in table.iter().chain([&FLAP]) {
        // Links and that table are of no family.
        let fault = of_deed(setting, deed, Family::V4);
        faults.push(Fault { hits: setting.families(), ..fault });
    }
    faults.into_iter().chain(turns(setting)).chain(ends(setting)).collect()
}

/// All that may be done to what is of one family.
fn deeds(setting: Setting, family: Family) -> Vec<&'static Deed> {
    let device: Vec<&Deed> = match setting.way {
        Travel::Udp | Travel::UdpShortcut => ON_TUN.iter().collect(),
        Travel::Vxlan => ON_VXLAN.iter().collect(),
        // All are on the link, so that the tunnel has no peer.
        Travel::VxlanDirect => {
            let of_peer = |deed: &&Deed| {
                deed.types.iter().any(|line| line.contains("PEER") || line.contains("MAC"))
            };
            ON_THE_UPLINK.iter().chain(ON_VXLAN.iter().filter(|deed| !of_peer(deed))).collect()
        }
        Travel::HostGw => ON_THE_UPLINK.iter().collect(),
    };
    // With nftables those of iptables alone that let through what others' would drop.
    let of_engine = |deed: &&Deed| {
        let masks = |line: &&str| line.contains("-t nat") || line.contains("-t mangle");
        setting.engine == Engine::Iptables || !deed.types.iter().any(masks)
    };
    let rules = ON_THE_RULES.iter().filter(of_engine);
    let deeds = device.into_iter().chain(&ON_THE_GATE).chain(rules);
    deeds.filter(|deed| family == Family::V4 || is_of_ipv6(deed)).collect()
}

fn of_deed(setting: Setting, deed: &'static Deed, family: Family) -> Fault {
    let says = match family {
        Family::V4 => deed.says.to_owned(),
        Family::V6 => format!("{} (IPv6)", deed.says),
    };
    // Two routes of IPv6 to one place share what goes there, in whichever order they came.
    let beside = |line: &&str| family == Family::V6 && line.contains("route append");
    let hurts = match deed.hurts {
        // Nothing goes by a tunnel in which nobody is.
        Hurts::Everybody if setting.way == Travel::VxlanDirect && is_about_the_device(deed) => {
            Hurts::Nobody
        }
        Hurts::Nobody if deed.types.iter().any(beside) => Hurts::Peer,
        hurts => hurts,
    };
    Fault {
        says,
        hurts,
        hits: one(family),
        words: family,
        work: Work::Deed(deed),
        at_once: true,
        spares_etcd: false,
    }
}

fn is_about_the_device(deed: &Deed) -> bool {
    deed.types.iter().all(|line| line.contains("DEVICE"))
}

fn one(family: Family) -> &'static [Family] {
    match family {
        Family::V4 => &[Family::V4],
        Family::V6 => &[Family::V6],
    }
}

/// Some deeds in the midst of other trouble: the first, which is about a route, and the worst one to the
/// device.
fn troubled(setting: Setting, deeds: &[&'static Deed], family: Family) -> Vec<Fault> {
    use Trouble::{AgentDead, AgentHangs, EtcdAway};
    let worst = |deed: &&&Deed| deed.destroys == "DEVICE";
    let Some(first) = deeds.first() else { return Vec::new() };
    let last = deeds.iter().rfind(worst).unwrap_or(first);
    let rows = [(AgentDead, first), (AgentDead, last), (AgentHangs, first), (EtcdAway, last)];
    let fault = |(trouble, deed): (Trouble, &&'static Deed)| {
        let fault = of_deed(setting, deed, family);
        // The tunnel of `udp` stands still with its agent, and goes with it.
        let stands = match trouble {
            AgentDead | AgentHangs => setting.stands_with_agent(),
            EtcdAway => false,
        };
        Fault {
            says: format!("{} {}", fault.says, trouble.says()),
            hurts: if stands { Hurts::Everybody } else { fault.hurts },
            hits: if stands { setting.families() } else { fault.hits },
            work: Work::While(trouble, deed),
            at_once: trouble != AgentDead,
            ..fault
        }
    };
    let mut faults: Vec<Fault> = rows.map(fault).into();
    faults.dedup_by(|one, other| one.says == other.says);
    faults
}

fn turns(setting: Setting) -> Vec<Fault> {
    let turn = |says: &str, turn: &'static Turn, hurts| Fault {
        says: says.to_owned(),
        hurts,
        hits: setting.families(),
        words: Family::V4,
        work: Work::Turn(turn),
        at_once: true,
        spares_etcd: turn.everywhere,
    };
    // The host joins again, and a tunnel of `udp` is made anew.
    let again = if setting.way.is_udp() { Hurts::Everybody } else { Hurts::Nobody };
    // Rules that name it let nothing pass until they name it as it is called now.
    let named = if setting.way.is_plain() { Hurts::Everybody } else { Hurts::Nobody };
    let unplugged = Fault {
        says: "deletes the uplink and makes it again".to_owned(),
        hurts: Hurts::Everybody,
        hits: setting.families(),
        words: Family::V4,
        work: Work::Unplug,
        at_once: true,
        spares_etcd: false,
    };
    let mut turns = vec![
        turn("gives the uplink another name", &NAME, named),
        turn("gives the uplink another MTU", &MTU, again),
        unplugged,
    ];
    for family in setting.families() {
        let (says, address) = match family {
            Family::V4 => ("gives the uplink another address", &ADDRESS),
            Family::V6 => ("gives the uplink another address (IPv6)", &ADDRESS_OF_IPV6),
        };
        let hits = if setting.way.is_udp() { setting.families() } else { one(*family) };
        let turn = turn(says, address, Hurts::Everybody);
        // etcd is reached by IPv4.
        turns.push(Fault { hits, words: *family, spares_etcd: *family == Family::V4, ..turn });
    }
    turns
}

/// A program ends. What the kernel carries goes on; the tunnel of `udp` is a program.
fn ends(setting: Setting) -> [Fault; 3] {
    let hurts = if setting.stands_with_agent() { Hurts::Everybody } else { Hurts::Nobody };
    let end = |says: &str, work, hurts| Fault {
        says: says.to_owned(),
        hurts,
        hits: setting.families(),
        words: Family::V4,
        work,
        at_once: false,
        spares_etcd: false,
    };
    [
        end("kills the agent and starts it", Work::Agent(Signal::SIGKILL), hurts),
        end("stops the agent and starts it", Work::Agent(Signal::SIGTERM), hurts),
        end("kills etcd and starts it", Work::Etcd, Hurts::Nobody),
    ]
}

/// On which ways packets of these families may be lost.
pub(super) fn ways(
    (hurts, families): (Hurts, &[Family]),
    (host, peer): (usize, usize),
    hosts: usize,
) -> Vec<Way> {
    let way = |from, to| families.iter().map(move |family| Way { from, to, family: *family });
    let both = |other| way(host, other).chain(way(other, host));
    match hurts {
        Hurts::Nobody => Vec::new(),
        Hurts::Peer => way(host, peer).collect(),
        Hurts::Everybody => (0..hosts).filter(|other| *other != host).flat_map(both).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::setting::{Addresses, Wanted};
    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        for setting in Wanted::default().settings(1) {
            let faults = faults(setting);
            let names: BTreeSet<&str> = faults.iter().map(|fault| fault.says.as_str()).collect();
            assert_eq!(faults.len(), names.len(), "{setting}");
        }
        let count =
            |way, addresses| faults(Setting { way, engine: Engine::Iptables, addresses }).len();
        assert_eq!(count(Travel::Vxlan, Addresses::Ipv4), 47);
        assert_eq!(count(Travel::Udp, Addresses::Ipv4), 33);
        assert!(count(Travel::Vxlan, Addresses::Dual) > 80);
    }

    #[test]
    fn only_those_ways_are_hit_that_have_to_do_with_the_host() {
        let ways = |hurts| ways((hurts, &[Family::V6]), (1, 2), 3);
        let way = |from, to| Way { from, to, family: Family::V6 };
        assert_eq!(ways(Hurts::Nobody), []);
        assert_eq!(ways(Hurts::Peer), [way(1, 2)]);
        assert_eq!(ways(Hurts::Everybody), [way(1, 0), way(0, 1), way(1, 2), way(2, 1)]);
    }

    #[test]
    fn what_is_of_one_family_hits_no_packet_of_the_other() {
        let (way, engine, addresses) = (Travel::Vxlan, Engine::Nftables, Addresses::Dual);
        for fault in faults(Setting { way, engine, addresses }) {
            if fault.says.contains("IPv6") {
                assert_eq!(fault.hits, [Family::V6], "{}", fault.says);
            }
        }
    }
}
