//! Decides what a reservation takes, or why there can be none.

use std::net::{IpAddr, Ipv4Addr};

use twill_core::config::{NetworkConfig, Range};
use twill_core::ids::{NodeId, Subnet, Underlay};
use twill_core::lease::{Key, Lease, LeaseBackend, LeaseValue, Listing};
use twill_core::node::NodeRecord;

use crate::failure::{Failure, Kind};
use crate::{leases, names};

/// For whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holder {
    /// The host with this node id.
    Node(NodeId),
    /// Whoever has this address.
    Address(Underlay),
}

/// What is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct World<'a> {
    pub(super) config: &'a NetworkConfig,
    pub(super) listing: &'a Listing,
    pub(super) nodes: &'a [NodeRecord],
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Plan {
    /// Nothing.
    Already(Lease),
    /// Take the end away from this lease.
    Keep(Lease),
    /// Make this key with this value.
    New(Key, LeaseValue),
}

pub(super) fn plan(subnet: Subnet, holder: Holder, world: &World<'_>) -> Result<Plan, Failure> {
    let World { config, listing, nodes } = *world;
    if let Some(lease) = listing.leases.iter().find(|lease| leases::is_at(lease.key, subnet)) {
        return match (holder.has(lease), lease.lease_id) {
            (false, _) => Err(owned(lease, nodes)),
            (true, None) => Ok(Plan::Already(lease.clone())),
            (true, Some(_)) => Ok(Plan::Keep(lease.clone())),
        };
    }
    let key = key(subnet, config)?;
    in_nobodys_way(key, world)?;
    if let Holder::Address(address) = holder {
        can_be_a_host(address, config)?;
    }
    // Peers believe the newest of two leases of one host, and pick among them is left to chance: a
    // second one would draw the traffic of the first.
    if let Some(other) = listing.leases.iter().find(|lease| holder.has(lease)) {
        let message = format!("{} has {} already", names::owner(other, nodes), other.subnet());
        let by = match holder {
            // Its record goes with its lease, and its name with that.
            Holder::Node(_) => ", by its whole node id",
            Holder::Address(_) => "",
        };
        let hint = format!(
            "reserve that one; or, to move the host, stop its agent, `twillctl lease revoke {}`, and \
             reserve then{by}",
            other.subnet()
        );
        return Err(Failure::new(Kind::Failed, message).hint(hint));
    }
    Ok(Plan::New(key, holder.value(nodes)))
}

fn owned(lease: &Lease, nodes: &[NodeRecord]) -> Failure {
    let subnet = lease.subnet();
    let whose = lease.value.node.map_or_else(String::new, |id| format!(", node id {id}"));
    let message = format!("{subnet} is owned by {}{whose}", names::owner(lease, nodes));
    let hint =
        format!("reserve another, or take it from its owner first: twillctl lease revoke {subnet}");
    Failure::new(Kind::Failed, message).hint(hint)
}

/// What a host with that subnet has: in a network of both families, the subnet of the other one that has
/// the same number.
fn key(subnet: Subnet, config: &NetworkConfig) -> Result<Key, Failure> {
    config.key_with(subnet).ok_or_else(|| {
        let range = |range: Range| {
            format!(
                "a /{} for each, from {} to {}",
                range.subnet_len, range.subnet_min, range.subnet_max
            )
        };
        let ranges = config.ranges().map(range).collect::<Vec<_>>().join(", and ");
        let message = format!("no host can have {subnet}: the network has {ranges}");
        Failure::new(Kind::Failed, message).hint("see `twillctl network show`")
    })
}

/// Could a host claim it as things are?
fn in_nobodys_way(key: Key, world: &World<'_>) -> Result<(), Failure> {
    let World { listing, nodes, .. } = *world;
    let subnet = key.words();
    if let Some(spoilt) =
        listing.malformed.iter().find(|entry| entry.lease.is_some_and(|taken| taken.overlaps(&key)))
    {
        let message = format!("{subnet} is not free: {} is no lease: {}", spoilt.key, spoilt.why);
        return Err(
            Failure::new(Kind::Failed, message).hint("delete that key: twillctl lease revoke")
        );
    }
    if let Some(other) = listing.leases.iter().find(|lease| lease.key.overlaps(&key)) {
        let (theirs, owner) = (other.key.words(), names::owner(other, nodes));
        let message = format!("{subnet} overlaps {theirs} of {owner}");
        return Err(Failure::new(Kind::Failed, message).hint("choose another: twillctl lease list"));
    }
    Ok(())
}

fn can_be_a_host(Underlay(address): Underlay, config: &NetworkConfig) -> Result<(), Failure> {
    let refused = |why: &str| {
        let failure =
            Failure::new(Kind::Failed, format!("{address} is not the address of a host: {why}"));
        Err(failure.hint("give the address that the host publishes, or --node ID"))
    };
    if address.is_unspecified()
        || address.is_multicast()
        || address == IpAddr::from(Ipv4Addr::BROADCAST)
    {
        refused("nobody can be reached there")
    } else if address.is_loopback() {
        refused("every host has it")
    } else if let Some(network) = config.networks().find(|network| network.contains(address)) {
        refused(&format!("it lies inside the overlay network {network}"))
    } else {
        Ok(())
    }
}

impl Holder {
    /// Is that lease of this very host?
    fn has(self, lease: &Lease) -> bool {
        match self {
            Self::Node(id) => lease.value.node == Some(id),
            Self::Address(address) => lease.value.public_ip == address,
        }
    }

    /// What the host finds under its key, and replaces by its own when it takes the subnet.
    fn value(self, nodes: &[NodeRecord]) -> LeaseValue {
        let (public_ip, node) = match self {
            Self::Node(id) => {
                let record = nodes.iter().find(|record| record.id == id);
                let nowhere = Underlay(Ipv4Addr::UNSPECIFIED.into());
                (record.map_or(nowhere, |record| record.public_ip), Some(id))
            }
            Self::Address(address) => (address, None),
        };
        LeaseValue { public_ip, ipv6: None, backend: LeaseBackend::Unnamed, node }
    }
}

#[cfg(test)]
mod tests {
    use twill_core::config::Draft;
    use twill_core::ids::{LeaseId, Revision};
    use twill_core::lease::Malformed;

    use super::*;

    #[test]
    fn what_is_free_or_the_holders_own_is_reserved() {
        let ours = lease("10.88.34.0-24", Some(7), OURS);
        let fixed = lease("10.88.40.0-24", None, FLANNEL);
        let listing = [ours.clone(), fixed.clone()];
        let node = Holder::Node(id(1));
        assert_eq!(decide("10.88.34.0/24", node, &listing).unwrap(), Plan::Keep(ours.clone()));
        let by_address = Holder::Address(Underlay([192, 0, 2, 1].into()));
        assert_eq!(decide("10.88.34.0/24", by_address, &listing).unwrap(), Plan::Keep(ours));
        let flannel = Holder::Address(Underlay([192, 0, 2, 2].into()));
        assert_eq!(decide("10.88.40.0/24", flannel, &listing).unwrap(), Plan::Already(fixed));

        let rows = [
            (
                Holder::Node(id(3)),
                r#"{"PublicIP":"192.0.2.3","PublicIPv6":null,"TwillNodeID":"03030303030303030303030303030303"}"#,
            ),
            (
                Holder::Node(id(4)),
                r#"{"PublicIP":"0.0.0.0","PublicIPv6":null,"TwillNodeID":"04040404040404040404040404040404"}"#,
            ),
            (
                Holder::Address(Underlay([192, 0, 2, 5].into())),
                r#"{"PublicIP":"192.0.2.5","PublicIPv6":null}"#,
            ),
        ];
        for (holder, value) in rows {
            let Plan::New(_key, made) = decide("10.88.50.0/24", holder, &listing).unwrap() else {
                panic!("it is free: {value}")
            };
            assert_eq!(made.to_json(), value);
        }
    }

    #[test]
    fn what_would_hurt_somebody_is_refused_with_a_way_out() {
        let leases =
            [lease("10.88.34.0-24", Some(7), OURS), lease("10.88.40.0-25", Some(8), FLANNEL)];
        let (node, address) =
            (Holder::Node, |last| Holder::Address(Underlay([192, 0, 2, last].into())));
        let rows = [
            ("another host's", "10.88.34.0/24", node(id(2)), "owned by 192.0.2.1 (udp)"),
            ("at another address", "10.88.34.0/24", address(9), "node id 0101"),
            ("overlapping", "10.88.40.0/24", address(9), "overlaps 10.88.40.0/25 of 192.0.2.2"),
            ("spoilt", "10.88.60.0/24", address(9), "10.88.60.0-24 is no lease"),
            ("of another length", "10.88.8.0/23", address(9), "a /24 for each"),
            ("the first", "10.88.0.0/24", address(9), "from 10.88.1.0/24"),
            ("elsewhere", "10.99.1.0/24", address(9), "no host can have"),
            ("a second one", "10.88.50.0/24", node(id(1)), "192.0.2.1 (udp) has 10.88.34.0/24"),
            ("a second one", "10.88.50.0/24", address(2), "has 10.88.40.0/25 already"),
            ("nowhere", "10.88.50.0/24", Holder::Address(Underlay([0; 4].into())), "be reached"),
            (
                "the host itself",
                "10.88.50.0/24",
                Holder::Address(Underlay([127, 0, 0, 1].into())),
                "every host",
            ),
            ("inside", "10.88.50.0/24", Holder::Address(Underlay([10, 88, 1, 1].into())), "inside"),
        ];
        for (name, subnet, holder, words) in rows {
            let failure = decide(subnet, holder, &leases).expect_err(name);
            let text = failure.to_string();
            assert!(text.contains(words) && text.contains("\nhint: "), "{name}: {text}");
            assert_eq!(failure.exit_code(), 1, "{name}");
        }
    }

    #[test]
    fn with_both_families_a_pair_of_one_number_is_reserved() {
        let text = br#"{"Network":"10.88.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:88::/48",
            "Backend":{"Type":"vxlan"}}"#;
        let config = NetworkConfig::parse(text).unwrap();
        let theirs = [lease("10.88.34.0-24&fd00:88:0:9::-64", Some(7), FLANNEL)];
        let node = Holder::Node(id(1));
        for subnet in ["10.88.50.0/24", "fd00:88:0:32::/64"] {
            let Plan::New(key, _) = decide_in(&config, subnet, node, &theirs).unwrap() else {
                panic!("it is free: {subnet}")
            };
            assert_eq!(key.to_string(), "10.88.50.0-24&fd00:88:0:32::-64");
        }
        for (name, subnet, words) in [
            ("another's", "fd00:88:0:9::/64", "is owned by 192.0.2.2"),
            ("half of it another's", "10.88.9.0/24", "overlaps 10.88.34.0/24, fd00:88:0:9::/64"),
            ("without a number in IPv4", "fd00:88:0:100::/64", "no host can have"),
        ] {
            let text = decide_in(&config, subnet, node, &theirs).expect_err(name).to_string();
            assert!(text.contains(words) && text.contains("\nhint: "), "{name}: {text}");
        }
    }

    fn decide(subnet: &str, holder: Holder, leases: &[Lease]) -> Result<Plan, Failure> {
        let config = Draft::new("10.88.0.0/16".parse().unwrap()).build().unwrap();
        decide_in(&config, subnet, holder, leases)
    }

    fn decide_in(
        config: &NetworkConfig,
        subnet: &str,
        holder: Holder,
        leases: &[Lease],
    ) -> Result<Plan, Failure> {
        let spoilt = Malformed {
            key: "10.88.60.0-24".to_owned(),
            lease: "10.88.60.0-24".parse().ok(),
            why: "the value is not a JSON object".to_owned(),
            revision: Revision(3),
        };
        let listing =
            Listing { leases: leases.to_vec(), malformed: vec![spoilt], revision: Revision(9) };
        let nodes = [NodeRecord {
            id: id(3),
            hostname: "node3".to_owned(),
            public_ip: Underlay([192, 0, 2, 3].into()),
            subnet: "10.88.3.0/24".parse().unwrap(),
            ipv6: None,
            version: "0.1.0".to_owned(),
            started: 1_700_000_000,
        }];
        let world = World { config, listing: &listing, nodes: &nodes };
        plan(subnet.parse().unwrap(), holder, &world)
    }

    const OURS: &str =
        r#"{"PublicIP":"192.0.2.1","TwillNodeID":"01010101010101010101010101010101"}"#;
    const FLANNEL: &str = r#"{"PublicIP":"192.0.2.2"}"#;

    fn id(byte: u8) -> NodeId {
        NodeId::from_random([byte; 16])
    }

    fn lease(key: &str, lease_id: Option<i64>, value: &str) -> Lease {
        Lease {
            key: key.parse().unwrap(),
            value: LeaseValue::parse(value.as_bytes()).unwrap(),
            revision: Revision(5),
            lease_id: lease_id.map(LeaseId),
        }
    }
}
