//! In which of many worlds a soak happens: how packets travel, what writes the rules, which addresses
//! containers have. Pure.

use std::fmt;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use twill_core::ids::Family;

/// One world.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Setting {
    /// How packets travel.
    pub way: Travel,
    /// What the firewall's rules are written with.
    pub engine: Engine,
    /// Which addresses there are.
    pub addresses: Addresses,
}

/// How packets travel between hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Travel {
    /// Through a TUN device and a user-space process.
    Udp,
    /// The same, and what is ordinary by the kernel's shortcut.
    UdpShortcut,
    /// Through the kernel's tunnel.
    Vxlan,
    /// By routes on the link, beside a tunnel for those who are not there.
    VxlanDirect,
    /// By routes alone.
    HostGw,
}

/// What the firewall's rules are written with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Engine {
    /// iptables.
    Iptables,
    /// nftables.
    Nftables,
}

/// Which addresses containers have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Addresses {
    /// Of IPv4.
    Ipv4,
    /// Of IPv6.
    Ipv6,
    /// One of each.
    Dual,
}

/// Which of them are wanted; all where nothing is said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    pub(super) way: Option<Travel>,
    pub(super) engine: Option<Engine>,
    pub(super) addresses: Option<Addresses>,
}

impl Wanted {
    /// Every world that is wanted, in an order drawn from the seed.
    pub(super) fn settings(self, seed: u64) -> Vec<Setting> {
        use Addresses::{Dual, Ipv4, Ipv6};
        use Engine::{Iptables, Nftables};
        use Travel::{HostGw, Udp, UdpShortcut, Vxlan, VxlanDirect};
        let mut settings = Vec::new();
        for way in [Udp, UdpShortcut, Vxlan, VxlanDirect, HostGw] {
            for engine in [Iptables, Nftables] {
                settings.extend([Ipv4, Ipv6, Dual].map(|addresses| Setting {
                    way,
                    engine,
                    addresses,
                }));
            }
        }
        settings.retain(|Setting { way, engine, addresses }| {
            self.way.is_none_or(|wanted| wanted == *way)
                && self.engine.is_none_or(|wanted| wanted == *engine)
                && self.addresses.is_none_or(|wanted| wanted == *addresses)
        });
        settings.shuffle(&mut StdRng::seed_from_u64(seed));
        settings
    }
}

impl Setting {
    /// The families of addresses that containers have.
    pub(super) fn families(self) -> &'static [Family] {
        match self.addresses {
            Addresses::Ipv4 => &[Family::V4],
            Addresses::Ipv6 => &[Family::V6],
            Addresses::Dual => &[Family::V4, Family::V6],
        }
    }

    /// Do packets stand still with their agent?
    pub(super) fn stands_with_agent(self) -> bool {
        // By the shortcut those of IPv6 alone.
        self.way == Travel::Udp
            || self.way == Travel::UdpShortcut && self.addresses != Addresses::Ipv4
    }

    /// The network's configuration in etcd. Blocks below the first one stay free, for rows about hosts
    /// that there are not.
    pub(super) fn config(self) -> String {
        let ipv4 = r#""Network":"10.88.0.0/16","SubnetMin":"10.88.100.0""#;
        let ipv6 =
            r#""EnableIPv6":true,"IPv6Network":"fd00:88::/48","IPv6SubnetMin":"fd00:88:0:64::""#;
        let addresses = match self.addresses {
            Addresses::Ipv4 => ipv4.to_owned(),
            Addresses::Ipv6 => format!(r#""EnableIPv4":false,{ipv6}"#),
            Addresses::Dual => format!("{ipv4},{ipv6}"),
        };
        let backend = match self.way {
            Travel::Udp | Travel::UdpShortcut => r#""Type":"udp""#,
            Travel::Vxlan => r#""Type":"vxlan""#,
            Travel::VxlanDirect => r#""Type":"vxlan","DirectRouting":true"#,
            Travel::HostGw => r#""Type":"host-gw""#,
        };
        format!(r#"{{{addresses},"Backend":{{{backend}}}}}"#)
    }
}

impl Travel {
    /// The tunnel's device; the uplink where there is no tunnel.
    pub(super) fn device(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::Udp | Self::UdpShortcut, Family::V4) => "flannel0",
            (Self::Udp | Self::UdpShortcut, Family::V6) => "flannel0-v6",
            (Self::Vxlan | Self::VxlanDirect, Family::V4) => "flannel.1",
            (Self::Vxlan | Self::VxlanDirect, Family::V6) => "flannel-v6.1",
            (Self::HostGw, _) => "eth0",
        }
    }

    /// What it carries on an underlay of 1500 bytes.
    pub(super) fn mtu(self, family: Family) -> usize {
        match (self, family) {
            (Self::Udp | Self::UdpShortcut, Family::V4) => 1472,
            (Self::Udp | Self::UdpShortcut, Family::V6) => 1452,
            (Self::Vxlan | Self::VxlanDirect, Family::V4) => 1450,
            (Self::Vxlan | Self::VxlanDirect, Family::V6) => 1430,
            (Self::HostGw, _) => 1500,
        }
    }

    /// Do packets take a tunnel that a process has made?
    pub(super) fn is_udp(self) -> bool {
        matches!(self, Self::Udp | Self::UdpShortcut)
    }

    /// What agents are told beside the network's configuration.
    pub(super) fn option(self) -> Option<&'static str> {
        (self == Self::UdpShortcut).then_some("--udp-shortcut=auto")
    }

    /// Do packets to peers on the link travel unwrapped?
    pub(super) fn is_plain(self) -> bool {
        matches!(self, Self::VxlanDirect | Self::HostGw)
    }
}

impl Engine {
    /// The agent's option for it.
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::Iptables => "--firewall=iptables",
            Self::Nftables => "--firewall=nftables",
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Travel::Udp => "udp",
            Travel::UdpShortcut => "udp by the shortcut",
            Travel::Vxlan => "vxlan",
            Travel::VxlanDirect => "vxlan with DirectRouting",
            Travel::HostGw => "host-gw",
        };
        let engine = match self.engine {
            Engine::Iptables => "iptables",
            Engine::Nftables => "nftables",
        };
        let addresses = match self.addresses {
            Addresses::Ipv4 => "IPv4",
            Addresses::Ipv6 => "IPv6",
            Addresses::Dual => "IPv4 and IPv6",
        };
        write!(f, "{way}, {engine}, {addresses}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_an_order_of_all_worlds_and_what_is_said_leaves_some_out() {
        let all = Wanted::default();
        assert_eq!(all.settings(1).len(), 30);
        assert_eq!(all.settings(1), all.settings(1));
        assert_ne!(all.settings(1), all.settings(2));
        let udp = Wanted { way: Some(Travel::Udp), engine: Some(Engine::Nftables), ..all };
        let udp = udp.settings(1);
        assert_eq!(udp.len(), 3);
        assert!(udp.iter().all(|it| it.way == Travel::Udp && it.engine == Engine::Nftables));
    }

    #[test]
    fn every_world_is_a_network_that_twill_reads() {
        for setting in Wanted::default().settings(1) {
            let config = twill_core::config::NetworkConfig::parse(setting.config().as_bytes());
            let config = config.unwrap_or_else(|error| panic!("{setting}: {error}"));
            let first = setting.families()[0];
            assert_eq!(config.network.family(), first, "{setting}");
        }
    }
}
