//! The way of a lone packet: ICMP echo, which the other end's kernel answers without waking anybody.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::lane::Lane;
use super::load::{Load, Tally};
use super::traffic;
use crate::wait::pace;

/// From an answer to the next question: long enough for everybody on the way to fall asleep.
const PAUSE: Duration = Duration::from_millis(2);
/// One that is not there by then is lost, and counted as late as that.
const LOST: Duration = Duration::from_millis(500);
const HEADER: usize = 20;
const IDENTIFIER: [u8; 2] = [0x74, 0x77];

/// One echo at a time, beside `streams` TCP streams at full speed; counts questions.
pub(super) fn ping(lane: &Lane, streams: usize) -> Result<Load> {
    let mut load = Load::default();
    for _stream in 0..streams {
        let (sender, receiver) = traffic::connect(&lane.near, &lane.far)?;
        traffic::add_stream(&mut load, (sender, receiver), traffic::Counts::Nothing)?;
    }
    let socket = lane.near.within(|| {
        let flags = SockFlag::SOCK_CLOEXEC;
        let raw = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Icmp)?;
        // The standard library has no raw socket, and what it does with a datagram's fits.
        let socket = UdpSocket::from(raw);
        socket.connect((lane.far.address, 0))?;
        socket.set_read_timeout(Some(LOST))?;
        Ok(socket)
    })?;
    load.spawn(move |tally| echoes(&socket, tally));
    Ok(load)
}

fn echoes(socket: &UdpSocket, tally: &Tally) -> Result<()> {
    let mut took = Vec::new();
    let mut number = 0_u16;
    while tally.goes_on() {
        number = number.wrapping_add(1);
        let start = Instant::now();
        socket.send(&request(number)).context("cannot send an echo request")?;
        answered(socket, number);
        if tally.is_counting() {
            took.push(u64::try_from(start.elapsed().as_nanos())?);
        }
        tally.arrives(1);
        pace(PAUSE);
    }
    tally.took(took);
    Ok(())
}

/// Waits for the answer with that number; others, late or not ours, are passed over.
fn answered(socket: &UdpSocket, number: u16) {
    let mut bytes = [0; 128];
    while let Ok(length) = socket.recv(&mut bytes) {
        let came = bytes[..length].get(HEADER..).unwrap_or_default();
        let [high, low] = number.to_be_bytes();
        if came.starts_with(&[0, 0])
            && came.get(4..8) == Some(&[IDENTIFIER[0], IDENTIFIER[1], high, low])
        {
            return;
        }
    }
}

/// 64 bytes of ICMP, as ping(8) sends.
fn request(number: u16) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 8;
    bytes[4..6].copy_from_slice(&IDENTIFIER);
    bytes[6..8].copy_from_slice(&number.to_be_bytes());
    let sum: u32 =
        bytes.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    // Three words that are not zero: one carry at most.
    let folded = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from(folded & 0xffff).unwrap_or_default();
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}
