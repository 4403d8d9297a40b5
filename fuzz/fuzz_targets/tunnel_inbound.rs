//! Whatever a peer sends: the device is given frames that stand for the accepted packets, each flow's in
//! its order. The first two bytes say how long the datagrams are, and how their outer header was marked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twill_tunnel::bytes::{Pair, cut};

const TCP: u8 = 6;

fuzz_target!(|bytes: &[u8]| {
    let [size, class, train @ ..] = bytes else { return };
    let pair = Pair::new().expect("addresses");
    let (frames, accepted) = pair.inbound(train, (usize::from(*size) * 6, *class));
    let mut given: Vec<_> = frames.iter().flat_map(|frame| cut(frame).expect("ours")).collect();
    let mut wanted = accepted;
    for packet in given.iter_mut().chain(&mut wanted) {
        blind(packet);
    }
    // Flows may pass each other, so only what they are is compared here; their order has a table.
    given.sort();
    wanted.sort();
    assert_eq!(given, wanted);
});

/// The identification of a packet that nobody may cut means nothing (RFC 6864 section 4.1), and both zeros of a
/// checksum mean the same.
fn blind(packet: &mut [u8]) {
    let header = usize::from(packet[0] & 0x0f) * 4;
    match (packet[0] >> 4, packet[9], packet[6]) {
        (4, protocol, _length) => {
            one_zero(packet, 10);
            if protocol == TCP {
                one_zero(packet, header + 16);
            }
        }
        (_six, _length, TCP) => one_zero(packet, 40 + 16),
        _other => {}
    }
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
}

fn one_zero(packet: &mut [u8], at: usize) {
    if let Some(sum) = packet.get_mut(at..at + 2).filter(|sum| *sum == [0xff, 0xff]) {
        sum.fill(0);
    }
}
