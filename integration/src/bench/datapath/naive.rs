//! The yardstick: a tunnel as flanneld's `udp` backend is built, with nothing that makes it fast.
//!
//! One thread for both directions, which asks poll(2) and then moves packets, one in each call, for as
//! long as there are any. It knows one peer.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;

use anyhow::{Context, Result};
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// Arguments of `naive`.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The TUN device to make
    #[arg(long)]
    device: String,
    /// Our address on the network between the hosts
    #[arg(long)]
    local: Ipv4Addr,
    /// The one other host
    #[arg(long)]
    peer: Ipv4Addr,
    /// The UDP port of both
    #[arg(long)]
    port: u16,
}

/// Runs until it is killed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Options { device, local, peer, port } = options;
    let tun = DeviceBuilder::new().name(device).layer(Layer::L3).inherit_enable_state();
    let tun = tun.build_sync().with_context(|| format!("cannot make {device}"))?;
    tun.set_nonblocking(true)?;
    let socket = UdpSocket::bind((*local, *port)).context("cannot listen")?;
    socket.set_nonblocking(true)?;
    let mut packet = vec![0; 65_536];
    loop {
        let readable = PollFlags::POLLIN;
        let mut both = [PollFd::new(tun.as_fd(), readable), PollFd::new(socket.as_fd(), readable)];
        poll(&mut both, PollTimeout::NONE)?;
        loop {
            let out = sent_one(&tun, &mut packet, |bytes| socket.send_to(bytes, (*peer, *port)))?;
            let came = took_one(&socket, &mut packet, &tun)?;
            if !out && !came {
                break;
            }
        }
    }
}

/// From the device to the socket. `false`: there was none.
fn sent_one(
    tun: &SyncDevice,
    packet: &mut [u8],
    send: impl Fn(&[u8]) -> io::Result<usize>,
) -> Result<bool> {
    let length = match tun.recv(packet) {
        Ok(length) => length,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
        Err(error) => return Err(error).context("the device failed"),
    };
    if one_hop_less(&mut packet[..length]) {
        // What cannot be sent now is lost, as by flanneld.
        send(&packet[..length]).ok();
    }
    Ok(true)
}

/// From the socket to the device. `false`: there was none.
fn took_one(socket: &UdpSocket, packet: &mut [u8], tun: &SyncDevice) -> Result<bool> {
    let length = match socket.recv_from(packet) {
        Ok((length, _sender)) => length,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
        // The peer's port was closed for a moment.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(true),
        Err(error) => return Err(error).context("the socket failed"),
    };
    if one_hop_less(&mut packet[..length]) {
        tun.send(&packet[..length]).ok();
    }
    Ok(true)
}

/// Takes a hop off an IPv4 packet's time to live and mends its checksum (RFC 1624); `false` if there is
/// none left, or it is no such packet.
fn one_hop_less(packet: &mut [u8]) -> bool {
    if packet.len() < 20 || packet[0] >> 4 != 4 || packet[8] <= 1 {
        return false;
    }
    packet[8] -= 1;
    let sum = u32::from(u16::from_be_bytes([packet[10], packet[11]])) + 0x0100;
    let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or_default();
    packet[10..12].copy_from_slice(&folded.to_be_bytes());
    true
}

/// The words with which it is started on a host.
pub(super) fn command(device: &str, (local, peer): (Ipv4Addr, Ipv4Addr)) -> Vec<String> {
    let words = ["twill-lab", "naive", "--device", device, "--port", "8285", "--local"];
    let words = words.map(str::to_owned).into_iter();
    words.chain([local.to_string(), "--peer".to_owned(), peer.to_string()]).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;

    #[test]
    fn a_hop_less_keeps_the_checksum_right() -> Result<()> {
        let mut packet = vec![0x45, 0, 0, 20, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let sum = |packet: &[u8]| {
            let words = packet.as_chunks::<2>().0.iter().map(|w| u32::from(u16::from_be_bytes(*w)));
            let sum: u32 = words.sum();
            (sum & 0xffff) + (sum >> 16)
        };
        let right = !u16::try_from(sum(&packet))?;
        packet[10..12].copy_from_slice(&right.to_be_bytes());
        for left in (1..64).rev() {
            ensure!(one_hop_less(&mut packet) && packet[8] == left && sum(&packet) == 0xffff);
        }
        ensure!(!one_hop_less(&mut packet));
        Ok(())
    }
}
