//! A host of ours beside one that speaks flannel's `udp` format as somebody else wrote it down.
//!
//! ```text
//!  node1: etcd, twilld ── ours        node2: the reference peer ── theirs
//!          flannel0 ═══════ 8285/udp ═══════ flannel0
//! ```
//!
//! The reference peer judges every datagram that comes to it: one whole IPv4 packet, no longer than the
//! tunnel's MTU, nothing behind it, all checksums right.

mod as_it_is;
mod capture;
mod cases;
mod packet;
mod passes;
mod peer;
mod trains;
mod world;
