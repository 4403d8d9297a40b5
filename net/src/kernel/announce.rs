//! Tells a link where an address of this host is now.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, bind,
    sendmsg, socket,
};
use twill_core::device::{IfIndex, Uplink};
use twill_core::ids::Mac;

use super::Kernel;
use crate::Error;

/// All nodes of the link (RFC 4291).
const EVERYBODY: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// No router has passed it on: others are not believed (RFC 4861).
const HOPS: i32 = 255;

impl Kernel {
    /// Says on the uplink's link which hardware address its address of IPv6 has. Who knew another one
    /// takes this one; otherwise he would send to the former for up to half a minute, because a host
    /// that only forwards asks for its neighbours in the name of `fe80::…`. With IPv4 the kernel asks in
    /// the name of its address, and whoever hears it knows. A link without hardware addresses needs no
    /// such words.
    ///
    /// # Errors
    ///
    /// When they cannot be sent.
    pub async fn announce(&self, uplink: &Uplink) -> Result<(), Error> {
        let IpAddr::V6(address) = uplink.address.0 else { return Ok(()) };
        let link = self.link(&uplink.name).await?;
        let Some(mac) = link.and_then(|link| link.mac) else { return Ok(()) };
        say((address, mac), uplink.index)
            .map_err(|source| Error::Announce { address: uplink.address, source })
    }
}

fn say((address, mac): (Ipv6Addr, Mac), IfIndex(index): IfIndex) -> io::Result<()> {
    let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
    let socket = socket(AddressFamily::Inet6, kind, flags, SockProtocol::IcmpV6)?;
    let here = SockaddrIn6::from(SocketAddrV6::new(address, 0, 0, index));
    let there = SockaddrIn6::from(SocketAddrV6::new(EVERYBODY, 0, 0, index));
    bind(socket.as_raw_fd(), &here)?;
    let words = advertisement(address, mac);
    let (words, hops) = ([IoSlice::new(&words)], [ControlMessage::Ipv6HopLimit(&HOPS)]);
    sendmsg(socket.as_raw_fd(), &words, &hops, MsgFlags::empty(), Some(&there))?;
    Ok(())
}

/// An unsolicited one, of a router, that overrides (RFC 4861, 4.4). The kernel sets the checksum.
fn advertisement(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let head = [136, 0, 0, 0, 0xa0, 0, 0, 0];
    [&head, address.octets().as_slice(), &[2, 1], &mac.0].concat()
}
