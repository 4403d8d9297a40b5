//! What `run` and `create` take about a container's network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use twill_core::ids::Mac;

use crate::container::links;
use crate::container::ports::{Binding, Publish};
use crate::container::wiring::{self, ExtraHost, Mode};

/// A group of arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Network")]
#[group(skip)]
pub struct Args {
    /// Publish a port, or as many on both sides: `[IP:][PORT[-LAST]:]PORT[-LAST][/tcp|udp|sctp]`
    #[arg(short, long, value_name = "PORTS")]
    pub publish: Vec<Publish>,
    /// Publish every port that is exposed, each at a free one of the host
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Address of the host's subnet to have
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<Ipv4Addr>,
    /// Address of IPv6 of the host's subnet to have
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<Ipv6Addr>,
    /// Hardware address to have
    #[arg(long, value_name = "ADDRESS", value_parser = mac)]
    pub mac_address: Option<Mac>,
    /// Add a line to the hosts file; `host-gateway` stands for the host
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub add_host: Vec<ExtraHost>,
    /// Nameserver in place of the host's
    #[arg(long, value_name = "ADDRESS", value_parser = server)]
    pub dns: Vec<IpAddr>,
    /// Search domain in place of the host's; `.` for none
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Option of the resolver in place of the host's
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Know another container, by its name or another one, wherever it is after its next start
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    pub link: Vec<links::Wish>,
    /// Another name by which containers of this host find this one
    #[arg(long, visible_alias = "net-alias", value_name = "NAME", value_parser = alias)]
    pub network_alias: Vec<String>,
}

/// Docker's messages, here and below.
fn mac(text: &str) -> Result<Mac, String> {
    let mac = text.parse().ok().filter(|mac: &Mac| mac.is_unicast());
    mac.ok_or_else(|| format!("{text} is not a valid mac address"))
}

fn server(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_unparsed| format!("IP address is not correctly formatted: {text}"))
}

fn alias(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    if links::is_name(&name) { Ok(name) } else { Err(format!("invalid alias: {text:?}")) }
}

/// What of it a container to be is asked.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Of `-p`.
    pub bindings: Vec<Binding>,
    /// Of `-P`.
    pub publish_all: bool,
}

impl Args {
    /// What is asked of its place on the network.
    #[must_use]
    pub fn network(&self, mode: Mode, hostname: bool) -> wiring::Wishes {
        let ipv4 = self.ip.map(IpAddr::from);
        wiring::Wishes {
            mode,
            addresses: ipv4.into_iter().chain(self.ip6.map(IpAddr::from)).collect(),
            mac: self.mac_address,
            hosts: self.add_host.clone(),
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_option.clone(),
            links: self.link.clone(),
            aliases: self.network_alias.clone(),
            hostname,
            publishes: self.publish_all || !self.publish.is_empty(),
            exposes: false,
        }
    }

    /// For the library.
    #[must_use]
    pub fn wishes(&self) -> Wishes {
        Wishes {
            bindings: self.publish.iter().flat_map(|Publish(all)| all.clone()).collect(),
            publish_all: self.publish_all,
        }
    }
}
