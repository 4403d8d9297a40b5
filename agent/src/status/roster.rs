//! The peers as people see them: since when each is what it is, and what the kernel lacks for it.

use std::collections::BTreeMap;

use twill_core::ids::Subnet;
use twill_core::peers;
use twill_core::status::Peer;

#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: BTreeMap<Subnet, Entry>,
    pending: BTreeMap<Subnet, Vec<String>>,
}

#[derive(Debug)]
struct Entry {
    peer: peers::Peer,
    /// By the clock of the wall.
    since: u64,
    /// The change that brought it: no pass before that one has seen it.
    change: u64,
}

impl Roster {
    /// These are the peers now; those that are new or different came with this change.
    pub(super) fn set(&mut self, peers: &[peers::Peer], (change, now): (u64, u64)) {
        let mut before = std::mem::take(&mut self.entries);
        let entry = |peer: &peers::Peer| {
            let known = before.remove(&peer.subnet).filter(|entry| entry.peer == *peer);
            (peer.subnet, known.unwrap_or(Entry { peer: *peer, since: now, change }))
        };
        self.entries = peers.iter().map(entry).collect();
    }

    /// Nothing of what stood in the kernel counts any more.
    pub(super) fn forget_rows(&mut self, change: u64) {
        self.entries.values_mut().for_each(|entry| entry.change = change);
    }

    /// The rows that the kernel lacks.
    pub(super) fn lacks(&mut self, pending: BTreeMap<Subnet, Vec<String>>) {
        self.pending = pending;
    }

    /// All of them, as a pass that saw `seen` changes left them.
    pub(super) fn peers(&self, seen: u64) -> Vec<Peer> {
        let peer = |(subnet, entry): (&Subnet, &Entry)| {
            let lacks = self.pending.get(subnet).cloned().unwrap_or_default();
            let unseen = entry.change > seen && lacks.is_empty();
            let text = "look at its lease, which has just changed".to_owned();
            Peer {
                subnet: *subnet,
                public_ip: entry.peer.underlay,
                backend: entry.peer.by.to_string(),
                since: Some(entry.since),
                pending: if unseen { vec![text] } else { lacks },
            }
        };
        self.entries.iter().map(peer).collect()
    }
}

#[cfg(test)]
mod tests {
    use twill_core::ids::Underlay;
    use twill_core::serving::Way;

    use super::*;

    #[test]
    fn a_peer_keeps_its_age_until_it_changes() {
        let mut roster = Roster::default();
        roster.set(&[peer(2, 2), peer(3, 3)], (1, 100));
        roster.set(&[peer(2, 2), peer(3, 9), peer(4, 4)], (2, 200));
        let ages: Vec<_> = roster.peers(2).iter().map(|peer| peer.since).collect();
        assert_eq!(ages, [Some(100), Some(200), Some(200)]);
    }

    #[test]
    fn a_peer_is_in_place_once_a_pass_has_seen_it_and_wrote_all() {
        let mut roster = Roster::default();
        roster.set(&[peer(2, 2), peer(3, 3)], (1, 100));
        let pending = |roster: &Roster, seen| -> Vec<usize> {
            roster.peers(seen).iter().map(|peer| peer.pending.len()).collect()
        };
        assert_eq!(pending(&roster, 0), [1, 1]);
        assert_eq!(pending(&roster, 1), [0, 0]);
        let lacks = vec!["route".to_owned(), "neighbour".to_owned()];
        roster.lacks(BTreeMap::from([(peer(3, 3).subnet, lacks)]));
        assert_eq!(pending(&roster, 1), [0, 2]);
        roster.lacks(BTreeMap::new());
        roster.forget_rows(2);
        assert_eq!(pending(&roster, 1), [1, 1]);
        assert_eq!(pending(&roster, 2), [0, 0]);
    }

    fn peer(subnet: u8, host: u8) -> peers::Peer {
        peers::Peer {
            subnet: Subnet::new([10, 88, subnet, 0].into(), 24).unwrap(),
            underlay: Underlay([192, 0, 2, host].into()),
            mac: None,
            contact: None,
            by: Way::Udp(8285),
            twill: true,
        }
    }
}
