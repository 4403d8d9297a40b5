//! A configuration before the rules are applied, and the rules.

use std::net::IpAddr;

use super::{Backend, Error, NetworkConfig, Range, Wireguard};
use crate::ids::{Family, Subnet};

/// How many bits a subnet must be narrower than the network: room for four hosts.
const BITS_FOR_SUBNETS: u8 = 2;

/// The members of a configuration before the rules are applied; `None` stands for the default.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Draft {
    /// The addresses of IPv4, or those of IPv6 if there are no others.
    pub range: DraftRange,
    /// Those of IPv6 beside IPv4.
    pub ipv6: Option<DraftRange>,
    /// How packets travel between hosts.
    pub backend: Backend,
    /// Should hosts write their firewall with nftables?
    pub nftables: bool,
}

/// The members of one family before the rules are applied; `None` stands for the default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DraftRange {
    /// The whole overlay network.
    pub network: Subnet,
    /// The prefix length of every host's block.
    pub subnet_len: Option<u8>,
    /// The base of the lowest block that a host may get.
    pub subnet_min: Option<IpAddr>,
    /// The base of the highest block that a host may get.
    pub subnet_max: Option<IpAddr>,
}

impl Draft {
    /// A network with every default, on the `udp` backend as flannel has it.
    #[must_use]
    pub fn new(network: Subnet) -> Self {
        let (range, backend) = (DraftRange::new(network), Backend::default());
        Self { range, ipv6: None, backend, nftables: false }
    }

    /// Fills the defaults in and applies the rules.
    pub fn build(self) -> Result<NetworkConfig, Error> {
        let Range { network, subnet_len, subnet_min, subnet_max } = self.range.build()?;
        self.check_backend()?;
        let ipv6 = self.ipv6.map(DraftRange::build).transpose()?;
        let Self { backend, nftables, .. } = self;
        Ok(NetworkConfig { network, subnet_len, subnet_min, subnet_max, ipv6, backend, nftables })
    }

    /// Not every backend carries IPv6.
    fn check_backend(&self) -> Result<(), Error> {
        let has_ipv6 = self.ipv6.is_some() || self.range.network.family() == Family::V6;
        match &self.backend {
            Backend::Extension(_) if has_ipv6 => Err(Error::Rule {
                member: "Backend.Type",
                found: self.backend.name().to_owned(),
                rule: "be udp, vxlan, wireguard, host-gw or alloc in a network of IPv6".to_owned(),
            }),
            // The kernel's sockets of one device are of both families.
            Backend::Wireguard(Wireguard { port, port_v6, .. })
                if self.ipv6.is_some() && port == port_v6 =>
            {
                Err(Error::Rule {
                    member: "Backend.ListenPortV6",
                    found: port_v6.to_string(),
                    rule: "be another than Backend.ListenPort".to_owned(),
                })
            }
            _carries_it => Ok(()),
        }
    }
}

impl DraftRange {
    /// With every default.
    #[must_use]
    pub fn new(network: Subnet) -> Self {
        Self { network, subnet_len: None, subnet_min: None, subnet_max: None }
    }

    /// Fills the defaults in and applies the rules.
    pub fn build(self) -> Result<Range, Error> {
        let members = members(self.network.family());
        let subnet_len = self.checked_len(members)?;
        let network = self.network;
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
        Ok(Range { network, subnet_len, subnet_min, subnet_max })
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
}

/// What the members of one family are called, and which lengths a subnet of it may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Members {
    pub(super) network: &'static str,
    pub(super) len: &'static str,
    pub(super) min: &'static str,
    pub(super) max: &'static str,
    /// Unless the network is too small for it.
    usual: u8,
    /// A subnet has at least two addresses besides its first and last.
    pub(super) longest: u8,
}

pub(super) fn members(family: Family) -> Members {
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
