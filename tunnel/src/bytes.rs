//! The pure part from end to end, bytes in and bytes out, as the fuzzers and the tests drive it: what
//! the threads do between one system call and the next, on a host with one peer.

use std::net::IpAddr;

use twill_core::ids::{Mtu, Subnet};

use crate::blocks::Blocks;
use crate::coalesce::{Batch, Joins};
use crate::marks::Marks;
use crate::packet::Head;
use crate::path::{self, Local, Outbound};
use crate::peers::Peers;
use crate::segment::{self, Segment, Shape};
use crate::tunnel::Accept;
use crate::vnet::{self, Vnet};

/// A host that owns `10.5.1.0/24` and `fd00:5:1::/64`, and its peer with `10.5.2.0/24` and
/// `fd00:5:2::/64`.
#[derive(Debug)]
pub struct Pair {
    local: Local,
    peers: Peers,
    peer: IpAddr,
}

impl Pair {
    /// The longest packet that goes over the wire.
    pub const MTU: usize = 1472;

    /// The two; `None` never.
    #[must_use]
    pub fn new() -> Option<Self> {
        let subnet = |text: &str| text.parse::<Subnet>().ok();
        let own = Blocks::from(subnet("10.5.1.0/24")?).and(subnet("fd00:5:1::/64")?);
        let peer = IpAddr::from([192, 0, 2, 2]);
        let blocks = vec![(subnet("10.5.2.0/24")?, peer), (subnet("fd00:5:2::/64")?, peer)];
        let mtu = Mtu::new(u32::try_from(Self::MTU).ok()?)?;
        let local = Local { own, mtu, accept: Accept::Peers, marks: Marks::PriorityAndCongestion };
        Some(Self { local, peers: Peers::new(blocks), peer })
    }

    /// The datagrams that a read from the device leads to, or, as an error, the answer to the sender.
    pub fn outbound(&self, frame: &[u8]) -> Result<Vec<Vec<u8>>, Vec<u8>> {
        let Some((header, packet)) = frame.split_first_chunk() else { return Ok(Vec::new()) };
        let (vnet, mut packet) = (Vnet::decode(*header), packet.to_vec());
        match path::outbound(&self.local, &self.peers, (&mut packet, vnet)) {
            Outbound::Send(_way, shape) => Ok(packets(shape, &mut packet)),
            Outbound::Drop(_why) => Ok(Vec::new()),
            Outbound::Answer(_why, answer) => Err(answer),
        }
    }

    /// The writes to the device that a train of the peer's leads to, and the packets that it accepted.
    #[must_use]
    pub fn inbound(
        &self,
        train: &[u8],
        (size, class): (usize, u8),
    ) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut buffer, mut batch) = (train.to_vec(), Batch::new(Joins { tcp: true, udp: true }));
        let (mut accepted, mut at) = (Vec::new(), 0);
        while at < buffer.len() {
            let range = at..buffer.len().min(at + size.max(1));
            at = range.end;
            let packet = &mut buffer[range.clone()];
            if let Ok(head) = path::inbound(&self.local, &self.peers, (self.peer, class, packet)) {
                accepted.push(packet.to_vec());
                batch.push(&buffer, (range, &head));
            }
        }
        (frames(&batch, &mut buffer), accepted)
    }
}

/// The packets that a frame of the device stands for; `None` if it makes no sense.
#[must_use]
pub fn cut(frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (header, packet) = frame.split_first_chunk()?;
    let (head, mut packet) = (Head::parse(packet).ok()?, packet.to_vec());
    let shape = Shape::of(&head, &packet, Vnet::decode(*header)).ok()?;
    Some(packets(shape, &mut packet))
}

/// The frames that the device is given for these packets.
#[must_use]
pub fn join(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut buffer, mut batch) = (packets.concat(), Batch::new(Joins { tcp: true, udp: true }));
    let mut at = 0;
    for packet in packets {
        if let Ok(head) = Head::parse(packet) {
            batch.push(&buffer, (at..at + packet.len(), &head));
        }
        at += packet.len();
    }
    frames(&batch, &mut buffer)
}

fn packets(shape: Shape, packet: &mut [u8]) -> Vec<Vec<u8>> {
    let (mut headers, mut segments) = (Vec::new(), Vec::new());
    match shape {
        Shape::One(checksum) => {
            if let Some(place) = checksum {
                segment::complete(packet, place);
            }
            segments.push(Segment::whole(0..packet.len()));
        }
        Shape::Many(cut) => cut.cut((0, packet), &mut headers, &mut segments),
    }
    let bytes = |segment: &Segment| {
        [&headers[segment.header.clone()], &packet[segment.payload.clone()]].concat()
    };
    segments.iter().map(bytes).collect()
}

fn frames(batch: &Batch, buffer: &mut [u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for group in batch.groups() {
        let header: [u8; vnet::LEN] = group.seal(buffer).encode();
        let slices = group.slices(buffer, &header);
        frames.push(slices.iter().flat_map(|slice| slice.to_vec()).collect());
    }
    frames
}
