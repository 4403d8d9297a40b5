//! `twillctl lease`.

use std::net::Ipv4Addr;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::{Span, SpanRelativeTo};
use twill_core::ids::Subnet;

#[derive(Debug, Subcommand)]
pub(crate) enum Lease {
    /// List the leases by subnet
    List,
    /// Show one lease: the key as etcd holds it, its owner, its time, and what peers make of it
    #[command(after_help = "\
Examples:
  twillctl lease show 10.88.34.0/24
  twillctl lease show 10.88.34.0/24 -o json")]
    Show(Show),
    /// Tell what happens to the leases, a line for each event, until interrupted
    #[command(after_help = "\
The first lines tell what is there. Then:
  new      a subnet was claimed or reserved
  renewed  its owner wrote the same again
  changed  another owner, address or end
  gone     it was deleted, or ran out
  spoilt   the key holds what is no lease
While etcd is away, a word on stderr says so, and the watch goes on when it is back.

Examples:
  twillctl lease watch
  twillctl lease watch -o json | jq 'select(.event == \"gone\")'")]
    Watch,
    /// Keep a subnet for one host: its lease never ends
    #[command(after_help = "\
A subnet that nobody has is kept for a host that is still to come; the lease of a host that runs
becomes a reservation while it runs, and nobody's traffic is touched.

Examples:
  twillctl lease reserve 10.88.34.0/24 --node node1
  twillctl lease reserve 10.88.34.0/24 --node 5a1f
  twillctl lease reserve 10.88.40.0/24 --public-ip 192.168.140.24")]
    Reserve(Reserve),
    /// Give a reservation an end again; a host that runs keeps the subnet and renews it
    #[command(after_help = "\
Examples:
  twillctl lease release 10.88.34.0/24
  twillctl lease release 10.88.34.0/24 --ttl 1h
  twillctl lease release 10.88.34.0/24 --now --yes")]
    Release(Release),
    /// Take a subnet from its owner, who then claims one again
    #[command(after_help = "\
Examples:
  twillctl lease revoke 10.88.34.0/24
  twillctl lease revoke 10.88.34.0/24 --yes")]
    Revoke(Revoke),
    /// Free the subnets of hosts that were not seen for some time
    #[command(after_help = "\
When a host was seen:
  A lease with a node id: when its host last made it live on, as etcd counts it. twilld does so
  every 10 minutes, or three times within a shorter lease, and is judged after three misses.
  A lease without: when it was last written. flanneld does so once in 23 hours, and is never judged
  before 24 hours.
  A reservation: when its host last made its node record live on. Without a node id, or when its
  host left no record: unknown. It is freed only when it is named, or with --include-unknown.
A lease of 24 hours ends by itself before the default of --unseen is over: give a shorter time to
free it earlier. A host that is written or seen again before the answer keeps its subnet.

Examples:
  twillctl lease gc --dry-run
  twillctl lease gc --unseen 2h
  twillctl lease gc --unseen 3d --include-unknown --yes
  twillctl lease gc 10.88.34.0/24")]
    Gc(Gc),
}

#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The subnet, such as 10.88.34.0/24
    pub(crate) subnet: Subnet,
}

#[derive(Args, Debug)]
pub(crate) struct Reserve {
    /// The subnet, such as 10.88.34.0/24
    pub(crate) subnet: Subnet,

    /// For this host: its node id, as much of it as only one host has, or its name
    #[arg(long, value_name = "ID", required_unless_present = "public_ip")]
    pub(crate) node: Option<String>,

    /// For the host with this address: one that runs flanneld, or that has no node id yet
    #[arg(long, value_name = "IP", conflicts_with = "node")]
    pub(crate) public_ip: Option<Ipv4Addr>,
}

#[derive(Args, Debug)]
pub(crate) struct Release {
    /// The subnet, such as 10.88.34.0/24
    pub(crate) subnet: Subnet,

    /// How long the lease lives on unless its host renews it, such as 90s, 30m, 2h
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = ttl)]
    pub(crate) ttl: Duration,

    /// Delete it at once, as `lease revoke` does
    #[arg(long)]
    pub(crate) now: bool,

    /// Do not ask before deleting
    #[arg(short, long, requires = "now")]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The subnet, such as 10.88.34.0/24
    pub(crate) subnet: Subnet,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,

    /// Only if it is a reservation: `lease release --now` says so
    #[arg(skip)]
    pub(crate) only_reserved: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Gc {
    /// Judge these subnets alone, also when nobody knows when their hosts were seen
    #[arg(value_name = "SUBNET")]
    pub(crate) subnets: Vec<Subnet>,

    /// How long a host must not have been seen, such as 30m, 2h, 3d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = time)]
    pub(crate) unseen: Duration,

    /// Free also what nobody knows about
    #[arg(long)]
    pub(crate) include_unknown: bool,

    /// Show what would be freed, and free nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// `90s`, `30m`, `2h`, `1h 30m`, `3d`, where a day has 24 hours.
fn time(text: &str) -> Result<Duration, String> {
    let wanted = || "not a time above zero, such as 30m, 2h or 3d".to_owned();
    let span: Span = text.parse().map_err(|_no_span| wanted())?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let time = time.ok().and_then(|time| Duration::try_from(time).ok());
    time.filter(|time| time.as_secs() > 0).ok_or_else(wanted)
}

/// Shorter than this, and a moment of etcd's absence would cost a host its subnet.
const SHORTEST_TTL: Duration = Duration::from_secs(30);

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = time(text)?;
    if ttl < SHORTEST_TTL { Err("less than 30s".to_owned()) } else { Ok(ttl) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn times_have_a_unit() {
        let rows =
            [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2 hours", 7200), ("3d", 259_200)];
        for (text, seconds) in rows {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "30", "-3h", "0s", "soon", "1 month", "9999999999999d", "3x"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(ttl("30s").is_ok() && ttl("29s").is_err());
    }

    #[test]
    fn a_release_leaves_the_time_that_hosts_rely_on_unless_it_says_otherwise() {
        let parsed = Released::parse_from(["release", "10.88.34.0/24"]);
        assert_eq!(parsed.release.ttl, twill_core::ownership::RELEASED);
    }

    #[derive(Parser)]
    struct Released {
        #[command(flatten)]
        release: Release,
    }
}
