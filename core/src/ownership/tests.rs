//! Rows that read as sentences, and every small world. What hosts do to each other is explored in
//! `core/tests/ownership`.

use super::*;
use crate::config::{Draft, NetworkConfig};
use crate::ids::{LeaseId, NodeId, Subnet};
use crate::lease::{LeaseBackend, Listing};

mod small;

const ME: u8 = 1;
const OTHER: u8 = 2;
const HERE: u8 = 1;
const EARLIER: u8 = 3;
const THERE: u8 = 4;
const NOWHERE: u8 = 0;
/// When the host wrote what it holds.
const HELD: i64 = 20;

/// One host's view: what is in etcd, and what it knows.
#[derive(Clone, Debug)]
struct View {
    node: u8,
    listing: Listing,
    config: NetworkConfig,
    holding: Option<Lease>,
    previous: Option<Key>,
    doubt: Doubt,
    anchored: bool,
}

impl View {
    fn new(leases: &[Lease]) -> Self {
        let listing = Listing { leases: leases.to_vec(), ..Listing::default() };
        Self {
            node: ME,
            listing,
            config: config(1, 2),
            holding: None,
            previous: None,
            doubt: Doubt::Unasked,
            anchored: true,
        }
    }

    /// It holds the first subnet.
    fn holding(leases: &[Lease]) -> Self {
        Self { holding: Some(mine()), ..Self::new(leases) }
    }

    fn doubts(self, doubt: Doubt) -> Self {
        Self { doubt, ..self }
    }

    fn on_another_machine(self) -> Self {
        Self { anchored: false, ..self }
    }

    fn decide(&self) -> Result<Step, pick::Error> {
        let value = value(Some(self.node), HERE);
        decide(&Question {
            situation: Situation {
                config: &self.config,
                node: node(self.node),
                public_ip: value.public_ip,
                listing: &self.listing,
                previous: self.previous,
                local_routes: &[],
            },
            value: &value,
            standing: self.holding.as_ref().map_or(Standing::Without, Standing::Holding),
            addresses: &[ip(EARLIER)],
            doubt: self.doubt,
            anchored: self.anchored,
            random: 0,
        })
    }
}

/// What the host holds, as it wrote it.
fn mine() -> Lease {
    lease(1, (Some(ME), HERE), HELD)
}

fn lease(n: u8, (owner, at): (Option<u8>, u8), revision: i64) -> Lease {
    let (key, value) = (Key::from(subnet(n)), value(owner, at));
    Lease { key, value, revision: Revision(revision), lease_id: Some(LeaseId(n.into())) }
}

fn reserved(lease: Lease) -> Lease {
    Lease { lease_id: None, ..lease }
}

fn spoilt(n: u8, revision: i64) -> Malformed {
    let (key, why) = (Key::from(subnet(n)), "nonsense".to_owned());
    Malformed { key: key.to_string(), lease: Some(key), why, revision: Revision(revision) }
}

fn value(owner: Option<u8>, at: u8) -> LeaseValue {
    let (public_ip, backend) = (ip(at), LeaseBackend::Unnamed);
    LeaseValue { public_ip, ipv6: None, backend, node: owner.map(node) }
}

fn config(min: u8, max: u8) -> NetworkConfig {
    let mut draft = Draft::new("10.5.0.0/16".parse().expect("a block"));
    draft.range.subnet_min = Some(subnet(min).base());
    draft.range.subnet_max = Some(subnet(max).base());
    draft.build().expect("bounds inside the network")
}

fn subnet(n: u8) -> Subnet {
    Subnet::new([10, 5, n, 0].into(), 24).expect("aligned")
}

fn ip(at: u8) -> Underlay {
    Underlay(if at == NOWHERE { [0; 4] } else { [192, 0, 2, at] }.into())
}

fn node(n: u8) -> NodeId {
    NodeId::from_random([n; 16])
}

#[test]
fn a_host_without_a_subnet() {
    let row = |name: &str, view: View, wanted: &str| {
        assert_eq!(view.decide().expect(name).to_string(), wanted, "{name}");
    };
    let away = lease(2, (Some(ME), THERE), 30);
    let silent = |about| Doubt::Silent { about: Revision(about) };
    let free = "claim 10.5.1.0/24: it is free";
    let ask = "ask whether the host at 192.0.2.4, which has 10.5.2.0/24 and our node id, lives";
    let yield_to = "take a new node id: the host at 192.0.2.4 has ours and keeps it";
    let copied = "take a new node id: the state directory was made on another machine";
    row("in an empty network", View::new(&[]), free);
    row("after a restart", View::new(&[mine()]), "claim 10.5.1.0/24: its lease is ours");
    row("has moved, or was copied", View::new(std::slice::from_ref(&away)), ask);
    let moved = || View::new(std::slice::from_ref(&away));
    let own = "claim 10.5.2.0/24: its lease is ours";
    row("has moved, for nobody answers", moved().doubts(silent(30)), own);
    row("and the lease was written since", moved().doubts(silent(29)), ask);
    row("was copied, for one answers", moved().doubts(Doubt::Answered(ip(THERE))), yield_to);
    row("and the lease has ended", View::new(&[]).doubts(Doubt::Answered(ip(THERE))), yield_to);
    row("a copy beside its original", moved().on_another_machine(), yield_to);
    row("and trusts no silence", moved().on_another_machine().doubts(silent(30)), yield_to);
    row("a copy in an empty network", View::new(&[]).on_another_machine(), copied);
    let where_it_was = View::new(&[mine()]).on_another_machine();
    row("a copy where its original was", where_it_was, copied);
    let pinned = reserved(lease(2, (Some(ME), NOWHERE), 30));
    row("reserved by node id", View::new(&[pinned]), own);
    let pinned = reserved(lease(2, (None, HERE), 30));
    row(
        "reserved by address",
        View::new(&[pinned]),
        "claim 10.5.2.0/24: its lease has our address",
    );
}

#[test]
fn a_host_that_holds_a_subnet() {
    let row = |name: &str, view: View, wanted: &str| {
        assert_eq!(view.decide().expect(name).to_string(), wanted, "{name}");
    };
    let (rest, back) = ("nothing to do", "claim 10.5.1.0/24: we had it before and it is free");
    let again = "claim 10.5.1.0/24: its lease is ours";
    let adopt = "hold 10.5.1.0/24 as it stands now";
    let anothers = "give the subnet up: 10.5.1.0/24 is owned by the host at 192.0.2.4";
    let yield_to = "take a new node id: the host at 192.0.2.4 has ours and keeps it";
    row("finds it as it was", View::holding(&[mine()]), rest);
    row("finds it gone", View::holding(&[]), back);
    row("finds it reserved", View::holding(&[reserved(mine())]), adopt);
    row("finds it written again", View::holding(&[lease(1, (Some(ME), HERE), 30)]), adopt);
    row("finds another's", View::holding(&[lease(1, (Some(OTHER), THERE), 30)]), anothers);
    row("finds a flanneld's elsewhere", View::holding(&[lease(1, (None, THERE), 30)]), anothers);
    let here = View::holding(&[lease(1, (None, HERE), 30)]);
    row("finds a flanneld's here", here, "claim 10.5.1.0/24: its lease has our address");
    row(
        "finds what it wrote before it moved",
        View::holding(&[lease(1, (Some(ME), EARLIER), 30)]),
        again,
    );
    row("finds its copy's", View::holding(&[lease(1, (Some(ME), THERE), 30)]), yield_to);
    row(
        "finds an older one, from a backup",
        View::holding(&[lease(1, (Some(ME), THERE), 10)]),
        again,
    );
    row(
        "finds it reserved for its node id",
        View::holding(&[lease(1, (Some(ME), NOWHERE), 30)]),
        again,
    );
    let mut nonsense = View::holding(&[]);
    nonsense.listing.malformed.push(spoilt(1, 30));
    row("finds nonsense", nonsense, again);
    let mut moved = View::holding(&[lease(1, (Some(ME), EARLIER), HELD)]);
    moved.holding = Some(lease(1, (Some(ME), EARLIER), HELD));
    row("has moved", moved, again);
}

#[test]
fn a_host_whose_subnet_does_not_fit_any_more() {
    let row = |name: &str, view: View, wanted: &str| {
        assert_eq!(view.decide().expect(name).to_string(), wanted, "{name}");
    };
    let outgrown = View { config: config(4, 9), ..View::holding(&[]) };
    let why = "give the subnet up: the network's configuration does not admit 10.5.1.0/24 any more";
    row("finds it gone and not admitted", outgrown, why);
    row(
        "is not admitted and has it",
        View { config: config(4, 9), ..View::holding(&[mine()]) },
        "nothing to do",
    );
    let wide = Lease {
        key: Key::from("10.5.0.0/22".parse::<Subnet>().expect("a block")),
        ..lease(2, (Some(OTHER), THERE), 30)
    };
    let under = "give the subnet up: 10.5.0.0/22 is owned by the host at 192.0.2.4";
    row("finds it gone and a wider one there", View::holding(&[wide]), under);
    let mut blocked = View::holding(&[]);
    let key = Key::from("10.5.0.0/22".parse::<Subnet>().expect("a block"));
    blocked.listing.malformed.push(Malformed {
        key: key.to_string(),
        lease: Some(key),
        ..spoilt(1, 30)
    });
    row(
        "finds it gone and nonsense around it",
        blocked,
        "give the subnet up: the key 10.5.0.0-22 is in the way and cannot be read",
    );
}

#[test]
fn a_host_that_has_other_leases_too() {
    let row = |name: &str, view: View, wanted: &str| {
        assert_eq!(view.decide().expect(name).to_string(), wanted, "{name}");
    };
    let rest = "nothing to do";
    let yield_to = "take a new node id: the host at 192.0.2.4 has ours and keeps it";
    let away = lease(2, (Some(ME), THERE), 30);
    let beside = || View::holding(&[mine(), away.clone()]);
    let ask = "ask whether the host at 192.0.2.4, which has 10.5.2.0/24 and our node id, lives";
    row("finds its node id elsewhere", beside(), ask);
    row("and nobody answers", beside().doubts(Doubt::Silent { about: Revision(30) }), rest);
    row("and one answers", beside().doubts(Doubt::Answered(ip(THERE))), yield_to);
    let left = View::holding(&[mine(), lease(2, (Some(ME), HERE), 10)]);
    row("has another from earlier", left, "revoke our earlier lease of 10.5.2.0/24");
    let pinned = View::holding(&[mine(), reserved(lease(2, (Some(ME), HERE), 10))]);
    row("has another reserved", pinned, rest);
}
