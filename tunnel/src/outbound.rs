//! From the device to the other hosts.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::counters::Event;
use crate::device::Queue;
use crate::packet::LONGEST;
use crate::path::{self, Outbound as Judged};
use crate::peers::Peers;
use crate::segment::{self, Segment, Shape};
use crate::socket::{Socket, reason};
use crate::train::{Buffers, Trains, Way};
use crate::tunnel::Shared;
use crate::vnet::{self, Vnet};

/// Room for some packets of the longest kind, and as many bytes as are carried in a turn.
pub(crate) const ROOM: usize = 4 * (LONGEST + vnet::LEN);
/// After so many reads others have their turn, whatever became of the packets.
pub(crate) const TURN: usize = 256;
/// How long the datagrams to a host are sent one by one, once a train did not get through.
const ONE_BY_ONE: Duration = Duration::from_secs(30);

pub(crate) struct Outbound<'a> {
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
    trains: Trains,
    /// Which train leaves next, and how many of its datagrams left alone before.
    next: (usize, usize),
    /// To whom no train gets through, and until when that is believed.
    one_by_one: HashMap<IpAddr, Instant>,
}

/// How far sending came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sent {
    /// To the end.
    All,
    /// Until there was no room; the rest waits.
    SocketFull,
}

impl<'a> Outbound<'a> {
    pub(crate) fn new(shared: &'a Shared, (queue, socket): (&'a Queue, &'a Socket)) -> Self {
        Self {
            shared,
            queue,
            socket,
            packets: vec![0; ROOM],
            taken: 0,
            headers: Vec::new(),
            segments: Vec::new(),
            trains: Trains::default(),
            next: (0, 0),
            one_by_one: HashMap::new(),
        }
    }

    /// Carries some of what the device has now. A train leaves when it is full, and the last one as soon as
    /// there is nothing more to read: no packet waits for one that may never come.
    pub(crate) fn carry(&mut self, peers: &Peers) -> io::Result<()> {
        let room = self.packets.len() - self.queue.header() - LONGEST;
        for _read in 0..TURN {
            match self.queue.read(&mut self.packets[self.taken..]) {
                Ok(len) => self.take(peers, self.taken..self.taken + len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.send_all_but(1) == Sent::SocketFull || self.taken > room {
                break;
            }
        }
        self.depart();
        Ok(())
    }

    /// Judges what was read into `range`, and puts it into a train if it may go.
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
                self.trains.board(way, Segment::whole(at..range.end));
            }
            Judged::Send(way, Shape::Many(cut)) => {
                cut.cut((at, packet), &mut self.headers, &mut self.segments);
                self.taken = range.end;
                self.segments.drain(..).for_each(|segment| self.trains.board(way, segment));
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

    /// Do packets wait for room in the socket? Until it has some, and [`Self::depart`] was called, none is
    /// to be read: so the device's queue is held back, which is the one that may drop.
    pub(crate) fn waits(&self) -> bool {
        self.trains.len() > 0
    }

    /// Sends what is left, if the socket has room.
    pub(crate) fn depart(&mut self) {
        if self.send_all_but(0) == Sent::All {
            self.trains.clear();
            self.headers.clear();
            (self.next, self.taken) = ((0, 0), 0);
        }
    }

    /// Sends the trains, but not so many of the last.
    fn send_all_but(&mut self, last: usize) -> Sent {
        let buffers = Buffers { packets: &self.packets, headers: &self.headers };
        while self.next.0 + last < self.trains.len() {
            let Some((way, train)) = self.trains.get(self.next.0) else { break };
            if self.next.1 == 0 && train.count() > 1 && self.goes_as_train(way.peer) {
                let size = u16::try_from(train.size()).unwrap_or(u16::MAX);
                match self.send(way, (&train.slices(buffers), Some(size))) {
                    Ok(_bytes) => self.shared.counters.sent(train.count(), train.bytes()),
                    Err(Errno::EAGAIN) => return Sent::SocketFull,
                    // The device, or the path, cannot; one by one they may be cut.
                    Err(Errno::EIO | Errno::EMSGSIZE | Errno::EINVAL) => {
                        let now = Instant::now();
                        self.one_by_one.retain(|_peer, until| *until > now);
                        self.one_by_one.insert(way.peer, now + ONE_BY_ONE);
                        continue;
                    }
                    Err(errno) => self.shared.counters.add_many(reason(errno), train.count()),
                }
            } else {
                for datagram in train.datagrams(buffers).skip(self.next.1) {
                    match self.send(way, (&datagram, None)) {
                        Ok(bytes) => self.shared.counters.sent(1, bytes),
                        Err(Errno::EAGAIN) => return Sent::SocketFull,
                        Err(errno) => self.shared.counters.add(reason(errno)),
                    }
                    self.next.1 += 1;
                }
            }
            self.next = (self.next.0 + 1, 0);
        }
        Sent::All
    }

    fn send(&self, way: Way, slices: (&[IoSlice<'_>], Option<u16>)) -> nix::Result<usize> {
        let to = SocketAddr::new(way.peer, self.shared.endpoint.port);
        loop {
            match self.socket.send(to, slices, way.class) {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    fn goes_as_train(&self, peer: IpAddr) -> bool {
        self.one_by_one.get(&peer).is_none_or(|until| *until <= Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::process::Command;

    use twill_core::ids::{Mtu, Subnet};
    use twill_net::netns::Scratch;

    use super::*;
    use crate::marks::Marks;
    use crate::{Accept, Device, Endpoint};

    #[test]
    fn a_flood_to_nobody_takes_its_turn_like_others() {
        let Some(_scratch) = Scratch::enter() else { return };
        let device = Device::open("flannel0", NonZeroUsize::MIN).unwrap();
        ip("link set flannel0 mtu 1472 txqueuelen 1000 up");
        ip("addr add 10.5.1.0/32 dev flannel0");
        ip("route add 10.5.0.0/16 dev flannel0");
        ip("link set lo up");
        let sockets = Socket::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let shared = Shared::new(device, sockets, endpoint()).unwrap();
        let mut outbound = Outbound::new(&shared, (shared.device.queue(0), &shared.sockets[0]));
        let container = std::net::UdpSocket::bind("10.5.1.0:0").unwrap();
        let sent = TURN + TURN / 2;
        for _time in 0..sent {
            container.send_to(b"anybody?", "10.5.9.9:9").unwrap();
        }
        // The device may have words of its own to say.
        let all = || shared.counters.iter().map(|(_event, count)| count).sum::<u64>();
        outbound.carry(&Peers::default()).unwrap();
        assert_eq!(all(), TURN as u64);
        outbound.carry(&Peers::default()).unwrap();
        assert_eq!(shared.counters.count(Event::NoRoute), sent as u64);
    }

    fn endpoint() -> Endpoint {
        Endpoint {
            underlay: [127, 0, 0, 1].into(),
            port: 8285,
            subnet: Subnet::new([10, 5, 1, 0].into(), 24).unwrap().into(),
            mtu: Mtu::new(1472).unwrap(),
            accept: Accept::Peers,
            marks: Marks::None,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the test's own hands in the kernel")]
    fn ip(words: &str) {
        let done = Command::new("ip").args(words.split(' ')).status().unwrap();
        assert!(done.success(), "ip {words}");
    }
}
