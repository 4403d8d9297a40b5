use super::*;
use crate::coalesce::{Batch, Joins};
use crate::packet::samples::stream::{Stream, stream};
use crate::vnet;
use proptest::prelude::*;

/// Cuts by writing every packet out anew, one field after the other.
fn slow(stream: &Stream) -> Vec<Vec<u8>> {
    stream.packets()
}

/// Cuts a super-packet as the outbound thread does.
fn cut(bytes: &[u8], vnet: Vnet) -> Vec<Vec<u8>> {
    // It lies somewhere in a buffer, and others' headers came before.
    let (before, mut headers, mut segments) = (7, vec![0xee; 5], Vec::new());
    let mut buffer = [&vec![0xdd; before][..], bytes].concat();
    let packet = &mut buffer[before..];
    let head = Head::parse(packet).expect("a packet");
    match Shape::of(&head, packet, vnet).expect("a shape") {
        Shape::One(checksum) => {
            if let Some(place) = checksum {
                complete(packet, place);
            }
            segments.push(Segment::whole(before..buffer.len()));
        }
        Shape::Many(cut) => cut.cut((before, packet), &mut headers, &mut segments),
    }
    let bytes = |segment: &Segment| {
        [&headers[segment.header.clone()], &buffer[segment.payload.clone()]].concat()
    };
    segments.iter().map(bytes).collect()
}

/// Joins packets as the inbound thread does.
fn join(packets: &[Vec<u8>]) -> Vec<(Vnet, Vec<u8>)> {
    let mut buffer = packets.concat();
    let mut batch = Batch::new(Joins { tcp: true, udp: true });
    let mut at = 0;
    for packet in packets {
        let range = at..at + packet.len();
        at = range.end;
        batch.push(&buffer, (range, &Head::parse(packet).expect("a packet")));
    }
    let mut written = Vec::new();
    for group in batch.groups() {
        let vnet = group.seal(&mut buffer);
        let slices = group.slices(&buffer, &[]);
        written.push((vnet, slices.iter().flat_map(|slice| slice.to_vec()).collect()));
    }
    written
}

proptest! {
    #[test]
    fn a_super_packet_becomes_the_packets_that_a_slow_hand_would_write(stream in stream()) {
        let (vnet, bytes) = stream.super_packet();
        let packets = slow(&stream);
        let longest = packets.iter().map(Vec::len).max().unwrap_or(0);
        let head = Head::parse(&bytes).unwrap();
        prop_assert_eq!(Shape::of(&head, &bytes, vnet).unwrap().longest(&bytes), longest);
        prop_assert_eq!(cut(&bytes, vnet), packets);
    }

    #[test]
    fn what_is_joined_can_be_cut_again(stream in stream()) {
        let packets = slow(&stream);
        let joined = join(&packets);
        let again: Vec<Vec<u8>> = joined.iter().flat_map(|(vnet, bytes)| cut(bytes, *vnet)).collect();
        prop_assert_eq!(again, packets);
    }

    #[test]
    fn packets_of_one_stream_become_one_super_packet(stream in stream()) {
        prop_assume!(stream.joins());
        let joined = join(&slow(&stream));
        prop_assert_eq!(joined, vec![stream.super_packet()]);
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
    let (vnet, mut bytes) = stream.super_packet();
    assert!(vnet.checksum().is_some());
    let Some((start, offset)) = vnet.checksum() else { panic!("it is left to us") };
    complete(&mut bytes, (start, offset));
    assert_eq!(vec![bytes], slow(&stream));
}
