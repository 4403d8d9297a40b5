//! Packets of one flow that come all at once, of which some may be joined on the way and others may not.
//!
//! The agent is stopped while they are sent, so that it finds all of them in its socket.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use twill_integration::fabric::Backend;
use twill_integration::may_build_labs;

use crate::as_it_is::older;
use crate::capture::Capture;
use crate::cases::{ACK, CWR, ECE, FIN, PSH, RST, URG};
use crate::packet::{Header, TCP, UDP, WHOLE};
use crate::world::World;

const LIMIT: Duration = Duration::from_secs(10);
/// The first number of the flow.
const START: u32 = 1_000_000;
/// Where the header of TCP ends in a packet without options.
const HEADERS: usize = 40;
/// Of the flow.
const PORTS: [u8; 4] = [0x1c, 0x20, 0x1c, 0x84];

/// One segment of the flow.
#[derive(Clone, Copy)]
struct Segment {
    /// Its place in the stream, and its length there.
    at: u32,
    length: u32,
    flags: u8,
    tos: u8,
    ttl: u8,
    fragment: u16,
    options: &'static [u8],
    tcp_options: &'static [u8],
    /// May it not be joined with others?
    alone: bool,
}

#[test]
fn of_a_stream_only_what_follows_each_other_is_joined() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut world = World::new(Backend::Udp)?;
    let (from, to) = (world.theirs.ipv4()?.octets(), world.ours.ipv4()?.octets());
    let segments = stream();
    let packet = |(place, segment): (usize, &Segment)| segment.packet((from, to), place);
    let packets: Vec<Vec<u8>> = segments.iter().enumerate().map(packet).collect();
    for at_once in [true, false] {
        let capture = world.ours.within(Capture::start)?;
        world.send_all(&packets, at_once)?;
        let alone = packets.iter().zip(&segments).filter(|(_packet, segment)| segment.alone);
        let mut alone: Vec<Vec<u8>> = alone.map(|(packet, _segment)| older(packet, 1)).collect();
        let mut wanted = vec![0_u8; 1 << 16];
        for segment in segments.iter().filter(|segment| !segment.alone) {
            wanted[segment.range()].fill(1);
        }
        let (mut came, start) = (vec![0_u8; wanted.len()], Instant::now());
        while !alone.is_empty() || came != wanted {
            ensure!(start.elapsed() < LIMIT, "at once: {at_once}; never came alone: {alone:02x?}");
            let Some(packet) = capture.next()? else { continue };
            if let Some(place) = alone.iter().position(|alone| *alone == packet) {
                alone.swap_remove(place);
            } else if packet.get(20..24) == Some(&PORTS) {
                joined(&packet, &mut came)?;
            }
        }
    }
    world.finish().map(drop)
}

#[test]
fn datagrams_keep_their_borders_and_their_order() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut world = World::new(Backend::Udp)?;
    let (source, destination) = (world.theirs.ipv4()?.octets(), world.ours.ipv4()?.octets());
    let socket = world.ours.within(|| Ok(UdpSocket::bind((world.ours.address, 7300))?))?;
    socket.set_read_timeout(Some(LIMIT))?;
    let lengths =
        [900, 900, 900, 300, 900, 0, 1, 900, 901, 901, 900, 1444, 1444, 2, 900, 900, 0, 0, 1444];
    let header = |place| Header {
        source,
        destination,
        protocol: UDP,
        tos: 0,
        ttl: 64,
        identification: place,
        fragment: WHOLE,
        options: &[],
    };
    let payload = |place: u16, length: usize| vec![u8::try_from(place % 251).unwrap_or(0); length];
    let train = (0..).zip(lengths);
    let packets: Vec<Vec<u8>> = train
        .clone()
        .map(|(place, length): (u16, usize)| {
            let all = u16::try_from(length + 8).unwrap_or_default();
            let mut datagram = [7200, 7300, all, 0].map(u16::to_be_bytes).concat();
            datagram.extend(payload(place, length));
            header(place).packet(&header(place).finished(datagram))
        })
        .collect();
    for at_once in [true, false] {
        world.send_all(&packets, at_once)?;
        for (place, length) in train.clone() {
            let mut bytes = [0; 2000];
            let came = socket.recv(&mut bytes)?;
            ensure!(bytes[..came] == payload(place, length), "{place}: {:02x?}", &bytes[..came]);
        }
    }
    world.finish().map(drop)
}

/// What may be joined, and between it everything that may not.
fn stream() -> Vec<Segment> {
    let plain = Segment {
        at: 0,
        length: 1000,
        flags: ACK,
        tos: 0,
        ttl: 64,
        fragment: WHOLE,
        options: &[],
        tcp_options: &[],
        alone: false,
    };
    let alone = Segment { alone: true, ..plain };
    let between = [
        Segment { flags: ACK | URG, ..alone },
        Segment { flags: ACK | CWR, ..alone },
        Segment { flags: ACK | ECE, ..alone },
        Segment { tos: 3, ..alone },
        Segment { tos: 0xb8, ..alone },
        Segment { ttl: 60, ..alone },
        Segment { fragment: 0, ..alone },
        Segment { options: &[1, 1, 1, 1], ..alone },
        Segment { tcp_options: &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], ..alone },
        Segment { length: 0, ..alone },
        // Longer than what came before it.
        Segment { length: 1400, ..plain },
        // The end of what somebody wrote.
        Segment { length: 300, flags: ACK | PSH, ..plain },
    ];
    let mut stream = vec![];
    for segment in between {
        stream.extend([plain, plain, segment, plain]);
    }
    let mut at = 0;
    for segment in &mut stream {
        segment.at = at;
        at += segment.length;
    }
    // Something was lost, then the beginning comes again, then it ends.
    let later = Segment { at: at + 500, ..alone };
    let ends = at + 1500;
    stream.extend([
        later,
        alone,
        Segment { at: ends, length: 10, flags: ACK | FIN, ..alone },
        Segment { at: ends + 11, length: 0, flags: ACK | RST, ..alone },
    ]);
    stream
}

/// Notes what a packet brings, of which parts may have been joined; fails if it is not what was sent.
fn joined(packet: &[u8], came: &mut [u8]) -> Result<()> {
    let header = packet.get(..HEADERS).unwrap_or_default();
    let as_sent = header.len() == HEADERS
        && (header[0], header[1], header[8], header[32]) == (0x45, 0, 63, 0x50)
        && header[33] & !PSH == ACK;
    ensure!(as_sent, "joined, but not alike: {:02x?}", &packet[..packet.len().min(60)]);
    let number = u32::from_be_bytes([header[24], header[25], header[26], header[27]]);
    let at = number.wrapping_sub(START);
    for (place, byte) in (at..).zip(&packet[HEADERS..]) {
        ensure!(*byte == octet(place), "byte {place} of the stream is {byte:#x}");
        let times = came.get_mut(place as usize);
        *times.ok_or_else(|| anyhow::anyhow!("nobody sent byte {place}"))? += 1;
    }
    Ok(())
}

/// What the stream has at that place.
fn octet(place: u32) -> u8 {
    u8::try_from(place % 253).unwrap_or_default()
}

impl Segment {
    fn range(&self) -> std::ops::Range<usize> {
        self.at as usize..(self.at + self.length) as usize
    }

    fn packet(&self, (source, destination): ([u8; 4], [u8; 4]), place: usize) -> Vec<u8> {
        let Self { at, length, flags, tos, ttl, fragment, options, tcp_options, .. } = *self;
        let identification = u16::try_from(place).unwrap_or_default();
        let header = Header {
            source,
            destination,
            protocol: TCP,
            tos,
            ttl,
            identification,
            fragment,
            options,
        };
        let mut bytes = PORTS.to_vec();
        bytes.extend((START + at).to_be_bytes());
        let words = u8::try_from(5 + tcp_options.len() / 4).unwrap_or_default();
        bytes.extend([0, 0, 0, 1, words << 4, flags, 0x20, 0, 0, 0, 0, 0]);
        bytes.extend(tcp_options);
        bytes.extend((at..at + length).map(octet));
        header.packet(&header.finished(bytes))
    }
}

impl World {
    /// Sends these; `at_once`: while the agent sleeps.
    fn send_all(&mut self, packets: &[Vec<u8>], at_once: bool) -> Result<()> {
        let agent = self.fabric.agent(1)?;
        if at_once {
            agent.signal(Signal::SIGSTOP)?;
        }
        packets.iter().try_for_each(|packet| self.peer.send(packet))?;
        if at_once { agent.signal(Signal::SIGCONT) } else { Ok(()) }
    }
}
