//! A second opinion on flannel's `udp` format, written from its description and from nothing of ours: a
//! datagram to port 8285 is one bare IPv4 packet. Slow on purpose: one packet in each call, no offloads.
//!
//! It looks at each datagram that comes before it passes it on, see [`crate::packet::judge`].

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};
use twill_integration::Host;

use crate::packet::{judge, one_hop_less};

const PORT: u16 = 8285;
pub(crate) const DEVICE: &str = "flannel0";
/// What the underlay's 1500 bytes leave.
pub(crate) const MTU: usize = 1472;

/// Two threads, and what they saw.
#[derive(Debug)]
pub(crate) struct Peer {
    host: Host,
    socket: Arc<UdpSocket>,
    other: Ipv4Addr,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// Of the datagrams that came.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) count: u64,
    /// The longest of them.
    pub(crate) longest: usize,
    /// What was wrong with some.
    faults: Vec<String>,
    /// The last few of them.
    last: Vec<Vec<u8>>,
}

impl Peer {
    /// On `host`, whose address is `local`, for a network with one other host.
    pub(crate) fn start(host: &Host, (local, other): (Ipv4Addr, Ipv4Addr)) -> Result<Self> {
        let (tun, socket) = host.within(|| {
            let tun = DeviceBuilder::new().name(DEVICE).layer(Layer::L3).inherit_enable_state();
            Ok((tun.build_sync()?, UdpSocket::bind((local, PORT))?))
        })?;
        setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (tun, socket) = (Arc::new(tun), Arc::new(socket));
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (device, wire) = (tun.clone(), socket.clone());
        let out =
            thread::spawn(move || send(&device, |packet| wire.send_to(packet, (other, PORT))));
        let (wire, saw, ends) = (socket.clone(), seen.clone(), stop.clone());
        let back = thread::spawn(move || receive((&wire, &tun), &saw, &ends));
        Ok(Self { host: host.clone(), socket, other, seen, stop, threads: vec![out, back] })
    }

    /// Sends one packet, whatever it is, as it is.
    pub(crate) fn send(&self, packet: &[u8]) -> Result<()> {
        self.socket.send_to(packet, (self.other, PORT)).map(drop).context("cannot send")
    }

    /// Did exactly this packet come lately?
    pub(crate) fn has_seen(&self, packet: &[u8]) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.last.iter().any(|last| last == packet)
    }

    /// Ends it; fails if anything was wrong with a datagram that came.
    pub(crate) fn finish(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        // Whoever reads from the device wakes when it is gone.
        self.host.ok(["ip", "link", "delete", DEVICE])?;
        for thread in self.threads {
            thread.join().map_err(|panic| anyhow!("{panic:?}"))??;
        }
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        ensure!(seen.faults.is_empty(), "of {} datagrams: {:#?}", seen.count, seen.faults);
        Ok(seen)
    }
}

/// Until the device is gone.
fn send(tun: &SyncDevice, send: impl Fn(&[u8]) -> std::io::Result<usize>) -> Result<()> {
    let mut packet = vec![0; 65_536];
    while let Ok(length) = tun.recv(&mut packet) {
        // Of IPv6 the kernel sends something by itself.
        if one_hop_less(&mut packet[..length]) {
            send(&packet[..length])?;
        }
    }
    Ok(())
}

/// Until it is told to stop.
fn receive(
    (socket, tun): (&UdpSocket, &SyncDevice),
    seen: &Mutex<Seen>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut packet = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        let length = match socket.recv_from(&mut packet) {
            Ok((length, _sender)) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error).context("the socket failed"),
        };
        seen.lock().unwrap_or_else(PoisonError::into_inner).note(&packet[..length]);
        if one_hop_less(&mut packet[..length]) {
            // Refused is a packet that the kernel does not like.
            tun.send(&packet[..length]).ok();
        }
    }
    Ok(())
}

impl Seen {
    fn note(&mut self, datagram: &[u8]) {
        self.count += 1;
        self.longest = self.longest.max(datagram.len());
        let fault = judge(datagram, MTU).err().filter(|_fault| self.faults.len() < 10);
        self.faults.extend(fault.map(|fault| format!("{fault}: {datagram:02x?}")));
        if self.last.len() == 100 {
            self.last.remove(0);
        }
        self.last.push(datagram.to_vec());
    }
}
