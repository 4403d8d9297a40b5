//! Whatever a peer sends: the device is given frames that stand for the accepted packets, each flow's in
//! its order. The first two bytes say how long the datagrams are, and how their outer header was marked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twill_tunnel::bytes::{Pair, cut};

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

/// The identification of a packet that nobody may cut means nothing (RFC 6864 section 4.1).
fn blind(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
}
