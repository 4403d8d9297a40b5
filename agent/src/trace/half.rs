//! One host's half of the way: looks at each station between its container and the other host.

use std::net::IpAddr;

use twill_core::device::{Seen, address_differences, differences};
use twill_core::firewall::Entrance;
use twill_core::ids::{Family, Gateway, Underlay};
use twill_core::lease::Key;
use twill_core::peers::{Peer, View};
use twill_core::plan::Hop;
use twill_core::trace::{
    self, Bridge, BridgeSeen, Half, Holder, Lookup, Owner, Rows, Stage, Step, Switch,
};
use twill_net::kernel::Packet;
use twill_net::{Kernel, ping, survey};

use crate::blueprint::Blueprint;
use crate::doctor::firewall;
use crate::session::hostname;
use crate::site::Site;

/// Everything that is looked at for one pair of addresses.
pub(super) struct Look<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) blueprint: &'a Blueprint,
    pub(super) site: &'a Site,
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
}

impl Look<'_> {
    /// From the container of this host, which `holder` has, outwards.
    pub(super) async fn half(&self, holder: &Holder) -> Half {
        let gateway = self.blueprint.setup.subnet.first_host();
        let mut steps = vec![trace::container(self.from, holder, gateway)];
        let bridge = match holder {
            Holder::Container(container) => Some(container.bridge.as_str()),
            _nobody => None,
        };
        steps.extend(bridge.map(|name| self.bridge(name, gateway)));
        steps.push(self.forwarding(bridge));
        steps.push(trace::firewall(firewall(self.blueprint).await));
        let owner = owner(self.blueprint, self.to);
        steps.push(trace::lease(self.to, &owner));
        let uplink = self.site.uplink(self.blueprint);
        steps.push(trace::uplink(&self.blueprint.setup.uplink, uplink));
        if let Some(peer) = peer(self.blueprint, self.to) {
            steps.extend(self.to_peer(peer, holder).await);
        }
        Half { host: hostname(), steps }
    }

    /// The half of a pair that is on one host.
    pub(super) fn alone(&self, [one, other]: [&Holder; 2]) -> Half {
        let gateway = self.blueprint.setup.subnet.first_host();
        let mut steps = vec![trace::container(self.from, one, gateway)];
        if let Holder::Container(container) = one {
            steps.push(self.bridge(&container.bridge, gateway));
        }
        steps.push(trace::lease(self.to, &Owner::Here));
        steps.push(trace::container(self.to, other, gateway));
        Half { host: hostname(), steps }
    }

    fn bridge(&self, name: &str, gateway: IpAddr) -> Step {
        let seen = self.site.interface(name);
        trace::bridge(&Bridge {
            name: name.to_owned(),
            gateway,
            told: self.blueprint.mtu.bytes(),
            seen: seen.map(|seen| BridgeSeen {
                up: seen.up,
                gateway: seen.has(gateway),
                mtu: seen.mtu,
            }),
        })
    }

    fn forwarding(&self, bridge: Option<&str>) -> Step {
        let entrances = self.blueprint.setup.entrances();
        let names = entrances.iter().map(Entrance::interface);
        let switch = |name: &str, checked: bool| Switch {
            interface: name.to_owned(),
            forwarding: of_interface(name, "forwarding"),
            source_check: of_interface(name, "rp_filter").filter(|_value| checked),
        };
        let mut switches: Vec<Switch> =
            bridge.map(|name| switch(name, false)).into_iter().collect();
        switches.extend(names.map(|name| switch(name, true)));
        let family = self.blueprint.setup.family();
        if family == Family::V6 {
            // There is one switch for all of them.
            switches.clear();
        }
        let host = survey::forwarding(family).unwrap_or_default();
        let all = of_interface("all", "rp_filter").unwrap_or_default();
        trace::forwarding((family, &host), &all, &switches)
    }

    async fn to_peer(&self, peer: &Peer, holder: &Holder) -> Vec<Step> {
        let site = self.site;
        let rows = Rows::towards(&site.wanted, peer.subnet);
        let hop = rows.route.map(|(_block, route)| route.hop);
        let mut steps = Vec::new();
        let direct = matches!(hop, Some(Hop::Via(..)));
        if let Some(spec) = site.specs.get(&peer.by).filter(|_spec| !direct) {
            let mut found = differences(spec, &site.interfaces);
            found.extend(address_differences(spec, &site.interfaces));
            steps.push(trace::device(spec.name(), &found));
        }
        let entrance = match hop {
            Some(Hop::Device(index) | Hop::Onlink(index, _) | Hop::Via(index, _)) => {
                site.interfaces.iter().find(|seen| seen.index == index)
            }
            None => None,
        };
        steps.push(self.route(&rows, holder).await);
        if let Some(Hop::Onlink(..)) = hop {
            steps.extend(rows.neighbour.map(|row| trace::neighbour(row, &site.actual)));
            steps.extend(rows.forwarding.map(|row| trace::fdb(row, &site.actual)));
        }
        if let Some(wire) = rows.wire {
            let device = self.kernel.wireguard(wire.0).await.ok().flatten();
            let met = device.and_then(|device| device.peers.get(&wire.1).copied());
            let ago = met.and_then(|met| met.ago()).map(|ago| ago.as_secs());
            steps.push(trace::handshake(wire, &site.actual, ago));
        }
        steps.push(self.underlay(peer.underlay).await);
        if let Some(entrance) = entrance {
            steps.push(self.arrival(entrance).await);
        }
        steps
    }

    async fn route(&self, rows: &Rows, holder: &Holder) -> Step {
        let from = match holder {
            Holder::Container(container) => {
                let bridge = self.site.interface(&container.bridge);
                bridge.map(|bridge| (self.from, bridge.index))
            }
            _this_host => None,
        };
        let there = rows.route.is_some_and(|row| self.site.actual.routes.contains(&row));
        match self.lookup(Packet { to: self.to, from }).await {
            Ok(found) => trace::route(self.to, rows.route, (&found, there)),
            Err(step) => Step { stage: Stage::Route, ..step },
        }
    }

    async fn arrival(&self, entrance: &Seen) -> Step {
        let packet = Packet { to: self.from, from: Some((self.to, entrance.index)) };
        match self.lookup(packet).await {
            Ok(found) => trace::arrival(&entrance.name, (self.from, self.to), &found),
            Err(step) => Step { stage: Stage::Arrival, ..step },
        }
    }

    async fn underlay(&self, host: Underlay) -> Step {
        let address = host.0;
        let echoes = ping::ping_from(None, address, ping::USUAL).await.ok();
        match self.lookup(Packet { to: address, from: None }).await {
            Ok(found) => trace::underlay(host, &found, echoes),
            Err(step) => Step { stage: Stage::Underlay, ..step },
        }
    }

    async fn lookup(&self, packet: Packet) -> Result<Lookup, Step> {
        self.kernel.lookup(packet, &self.site.interfaces).await.map_err(|error| {
            let what = format!("{:#}", anyhow::Error::new(error));
            Step::unseen(Stage::Route, what, "`ip route get`")
        })
    }
}

/// The peer that has the address.
pub(super) fn peer(blueprint: &Blueprint, address: IpAddr) -> Option<&Peer> {
    blueprint.view.peers.iter().find(|peer| peer.subnet.contains(address))
}

fn owner(blueprint: &Blueprint, address: IpAddr) -> Owner {
    if blueprint.setup.subnet.contains(address) {
        return Owner::Here;
    }
    if let Some(Peer { subnet, underlay, by, .. }) = peer(blueprint, address) {
        return Owner::Peer { subnet: *subnet, underlay: *underlay, by: by.to_string() };
    }
    ignored(&blueprint.view, address).unwrap_or(Owner::Nobody)
}

fn ignored(view: &View, address: IpAddr) -> Option<Owner> {
    let covers = |key: &str| {
        let key = key.parse::<Key>();
        key.is_ok_and(|key| key.blocks().any(|block| block.contains(address)))
    };
    let lease = view.ignored.iter().find(|lease| covers(&lease.key))?;
    Some(Owner::Ignored { key: lease.key.clone(), why: lease.why.clone() })
}

/// Is it an address of the host itself in the overlay: the bridge's, or the tunnel's end?
pub(super) fn is_host(blueprint: &Blueprint, address: IpAddr) -> bool {
    let Gateway(end) = blueprint.setup.subnet.gateway();
    address == end || address == blueprint.setup.subnet.first_host()
}

fn of_interface(name: &str, setting: &str) -> Option<String> {
    survey::setting(&format!("ipv4/conf/{name}/{setting}"))
}
