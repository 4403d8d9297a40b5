//! The network's configuration, the value of `<prefix>/config`.
//!
//! Read by flannel's rules, and by one that flannel lacks: `SubnetMin` must not lie above
//! `SubnetMax`.

mod change;
mod text;

use std::net::IpAddr;

use crate::extension::Extension;
use crate::ids::{Family, Mtu, Subnet, Vni};

pub use change::{Difference, Effect, changes};
pub(crate) use text::{backend as backend_from_json, options as backend_to_json};

/// How many bits a subnet must be narrower than the network: room for four hosts.
const BITS_FOR_SUBNETS: u8 = 2;
/// The port that Linux gives a VXLAN device which asks for none. It predates the one that IANA
/// assigned, 4789, and is what flannel uses.
pub(crate) const LINUX_PORT: u16 = 8472;

/// A configuration that keeps every rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NetworkConfig {
    /// The whole overlay network.
    pub network: Subnet,
    /// The prefix length of every host's block.
    pub subnet_len: u8,
    /// The lowest block that a host may get.
    pub subnet_min: Subnet,
    /// The highest block that a host may get.
    pub subnet_max: Subnet,
    /// How packets travel between hosts.
    pub backend: Backend,
    /// Should hosts write their firewall with nftables?
    pub nftables: bool,
}

/// How packets travel between hosts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Backend {
    /// Bare packets in UDP datagrams, through a TUN device and our own process.
    Udp(Udp),
    /// VXLAN in the kernel.
    Vxlan(Vxlan),
    /// Plain routes to hosts on the same link; nothing is wrapped.
    HostGw,
    /// Nothing but the subnet: others carry the packets.
    Alloc,
    /// Commands of the administrator's.
    Extension(Box<Extension>),
}

/// Options of the `udp` backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Udp {
    /// The UDP port of every host.
    pub port: u16,
    /// Route to peers on the same link without the tunnel. flannel has it for `vxlan` only, and does
    /// not mind it here.
    pub direct_routing: bool,
}

/// Options of the `vxlan` backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vxlan {
    /// The network identifier.
    pub vni: Vni,
    /// The UDP port; `None` is the kernel's own, 8472.
    pub port: Option<u16>,
    /// The MTU outside the tunnel; `None` is the uplink's.
    pub mtu: Option<Mtu>,
    /// Carry group policy bits.
    pub gbp: bool,
    /// Learn addresses from what arrives.
    pub learning: bool,
    /// Route to peers on the same link without the tunnel.
    pub direct_routing: bool,
}

/// The members of a configuration before the rules are applied; `None` stands for the default.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Draft {
    /// The whole overlay network.
    pub network: Subnet,
    /// The prefix length of every host's block.
    pub subnet_len: Option<u8>,
    /// The base of the lowest block that a host may get.
    pub subnet_min: Option<IpAddr>,
    /// The base of the highest block that a host may get.
    pub subnet_max: Option<IpAddr>,
    /// How packets travel between hosts.
    pub backend: Backend,
    /// Should hosts write their firewall with nftables?
    pub nftables: bool,
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// The text is not JSON, or not an object.
    #[error("the network configuration is not a JSON object: {reason}")]
    NotAnObject {
        /// What the JSON parser met.
        reason: String,
    },
    /// A member that must be there is not.
    #[error("the network configuration has no {member}")]
    Missing {
        /// The member.
        member: &'static str,
    },
    /// A member holds something of another kind than it should.
    #[error("{member} is {found}, which is not {wanted}")]
    Kind {
        /// The member.
        member: &'static str,
        /// What it holds, as JSON.
        found: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A member breaks a rule.
    #[error("{member} is {found}, but it must {rule}")]
    Rule {
        /// The member.
        member: &'static str,
        /// What it holds.
        found: String,
        /// What it must do instead.
        rule: String,
    },
    /// A backend of flannel that this version lacks.
    #[error("Backend.Type is \"{name}\", which is not built into this version: it lacks {lacks}")]
    NotBuilt {
        /// The backend.
        name: &'static str,
        /// What would have to be there.
        lacks: &'static str,
    },
    /// A backend that nobody has.
    #[error("Backend.Type is \"{name}\", which is not a backend")]
    UnknownBackend {
        /// What it is called.
        name: String,
    },
}

impl Error {
    /// A way out, for a `hint:` line.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotAnObject { .. } | Self::Kind { .. } => {
                "write the configuration with `twillctl network init`, which checks it first"
            }
            Self::Missing { member: "Network" } => {
                "give the address range of the whole network, as in {\"Network\":\"10.88.0.0/16\"}"
            }
            Self::Missing { member: "IPv6Network" } => {
                "give the address range of the whole network, as in {\"IPv6Network\":\"fd00:88::/48\"}"
            }
            Self::Missing { .. } => {
                "name the backend, as in {\"Backend\":{\"Type\":\"vxlan\"}}, or leave Backend out for udp"
            }
            Self::Rule { member: "EnableIPv4" | "EnableIPv6", .. } => {
                "leave both out for IPv4, or say {\"EnableIPv4\":false,\"EnableIPv6\":true} for IPv6 alone"
            }
            Self::Rule { member: "Network" | "SubnetLen", .. } => {
                "choose a wider Network, or leave SubnetLen out: it follows from Network"
            }
            Self::Rule { member: "IPv6Network" | "IPv6SubnetLen", .. } => {
                "choose a wider IPv6Network, or leave IPv6SubnetLen out: it follows from IPv6Network"
            }
            Self::Rule { member: "SubnetMin" | "SubnetMax", .. } => {
                "give the first address of a subnet inside Network, or leave the member out"
            }
            Self::Rule { member: "IPv6SubnetMin" | "IPv6SubnetMax", .. } => {
                "give the first address of a subnet inside IPv6Network, or leave the member out"
            }
            Self::Rule { member: "Backend.Type", .. } => {
                "choose another Backend.Type, or a network of IPv4"
            }
            Self::Rule { .. } => "leave the member out for its default",
            Self::NotBuilt { name: "wireguard" | "ipsec", .. } => {
                "set Backend.Type to \"vxlan\", \"udp\" or \"host-gw\", and encrypt between the hosts by \
                 other means: none of them does"
            }
            Self::NotBuilt { .. } | Self::UnknownBackend { .. } => {
                "set Backend.Type to \"vxlan\", \"udp\" or \"host-gw\""
            }
        }
    }
}

impl NetworkConfig {
    /// Reads the value of `<prefix>/config` as flannel does: member names in any case, unknown
    /// members ignored, the last of several counts, no conversion between kinds of value.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        text::read(text)?.build()
    }

    /// The value of `<prefix>/config` that reads back as this, in compact JSON. What flannel would
    /// assume anyway is left out of `Backend`; the subnets are always spelled out.
    #[must_use]
    pub fn to_json(&self) -> String {
        text::write(self)
    }

    /// Could a host with this configuration own `subnet`?
    #[must_use]
    pub fn admits(&self, subnet: Subnet) -> bool {
        subnet.len() == self.subnet_len && (self.subnet_min..=self.subnet_max).contains(&subnet)
    }
}

impl Draft {
    /// A network with every default, on the `udp` backend as flannel has it.
    #[must_use]
    pub fn new(network: Subnet) -> Self {
        let backend = Backend::default();
        Self {
            network,
            subnet_len: None,
            subnet_min: None,
            subnet_max: None,
            backend,
            nftables: false,
        }
    }

    /// Fills the defaults in and applies the rules.
    pub fn build(self) -> Result<NetworkConfig, Error> {
        let members = members(self.network.family());
        let subnet_len = self.checked_len(members)?;
        self.check_backend()?;
        let Self { network, backend, nftables, .. } = self;
        let block = |address| Subnet::containing(address, subnet_len);
        let bound = |member, given: Option<IpAddr>, default: Option<Subnet>| {
            let base = given.or(default.map(Subnet::base)).unwrap_or(network.base());
            let aligned = Subnet::new(base, subnet_len).filter(|_| network.contains(base));
            aligned.ok_or_else(|| Error::Rule {
                member,
                found: base.to_string(),
                rule: format!("be the first address of a /{subnet_len} inside {network}"),
            })
        };
        let second = block(network.base()).and_then(Subnet::next);
        let subnet_min = bound(members.min, self.subnet_min, second)?;
        let subnet_max = bound(members.max, self.subnet_max, block(network.last()))?;
        if subnet_min > subnet_max {
            return Err(Error::Rule {
                member: members.min,
                found: subnet_min.base().to_string(),
                rule: format!("not lie above {}, which is {}", members.max, subnet_max.base()),
            });
        }
        Ok(NetworkConfig { network, subnet_len, subnet_min, subnet_max, backend, nftables })
    }

    fn checked_len(&self, members: Members) -> Result<u8, Error> {
        let shortest = self.network.len() + BITS_FOR_SUBNETS;
        let longest = members.longest;
        if shortest > longest {
            return Err(Error::Rule {
                member: members.network,
                found: self.network.to_string(),
                rule: format!("be a /{} or wider", longest - BITS_FOR_SUBNETS),
            });
        }
        match self.subnet_len {
            None => Ok(shortest.max(members.usual)),
            Some(len) if (shortest..=longest).contains(&len) => Ok(len),
            Some(len) => Err(Error::Rule {
                member: members.len,
                found: len.to_string(),
                rule: format!("be from {shortest} to {longest} in {}", self.network),
            }),
        }
    }

    /// Not every backend carries IPv6.
    fn check_backend(&self) -> Result<(), Error> {
        match (self.network.family(), &self.backend) {
            (Family::V4, _)
            | (Family::V6, Backend::Vxlan(_) | Backend::HostGw | Backend::Alloc) => Ok(()),
            (Family::V6, Backend::Udp(_) | Backend::Extension(_)) => Err(Error::Rule {
                member: "Backend.Type",
                found: self.backend.name().to_owned(),
                rule: "be vxlan, host-gw or alloc in a network of IPv6".to_owned(),
            }),
        }
    }
}

/// What the members of one family are called, and which lengths a subnet of it may have.
#[derive(Clone, Copy, Debug)]
struct Members {
    network: &'static str,
    len: &'static str,
    min: &'static str,
    max: &'static str,
    /// Unless the network is too small for it.
    usual: u8,
    /// A subnet has at least two addresses besides its first and last.
    longest: u8,
}

fn members(family: Family) -> Members {
    match family {
        Family::V4 => Members {
            network: "Network",
            len: "SubnetLen",
            min: "SubnetMin",
            max: "SubnetMax",
            usual: 24,
            longest: 30,
        },
        Family::V6 => Members {
            network: "IPv6Network",
            len: "IPv6SubnetLen",
            min: "IPv6SubnetMin",
            max: "IPv6SubnetMax",
            usual: 64,
            longest: 126,
        },
    }
}

impl Backend {
    /// The name in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Udp(_) => "udp",
            Self::Vxlan(_) => "vxlan",
            Self::HostGw => "host-gw",
            Self::Alloc => "alloc",
            Self::Extension(_) => "extension",
        }
    }
}

impl Default for Backend {
    fn default() -> Self {
        Self::Udp(Udp::default())
    }
}

impl Default for Udp {
    fn default() -> Self {
        Self { port: 8285, direct_routing: false }
    }
}

impl Vxlan {
    /// The UDP port that this means: flannel's, which is Linux's own, unless it says another.
    #[must_use]
    pub fn udp_port(&self) -> u16 {
        self.port.unwrap_or(LINUX_PORT)
    }
}

impl Default for Vxlan {
    fn default() -> Self {
        let vni = Vni::ONE;
        Self { vni, port: None, mtu: None, gbp: false, learning: false, direct_routing: false }
    }
}

#[cfg(test)]
mod tests;
