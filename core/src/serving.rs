//! The backends that one host serves side by side while the network changes from one to another.
//!
//! Every host makes the new way ready beside the old one, then says so in its lease, and sends to
//! each peer by what the peer's lease says. Nobody counts votes and nothing is switched over: once no
//! lease names the old way any more, it is of no use to anybody.

mod text;

use std::collections::BTreeSet;

use crate::config::Backend;
use crate::ids::{Family, Revision, Vni};
use crate::lease::{Lease, LeaseBackend, Vtep};

pub use text::Error;

/// What two hosts must agree on to reach each other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Way {
    /// The `udp` backend on that port.
    Udp(u16),
    /// The `vxlan` backend with that identifier and port.
    Vxlan(Vni, u16),
    /// The `wireguard` backend: leases tell the port.
    Wireguard,
    /// The `host-gw` backend.
    HostGw,
    /// The `alloc` backend: none of ours.
    Alloc,
    /// The `extension` backend: commands.
    Extension,
}

/// One backend that this host is ready for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Served {
    /// The backend with its options.
    pub backend: Backend,
    /// When the configuration was written that brought it.
    pub since: Revision,
    /// Its tunnel device, if it has one: that of a network of IPv4.
    pub device: Option<String>,
}

impl Served {
    /// Its tunnel device in a network of that family, if it has one.
    #[must_use]
    pub fn device_of(&self, family: Family) -> Option<String> {
        let name = self.device.as_deref()?;
        Some(match family {
            Family::V4 => name.to_owned(),
            Family::V6 => ipv6_device(name),
        })
    }
}

/// What a host serves, the oldest first; the last is what the configuration says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Serving {
    earlier: Vec<Served>,
    current: Served,
}

/// Tunnel devices of one kind at one time; more than anybody can have use for.
const DEVICES: u32 = 10;

impl Serving {
    /// One backend alone.
    #[must_use]
    pub fn new(backend: Backend, since: Revision) -> Self {
        let device = device_name(&backend, &[]);
        Self { earlier: Vec::new(), current: Served { backend, since, device } }
    }

    /// What the configuration says.
    #[must_use]
    pub fn current(&self) -> &Served {
        &self.current
    }

    /// What it said before and somebody may still use, the oldest first.
    #[must_use]
    pub fn earlier(&self) -> &[Served] {
        &self.earlier
    }

    /// All of them, the oldest first. A way that came back is in here twice, with one device.
    pub fn all(&self) -> impl Iterator<Item = &Served> {
        self.earlier.iter().chain([&self.current])
    }

    /// The ways by which this host can be reached.
    #[must_use]
    pub fn ways(&self) -> BTreeSet<Way> {
        self.all().map(|served| served.backend.way()).collect()
    }

    /// The configuration says something else now. Options that concern this host alone change in
    /// place; another way comes beside the one that was.
    pub fn adopt(&mut self, backend: Backend, since: Revision) {
        if backend.way() == self.current.backend.way() {
            self.current.backend = backend;
            return;
        }
        let same = self.earlier.iter().find(|served| served.backend.way() == backend.way());
        let device = if let Some(same) = same {
            same.device.clone()
        } else {
            let taken: Vec<&str> =
                self.all().filter_map(|served| served.device.as_deref()).collect();
            device_name(&backend, &taken)
        };
        let before = std::mem::replace(&mut self.current, Served { backend, since, device });
        self.earlier.push(before);
    }

    /// On a host in several networks a device of `udp` or `wireguard` is called by its port, which is this
    /// network's own, as one of `vxlan` is by its identifier: so it has the same name after every start, whichever
    /// network came first.
    pub fn name_by_port(&mut self) {
        for served in self.earlier.iter_mut().chain([&mut self.current]) {
            if let Backend::Udp(udp) = &served.backend {
                served.device = Some(format!("flannel{}", udp.port));
            }
            // It keeps the name when its port changes.
            if let Backend::Wireguard(options) = &served.backend
                && served.device.as_deref() == Some(WIREGUARD)
            {
                served.device = Some(format!("{NAMED_WIREGUARD}{}", options.port));
            }
        }
    }

    /// By which of them the owner of `lease` wants to be reached, if by any.
    ///
    /// A lease does not tell the port. Where that makes a difference, the time tells: a host writes
    /// its lease again when it has moved.
    #[must_use]
    pub fn behind(&self, lease: &Lease) -> Option<&Served> {
        let theirs = &lease.value.backend;
        let fitting = || self.all().filter(|served| served.backend.way().fits(theirs));
        let newest = fitting().filter(|served| served.since < lease.revision).last();
        newest.or_else(|| fitting().next())
    }

    /// Leaves out the earlier ones that are not `used`, by [`Served::since`].
    pub fn retire(&mut self, used: impl Fn(Revision) -> bool) {
        self.earlier.retain(|served| used(served.since));
    }
}

impl Way {
    fn fits(self, theirs: &LeaseBackend) -> bool {
        match (self, theirs) {
            (Self::Udp(_) | Self::Alloc, LeaseBackend::Unnamed)
            | (Self::Wireguard, LeaseBackend::Wireguard(_))
            | (Self::HostGw, LeaseBackend::HostGw)
            | (Self::Extension, LeaseBackend::Extension { .. }) => true,
            // Leases of old flannels do not tell the identifier.
            (Self::Vxlan(ours, _), LeaseBackend::Vxlan(Vtep { vni, .. })) => {
                vni.is_none_or(|vni| vni == ours)
            }
            _other => false,
        }
    }
}

impl Backend {
    /// What a peer must have in common with a host that serves this.
    #[must_use]
    pub fn way(&self) -> Way {
        match self {
            Self::Udp(udp) => Way::Udp(udp.port),
            Self::Vxlan(vxlan) => Way::Vxlan(vxlan.vni, vxlan.udp_port()),
            Self::Wireguard(_) => Way::Wireguard,
            Self::HostGw => Way::HostGw,
            Self::Alloc => Way::Alloc,
            Self::Extension(_) => Way::Extension,
        }
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Udp(port) => write!(f, "udp on port {port}"),
            Self::Vxlan(vni, port) => write!(f, "vxlan {vni} on port {port}"),
            Self::Wireguard => f.write_str("wireguard"),
            Self::HostGw => f.write_str("host-gw"),
            Self::Alloc => f.write_str("alloc"),
            Self::Extension => f.write_str("extension"),
        }
    }
}

/// flannel's name for it if that is free. Only two ports of one backend need another at one time.
fn device_name(backend: &Backend, taken: &[&str]) -> Option<String> {
    let names = (0..DEVICES).map(|number| match (backend, number) {
        (Backend::Udp(_), _) => Some(format!("flannel{number}")),
        (Backend::Wireguard(_), 0) => Some(WIREGUARD.to_owned()),
        // All that `wireguard` can be is one way, with one device.
        (Backend::Wireguard(_) | Backend::HostGw | Backend::Alloc | Backend::Extension(_), _) => {
            None
        }
        (Backend::Vxlan(vxlan), 0) => Some(format!("flannel.{}", vxlan.vni)),
        (Backend::Vxlan(vxlan), _) => Some(format!("twill{number}.{}", vxlan.vni)),
    });
    let mut free = names.flatten().filter(|name| !taken.contains(&name.as_str()));
    free.next()
}

/// flannel's name for the device of `wireguard`.
const WIREGUARD: &str = "flannel-wg";
/// What it begins with on a host in several networks.
const NAMED_WIREGUARD: &str = "twillwg";

/// The kernel's names of interfaces have at most so many bytes (`IFNAMSIZ` less one).
const LONGEST_NAME: usize = 15;

/// What the name of a device ends with that carries IPv6.
const IPV6_TUN: &str = "-v6";

/// The device beside `name` that carries IPv6. For `vxlan` and `wireguard` it is flannel's name for it,
/// `flannel-v6.1` or `flannel-wg-v6`, unless the kernel would not take that; for `udp`, which is of IPv4 alone
/// in flannel, `flannel0-v6`.
fn ipv6_device(name: &str) -> String {
    let Some((stem, vni)) = name.split_once('.') else { return format!("{name}{IPV6_TUN}") };
    let flannels = format!("{stem}-v6.{vni}");
    match stem.strip_prefix("twill") {
        None if flannels.len() <= LONGEST_NAME => flannels,
        None => format!("twv6.{vni}"),
        Some(number) => format!("twv6{number}.{vni}"),
    }
}

/// Is it the name of a tunnel device, of this or another network?
#[must_use]
pub fn is_tunnel(name: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| !text.is_empty() && digits(text);
    let Some((stem, vni)) = name.split_once('.') else {
        let stem = name.strip_suffix(IPV6_TUN).unwrap_or(name);
        return stem == WIREGUARD
            || ["flannel", NAMED_WIREGUARD]
                .iter()
                .any(|start| stem.strip_prefix(start).is_some_and(number));
    };
    number(vni)
        && (["flannel", "flannel-v6"].contains(&stem)
            || stem.strip_prefix("twill").is_some_and(number)
            || stem.strip_prefix("twv6").is_some_and(digits))
}

#[cfg(test)]
mod tests;
