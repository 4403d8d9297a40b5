//! Peers of `WireGuard` that speak from elsewhere than their leases say.

use std::collections::{BTreeMap, BTreeSet};

use super::{Tables, Wire};
use crate::device::IfIndex;
use crate::wireguard::PublicKey;

/// What is to be made of `actual`: a peer that has just proven who it is from another address, behind a
/// translation of addresses perhaps, is left there, or each look would cut it off. Only until its lease says
/// that it is elsewhere than when the kernel was as `stood` says; an agent that has just come knows of nothing
/// that stood.
#[must_use]
pub fn settled(
    actual: &BTreeMap<(IfIndex, PublicKey), Wire>,
    (wanted, stood): (&Tables, Option<&Tables>),
    alive: &BTreeSet<(IfIndex, PublicKey)>,
) -> BTreeMap<(IfIndex, PublicKey), Wire> {
    let settled = |(peer, wire): (&(IfIndex, PublicKey), &Wire)| {
        let want = wanted.wires.get(peer).filter(|want| {
            let told = |stood: &Tables| stood.wires.get(peer).map(|before| before.endpoint);
            let moved = stood.is_some_and(|stood| told(stood) != Some(want.endpoint));
            !moved && alive.contains(peer)
        });
        let endpoint = want.map_or(wire.endpoint, |want| want.endpoint);
        (*peer, Wire { endpoint, ..*wire })
    };
    actual.iter().map(settled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_stays_where_it_speaks_from_until_its_lease_changes() {
        let (told, elsewhere) = (wire("192.0.2.2:51820"), wire("203.0.113.9:4242"));
        let peer = (IfIndex(3), PublicKey([2; 32]));
        let tables = |wire| Tables { wires: [(peer, wire)].into(), ..Tables::default() };
        let alive = BTreeSet::from([peer]);
        let before = Some(tables(told));
        for (name, stood, alive, want) in [
            ("it speaks from elsewhere", before.clone(), alive.clone(), told),
            ("it is silent", before, BTreeSet::new(), elsewhere),
            ("its lease has changed", Some(tables(wire("192.0.2.9:1"))), alive.clone(), elsewhere),
            (
                "another option has changed",
                Some(tables(Wire { keepalive: 9, ..told })),
                alive.clone(),
                told,
            ),
            ("it could not be told", Some(Tables::default()), alive.clone(), elsewhere),
            ("nobody knows what stood", None, alive, told),
        ] {
            let actual = tables(elsewhere).wires;
            let found = settled(&actual, (&tables(told), stood.as_ref()), &alive);
            assert_eq!(found.get(&peer), Some(&want), "{name}");
        }
        let stranger = tables(elsewhere).wires;
        let nothing = Tables::default();
        let found = settled(&stranger, (&nothing, Some(&tables(told))), &BTreeSet::from([peer]));
        assert_eq!(found, stranger, "one that is to go");
    }

    fn wire(endpoint: &str) -> Wire {
        let (endpoint, allowed) = (endpoint.parse().ok(), "10.5.2.0/24".parse().ok());
        Wire { endpoint, allowed, psk: None, keepalive: 0 }
    }
}
