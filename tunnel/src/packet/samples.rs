//! Packets for tests.

pub(crate) mod stream;

use std::net::IpAddr;

use super::{CHECKSUM, HEADER};
use crate::checksum;

/// A whole UDP-like packet; the checksum is right.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) class: u8,
    pub(crate) protocol: u8,
    pub(crate) fragment: u16,
    pub(crate) options: usize,
    pub(crate) payload: usize,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            source: [10, 5, 1, 2].into(),
            destination: [10, 5, 2, 2].into(),
            ttl: 64,
            class: 0,
            protocol: 17,
            fragment: 0,
            options: 0,
            payload: 32,
        }
    }
}

impl Sample {
    pub(crate) fn v6() -> Self {
        Self {
            source: "fd00:5:1::2".parse().unwrap(),
            destination: "fd00:5:2::2".parse().unwrap(),
            ..Self::default()
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let payload = (0..self.payload).map(|n| u8::try_from(n % 251).unwrap());
        match (self.source, self.destination) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut bytes = vec![0x60 | self.class >> 4, self.class << 4, 0, 0];
                bytes.extend(u16::try_from(self.payload).unwrap().to_be_bytes());
                bytes.extend([self.protocol, self.ttl]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(payload);
                bytes
            }
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = HEADER + self.options * 4;
                let mut bytes = vec![0x45 + u8::try_from(self.options).unwrap(), self.class];
                bytes.extend(u16::try_from(header + self.payload).unwrap().to_be_bytes());
                bytes.extend([0x12, 0x34]);
                bytes.extend(self.fragment.to_be_bytes());
                bytes.extend([self.ttl, self.protocol, 0, 0]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.resize(header, 1);
                bytes.extend(payload);
                let sum = checksum::checksum(&bytes[..header]);
                bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
                bytes
            }
            _mixed => panic!("a packet has one family"),
        }
    }
}
