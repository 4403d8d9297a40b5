//! From the other hosts to the device.

use crate::coalesce::Batch;
use crate::counters::Event;
use crate::device::Queue;
use crate::path;
use crate::peers::Peers;
use crate::socket::{Arrival, ROOM, Socket, TRAINS};
use crate::tunnel::Shared;
use crate::{segment, unfinished};

pub(crate) struct Inbound<'a> {
    shared: &'a Shared,
    queue: &'a Queue,
    socket: &'a Socket,
    buffer: Vec<u8>,
    arrivals: Vec<Arrival>,
    batch: Batch,
}

/// What came of looking.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Came {
    /// As many arrivals as can be taken at once: there may be more.
    pub(crate) more: bool,
    /// Of all of them.
    pub(crate) bytes: usize,
    /// The device was given something.
    pub(crate) given: bool,
}

impl<'a> Inbound<'a> {
    pub(crate) fn new(shared: &'a Shared, (queue, socket): (&'a Queue, &'a Socket)) -> Self {
        Self {
            shared,
            queue,
            socket,
            buffer: vec![0; ROOM * TRAINS],
            arrivals: Vec::with_capacity(TRAINS),
            batch: Batch::new(shared.device.joins()),
        }
    }

    /// Carries some of what the socket has now, and says how much came and whether the device was given
    /// anything.
    pub(crate) fn carry(&mut self, peers: &Peers) -> nix::Result<Came> {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let received = self.socket.receive(&mut self.buffer, &mut arrivals);
        for (number, arrival) in arrivals.iter().enumerate() {
            self.take(peers, (number * ROOM, arrival));
        }
        let more = arrivals.len() == TRAINS;
        let bytes = arrivals.iter().map(|arrival| arrival.len).sum();
        self.arrivals = arrivals;
        let given = self.hand_over();
        received.map(|()| Came { more, bytes, given })
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
                    match unfinished::of(&head, packet, local.mtu) {
                        None => self.batch.push(&self.buffer, (range, &head)),
                        Some(vnet) if self.queue.header() > 0 => {
                            self.batch.push_unfinished((range, &head), vnet);
                        }
                        // A device that does nothing for us.
                        Some(vnet) => {
                            if let Some(place) = vnet.checksum() {
                                segment::complete(packet, place);
                            }
                            self.batch.push(&self.buffer, (range, &head));
                        }
                    }
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

    /// Writes what passed, in its order. Was there any?
    fn hand_over(&mut self) -> bool {
        for group in self.batch.groups() {
            let vnet = group.seal(&mut self.buffer).encode();
            let header = &vnet[..self.queue.header()];
            if self.queue.write(&group.slices(&self.buffer, header)).is_err() {
                self.shared.counters.add_many(Event::DeviceRefused, group.count());
            }
        }
        let any = !self.batch.groups().is_empty();
        self.batch.clear();
        any
    }
}
