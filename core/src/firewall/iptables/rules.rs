//! The rules of each chain, in the words and the order that `iptables-save` prints.

use super::{APART, APART_IN, ARRIVAL, CLAMP, CROSSING, Chain, FWD, POSTRTG};
use crate::firewall::{Clients, Entrance, MARK, Policy, Ports, apart};

/// The rules of one chain of ours, in order; none if no policy has a use for it.
pub(super) fn rules(policies: &[Policy], chain: Chain) -> Vec<String> {
    if chain == APART || chain == APART_IN {
        let rule = |(from, to)| chain.rule(&format!("-s {from} -d {to}"), "DROP");
        return apart(policies).map(rule).collect();
    }
    let rules: Vec<String> = policies.iter().flat_map(|policy| of(policy, chain)).collect();
    if chain == POSTRTG && !rules.is_empty() {
        let marked = POSTRTG.rule(&format!("-m mark --mark {MARK:#x}/{MARK:#x}"), "RETURN");
        return [marked].into_iter().chain(rules).collect();
    }
    rules
}

fn of(policy: &Policy, chain: Chain) -> Vec<String> {
    match chain {
        FWD if policy.forward => forward(policy),
        CROSSING if policy.forward => crossing(policy),
        ARRIVAL if policy.forward => arrival(policy),
        POSTRTG => masquerade(policy),
        CLAMP => clamp(policy),
        _unwanted => Vec::new(),
    }
}

fn forward(Policy { network, .. }: &Policy) -> Vec<String> {
    ["-s", "-d"].map(|end| FWD.rule(&format!("{end} {network}"), "ACCEPT")).to_vec()
}

fn crossing(policy: &Policy) -> Vec<String> {
    let Policy { network, subnet, .. } = policy;
    let both = |entrance: &Entrance| {
        let (Entrance::Tunnel(device) | Entrance::Uplink(device)) = entrance;
        let out = format!("-s {subnet} -d {network} -o {device}");
        [CROSSING.rule(&incoming(policy, entrance), "ACCEPT"), CROSSING.rule(&out, "ACCEPT")]
    };
    policy.entrances.iter().flat_map(both).collect()
}

fn arrival(policy: &Policy) -> Vec<String> {
    let rule = |entrance| ARRIVAL.rule(&incoming(policy, entrance), "ACCEPT");
    policy.entrances.iter().map(rule).collect()
}

/// What comes from other hosts to this host's containers.
fn incoming(policy: &Policy, entrance: &Entrance) -> String {
    let Policy { network, subnet, masquerade, .. } = policy;
    let kept = masquerade.is_some_and(|masquerade| masquerade.clients == Clients::Kept);
    match entrance {
        // Through a tunnel only hosts of the network send, but not always under its addresses.
        Entrance::Tunnel(device) if kept => format!("-d {subnet} -i {device}"),
        Entrance::Tunnel(device) | Entrance::Uplink(device) => {
            format!("-s {network} -d {subnet} -i {device}")
        }
    }
}

/// The kernel looks at the route of each end and takes the smaller: it is enough to catch both packets
/// that open a connection, whoever sends the first.
fn clamp(policy: &Policy) -> Vec<String> {
    let Policy { network, subnet, .. } = policy;
    let both = |entrance: &Entrance| match entrance {
        Entrance::Tunnel(device) => [format!("-i {device}"), format!("-o {device}")],
        Entrance::Uplink(device) => [
            format!("-s {network} -d {subnet} -i {device}"),
            format!("-s {subnet} -d {network} -o {device}"),
        ],
    };
    let opens = "-p tcp -m tcp --tcp-flags SYN,RST SYN";
    let rule = |way| CLAMP.rule(&format!("{way} {opens}"), "TCPMSS --clamp-mss-to-pmtu");
    policy.entrances.iter().flat_map(both).map(rule).collect()
}

fn masquerade(policy: &Policy) -> Vec<String> {
    let Policy { network, subnet, masquerade: Some(masquerade), .. } = policy else {
        return Vec::new();
    };
    let target = match masquerade.ports {
        Ports::FullyRandom => "MASQUERADE --random-fully",
        Ports::Plain => "MASQUERADE",
    };
    let mut rules = vec![
        POSTRTG.rule(&format!("-s {subnet} -d {network}"), "RETURN"),
        POSTRTG.rule(&format!("-s {network} -d {subnet}"), "RETURN"),
        POSTRTG.rule(&format!("! -s {network} -d {subnet}"), "RETURN"),
        POSTRTG.rule(&format!("-s {network} ! -d {}", policy.multicast()), target),
    ];
    if masquerade.clients == Clients::Hidden {
        rules.push(POSTRTG.rule(&format!("! -s {network} -d {network}"), target));
    }
    rules
}
