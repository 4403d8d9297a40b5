//! Packets that follow each other in a flow, and the super-packet that they are together.

use proptest::prelude::*;

use crate::checksum::Sum;
use crate::packet::{TCP, UDP};
use crate::vnet::{Train, Vnet};
use twill_core::ids::Family;

/// A flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) family: Family,
    pub(crate) protocol: u8,
    /// Words of 4 bytes.
    pub(crate) ip_options: usize,
    pub(crate) tcp_options: usize,
    pub(crate) class: u8,
    pub(crate) dont_fragment: bool,
    pub(crate) identification: u16,
    pub(crate) sequence: u32,
    pub(crate) push: bool,
    pub(crate) flags: u8,
    /// The payload of all packets but the last.
    pub(crate) size: usize,
    pub(crate) count: usize,
    /// The payload of the last one.
    pub(crate) last: usize,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            family: Family::V4,
            protocol: TCP,
            ip_options: 0,
            tcp_options: 3,
            class: 0,
            dont_fragment: true,
            identification: 0xffff,
            sequence: 0xffff_ff00,
            push: false,
            flags: 0x10,
            size: 100,
            count: 3,
            last: 100,
        }
    }
}

/// Any flow whose super-packet a device may hand over.
pub(crate) fn stream() -> impl Strategy<Value = Stream> {
    let header = (any::<bool>(), any::<bool>(), 0..3_usize, 0..5_usize, any::<u8>());
    let counters = (any::<bool>(), any::<u16>(), any::<u32>(), any::<bool>());
    let flags = prop::sample::select(vec![0x10_u8, 0x50, 0x11, 0x90, 0xd0, 0x30]);
    let sizes = (1..1500_usize, 1..40_usize, any::<prop::sample::Index>());
    (header, counters, flags, sizes).prop_map(|(header, counters, flags, (size, count, last))| {
        let (v4, tcp, ip_options, tcp_options, class) = header;
        let (dont_fragment, identification, sequence, push) = counters;
        Stream {
            family: if v4 { Family::V4 } else { Family::V6 },
            protocol: if tcp { TCP } else { UDP },
            ip_options: if v4 { ip_options } else { 0 },
            tcp_options,
            class,
            dont_fragment,
            identification,
            sequence,
            push,
            flags,
            size,
            count,
            last: 1 + last.index(size),
        }
    })
}

impl Stream {
    /// May the packets join into one?
    pub(crate) fn joins(&self) -> bool {
        self.count > 1 && (self.protocol == UDP || self.flags & !0x40 == 0x10)
    }

    /// What the device hands over.
    pub(crate) fn super_packet(&self) -> (Vnet, Vec<u8>) {
        let payload: Vec<u8> = (0..self.count).flat_map(|number| self.payload(number)).collect();
        let push = if self.push { 0x08 } else { 0 };
        let bytes = self.packet((0, &payload), self.flags | push, false);
        let (transport, header) = (self.transport(), self.transport() + self.header());
        let [transport, header, size] =
            [transport, header, self.size].map(|number| u16::try_from(number).unwrap());
        let train = if self.protocol == TCP { Train::Tcp } else { Train::Udp };
        (Vnet::train((train, self.family), (transport, header), size), bytes)
    }

    /// What goes over the wire.
    pub(crate) fn packets(&self) -> Vec<Vec<u8>> {
        let packet = |number| {
            let mut flags = self.flags;
            if number + 1 < self.count {
                flags &= !0x01;
            } else if self.push {
                flags |= 0x08;
            }
            if number > 0 {
                flags &= !0x80;
            }
            self.packet((number, &self.payload(number)), flags, true)
        };
        (0..self.count).map(packet).collect()
    }

    fn payload(&self, number: usize) -> Vec<u8> {
        let len = if number + 1 == self.count { self.last } else { self.size };
        (0..len).map(|at| u8::try_from((at * 7 + number * 13) % 251).unwrap()).collect()
    }

    fn transport(&self) -> usize {
        match self.family {
            Family::V4 => 20 + self.ip_options * 4,
            Family::V6 => 40,
        }
    }

    fn header(&self) -> usize {
        if self.protocol == TCP { 20 + self.tcp_options * 4 } else { 8 }
    }

    /// One packet; its transport's checksum is complete, or that of the pseudo header alone.
    fn packet(&self, (number, payload): (usize, &[u8]), flags: u8, complete: bool) -> Vec<u8> {
        let length = self.header() + payload.len();
        let mut bytes = self.network_header(number, length);
        let transport = bytes.len();
        let addresses = match self.family {
            Family::V4 => Sum::of(&bytes[12..20]),
            Family::V6 => Sum::of(&bytes[8..40]),
        };
        bytes.extend([0x30, 0x39, 0x00, 0x50]);
        let place = if self.protocol == TCP {
            let sequence = self.sequence.wrapping_add(u32::try_from(number * self.size).unwrap());
            bytes.extend(sequence.to_be_bytes());
            bytes.extend([1, 2, 3, 4]);
            bytes.extend([u8::try_from(5 + self.tcp_options).unwrap() << 4, flags]);
            bytes.extend([0x20, 0, 0, 0, 0, 0]);
            bytes.resize(transport + self.header(), 1);
            transport + 16
        } else {
            bytes.extend(word(length));
            bytes.extend([0, 0]);
            transport + 6
        };
        bytes.extend(payload);
        let length = Sum::word(u16::try_from(length).unwrap());
        let pseudo = addresses + Sum::word(self.protocol.into()) + length;
        let sum = match (complete, (pseudo + Sum::of(&bytes[transport..])).checksum()) {
            (false, _sum) => pseudo.folded(),
            (true, 0) if self.protocol == UDP => 0xffff,
            (true, sum) => sum,
        };
        bytes[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn network_header(&self, number: usize, length: usize) -> Vec<u8> {
        let transport = self.transport();
        let mut bytes = Vec::new();
        match self.family {
            Family::V4 => {
                let first = 0x45 + u8::try_from(self.ip_options).unwrap();
                bytes.extend([first, self.class]);
                bytes.extend(word(transport + length));
                let number = u16::try_from(number).unwrap();
                bytes.extend(self.identification.wrapping_add(number).to_be_bytes());
                let fragment = if self.dont_fragment { 0x40 } else { 0 };
                bytes.extend([fragment, 0, 64, self.protocol, 0, 0]);
                bytes.extend([10, 5, 1, 2, 10, 5, 2, 2]);
                bytes.resize(transport, 1);
                let sum = Sum::of(&bytes).checksum().to_be_bytes();
                bytes[10..12].copy_from_slice(&sum);
            }
            Family::V6 => {
                bytes.extend([0x60 | self.class >> 4, self.class << 4, 0xab, 0xcd]);
                bytes.extend(word(length));
                bytes.extend([self.protocol, 64]);
                for host in [1, 2] {
                    bytes.extend([0xfd, 0, 0, 5, 0, host, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
                }
            }
        }
        bytes
    }
}

fn word(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap().to_be_bytes()
}
