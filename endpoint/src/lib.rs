//! Joins one container to its host's subnet: an address of the host's pool, a pair of interfaces,
//! the bridge, the routes.
//!
//! The CNI plugin and the container runtime both go through [`Host`], so that both draw from one
//! pool and share one bridge. A `Host` works in the network namespace of the calling thread, keeps
//! no state in memory, and may be used by any number of processes at once.
//!
//! ```text
//!                  container's namespace │ host's namespace
//!   eth0 10.5.2.7/24 ◄──── veth ─────────┼──► tw1a2b3c4d5e ──┐
//!   default via 10.5.2.1                 │                   ├─ twill0 10.5.2.1/24 ── tunnel
//! ```
//!
//! In a network of IPv6, alone or beside IPv4, there is one of each of these for IPv6 as well.

mod boot;
mod bridge;
mod check;
mod error;
mod files;
mod guard;
mod host;
mod join;
mod limits;
mod mac;
mod overlap;
mod pool;
mod ports;
mod ready;
mod renumber;
mod request;
mod reserve;

pub use error::Error;
pub use files::{
    HostEntry, RESOLVED_RESOLV_CONF, ResolverOptions, hosts, is_resolved_stub, resolv_conf,
};
pub use host::Host;
pub use limits::{Limit, Limits};
pub use mac::{address_of, mac_of};
pub use pool::{NetnsRecord, Record};
pub use ports::{Hold, Kept, Port, occupant};
pub use renumber::Placement;
pub use request::{
    Attachment, End, Interface, InvalidInterface, Keeper, Owner, Place, Request, StaticRoute,
    UnknownKeeper,
};

/// The bridge that containers join when nothing else is asked for.
pub const BRIDGE: &str = "twill0";
/// Where the agent, or a flanneld, says which subnet this host has.
pub const SUBNET_ENV: &str = "/run/flannel/subnet.env";
/// Where the pool of addresses is kept.
pub const STATE: &str = "/var/lib/twill/endpoint";
