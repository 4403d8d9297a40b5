//! Packets that are right, and that something clever on the way may get wrong.

use crate::packet::{Header, MORE, TCP, UDP, WHOLE};

/// Flags of TCP.
pub(crate) const FIN: u8 = 1;
pub(crate) const RST: u8 = 4;
pub(crate) const SYN: u8 = 2;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;
pub(crate) const URG: u8 = 32;
pub(crate) const ECE: u8 = 64;
pub(crate) const CWR: u8 = 128;

/// A name and what is sent under it, in order.
pub(crate) type Case = (&'static str, Vec<Vec<u8>>);

/// All of them from one address to another, none of which two can be taken for one flow.
pub(crate) fn cases(source: [u8; 4], destination: [u8; 4]) -> Vec<Case> {
    let of = |protocol| Header {
        source,
        destination,
        protocol,
        tos: 0,
        ttl: 64,
        identification: 0x4242,
        fragment: WHOLE,
        options: &[],
    };
    let (tcp, udp) = (of(TCP), of(UDP));
    let with = |tos| Header { tos, ..udp };
    let one = |header: Header<'_>, payload: Vec<u8>| {
        vec![header.packet(&if matches!(header.protocol, TCP | UDP) {
            header.finished(payload)
        } else {
            payload
        })]
    };
    let loose = Header { fragment: 0, ..udp };
    let mut unsummed = datagram(7, 100);
    unsummed[6..8].copy_from_slice(&[0, 0]);
    let sctp = vec![0x1f, 0x90, 0x1f, 0x91, 0, 0, 0, 0, 1, 2, 3, 4, 1, 0, 0, 4];
    vec![
        ("a datagram without a byte", one(udp, datagram(1, 0))),
        ("an odd number of bytes", one(udp, datagram(2, 333))),
        ("as long as may be", one(udp, datagram(3, 1472 - 28))),
        ("that may be cut, and need not", one(loose, datagram(4, 700))),
        ("with fewer hops", one(Header { ttl: 3, ..udp }, datagram(5, 10))),
        ("in two fragments", fragments(loose, datagram(6, 1200))),
        ("without a checksum of UDP", vec![udp.packet(&unsummed)]),
        (
            "options of IP",
            one(Header { options: &[1, 1, 1, 1, 0x94, 4, 0, 0], ..udp }, datagram(8, 50)),
        ),
        ("expedited, able to hear of congestion", one(with(0xb8 | 2), datagram(9, 50))),
        ("expedited, congestion experienced", one(with(0xb8 | 3), datagram(10, 50))),
        ("urgent data", one(tcp, segment((11, ACK | URG | PSH), 5, b"hello"))),
        ("less window for congestion", one(tcp, segment((12, ACK | CWR), 0, &[7; 1000]))),
        ("congestion echoed", one(tcp, segment((13, ACK | ECE), 0, &[7; 1000]))),
        ("a beginning with data", one(tcp, segment((14, SYN), 0, b"GET /"))),
        ("a plain segment", one(tcp, segment((15, ACK | PSH), 0, &[7; 1432]))),
        ("ESP", one(of(50), vec![0xe5; 128])),
        ("SCTP", one(of(132), with_crc(sctp))),
        ("a protocol that nobody knows", one(of(253), vec![1; 64])),
    ]
}

fn datagram(port: u16, length: usize) -> Vec<u8> {
    let all = u16::try_from(length + 8).unwrap_or_default();
    let mut bytes: Vec<u8> = [7000 + port, 7100 + port, all, 0].map(u16::to_be_bytes).concat();
    bytes.extend((0..length).map(|number| u8::try_from(number % 251).unwrap_or_default()));
    bytes
}

fn segment((port, flags): (u16, u8), urgent: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = [7000 + port, 7100 + port].map(u16::to_be_bytes).concat();
    // Number, number that is due, length of the header and flags, window.
    bytes.extend([0, 1, 0, 1, 0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0]);
    bytes.extend(urgent.to_be_bytes());
    bytes.extend(data);
    bytes
}

fn fragments(header: Header<'_>, payload: Vec<u8>) -> Vec<Vec<u8>> {
    let payload = header.finished(payload);
    let (first, second) = payload.split_at(800);
    let first = Header { fragment: MORE, ..header }.packet(first);
    vec![first, Header { fragment: 100, ..header }.packet(second)]
}

/// RFC 9260, appendix A.
fn with_crc(mut packet: Vec<u8>) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in &packet {
        crc ^= u32::from(*byte);
        for _bit in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    packet[8..12].copy_from_slice(&(!crc).to_le_bytes());
    packet
}
