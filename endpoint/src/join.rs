//! The pair of interfaces and what is set up inside the container.

use std::net::Ipv4Addr;

use twill_core::device::IfIndex;
use twill_core::ids::{Ipv4Subnet, Mac, Mtu};
use twill_core::subnet_env::Ipv4Env;
use twill_net::blocking::{Address, Kernel, Link, Route, VethEnd, VethPair};

use crate::bridge::mac_of;
use crate::error::Error;
use crate::guard;
use crate::pool::Record;
use crate::request::{Attachment, End, Request, StaticRoute};

/// Who made our routes inside a container, in the kernel's numbers: `RTPROT_BOOT`, as those that
/// `ip route add` makes.
pub(crate) const ROUTE_PROTOCOL: u8 = 3;

/// All that has to be made, decided before the first of it is.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    request: &'a Request<'a>,
    env: &'a Ipv4Env,
    record: &'a Record,
    mac: Mac,
    mtu: Mtu,
    routes: Vec<StaticRoute>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(request: &'a Request<'a>, env: &'a Ipv4Env, record: &'a Record) -> Self {
        let everywhere = Ipv4Subnet::containing(Ipv4Addr::UNSPECIFIED, 0);
        let gateway = Some(env.subnet.first_host());
        let default = everywhere.filter(|_| request.default_route);
        let default = default.map(|destination| StaticRoute { destination, gateway });
        Self {
            request,
            env,
            record,
            mac: request.mac.unwrap_or_else(|| mac_of(record.address)),
            mtu: request.mtu.unwrap_or(env.mtu),
            routes: default.into_iter().chain(request.routes.iter().copied()).collect(),
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
        inside.configure(
            peer.index,
            &[self.address(peer.index)],
            &self.kernel_routes(peer.index),
        )?;
        Ok(Attachment {
            bridge: end(bridge)?,
            host: end(&port)?,
            container: end(&peer)?,
            address: self.record.address,
            gateway: self.env.subnet.first_host(),
            subnet: self.env.subnet,
            network: self.env.network,
            mtu: self.mtu,
            routes: self.routes.clone(),
            netns: self.request.netns.path().to_owned(),
        })
    }

    fn address(&self, link: IfIndex) -> Address {
        Address { link, address: self.record.address, prefix_length: self.env.subnet.len() }
    }

    fn kernel_routes(&self, link: IfIndex) -> Vec<Route> {
        let gateway = self.env.subnet.first_host();
        let route = |wanted: &StaticRoute| Route {
            destination: wanted.destination,
            gateway: Some(wanted.gateway.unwrap_or(gateway)),
            link: Some(link),
            protocol: ROUTE_PROTOCOL,
        };
        self.routes.iter().map(route).collect()
    }
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
