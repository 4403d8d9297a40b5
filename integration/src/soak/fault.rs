//! What can happen to a host.

use nix::sys::signal::Signal;

use super::ledger::Way;
use crate::deeds::{Deed, FLAP, Hurts, ON_THE_GATE, ON_THE_RULES, ON_THE_UPLINK, ON_TUN, ON_VXLAN};
use crate::fabric::Backend;

/// One row of the table.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) says: String,
    pub(super) hurts: Hurts,
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
    pub(super) words: [&'static str; 2],
    /// In those of the others, too.
    pub(super) everywhere: bool,
    /// The interface with which other people's rows go.
    pub(super) destroys: &'static str,
}

const NAME: Turn = Turn {
    there: &["ip link set UPLINK name lan0"],
    back: &["ip link set lan0 name UPLINK"],
    words: ["UPLINK", "lan0"],
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
    words: ["SELF", "ALIAS"],
    everywhere: true,
    destroys: "UPLINK",
};

const MTU: Turn = Turn {
    there: &["ip link set UPLINK mtu 1400"],
    back: &["ip link set UPLINK mtu 1500"],
    words: ["WIDE", "NARROW"],
    everywhere: false,
    destroys: "",
};

/// All that can happen with that backend.
pub(super) fn faults(backend: Backend) -> Vec<Fault> {
    let device: &[Deed] = match backend {
        Backend::Vxlan => &ON_VXLAN,
        Backend::Udp => &ON_TUN,
        Backend::HostGw => &ON_THE_UPLINK,
    };
    let deeds = device.iter().chain([&FLAP]).chain(&ON_THE_GATE).chain(&ON_THE_RULES);
    let deeds = deeds.map(|deed| Fault {
        says: deed.says.to_owned(),
        hurts: deed.hurts,
        work: Work::Deed(deed),
        at_once: true,
        spares_etcd: false,
    });
    let troubled = troubled(device, backend);
    deeds.chain(turns(backend)).chain(ends(backend)).chain(troubled).collect()
}

/// Some deeds in the midst of other trouble: the first, which is about a route, and the last, which is the
/// worst.
fn troubled(deeds: &'static [Deed], backend: Backend) -> Vec<Fault> {
    use Trouble::{AgentDead, AgentHangs, EtcdAway};
    let ([first, .., last] | [first @ last]) = deeds else { return Vec::new() };
    let rows = [(AgentDead, first), (AgentDead, last), (AgentHangs, first), (EtcdAway, last)];
    let faults = rows.map(|(trouble, deed)| Fault {
        says: format!("{} {}", deed.says, trouble.says()),
        // The tunnel of `udp` stands still with its agent.
        hurts: match (backend, trouble) {
            (Backend::Udp, AgentDead | AgentHangs) => Hurts::Everybody,
            _other => deed.hurts,
        },
        work: Work::While(trouble, deed),
        at_once: trouble != AgentDead,
        spares_etcd: false,
    });
    faults.into()
}

fn turns(backend: Backend) -> [Fault; 4] {
    let turn = |says: &str, turn: &'static Turn, hurts| Fault {
        says: says.to_owned(),
        hurts,
        work: Work::Turn(turn),
        at_once: true,
        spares_etcd: turn.everywhere,
    };
    // The host joins again, and a tunnel of `udp` is made anew.
    let again = if backend == Backend::Udp { Hurts::Everybody } else { Hurts::Nobody };
    // Rules that name it let nothing pass until they name it as it is called now.
    let named = if backend == Backend::HostGw { Hurts::Everybody } else { Hurts::Nobody };
    let unplugged = Fault {
        says: "deletes the uplink and makes it again".to_owned(),
        hurts: Hurts::Everybody,
        work: Work::Unplug,
        at_once: true,
        spares_etcd: false,
    };
    [
        turn("gives the uplink another name", &NAME, named),
        turn("gives the uplink another address", &ADDRESS, Hurts::Everybody),
        turn("gives the uplink another MTU", &MTU, again),
        unplugged,
    ]
}

/// A program ends. What the kernel carries goes on; the tunnel of `udp` is a program.
fn ends(backend: Backend) -> [Fault; 3] {
    let hurts = if backend == Backend::Udp { Hurts::Everybody } else { Hurts::Nobody };
    let end = |says: &str, work, hurts| {
        let says = says.to_owned();
        Fault { says, hurts, work, at_once: false, spares_etcd: false }
    };
    [
        end("kills the agent and starts it", Work::Agent(Signal::SIGKILL), hurts),
        end("stops the agent and starts it", Work::Agent(Signal::SIGTERM), hurts),
        end("kills etcd and starts it", Work::Etcd, Hurts::Nobody),
    ]
}

/// On which ways that may lose packets.
pub(super) fn ways(hurts: Hurts, (host, peer): (usize, usize), hosts: usize) -> Vec<Way> {
    let both = |other| [Way { from: host, to: other }, Way { from: other, to: host }];
    match hurts {
        Hurts::Nobody => Vec::new(),
        Hurts::Peer => vec![Way { from: host, to: peer }],
        Hurts::Everybody => (0..hosts).filter(|other| *other != host).flat_map(both).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        for (backend, count) in [(Backend::Vxlan, 47), (Backend::Udp, 33), (Backend::HostGw, 29)] {
            let faults = faults(backend);
            let names: BTreeSet<&str> = faults.iter().map(|fault| fault.says.as_str()).collect();
            assert_eq!((faults.len(), names.len()), (count, count), "{backend:?}");
        }
    }

    #[test]
    fn only_those_ways_are_hit_that_have_to_do_with_the_host() {
        let ways = |hurts| ways(hurts, (1, 2), 3);
        let way = |from, to| Way { from, to };
        assert_eq!(ways(Hurts::Nobody), []);
        assert_eq!(ways(Hurts::Peer), [way(1, 2)]);
        assert_eq!(ways(Hurts::Everybody), [way(1, 0), way(0, 1), way(1, 2), way(2, 1)]);
    }
}
