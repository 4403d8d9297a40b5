//! The pair of interfaces and what is set up inside the container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use twill_core::device::IfIndex;
use twill_core::ids::{Family, Mac, Mtu, Subnet};
use twill_core::subnet_env::SubnetEnv;
use twill_net::blocking::{Address, Kernel, Link, Route, VethEnd, VethPair};
use twill_net::netns::Netns;
use twill_net::sysctl::ensure_ipv6_of_containers;

use crate::error::Error;
use crate::guard;
use crate::mac::mac_of;
use crate::pool::Record;
use crate::request::{Attachment, End, Interface, Place, Request, StaticRoute};

/// Who made our routes inside a container, in the kernel's numbers: `RTPROT_BOOT`, as those that
/// `ip route add` makes.
pub(crate) const ROUTE_PROTOCOL: u8 = 3;

/// All that has to be made, decided before the first of it is.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    request: &'a Request<'a>,
    record: &'a Record,
    mac: Mac,
    mtu: Mtu,
    routes: Vec<StaticRoute>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(request: &'a Request<'a>, env: &SubnetEnv, record: &'a Record) -> Self {
        let asked = |route: &StaticRoute| {
            request.routes.iter().any(|it| it.destination == route.destination)
        };
        let default = record.places().filter(|_| request.default_route).filter_map(default_route);
        let default = default.filter(|route| !asked(route));
        Self {
            request,
            record,
            mac: request.mac.unwrap_or_else(|| mac_of(record.address)),
            mtu: request.mtu.unwrap_or(env.mtu),
            routes: default.chain(request.routes.iter().copied()).collect(),
        }
    }

    /// `inside` is the container's namespace. On an error the caller removes the pair.
    pub(crate) fn carry_out(
        &self,
        host: &mut Kernel,
        inside: &mut Kernel,
        bridge: &Link,
    ) -> Result<Attachment, Error> {
        let interface = self.request.owner.interface.as_str();
        let pair = VethPair {
            host: VethEnd { name: &self.record.host_interface, mtu: self.mtu, mac: None },
            peer: VethEnd { name: interface, mtu: self.mtu, mac: Some(self.mac) },
            bridge: Some(bridge.index),
        };
        host.add_veth(&pair, self.request.netns)?;
        let port = find(host, &self.record.host_interface)?;
        if self.request.hairpin {
            host.set_hairpin(port.index, true)?;
        }
        guard::keep(host, &port, &[self.record])?;
        guard::hold(host, &port, (self.record, self.mac), [])?;
        let peer = find(inside, interface)?;
        if self.record.places().any(|place| place.family() == Family::V6) {
            open_ipv6(self.request.netns, &self.request.owner.interface)?;
        }
        let addresses: Vec<Address> = self
            .record
            .places()
            .map(|Place { address, subnet }| Address {
                link: peer.index,
                address,
                prefix_length: subnet.len(),
            })
            .collect();
        self.record.limits.set((host, &port), (inside, &peer), self.mtu)?;
        inside.configure(peer.index, &addresses, &self.kernel_routes(peer.index))?;
        Ok(Attachment {
            bridge: end(bridge)?,
            host: end(&port)?,
            container: end(&peer)?,
            places: self.record.places().collect(),
            mtu: self.mtu,
            routes: self.routes.clone(),
            netns: self.request.netns.path().to_owned(),
        })
    }

    fn kernel_routes(&self, link: IfIndex) -> Vec<Route> {
        let bridge = |family| {
            self.record.places().find(|place| place.family() == family).map(|it| it.gateway())
        };
        let route = |wanted: &StaticRoute| Route {
            destination: wanted.destination,
            gateway: wanted.gateway.or_else(|| bridge(wanted.destination.family())),
            link: Some(link),
            protocol: ROUTE_PROTOCOL,
        };
        self.routes.iter().map(route).collect()
    }
}

pub(crate) fn default_route(place: Place) -> Option<StaticRoute> {
    let everywhere = match place.family() {
        Family::V4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let gateway = Some(place.gateway());
    Subnet::containing(everywhere, 0).map(|destination| StaticRoute { destination, gateway })
}

/// A namespace may be made on a host where IPv6 is off unless asked for.
pub(crate) fn open_ipv6(netns: &Netns, interface: &Interface) -> Result<(), Error> {
    Ok(netns.run(|| ensure_ipv6_of_containers(interface.as_str()))??)
}

/// Removes the pair that the host's end of that name belongs to. None, and an interface of another
/// kind, which cannot be ours, are left alone.
pub(crate) fn drop_pair(host: &mut Kernel, name: &str) -> Result<(), Error> {
    let link = host.link(name)?.filter(|link| link.kind.as_deref() == Some("veth"));
    if let Some(link) = link {
        host.drop_link(link.index)?;
    }
    Ok(())
}

fn find(kernel: &mut Kernel, name: &str) -> Result<Link, Error> {
    kernel.link(name)?.ok_or_else(|| Error::Vanished { name: name.to_owned() })
}

fn end(link: &Link) -> Result<End, Error> {
    let mac = link.mac.ok_or_else(|| Error::Vanished { name: link.name.clone() })?;
    Ok(End { name: link.name.clone(), mac })
}
