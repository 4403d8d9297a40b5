//! The command line, as types.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use twill_core::ids::{Mtu, Subnet, Vni};

use crate::environment;

const AFTER_HELP: &str = "\
Examples:
  twillctl network init --network 10.88.0.0/16 --backend vxlan
  twillctl lease list
  twillctl --etcd-endpoints http://192.168.140.22:2379 node list -o json
  twillctl status && echo this host is ready

Environment:
  An option that is not given is taken from TWILLCTL_ETCD_ENDPOINTS and so on, then from the agent's
  TWILLD_ETCD_ENDPOINTS, then from flanneld's FLANNELD_ETCD_ENDPOINTS.

Exit codes:
  0  done
  1  refused, or failed
  2  the command line makes no sense
  3  the agent is not ready
  4  no such network, lease or node
  5  etcd or the agent cannot be reached
  70 a bug in twillctl";

/// Configures the Twill overlay network and shows what it does.
#[derive(Debug, Parser)]
#[command(name = "twillctl", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// How to print: for people, or for programs
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    /// How long to wait for etcd or the agent, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) timeout: Duration,

    #[command(flatten)]
    pub(crate) etcd: Etcd,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where etcd is, and who we are to it.
#[derive(Args, Debug)]
#[command(next_help_heading = "etcd")]
pub(crate) struct Etcd {
    /// Where etcd answers, separated by commas
    #[arg(
        id = "etcd_endpoints",
        long = "etcd-endpoints",
        global = true,
        value_name = "URL",
        value_delimiter = ','
    )]
    #[arg(default_value = "http://127.0.0.1:2379")]
    pub(crate) endpoints: Vec<String>,

    /// The key under which the network lies
    #[arg(
        id = "etcd_prefix",
        long = "etcd-prefix",
        visible_alias = "prefix",
        global = true,
        value_name = "KEY",
        default_value = "/coreos.com/network"
    )]
    pub(crate) prefix: String,

    /// Certificates of the authorities that may vouch for etcd
    #[arg(id = "etcd_cafile", long = "etcd-cafile", global = true, value_name = "FILE")]
    pub(crate) cafile: Option<PathBuf>,

    /// Our certificate, when etcd asks for one
    #[arg(id = "etcd_certfile", long = "etcd-certfile", global = true, value_name = "FILE")]
    pub(crate) certfile: Option<PathBuf>,

    /// The private key of our certificate
    #[arg(id = "etcd_keyfile", long = "etcd-keyfile", global = true, value_name = "FILE")]
    pub(crate) keyfile: Option<PathBuf>,

    /// The user to be, when etcd asks for one
    #[arg(id = "etcd_username", long = "etcd-username", global = true, value_name = "NAME")]
    pub(crate) username: Option<String>,

    /// A file that holds the user's password, so that no process list shows it
    #[arg(
        id = "etcd_password_file",
        long = "etcd-password-file",
        global = true,
        value_name = "FILE"
    )]
    pub(crate) password_file: Option<PathBuf>,
}

/// How to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Output {
    /// Columns
    Table,
    /// One JSON document
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The network's configuration
    #[command(subcommand)]
    Network(Network),
    /// Which host owns which subnet
    #[command(subcommand)]
    Lease(Lease),
    /// The hosts of the network
    #[command(subcommand)]
    Node(Node),
    /// What the agent of this host says about itself; exit code 3 unless it is ready
    Status(Status),
    /// Write manual pages and shell completions into a directory
    #[command(hide = true)]
    Generate {
        /// The directory
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    /// Write the configuration that every host reads when it joins
    #[command(after_help = "\
Examples:
  twillctl network init --network 10.88.0.0/16
  twillctl network init --network 10.88.0.0/16 --backend vxlan --vni 42 --mtu 9000
  twillctl network init --network 10.88.0.0/16 --subnet-len 26 --subnet-min 10.88.8.0 --force")]
    Init(Init),
    /// Show the configuration, defaults filled in
    Show,
}

#[derive(Args, Debug)]
pub(crate) struct Init {
    /// The addresses of the whole network, such as 10.88.0.0/16
    #[arg(long, value_name = "CIDR")]
    pub(crate) network: Subnet,

    /// How packets travel between hosts
    #[arg(long, value_enum, default_value_t = Backend::Udp)]
    pub(crate) backend: Backend,

    /// Prefix length of a host's subnet [default: 24, or a quarter of a small network]
    #[arg(long, value_name = "BITS")]
    pub(crate) subnet_len: Option<u8>,

    /// First address of the lowest subnet a host may get [default: the second of the network]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) subnet_min: Option<Ipv4Addr>,

    /// First address of the highest subnet a host may get [default: the last of the network]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) subnet_max: Option<Ipv4Addr>,

    /// UDP port of the tunnel [default: 8285 for udp, 8472 for vxlan]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,

    /// vxlan: the network identifier [default: 1]
    #[arg(long, value_name = "NUMBER", value_parser = vni)]
    pub(crate) vni: Option<Vni>,

    /// vxlan: what the network between the hosts carries, in bytes [default: what its interface does]
    #[arg(long, value_name = "BYTES", value_parser = mtu)]
    pub(crate) mtu: Option<Mtu>,

    /// Replace a configuration that is there; hosts read the new one when their agent restarts
    #[arg(long)]
    pub(crate) force: bool,
}

/// How packets travel between hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Backend {
    /// In UDP datagrams, through a TUN device
    Udp,
    /// In VXLAN, by the kernel alone
    Vxlan,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Lease {
    /// List the leases by subnet
    List,
    /// Take a subnet from its owner, who then claims one again
    #[command(after_help = "\
Examples:
  twillctl lease revoke 10.88.34.0/24
  twillctl lease revoke 10.88.34.0/24 --yes")]
    Revoke(Revoke),
}

#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The subnet, such as 10.88.34.0/24
    pub(crate) subnet: Subnet,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// List the hosts by subnet; one that runs flanneld has no node id
    List,
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = "/run/twill/twilld.sock")]
    pub(crate) socket: PathBuf,
}

/// Reads the command line and the environment.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    let command = environment::attach(Cli::command(), &|name| std::env::var_os(name));
    Cli::from_arg_matches(&command.try_get_matches()?)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wanted = || "not a number of seconds above zero".to_owned();
    let seconds = text.parse().map_err(|_not_a_number| wanted())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_out_of_range| wanted())?;
    if duration.is_zero() { Err(wanted()) } else { Ok(duration) }
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
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "nan", "inf", "1e300", "5s", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(vni("16777215").is_ok() && vni("16777216").is_err() && vni("0").is_err());
        assert!(mtu("9000").is_ok() && mtu("67").is_err() && mtu("65536").is_err());
    }
}
