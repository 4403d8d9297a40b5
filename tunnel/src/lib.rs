//! The data path of the `udp` backend: TUN to UDP and back in user space, in flannel's wire format, and
//! programs in the kernel beside it, which carry what is ordinary in the same format (see [`shortcut`]).
//!
//! A datagram is one bare IP packet and nothing else, from port to the same port on every host. But the
//! kernel is asked as seldom as possible: it hands over up to 64 KiB of a stream behind one set of
//! headers, which we cut into packets and give it back as one train of datagrams; on the other host it
//! hands over the train as one, which we join into one super-packet for the device.
//!
//! What a packet deserves is decided in [`Peers`] and the private `path` module; how it is cut and joined
//! in `segment`, `train` and `coalesce`. None of them owns a file. A plain thread per queue, the `carrier`, takes
//! packets `outbound` and `inbound` to and from these decisions.
//!
//! ```text
//! container ─► bridge ─► flannel0 ─► judge, cut, form a train ─► socket ─► peer
//! container ◄─ bridge ◄─ flannel0 ◄─ join ◄─ judge each packet ◄─ socket ◄─ peer
//! ```

mod blocks;
#[doc(hidden)]
pub mod bytes;
mod carrier;
mod checksum;
mod coalesce;
mod counters;
mod cpus;
mod device;
mod icmp;
mod inbound;
mod marks;
mod outbound;
mod packet;
mod path;
mod peers;
mod segment;
pub mod shortcut;
mod socket;
mod train;
mod tunnel;
mod unfinished;
mod vnet;
mod wait;

pub use blocks::Blocks;
pub use counters::{Counters, Event};
pub use cpus::{Cpus, NotCpus};
pub use device::{Device, Offload};
pub use marks::Marks;
pub use peers::Peers;
pub use tunnel::{Accept, Endpoint, Tunnel, check_port};

use std::io;
use std::net::SocketAddr;

/// Why the data path cannot start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process reads from the device; usually another agent.
    #[error("tun device {name} is held by another process")]
    Held {
        /// The device.
        name: String,
    },
    /// `/dev/net/tun` refused, or the name belongs to a device of another kind.
    #[error("cannot open tun device {name}")]
    Open {
        /// The device.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel would not keep the device beyond the life of this process.
    #[error("cannot make tun device {name} persistent")]
    Persist {
        /// The device.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The socket for the other hosts' packets cannot be had.
    #[error("cannot listen on udp {address}")]
    Listen {
        /// Our end of the tunnel.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No thread, or no event descriptor to stop it with.
    #[error("cannot start the threads of tunnel {name}")]
    Start {
        /// The device.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The device is gone: deleted, or its driver gave up.
    #[error("tun device {name} is gone")]
    Lost {
        /// The device.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
