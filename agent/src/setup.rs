//! Everything about this host that follows from the network's configuration, as one value: whoever
//! owns a part of the host makes that part equal to it.

use std::collections::{BTreeMap, BTreeSet};

use twill_core::config::{Backend, NetworkConfig};
use twill_core::device::{DeviceSpec, TooSmall, Uplink, device, mtu};
use twill_core::extension::Command;
use twill_core::firewall::Entrance;
use twill_core::firewall::gate::Accept;
use twill_core::ids::{Family, Mac, Mtu, Revision, Subnet, Underlay};
use twill_core::lease::LeaseBackend;
use twill_core::networks::Claims;
use twill_core::serving::{Served, Serving, Way};

use crate::failure::Failure;

/// One host under one configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Setup {
    pub(crate) config: NetworkConfig,
    /// When the configuration was written.
    pub(crate) written: Revision,
    /// The configuration's backend, and earlier ones that somebody still uses.
    pub(crate) serving: Serving,
    /// Of the VXLAN devices, if there are any.
    pub(crate) mac: Option<Mac>,
    pub(crate) uplink: Uplink,
    /// Where peers send to.
    pub(crate) public_ip: Underlay,
    /// What the first command of an `extension` said.
    pub(crate) said: Option<(Command, String)>,
    pub(crate) subnet: Subnet,
    /// Whose packets it takes.
    pub(crate) accept: Accept,
    /// The networks that routes of ours may lead into: this one, and earlier ones.
    pub(crate) networks: Vec<Subnet>,
}

impl Setup {
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
        // Only `vxlan` has a hardware address, and looks at it.
        let mac = self.mac.unwrap_or(Mac([0; 6]));
        let mut spec = device(served, &self.uplink, self.subnet, mac)
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
            Backend::HostGw | Backend::Alloc | Backend::Extension(_) => false,
        }
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

    /// What is served besides, for people.
    pub(crate) fn earlier(&self) -> Vec<String> {
        self.serving.earlier().iter().map(|served| served.backend.way().to_string()).collect()
    }

    /// What peers must know to send to this host.
    pub(crate) fn told(&self) -> LeaseBackend {
        match (&self.config.backend, self.mac) {
            (Backend::HostGw, _) => LeaseBackend::HostGw,
            (Backend::Vxlan(vxlan), Some(mac)) => LeaseBackend::Vxlan { vni: Some(vxlan.vni), mac },
            (Backend::Extension(_), _) => LeaseBackend::Extension {
                data: self.said.as_ref().map(|(_command, said)| said.clone()),
            },
            (Backend::Vxlan(_), None) | (Backend::Udp(_) | Backend::Alloc, _) => {
                LeaseBackend::Unnamed
            }
        }
    }

    /// What no other network of this host may use.
    pub(crate) fn uses(&self) -> Claims {
        Claims::of(&self.config, &self.serving)
    }

    /// What no other agent in this network namespace may serve at the same time.
    pub(crate) fn claims(&self) -> Vec<String> {
        let claim = |served: &Served| match served.device_of(self.family()) {
            Some(device) => device,
            None => format!("routes-{}-{}", self.config.network.base(), self.config.network.len()),
        };
        self.serving.all().map(claim).collect()
    }
}

fn too_small(error: TooSmall, uplink: &Uplink) -> Failure {
    let context = format!("interface {} cannot carry the tunnel", uplink.name);
    let error = anyhow::Error::new(error).context(context);
    Failure::refused(error).hint("raise its MTU, or choose another interface with --iface")
}
