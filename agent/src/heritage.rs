//! Routes that a flanneld left on this host, beside the tunnels: with `host-gw` or `DirectRouting`. Pure.
//!
//! They carry no mark, and look as if somebody had typed them. They are taken for what they are only where
//! there is proof that a flanneld served this network here.

use twill_core::config::Range;
use twill_core::device::IfIndex;
use twill_core::ids::Underlay;
use twill_core::lease::Lease;
use twill_core::subnet_env::SubnetEnv;
use twill_net::kernel::LocalRoute;

/// What tells that a flanneld was here, for addresses of one family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof<'a> {
    /// The address that peers know this host by.
    pub(crate) public_ip: Underlay,
    /// Everybody's.
    pub(crate) leases: &'a [Lease],
    /// What containers were told last, unless that was by ourselves.
    pub(crate) told: Option<SubnetEnv>,
}

impl Proof<'_> {
    /// The lease of this host is a flanneld's, or what containers were told of this network is. A
    /// reservation may be of an administrator who expects us.
    fn holds(&self, range: Range) -> bool {
        let network = range.network;
        let flannels = |lease: &Lease| {
            let half = lease.half(network.family());
            half.is_some_and(|half| {
                half.lease_id.is_some()
                    && half.value.node.is_none()
                    && half.value.public_ip == self.public_ip
                    && network.holds(half.subnet())
            })
        };
        self.told.is_some_and(|env| env.blocks().any(|blocks| blocks.network == network))
            || self.leases.iter().any(flannels)
    }
}

/// The routes by hosts on the link of `uplink` to what can be a host's block, if a flanneld was here.
pub(crate) fn left_behind<'a>(
    proof: Proof<'_>,
    range: Range,
    (uplink, routes): (IfIndex, &'a [LocalRoute]),
) -> Vec<&'a LocalRoute> {
    if !proof.holds(range) {
        return Vec::new();
    }
    let left = |route: &&LocalRoute| {
        route.like_flannels
            && route.device == Some(uplink)
            && route.block.len() == range.subnet_len
            && range.network.holds(route.block)
    };
    routes.iter().filter(left).collect()
}

#[cfg(test)]
mod tests {
    use twill_core::config::NetworkConfig;
    use twill_core::ids::{LeaseId, Revision};
    use twill_core::lease::LeaseValue;

    use super::*;

    const FLANNELS: &str = r#"{"PublicIP":"192.0.2.1","BackendType":"host-gw"}"#;
    const ENV: &str = "FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET=10.88.5.1/24\n\
                       FLANNEL_MTU=1500\nFLANNEL_IPMASQ=false\n";

    #[test]
    fn routes_are_a_flannelds_only_where_one_was() {
        let ours = FLANNELS.replace('}', r#","TwillNodeID":"0123456789abcdef0123456789abcdef"}"#);
        let others = FLANNELS.replace("192.0.2.1", "192.0.2.9");
        let elsewhere = ENV.replace("10.88", "10.99");
        for (name, lease, told, wanted) in [
            ("nobody was here", None, None, 0),
            ("a flanneld has the lease", Some((FLANNELS, Some(7))), None, 1),
            ("a flanneld told containers", None, Some(ENV), 1),
            ("of another network", None, Some(elsewhere.as_str()), 0),
            ("a reservation", Some((FLANNELS, None)), None, 0),
            ("our own lease", Some((ours.as_str(), Some(7))), None, 0),
            ("a flanneld elsewhere", Some((others.as_str(), Some(7))), None, 0),
        ] {
            let leases: Vec<Lease> =
                lease.map(|(text, id)| lease_of(text, id)).into_iter().collect();
            let told = told.map(|text| SubnetEnv::parse(text).unwrap());
            let proof = Proof { public_ip: Underlay([192, 0, 2, 1].into()), leases: &leases, told };
            let routes = [route("10.88.9.0/24", true)];
            let left = left_behind(proof, range(), (IfIndex(2), &routes));
            assert_eq!(left.len(), wanted, "{name}");
        }
    }

    #[test]
    fn nothing_else_is_a_flannelds() {
        let told = Some(SubnetEnv::parse(ENV).unwrap());
        let proof = Proof { public_ip: Underlay([192, 0, 2, 1].into()), leases: &[], told };
        let elsewhere = LocalRoute { device: Some(IfIndex(3)), ..route("10.88.9.0/24", true) };
        for (name, route) in [
            ("with a metric, or of another program", route("10.88.9.0/24", false)),
            ("wider than a block", route("10.88.8.0/23", true)),
            ("narrower than a block", route("10.88.9.0/25", true)),
            ("outside of the network", route("10.89.9.0/24", true)),
            ("on another interface", elsewhere),
        ] {
            let routes = [route];
            assert!(left_behind(proof, range(), (IfIndex(2), &routes)).is_empty(), "{name}");
        }
    }

    fn range() -> Range {
        let config = NetworkConfig::parse(br#"{"Network":"10.88.0.0/16"}"#).unwrap();
        config.ranges().next().unwrap()
    }

    fn route(block: &str, like_flannels: bool) -> LocalRoute {
        LocalRoute {
            block: block.parse().unwrap(),
            device: Some(IfIndex(2)),
            name: "eth0".to_owned(),
            via: Some([192, 0, 2, 8].into()),
            like_flannels,
        }
    }

    fn lease_of(text: &str, id: Option<i64>) -> Lease {
        Lease {
            key: "10.88.5.0-24".parse().unwrap(),
            value: LeaseValue::parse(text.as_bytes()).unwrap(),
            revision: Revision(1),
            lease_id: id.map(LeaseId),
        }
    }
}
