//! Datagrams of all sizes, each of which says in all its bytes which one it is.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use crate::container::Endpoint;
use crate::fabric::Backend;
use crate::wait::pace;

/// From one to the next.
const PAUSE: Duration = Duration::from_millis(1);
/// How long the receiver may sleep before it looks whether it is the end.
const NAP: Duration = Duration::from_millis(100);
const BUFFER: usize = 4 << 20;

/// From one pod to another.
#[derive(Debug)]
pub(super) struct Datagrams {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<Result<u64>>,
}

/// How many there were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) sent: u64,
    pub(super) arrived: u64,
}

impl Count {
    pub(super) fn and(self, other: Self) -> Self {
        Self { sent: self.sent + other.sent, arrived: self.arrived + other.arrived }
    }
}

impl Datagrams {
    pub(super) fn start(from: &Endpoint, to: &Endpoint) -> Result<Self> {
        let receiver = to.within(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
        receiver.set_read_timeout(Some(NAP))?;
        setsockopt(&receiver, sockopt::RcvBufForce, &BUFFER)?;
        let address = SocketAddr::from((to.address, receiver.local_addr()?.port()));
        let sender = from.within(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
        let stop = Arc::<AtomicBool>::default();
        let (ends, is_over) = (stop.clone(), stop.clone());
        let sender = thread::spawn(move || {
            let mut number = 0;
            while !ends.load(Ordering::Relaxed) {
                // What cannot be sent is lost.
                sender.send_to(&datagram(number), address).ok();
                number += 1;
                pace(PAUSE);
            }
            number
        });
        let receiver = thread::spawn(move || receive(&receiver, &is_over));
        Ok(Self { stop, sender, receiver })
    }

    /// Ends it; fails if one came that was not sent as it was.
    pub(super) fn finish(self) -> Result<Count> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().map_err(|panic| anyhow!("a sender panicked: {panic:?}"))?;
        let arrived = self.receiver.join();
        let arrived = arrived.map_err(|panic| anyhow!("a receiver panicked: {panic:?}"))??;
        ensure!(arrived <= sent, "{arrived} datagrams came of {sent}");
        Ok(Count { sent, arrived })
    }
}

fn receive(socket: &UdpSocket, stop: &AtomicBool) -> Result<u64> {
    let (mut bytes, mut count) = (vec![0; 65_536], 0);
    while !stop.load(Ordering::Relaxed) {
        let came = match socket.recv(&mut bytes) {
            Ok(length) => &bytes[..length],
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error).context("a receiver failed"),
        };
        let number = came.first_chunk().context("a datagram is too short")?;
        let number = u64::from_le_bytes(*number);
        ensure!(came == datagram(number), "datagram {number} is not as it was: {came:02x?}");
        count += 1;
    }
    Ok(count)
}

/// Its number says how long it is, and each word is its number and place.
fn datagram(number: u64) -> Vec<u8> {
    let most = Backend::Udp.mtu() as u64 - 28;
    let length = 8 + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (most - 7);
    let words = (0..=length / 8).map(|place| (number ^ place << 40).to_le_bytes());
    let mut bytes: Vec<u8> = words.flatten().collect();
    bytes.truncate(usize::try_from(length).unwrap_or_default());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sizes_that_fit_and_no_other() {
        let lengths: std::collections::BTreeSet<usize> =
            (0..100_000).map(|number| datagram(number).len()).collect();
        assert_eq!(lengths, (8..=1444).collect());
        assert!((0..100).all(|number| datagram(number).starts_with(&number.to_le_bytes())));
    }
}
