//! The user-space data path: TUN to UDP and back, in the wire format of flannel's `udp` backend.
//!
//! A datagram is one bare IPv4 packet and nothing else, from port to the same port on every host.
//! What a packet deserves is decided in [`Peers`] and the private `path` module, which own no file;
//! two plain threads per tunnel carry packets to and from these decisions.
//!
//! ```text
//! container ─► bridge ─► flannel0 ─► thread `tun-to-udp` ─► socket ─► peer
//! container ◄─ bridge ◄─ flannel0 ◄─ thread `udp-to-tun` ◄─ socket ◄─ peer
//! ```

mod checksum;
mod counters;
mod device;
mod icmp;
mod ipv4;
mod path;
mod peers;
mod tunnel;
mod wait;

pub use counters::{Counters, Event};
pub use device::Device;
pub use peers::Peers;
pub use tunnel::{Accept, Endpoint, Tunnel, check_port};

use std::io;
use std::net::SocketAddrV4;

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
        address: SocketAddrV4,
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
