//! From the other hosts to the device: one thread's loop.

use arc_swap::Cache;
use nix::errno::Errno;

use crate::coalesce::Batch;
use crate::counters::Event;
use crate::device::Queue;
use crate::path;
use crate::peers::Peers;
use crate::socket::{Arrival, ROOM, Socket, TRAINS, reason};
use crate::tunnel::Shared;
use crate::wait::{Rest, pause};

/// Carries packets until told to stop: the owner does that too when the device is gone, and until then
/// there is nobody to write to.
pub(crate) fn run(shared: &Shared, queue: usize) {
    let mut peers = Cache::new(&shared.peers);
    let mut inbound = Inbound::new(shared, queue);
    let mut rest = Rest::new();
    while !shared.is_stopping() {
        let came = match inbound.carry(peers.load()) {
            Ok(()) => {
                rest.over();
                Ok(())
            }
            Err(Errno::EINTR) => Ok(()),
            Err(Errno::EAGAIN) => {
                rest.wait(&shared.stop, inbound.socket).map_err(|_error| Errno::EIO)
            }
            Err(errno) => Err(errno),
        };
        if let Err(errno) = came {
            shared.counters.add(reason(errno));
            pause(&shared.stop);
        }
    }
}

struct Inbound<'a> {
    shared: &'a Shared,
    queue: &'a Queue,
    socket: &'a Socket,
    buffer: Vec<u8>,
    arrivals: Vec<Arrival>,
    batch: Batch,
}

impl<'a> Inbound<'a> {
    fn new(shared: &'a Shared, queue: usize) -> Self {
        Self {
            shared,
            queue: shared.device.queue(queue),
            socket: &shared.sockets[queue],
            buffer: vec![0; ROOM * TRAINS],
            arrivals: Vec::with_capacity(TRAINS),
            batch: Batch::new(shared.device.joins()),
        }
    }

    /// Carries what the socket has now.
    fn carry(&mut self, peers: &Peers) -> nix::Result<()> {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let received = self.socket.receive(&mut self.buffer, &mut arrivals);
        for (number, arrival) in arrivals.iter().enumerate() {
            self.take(peers, (number * ROOM, arrival));
        }
        self.arrivals = arrivals;
        received?;
        self.hand_over();
        Ok(())
    }

    /// Judges each packet of an arrival.
    fn take(&mut self, peers: &Peers, (start, arrival): (usize, &Arrival)) {
        let local = self.shared.local();
        let size = arrival.size.max(1);
        if let Err(why) = path::admits(&local, peers, arrival.sender) {
            // A datagram may be empty.
            let count = arrival.len.div_ceil(size).max(1);
            return self.shared.counters.add_many(why, count);
        }
        let (end, mut count, mut bytes) = (start + arrival.len, 0, 0);
        let mut at = start;
        loop {
            let range = at..end.min(at + size);
            let packet = &mut self.buffer[range.clone()];
            match path::inbound(&local, peers, (arrival.sender, arrival.class, packet)) {
                Ok(head) => {
                    (count, bytes) = (count + 1, bytes + packet.len());
                    self.batch.push(&self.buffer, (range, &head));
                }
                Err(why) => self.shared.counters.add(why),
            }
            at += size;
            if at >= end {
                break;
            }
        }
        self.shared.counters.received(count, bytes);
    }

    /// Writes what passed, in its order.
    fn hand_over(&mut self) {
        for group in self.batch.groups() {
            let vnet = group.seal(&mut self.buffer).encode();
            let header = &vnet[..self.queue.header()];
            if self.queue.write(&group.slices(&self.buffer, header)).is_err() {
                self.shared.counters.add_many(Event::DeviceRefused, group.count());
            }
        }
        self.batch.clear();
    }
}
