use super::*;
use crate::bytes;
use crate::packet::samples::stream::{Stream, stream};
use crate::vnet;
use proptest::prelude::*;

fn frame((vnet, packet): (Vnet, Vec<u8>)) -> Vec<u8> {
    [&vnet.encode()[..], &packet].concat()
}

proptest! {
    #[test]
    fn a_super_packet_becomes_the_packets_that_a_slow_hand_would_write(stream in stream()) {
        let (vnet, bytes) = stream.super_packet();
        let packets = stream.packets();
        let longest = packets.iter().map(Vec::len).max().unwrap_or(0);
        let head = Head::parse(&bytes).unwrap();
        prop_assert_eq!(Shape::of(&head, &bytes, vnet).unwrap().longest(&bytes), longest);
        prop_assert_eq!(bytes::cut(&frame((vnet, bytes))), Some(packets));
    }

    #[test]
    fn what_is_joined_can_be_cut_again(stream in stream()) {
        let packets = stream.packets();
        let joined = bytes::join(&packets);
        let again = joined.iter().flat_map(|frame| bytes::cut(frame).unwrap());
        prop_assert_eq!(again.collect::<Vec<_>>(), packets);
    }

    #[test]
    fn packets_of_one_stream_become_one_super_packet(stream in stream()) {
        prop_assume!(stream.joins());
        prop_assert_eq!(bytes::join(&stream.packets()), [frame(stream.super_packet())]);
    }

    #[test]
    fn nonsense_is_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        header in any::<[u8; vnet::LEN]>(),
        version in 4_u8..7,
    ) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = version << 4 | 5;
        }
        let head = Head {
            source: [10, 5, 1, 2].into(),
            destination: [10, 5, 2, 2].into(),
            transport: 20.min(bytes.len()),
            protocol: 6,
            hops: 1,
            class: 0,
            part: crate::packet::Part::Whole,
            may_be_cut: false,
        };
        let mut segments = Vec::new();
        match Shape::of(&head, &bytes, Vnet::decode(header)) {
            Ok(Shape::One(Some(place))) => complete(&mut bytes, place),
            Ok(Shape::Many(cut)) => cut.cut((0, &mut bytes), &mut Vec::new(), &mut segments),
            Ok(Shape::One(None)) | Err(_) => {}
        }
    }
}

#[test]
fn a_checksum_left_to_us_is_completed() {
    let stream = Stream { count: 1, ..Stream::default() };
    let (vnet, packet) = stream.super_packet();
    assert_eq!(vnet.checksum(), Some((20, 16)));
    // One that asks for nothing else.
    let header = [1, 0, 0, 0, 0, 0];
    let places = [20_u16.to_ne_bytes(), 16_u16.to_ne_bytes()].concat();
    let frame = [&header[..], &places, &packet].concat();
    assert_eq!(bytes::cut(&frame), Some(stream.packets()));
}
