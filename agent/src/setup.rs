//! Everything about this host that follows from the network's configuration, as one value: whoever
//! owns a part of the host makes that part equal to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use twill_core::config::{Backend, NetworkConfig};
use twill_core::device::{DeviceSpec, Kept, TooSmall, Uplink, device, mtu};
use twill_core::extension::Command;
use twill_core::firewall::Entrance;
use twill_core::firewall::gate::Accept;
use twill_core::ids::{Family, Mtu, NodeId, Revision, Subnet, Underlay};
use twill_core::lease::{Beside, Key, LeaseBackend, TunnelEnd, Vtep};
use twill_core::networks::Claims;
use twill_core::peers::{Home, Own};
use twill_core::serving::{Served, Serving, Way};
use twill_core::status::InIpv6;
use twill_core::subnet_env::Ipv6Blocks;
use twill_core::wireguard::{End, PrivateKey, Shared};

use crate::failure::Failure;
use crate::flags::Udp;

/// One host under one configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Setup {
    pub(crate) config: NetworkConfig,
    /// When the configuration was written.
    pub(crate) written: Revision,
    /// The configuration's backend, and earlier ones that somebody still uses.
    pub(crate) serving: Serving,
    /// What peers know the devices by.
    pub(crate) kept: Kept,
    /// Of IPv4, or of IPv6 if there is no other.
    pub(crate) side: Side,
    /// Of IPv6 beside IPv4.
    pub(crate) ipv6: Option<Side>,
    /// What the first command of an `extension` said.
    pub(crate) said: Option<(Command, String)>,
    /// Whose packets it takes.
    pub(crate) accept: Accept,
    /// How the data path of `udp` works.
    pub(crate) udp: Udp,
}

/// What a host is among the addresses of one family.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Side {
    pub(crate) uplink: Uplink,
    /// Where peers send to.
    pub(crate) public_ip: Underlay,
    pub(crate) subnet: Subnet,
    /// The networks that routes of ours may lead into: this one, and earlier ones.
    pub(crate) networks: Vec<Subnet>,
}

/// One host under one configuration, as far as one family goes. Each has devices, rows and rules of its
/// own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Half {
    /// Of that family alone.
    pub(crate) config: NetworkConfig,
    pub(crate) written: Revision,
    pub(crate) serving: Serving,
    pub(crate) kept: Kept,
    pub(crate) uplink: Uplink,
    pub(crate) public_ip: Underlay,
    pub(crate) said: Option<(Command, String)>,
    pub(crate) subnet: Subnet,
    pub(crate) accept: Accept,
    pub(crate) udp: Udp,
    pub(crate) networks: Vec<Subnet>,
    /// Does it see to what is there once, whichever families the network has?
    pub(crate) first: bool,
}

impl Setup {
    /// The sides that there are, IPv4 first.
    pub(crate) fn sides(&self) -> impl Iterator<Item = &Side> {
        std::iter::once(&self.side).chain(&self.ipv6)
    }

    /// The same to change.
    pub(crate) fn sides_mut(&mut self) -> impl Iterator<Item = &mut Side> {
        std::iter::once(&mut self.side).chain(&mut self.ipv6)
    }

    /// What it comes to for each family, IPv4 first.
    pub(crate) fn halves(&self) -> impl Iterator<Item = Half> {
        self.sides().enumerate().filter_map(|(number, side)| {
            let Side { uplink, public_ip, subnet, networks } = side.clone();
            Some(Half {
                config: self.config.half(subnet.family())?,
                written: self.written,
                serving: self.serving.clone(),
                kept: self.kept,
                uplink,
                public_ip,
                said: self.said.clone(),
                subnet,
                accept: self.accept,
                udp: self.udp,
                networks,
                first: number == 0,
            })
        })
    }

    /// What tells our lease from the others'.
    pub(crate) fn own(&self, node: NodeId) -> Own {
        let home = |(side, network): (&Side, Subnet)| {
            let Side { subnet, public_ip, .. } = *side;
            Home { network, subnet, public_ip }
        };
        let mut besides = self.ipv6.iter().zip(self.config.networks().skip(1));
        Own {
            node,
            home: home((&self.side, self.config.network)),
            ipv6: besides.next().map(home),
            mac: self.kept.mac,
            key: self.kept.key.map(PrivateKey::public),
            serving: self.serving.clone(),
        }
    }

    /// Where its lease is.
    pub(crate) fn key(&self) -> Key {
        Key { subnet: self.side.subnet, ipv6: self.ipv6.as_ref().map(|side| side.subnet) }
    }

    /// The same with that lease.
    pub(crate) fn at(mut self, key: Key) -> Self {
        for (side, subnet) in self.sides_mut().zip(key.blocks()) {
            side.subnet = subnet;
        }
        self
    }

    /// Its place among the addresses of IPv6, beside IPv4.
    pub(crate) fn ipv6_blocks(&self) -> Option<Ipv6Blocks> {
        Ipv6Blocks::new(self.config.ipv6?.network, self.ipv6.as_ref()?.subnet)
    }

    /// The same for people.
    pub(crate) fn ipv6_status(&self) -> Option<InIpv6> {
        let half = self.halves().nth(1)?;
        let (network, device) = (half.config.network, half.device_name());
        Some(InIpv6 { network, subnet: half.subnet, public_ip: half.public_ip, device })
    }

    /// The interface that most packets leave by, for people.
    pub(crate) fn device_name(&self) -> String {
        let first = self.halves().next();
        first.map_or_else(|| self.side.uplink.name.clone(), |half| half.device_name())
    }

    /// What containers may send, whichever family it is.
    pub(crate) fn mtu(&self) -> Result<Mtu, Failure> {
        let mut least = None;
        for half in self.halves() {
            let mtu = half.mtu()?;
            least = Some(least.map_or(mtu, |least: Mtu| least.min(mtu)));
        }
        // A network has a family.
        Ok(least.unwrap_or(self.side.uplink.mtu))
    }

    /// What is served besides, for people.
    pub(crate) fn earlier(&self) -> Vec<String> {
        self.serving.earlier().iter().map(|served| served.backend.way().to_string()).collect()
    }

    /// What peers must know to send to this host.
    pub(crate) fn told(&self) -> (LeaseBackend, Option<Beside>) {
        let (end, backend) = match (&self.config.backend, self.kept) {
            (Backend::Vxlan(vxlan), Kept { mac: Some(mac), .. }) => {
                let vtep = Vtep { vni: Some(vxlan.vni), mac };
                (Some(TunnelEnd::Vxlan(vtep)), LeaseBackend::Vxlan(vtep))
            }
            (Backend::Wireguard(options), Kept { key: Some(key), .. }) => {
                let key = key.public();
                let end = |family| End { key, port: Some(options.port_of(family)) };
                let first = self.config.network.family();
                let beside = TunnelEnd::Wireguard(end(Family::V6));
                (Some(beside), LeaseBackend::Wireguard(end(first)))
            }
            (Backend::HostGw, _) => (None, LeaseBackend::HostGw),
            (Backend::Extension(_), _) => {
                let data = self.said.as_ref().map(|(_command, said)| said.clone());
                (None, LeaseBackend::Extension { data })
            }
            // Whoever has one of the first two has been given what it takes.
            (
                Backend::Vxlan(_) | Backend::Wireguard(_) | Backend::Udp(_) | Backend::Alloc,
                _kept,
            ) => (None, LeaseBackend::Unnamed),
        };
        let beside = self.ipv6.as_ref().and_then(|side| match side.public_ip.0 {
            IpAddr::V6(public_ip) => Some(Beside { public_ip, end }),
            IpAddr::V4(_) => None,
        });
        (backend, beside)
    }

    /// What no other network of this host may use.
    pub(crate) fn uses(&self) -> Claims {
        Claims::of(&self.config, &self.serving)
    }

    /// What no other agent in this network namespace may serve at the same time.
    pub(crate) fn claims(&self) -> Vec<String> {
        self.halves().flat_map(|half| half.claims()).collect()
    }
}

impl Half {
    /// Of which family the network is, and the hosts' addresses.
    pub(crate) fn family(&self) -> Family {
        self.config.network.family()
    }

    /// What containers may send.
    pub(crate) fn mtu(&self) -> Result<Mtu, Failure> {
        mtu(&self.config.backend, &self.uplink).map_err(|error| too_small(error, &self.uplink))
    }

    /// The device of one of the backends; `None` for those without.
    pub(crate) fn device(&self, served: &Served) -> Result<Option<DeviceSpec>, Failure> {
        let mut spec = device(served, &self.uplink, self.subnet, self.kept)
            .map_err(|error| too_small(error, &self.uplink))?;
        if let (Some(DeviceSpec::Vxlan(device)), Backend::Vxlan(vxlan)) =
            (&mut spec, &served.backend)
        {
            device.gbp = self.group_policy(vxlan.udp_port());
        }
        Ok(spec)
    }

    /// The kernel has one socket a port, with group policy or without; the newest backend decides.
    fn group_policy(&self, port: u16) -> bool {
        let vxlans = self.serving.all().filter_map(|served| match &served.backend {
            Backend::Vxlan(vxlan) if vxlan.udp_port() == port => Some(vxlan.gbp),
            _other => None,
        });
        vxlans.last().unwrap_or(false)
    }

    /// The interface that most packets leave by, for people.
    pub(crate) fn device_name(&self) -> String {
        let device = self.serving.current().device_of(self.family());
        device.unwrap_or_else(|| self.uplink.name.clone())
    }

    /// What containers may send by each way that is served.
    pub(crate) fn mtus(&self) -> BTreeMap<Way, Mtu> {
        let mtu = |served: &Served| {
            Some((served.backend.way(), mtu(&served.backend, &self.uplink).ok()?))
        };
        self.serving.all().filter_map(mtu).collect()
    }

    /// Do peers on the link get their packets without a tunnel?
    pub(crate) fn is_direct(&self) -> bool {
        match &self.config.backend {
            Backend::Vxlan(vxlan) => vxlan.direct_routing,
            Backend::Udp(udp) => udp.direct_routing,
            // With `wireguard` that would be in the clear.
            Backend::Wireguard(_) | Backend::HostGw | Backend::Alloc | Backend::Extension(_) => {
                false
            }
        }
    }

    /// What `wireguard` has in common towards all peers.
    pub(crate) fn shared(&self) -> Shared {
        let options = self.serving.all().filter_map(|served| match &served.backend {
            Backend::Wireguard(options) => Some(options),
            _other => None,
        });
        let newest = options.last();
        newest.map_or_else(Shared::default, |it| Shared { psk: it.psk, keepalive: it.keepalive })
    }

    /// Can packets of peers come in by the uplink, unwrapped?
    pub(crate) fn takes_plain_packets(&self) -> bool {
        self.is_direct() || self.serving.all().any(|served| served.backend == Backend::HostGw)
    }

    /// Where packets of the overlay come in from peers, and leave to them.
    pub(crate) fn entrances(&self) -> Vec<Entrance> {
        let devices = self.serving.all().filter_map(|served| served.device_of(self.family()));
        let uplink = Some(self.uplink.name.clone()).filter(|_name| self.takes_plain_packets());
        let all = devices.map(Entrance::Tunnel).chain(uplink.map(Entrance::Uplink));
        // A way that came back is served twice by one device.
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The UDP ports of its tunnels, of which some may not stand yet.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        Claims::of(&self.config, &self.serving).udp_ports()
    }

    /// What no other agent in this network namespace may serve at the same time.
    fn claims(&self) -> Vec<String> {
        let claim = |served: &Served| match served.device_of(self.family()) {
            Some(device) => device,
            None => routes_into(self.config.network),
        };
        self.serving.all().map(claim).collect()
    }
}

/// What is locked by whoever has routes of ours into that network, without a device of their own.
pub(crate) fn routes_into(network: Subnet) -> String {
    format!("routes-{}-{}", network.base(), network.len())
}

fn too_small(error: TooSmall, uplink: &Uplink) -> Failure {
    let context = format!("interface {} cannot carry the tunnel", uplink.name);
    let error = anyhow::Error::new(error).context(context);
    Failure::refused(error).hint("raise its MTU, or choose another interface with --iface")
}
