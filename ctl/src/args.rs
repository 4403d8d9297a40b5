//! The command line, as types.

mod cni;
mod lease;
mod network;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use twill_core::ids::NetworkName;

use crate::environment;

pub(crate) use cni::{Check as CniCheck, Cni, Install as CniInstall, Place as CniPlace, interface};
pub(crate) use lease::{Gc, Lease, Release, Reserve, Revoke};
pub(crate) use network::{Backend, Init, Network, OrDefault, Set, Wish};

const AFTER_HELP: &str = "\
Examples:
  twillctl network init --network 10.88.0.0/16 --backend vxlan
  twillctl network set --mtu 1400
  twillctl lease list
  twillctl lease reserve 10.88.34.0/24 --node node1
  twillctl --etcd-endpoints http://192.168.140.22:2379 node list -o json
  twillctl status && echo this host is ready
  twillctl peers
  twillctl --network-name blue network init --network 10.89.0.0/16
  twillctl doctor
  twillctl trace web 10.88.34.3
  twillctl cni install && twillctl cni check

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
  6  something is broken: the doctor or a check of CNI found it, or a trace on this host
  7  a trace found nothing broken here, gets no answer, and could not ask the other host
  8  a trace found something broken on the other host, or between the two
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

    /// Which network, on hosts that are in several: the one under PREFIX/NAME
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) network_name: Option<NetworkName>,

    #[command(flatten)]
    pub(crate) etcd: Etcd,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where etcd is, and who we are to it.
#[derive(Args, Clone, Debug)]
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

    /// A domain whose SRV records name the endpoints instead
    #[arg(
        id = "etcd_discovery_srv",
        long = "etcd-discovery-srv",
        global = true,
        value_name = "DOMAIN",
        conflicts_with = "etcd_endpoints"
    )]
    pub(crate) discovery_srv: Option<String>,

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
    /// One JSON document; for `lease watch`, one a line
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
    Status(Agent),
    /// The hosts that this one sends to, and the leases of which it makes no use
    Peers(Agent),
    /// Look for what keeps containers from each other, and say the way out; exit code 6 if something
    /// is broken
    Doctor(Doctor),
    /// Walk the way between two containers, and say where it breaks and why; exit code 0 if it is whole
    Trace(Trace),
    /// How container runtimes join pods to this host's subnet: the configuration for them
    #[command(subcommand)]
    Cni(Cni),
    /// This host itself
    #[command(subcommand)]
    Host(Host),
    /// Write manual pages and shell completions into a directory
    #[command(hide = true)]
    Generate {
        /// The directory
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// List the hosts by subnet; one that runs flanneld has no node id
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// Take everything off this host that Twill made on it, and nothing else
    ///
    /// What comes behind is for `twilld cleanup`, which does it and shows first what it finds:
    /// --dry-run, --yes, --force, --keep-state, and twilld's own options for other places of its files.
    #[command(disable_help_flag = true)]
    Cleanup {
        /// Options of `twilld cleanup`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
        options: Vec<OsString>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Agent {
    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = twill_core::run::SOCKET)]
    pub(crate) socket: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) agent: Agent,

    /// Look at this host without asking its agent, by what that left on disk
    #[arg(long)]
    pub(crate) by_itself: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Trace {
    /// A container of this host: its name, its id, or its address
    #[arg(value_name = "SRC")]
    pub(crate) from: String,

    /// The other end: an address in the overlay network, or a container of this host
    #[arg(value_name = "DST")]
    pub(crate) to: String,

    #[command(flatten)]
    pub(crate) agent: Agent,

    /// Where the other host's agent has its health page; the port of this one's unless told otherwise
    #[arg(long, value_name = "PORT")]
    pub(crate) peer_port: Option<u16>,

    /// Look at this host without asking its agent, by what that left on disk
    #[arg(long)]
    pub(crate) by_itself: bool,
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
    }
}
