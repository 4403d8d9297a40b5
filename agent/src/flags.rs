//! What the administrator asked for: flags, then `TWILLD_*`, then `FLANNELD_*`, then defaults.
//!
//! The names and defaults are flanneld's (etcd mode), so that a unit file moves over unchanged.

mod argv;
mod environment;
mod etcd;
mod networks;
mod value;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser};
use regex::Regex;
use twill_core::firewall::gate::{Accept, Sources};
use twill_core::ids::Family;
use twill_net::rights::Duty;
use twill_tunnel::Cpus;

use crate::hook;

pub(crate) use argv::hide_password;
pub(crate) use etcd::Etcd;
pub(crate) use networks::networks_in;
pub(crate) use value::{AcceptFrom, Engine, LogFormat, Shortcut, Shown};
use value::{go_bool, lease_ttl, queues, renew_margin, seconds};

/// Agent of the Twill overlay network: leases a subnet for this host from etcd and keeps the
/// kernel's devices, routes and firewall equal to what etcd says.
///
/// Every flag can also be given as a variable: --etcd-prefix is `TWILLD_ETCD_PREFIX`, or, for those
/// who come from flannel, `FLANNELD_ETCD_PREFIX`. Go's one-dash form works too.
#[derive(Clone, Debug, Parser)]
#[command(name = "twilld", version, disable_help_subcommand = true)]
#[command(args_override_self = true)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) etcd: Etcd,
    #[command(flatten)]
    pub(crate) address: Address,
    #[command(flatten)]
    pub(crate) firewall: Firewall,
    #[command(flatten)]
    pub(crate) udp: Udp,
    #[command(flatten)]
    pub(crate) files: Files,

    /// How long the lease lives when this host is away, at least 30s: 90s, 15m, 24h
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = lease_ttl)]
    pub(crate) lease_ttl: Duration,
    /// Minutes before its end at which the lease is written again at the latest, 1 to 1439
    #[arg(long, value_name = "MINUTES", default_value = "60", value_parser = renew_margin)]
    pub(crate) subnet_lease_renew_margin: Duration,
    /// Seconds between two looks at the kernel when nothing happens; with --udp-shortcut=auto 300 at most
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) resync: Duration,
    /// Address of /healthz, /readyz and /metrics for the network
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub(crate) healthz_ip: IpAddr,
    /// Port of /healthz, /readyz and /metrics; 0 is off
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) healthz_port: u16,
    /// Form of the log lines on stderr
    #[arg(long, value_enum, value_name = "FORM", default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Says more: 1 for details, 2 for everything
    #[arg(long = "v", value_name = "LEVEL", default_value_t = 0)]
    #[arg(num_args = 0..=1, default_missing_value = "1")]
    pub(crate) verbosity: u8,

    #[command(flatten)]
    later: Later,
}

/// Which interface and address carry the tunnel.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Interface")]
pub(crate) struct Address {
    /// Interface, by name or address; may be repeated, the first that is there wins
    #[arg(long, value_name = "NAME|IP", action = ArgAction::Append)]
    pub(crate) iface: Vec<String>,
    /// Expression for the address or name of an interface; tried after every --iface
    #[arg(long, value_name = "REGEX", action = ArgAction::Append)]
    pub(crate) iface_regex: Vec<Regex>,
    /// The interface through which this address is reached
    #[arg(long, value_name = "IP")]
    pub(crate) iface_can_reach: Option<IpAddr>,
    /// Address to tell the other hosts instead of the interface's own
    #[arg(long, value_name = "IP")]
    pub(crate) public_ip: Option<Ipv4Addr>,
    /// The same in a network of IPv6
    #[arg(long = "public-ipv6", value_name = "IP")]
    pub(crate) public_ipv6: Option<Ipv6Addr>,
}

/// What is written into the firewall.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Firewall")]
pub(crate) struct Firewall {
    /// What rules are written with; by itself what the host uses, or nftables where the network's
    /// configuration says `EnableNFTables`
    #[arg(long = "firewall", value_enum, value_name = "ENGINE", default_value_t = Engine::Auto)]
    pub(crate) engine: Engine,
    #[command(flatten)]
    pub(crate) masquerade: Masquerade,
    /// Whose encapsulated packets are taken: those of peers, each in the name of its own containers, or
    /// anyone's
    #[arg(long, value_enum, value_name = "WHOM", default_value_t = AcceptFrom::Peers)]
    pub(crate) accept_from: AcceptFrom,
    /// Accept forwarded packets from and to the overlay network, with either engine
    #[arg(long, value_name = "BOOL", default_value = "true", value_parser = go_bool)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) iptables_forward_rules: bool,
    /// Seconds between two looks at the firewall, with either engine
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) iptables_resync: Duration,
}

/// What becomes of the addresses of packets.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Firewall")]
pub(crate) struct Masquerade {
    /// Masquerade what leaves the overlay network
    #[arg(long, value_name = "BOOL", default_value = "false", value_parser = go_bool)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ip_masq: bool,
    /// Let the kernel choose the ports of masqueraded flows instead of chance
    #[arg(long, value_name = "BOOL", default_value = "false", value_parser = go_bool)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) ip_masq_fully_random_disable: bool,
    /// Let containers see the address of a client outside that reaches them through another host
    #[arg(long, value_name = "BOOL", default_value = "false", value_parser = go_bool)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) preserve_client_ip: bool,
}

/// Of the looks at the kernel while programs of it carry packets. With what is added so that hosts do not stay in
/// step it is five minutes.
const LONGEST: Duration = Duration::from_secs(270);

/// How the data path of `udp` works.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::Args)]
#[command(next_help_heading = "Backend udp")]
pub(crate) struct Udp {
    /// Queues of the device of `udp`, 1 to 16, each with a thread; by itself half as many as there are
    /// cores, at most 8
    #[arg(long = "udp-queues", value_name = "NUMBER", value_parser = queues)]
    pub(crate) queues: Option<NonZeroUsize>,
    /// Processors for the threads of `udp`, in the form of cpuset(7): the first queue on the first of
    /// them, and so on; by itself wherever the kernel likes
    #[arg(long = "udp-cpus", value_name = "LIST")]
    pub(crate) cpus: Option<Cpus>,
    /// What datagrams of `udp` show of the packet inside: nothing as flannel's, its priority (DSCP), or also
    /// whether it can be told of congestion (ECN), which flanneld would lose
    #[arg(long = "udp-marks", value_enum, value_name = "WHAT", default_value_t = Shown::Nothing)]
    pub(crate) marks: Shown,
    /// Let the kernel itself carry the ordinary packets of `udp` to and from hosts that run Twill, in the same
    /// format: where it can, or never
    #[arg(long = "udp-shortcut", value_enum, value_name = "WHETHER", default_value_t = Shortcut::Off)]
    pub(crate) shortcut: Shortcut,
}

impl Udp {
    /// What the agent keeps rights for.
    pub(crate) fn duty(&self) -> Duty {
        match self.shortcut {
            Shortcut::Auto => Duty::Programs,
            Shortcut::Off => Duty::Plain,
        }
    }
}

/// Where things are kept.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct Files {
    /// Where container runtimes read this host's subnet
    #[arg(long, value_name = "FILE", default_value = "/run/flannel/subnet.env")]
    pub(crate) subnet_file: PathBuf,
    /// Where Docker's unit reads its options
    #[arg(long, value_name = "FILE", default_value = "/run/flannel/docker")]
    pub(crate) docker_options_file: PathBuf,
    /// With --networks or --watch-networks, where container runtimes read this host's subnet in each of
    /// them: NAME.env, and NAME.docker for Docker's options
    #[arg(long, value_name = "DIR", default_value = "/run/twill/networks")]
    pub(crate) subnet_dir: PathBuf,
    /// Where this host's identity is kept over reboots
    #[arg(long, value_name = "DIR", default_value = "/var/lib/twill/agent")]
    pub(crate) state_dir: PathBuf,
    /// Where twillctl asks for the status
    #[arg(long, value_name = "FILE", default_value = twill_core::run::SOCKET)]
    pub(crate) socket: PathBuf,
    /// Program that brings running containers to another subnet or MTU, run at the start and whenever
    /// one of them changes; without this option `twill network sync` of the twill that is installed
    /// with twilld, or with several networks none; `none` for none
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) subnet_hook: Option<hook::Choice>,
}

/// What flanneld has and this version has not: refused when used, so that nobody relies on it.
#[derive(Clone, Debug, clap::Args)]
struct Later {
    #[arg(long, hide = true, default_value = "false", value_parser = go_bool)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ip_blackhole_route: bool,
}

/// Flags, and which of flannel's variables they came from.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) flags: Flags,
    /// Names of the `FLANNELD_*` variables that were used.
    pub(crate) inherited: Vec<String>,
}

impl Flags {
    /// From one look at the kernel to the next: programs of the kernel go on for some time without the
    /// agent, and no longer.
    pub(crate) fn looks(&self) -> Duration {
        match self.udp.shortcut {
            Shortcut::Auto => self.resync.min(LONGEST),
            Shortcut::Off => self.resync,
        }
    }

    /// Reads the process's arguments and environment. The error prints itself, also when it is the
    /// answer to `--help` or `--version`.
    pub(crate) fn parse_from(
        arguments: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Parsed, clap::Error> {
        let (flags, inherited) = complete::<Self>(arguments, variable)?;
        flags.later.check(Self::command())?;
        Ok(Parsed { flags, inherited })
    }
}

/// Reads arguments, and variables for what they leave open; tells which of these were flannel's.
pub(crate) fn complete<T: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(T, Vec<String>), clap::Error> {
    let command = T::command();
    let arguments = environment::two_dashes(&command, arguments);
    let given = command.clone().try_get_matches_from(&arguments)?;
    let found = environment::missing_flags(&command, &given, &variable)?;
    // In front: behind `--` a flag would be a word.
    let mut given = arguments.into_iter();
    let program = given.next();
    let all = program.into_iter().chain(found.arguments).chain(given);
    let matches = command.try_get_matches_from(all)?;
    Ok((T::from_arg_matches(&matches)?, found.inherited))
}

impl Address {
    /// What the other hosts are told instead of the interface's own address of that family.
    pub(crate) fn public(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.public_ip.map(IpAddr::from),
            Family::V6 => self.public_ipv6.map(IpAddr::from),
        }
    }
}

impl Firewall {
    /// Whose packets are taken. Where the address of a client is kept, peers send in its name.
    pub(crate) fn accept(&self) -> Accept {
        match (self.accept_from, self.masquerade.preserve_client_ip) {
            (AcceptFrom::Anyone, _) => Accept::Anyone,
            (AcceptFrom::Peers, true) => Accept::Peers(Sources::OwnAndOutside),
            (AcceptFrom::Peers, false) => Accept::Peers(Sources::Own),
        }
    }
}

impl Later {
    fn check(&self, mut command: clap::Command) -> Result<(), clap::Error> {
        let used = match self {
            Self { ip_blackhole_route: true } => "--ip-blackhole-route",
            Self { ip_blackhole_route: false } => return Ok(()),
        };
        let text = format!("{used} is not in this version");
        Err(command.error(ErrorKind::ArgumentConflict, text))
    }
}

#[cfg(test)]
mod tests;
