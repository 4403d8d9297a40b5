//! `twillctl network`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use twill_core::ids::{Mtu, Subnet, Vni};

#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    /// Write the configuration that every host reads when it joins
    #[command(after_help = "\
Examples:
  twillctl network init --network 10.88.0.0/16
  twillctl network init --network 10.88.0.0/16 --backend vxlan --vni 42 --mtu 9000
  twillctl network init --network 10.88.0.0/16 --ipv6-network fd00:88::/48 --backend vxlan
  twillctl network init --network 10.88.0.0/16 --subnet-len 26 --subnet-min 10.88.8.0 --force")]
    Init(Init),
    /// Show the configuration, defaults filled in
    Show,
    /// Change the configuration of a network that runs, after showing what that does to its hosts
    #[command(after_help = "\
What is not named stays as it is, also members that other programs wrote. `default` takes a member
out. The configuration is written only if nobody else wrote it meanwhile; hosts that run twilld
apply it as they see it, hosts that run flanneld when that is restarted.

Examples:
  twillctl network set --mtu 1400
  twillctl network set --backend vxlan --vni 42
  twillctl network set --ipv6-network fd00:88::/48
  twillctl network set --mtu default --yes
  twillctl network set --file wireguard-with-a-psk.json
  twillctl network set --json '{\"Network\":\"10.88.0.0/16\",\"Backend\":{\"Type\":\"vxlan\"}}'
  twillctl network set --file network.json --dry-run")]
    Set(Set),
}

#[derive(Args, Debug)]
pub(crate) struct Init {
    /// The addresses of the whole network, such as 10.88.0.0/16; of IPv6 alone as in `fd00:88::/48`
    #[arg(long, value_name = "CIDR")]
    pub(crate) network: Subnet,

    /// How packets travel between hosts
    #[arg(long, value_enum, default_value_t = Backend::Udp)]
    pub(crate) backend: Backend,

    /// Prefix length of a host's subnet [default: 24, with IPv6 64, or a quarter of a small network]
    #[arg(long, value_name = "BITS")]
    pub(crate) subnet_len: Option<u8>,

    /// First address of the lowest subnet a host may get [default: the second of the network]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) subnet_min: Option<IpAddr>,

    /// First address of the highest subnet a host may get [default: the last of the network]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) subnet_max: Option<IpAddr>,

    /// Addresses of IPv6 beside those of IPv4, such as `fd00:88::/48`: every host gets a subnet of each
    #[arg(long, value_name = "CIDR")]
    pub(crate) ipv6_network: Option<Subnet>,

    /// Prefix length of a host's subnet of IPv6 beside IPv4 [default: 64]
    #[arg(long, value_name = "BITS", requires = "ipv6_network")]
    pub(crate) ipv6_subnet_len: Option<u8>,

    /// UDP port of the tunnel [default: 8285 for udp, 8472 for vxlan, 51820 for wireguard]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,

    /// vxlan: the network identifier [default: 1]
    #[arg(long, value_name = "NUMBER", value_parser = vni)]
    pub(crate) vni: Option<Vni>,

    /// vxlan, wireguard: what the network between the hosts carries, in bytes [default: what its interface does]
    #[arg(long, value_name = "BYTES", value_parser = mtu)]
    pub(crate) mtu: Option<Mtu>,

    /// Replace a configuration that is there, without showing what that does: `network set` does
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Set {
    #[command(flatten)]
    pub(crate) wish: Wish,

    /// Show the changes, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// What to change. `default` stands for taking the member out.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct Wish {
    /// The addresses of the whole network; every host gets another subnet
    #[arg(long, value_name = "CIDR")]
    pub(crate) network: Option<Subnet>,

    /// How packets travel between hosts
    #[arg(long, value_enum)]
    pub(crate) backend: Option<Backend>,

    /// Prefix length of a host's subnet
    #[arg(long, value_name = "BITS", value_parser = or_default::<u8>)]
    pub(crate) subnet_len: Option<OrDefault<u8>>,

    /// First address of the lowest subnet a host may get
    #[arg(long, value_name = "ADDRESS", value_parser = or_default::<IpAddr>)]
    pub(crate) subnet_min: Option<OrDefault<IpAddr>>,

    /// First address of the highest subnet a host may get
    #[arg(long, value_name = "ADDRESS", value_parser = or_default::<IpAddr>)]
    pub(crate) subnet_max: Option<OrDefault<IpAddr>>,

    /// Addresses of IPv6 beside those of IPv4; with `default` the network has none any more
    #[arg(long, value_name = "CIDR", value_parser = or_default::<Subnet>)]
    pub(crate) ipv6_network: Option<OrDefault<Subnet>>,

    /// Prefix length of a host's subnet of IPv6 beside IPv4
    #[arg(long, value_name = "BITS", value_parser = or_default::<u8>)]
    pub(crate) ipv6_subnet_len: Option<OrDefault<u8>>,

    /// UDP port of the tunnel
    #[arg(long, value_parser = or_default::<u16>)]
    pub(crate) port: Option<OrDefault<u16>>,

    /// vxlan: the network identifier
    #[arg(long, value_name = "NUMBER", value_parser = or_default::<u32>)]
    pub(crate) vni: Option<OrDefault<u32>>,

    /// vxlan, wireguard: what the network between the hosts carries, in bytes
    #[arg(long, value_name = "BYTES", value_parser = or_default::<u32>)]
    pub(crate) mtu: Option<OrDefault<u32>>,

    /// The whole configuration, from this file; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "json", conflicts_with_all = MEMBERS)]
    pub(crate) file: Option<PathBuf>,

    /// The whole configuration
    #[arg(long, value_name = "TEXT", conflicts_with_all = MEMBERS)]
    pub(crate) json: Option<String>,
}

/// The options that change one member.
const MEMBERS: [&str; 10] = [
    "network",
    "backend",
    "subnet_len",
    "subnet_min",
    "subnet_max",
    "ipv6_network",
    "ipv6_subnet_len",
    "port",
    "vni",
    "mtu",
];

/// A value for a member, or none: then it has its default.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OrDefault<T> {
    Default,
    Value(T),
}

/// How packets travel between hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Backend {
    /// In UDP datagrams, through a TUN device
    Udp,
    /// In VXLAN, by the kernel alone
    Vxlan,
    /// Encrypted, by the kernel's wireguard module
    Wireguard,
    /// As they are, by plain routes between hosts on one link
    HostGw,
}

/// Whether the number is a good one is for the rules of the configuration to say.
fn or_default<T: FromStr>(text: &str) -> Result<OrDefault<T>, String> {
    if text == "default" {
        return Ok(OrDefault::Default);
    }
    let value = text.parse().map(OrDefault::Value);
    value.map_err(|_other| "neither a value of the right kind nor `default`".to_owned())
}

fn vni(text: &str) -> Result<Vni, String> {
    let vni = text.parse().ok().and_then(Vni::new);
    vni.ok_or_else(|| "not a number from 1 to 16777215".to_owned())
}

fn mtu(text: &str) -> Result<Mtu, String> {
    let mtu = text.parse().ok().and_then(Mtu::new);
    mtu.ok_or_else(|| "not a number of bytes from 68 to 65535".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert!(vni("16777215").is_ok() && vni("16777216").is_err() && vni("0").is_err());
        assert!(mtu("9000").is_ok() && mtu("67").is_err() && mtu("65536").is_err());
        assert_eq!(or_default("default"), Ok(OrDefault::<u32>::Default));
        assert_eq!(or_default("1400"), Ok(OrDefault::Value(1400_u32)));
        assert!(or_default::<u16>("65536").is_err() && or_default::<u32>("").is_err());
    }
}
