//! From the device to the other hosts: one thread's loop.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use arc_swap::Cache;
use nix::errno::Errno;

use crate::counters::Event;
use crate::device::Queue;
use crate::path::{self, Outbound as Judged};
use crate::peers::Peers;
use crate::segment::{self, Segment, Shape};
use crate::socket::{Socket, reason};
use crate::train::{Buffers, Train, Way};
use crate::tunnel::Shared;
use crate::vnet::{self, Vnet};
use crate::wait::{Ready, Rest, wait};

/// No packet is longer.
const LONGEST: usize = 65_535;
/// Room for the longest packet behind others that wait to leave with it.
const ROOM: usize = 2 * (LONGEST + vnet::LEN);
/// A train of so many bytes leaves at once: waiting for more would gain nothing.
const FULL: usize = 32 << 10;
/// How long the datagrams to a host are sent one by one, once a train did not get through.
const ONE_BY_ONE: Duration = Duration::from_secs(30);

/// Carries packets until told to stop, or until the device is gone.
pub(crate) fn run(shared: &Shared, queue: usize) -> io::Result<()> {
    let mut peers = Cache::new(&shared.peers);
    let mut outbound = Outbound::new(shared, queue);
    let mut rest = Rest::new();
    while !shared.is_stopping() {
        if outbound.carry(peers.load())? {
            rest.over();
        } else {
            rest.wait(&shared.stop, outbound.queue)?;
        }
    }
    Ok(())
}

struct Outbound<'a> {
    shared: &'a Shared,
    queue: &'a Queue,
    socket: &'a Socket,
    /// What was read and did not leave yet.
    packets: Vec<u8>,
    /// How much of it is taken.
    taken: usize,
    /// The headers of what was cut.
    headers: Vec<u8>,
    segments: Vec<Segment>,
    train: Train,
    /// To whom no train gets through, and until when that is believed.
    one_by_one: HashMap<IpAddr, Instant>,
}

impl<'a> Outbound<'a> {
    fn new(shared: &'a Shared, queue: usize) -> Self {
        Self {
            shared,
            queue: shared.device.queue(queue),
            socket: &shared.sockets[queue],
            packets: vec![0; ROOM],
            taken: 0,
            headers: Vec::new(),
            segments: Vec::new(),
            train: Train::default(),
            one_by_one: HashMap::new(),
        }
    }

    /// Carries what the device has now. Packets wait for each other only while there are more to read.
    fn carry(&mut self, peers: &Peers) -> io::Result<bool> {
        let header = self.queue.header();
        let mut some = false;
        loop {
            if self.taken + header + LONGEST > self.packets.len() {
                self.depart();
            }
            match self.queue.read(&mut self.packets[self.taken..]) {
                Ok(len) => {
                    some = true;
                    self.take(peers, self.taken..self.taken + len);
                    if self.train.bytes() >= FULL {
                        self.depart();
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.depart();
                    return Ok(some);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Judges what was read into `range`, and puts it into the train if it may go.
    fn take(&mut self, peers: &Peers, range: std::ops::Range<usize>) {
        let read = &mut self.packets[range.clone()];
        let (vnet, packet) = match self.queue.header() {
            0 => (Vnet::default(), read),
            _some => match read.split_first_chunk_mut::<{ vnet::LEN }>() {
                Some((header, packet)) => (Vnet::decode(*header), packet),
                None => return self.shared.counters.add(Event::Short),
            },
        };
        let at = range.end - packet.len();
        match path::outbound(&self.shared.local(), peers, (packet, vnet)) {
            Judged::Send(way, Shape::One(checksum)) => {
                if let Some(place) = checksum {
                    segment::complete(packet, place);
                }
                self.taken = range.end;
                self.board(way, Segment::whole(at..range.end));
            }
            Judged::Send(way, Shape::Many(cut)) => {
                let mut segments = std::mem::take(&mut self.segments);
                cut.cut((at, packet), &mut self.headers, &mut segments);
                self.taken = range.end;
                segments.drain(..).for_each(|segment| self.board(way, segment));
                self.segments = segments;
            }
            Judged::Drop(why) => self.shared.counters.add(why),
            Judged::Answer(why, answer) => {
                self.shared.counters.add(why);
                self.answer(&answer);
            }
        }
    }

    /// Hands the device a packet with which nothing is left to do.
    fn answer(&self, packet: &[u8]) {
        let header = Vnet::default().encode();
        let slices = [IoSlice::new(&header[..self.queue.header()]), IoSlice::new(packet)];
        if self.queue.write(&slices).is_err() {
            self.shared.counters.add(Event::DeviceRefused);
        }
    }

    fn board(&mut self, way: Way, segment: Segment) {
        if !self.train.takes(way, segment.len()) {
            self.leave();
        }
        self.train.push(way, segment);
    }

    /// Sends the train; then the room is free.
    fn depart(&mut self) {
        self.leave();
        self.headers.clear();
        self.taken = 0;
    }

    fn leave(&mut self) {
        let Some(way) = self.train.way() else { return };
        let (count, bytes) = (self.train.count(), self.train.bytes());
        let size = u16::try_from(self.train.size()).unwrap_or(u16::MAX);
        if count > 1 && self.goes_as_train(way.peer) {
            let buffers = Buffers { packets: &self.packets, headers: &self.headers };
            match self.send(way, (&self.train.slices(buffers), Some(size))) {
                Ok(_bytes) => self.shared.counters.sent(count, bytes),
                // The device, or the path, cannot; one by one they may be cut.
                Err(Errno::EIO | Errno::EMSGSIZE | Errno::EINVAL) => {
                    self.one_by_one.insert(way.peer, Instant::now() + ONE_BY_ONE);
                    self.leave_one_by_one(way);
                }
                Err(errno) => self.shared.counters.add_many(reason(errno), count),
            }
        } else {
            self.leave_one_by_one(way);
        }
        self.train.clear();
    }

    fn leave_one_by_one(&self, way: Way) {
        let buffers = Buffers { packets: &self.packets, headers: &self.headers };
        for datagram in self.train.datagrams(buffers) {
            match self.send(way, (&datagram, None)) {
                Ok(bytes) => self.shared.counters.sent(1, bytes),
                Err(errno) => self.shared.counters.add(reason(errno)),
            }
        }
    }

    fn send(&self, way: Way, slices: (&[IoSlice<'_>], Option<u16>)) -> nix::Result<usize> {
        let to = SocketAddr::new(way.peer, self.shared.endpoint.port);
        loop {
            match self.socket.send(to, slices, way.class) {
                // A full socket holds back the device's queue, which is the one that may drop.
                Err(Errno::EAGAIN) if !self.shared.is_stopping() => {
                    if let Err(error) = wait(&self.shared.stop, &Ready::ToWrite(self.socket)) {
                        tracing::debug!(%error, "cannot wait for the socket");
                        return Err(Errno::EAGAIN);
                    }
                }
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    fn goes_as_train(&mut self, peer: IpAddr) -> bool {
        if self.one_by_one.is_empty() {
            return true;
        }
        let now = Instant::now();
        self.one_by_one.retain(|_peer, until| *until > now);
        !self.one_by_one.contains_key(&peer)
    }
}
