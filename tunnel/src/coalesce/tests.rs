use super::*;
use crate::packet::samples::Sample;
use crate::packet::samples::stream::Stream;

/// How many packets became how many writes, in which order of their first bytes' positions.
fn written(joins: Joins, packets: &[Vec<u8>]) -> Vec<Vec<usize>> {
    let buffer = packets.concat();
    let mut batch = Batch::new(joins);
    let (mut starts, mut at) = (Vec::new(), 0);
    for packet in packets {
        starts.push(at);
        let range = at..at + packet.len();
        at = range.end;
        batch.push(&buffer, (range, &Head::parse(packet).expect("a packet")));
    }
    let number = |place: usize| starts.partition_point(|start| *start <= place) - 1;
    let places = |group: &Group| {
        let first = std::iter::once(&group.first);
        first.chain(&group.payloads).map(|range| number(range.start)).collect()
    };
    batch.groups().iter().map(places).collect()
}

#[track_caller]
fn join(name: &str, packets: &[Vec<u8>], wanted: &[&[usize]]) {
    let both = Joins { tcp: true, udp: true };
    assert_eq!(written(both, packets), wanted, "{name}");
}

#[test]
fn what_joins_and_what_does_not() {
    let [a, b, c] = tcp();
    join("three in a row", &[a.clone(), b.clone(), c.clone()], &[&[0, 1, 2]]);
    join("one is missing", &[a.clone(), c.clone()], &[&[0], &[1]]);
    join("the order is wrong", &[b.clone(), a.clone(), c.clone()], &[&[0], &[1], &[2]]);
    join("the same twice", &[a.clone(), a.clone()], &[&[0], &[1]]);
    let short = Stream { count: 2, last: 60, ..Stream::default() }.packets();
    join("a shorter last one", &short, &[&[0, 1]]);
    let longer = Stream { sequence: 0xffff_ff64, count: 1, last: 101, ..Stream::default() };
    join("a longer one", &[a.clone(), longer.packets()[0].clone()], &[&[0], &[1]]);
    for (name, at, bits) in [
        ("class", 1, 4),
        ("a router may cut one", 6, 0x40),
        ("another number of hops", 8, 1),
        ("another acknowledgement", 31, 1),
        ("FIN", 33, 0x01),
        ("SYN", 33, 0x02),
        ("RST", 33, 0x04),
        ("URG", 33, 0x20),
        ("ECE in one", 33, 0x40),
        ("CWR", 33, 0x80),
        ("no ACK", 33, 0x10),
        ("another window", 34, 1),
        ("another urgent pointer", 39, 1),
        ("another option", 45, 1),
        ("a reserved bit", 32, 1),
    ] {
        let bent = bend(&b, at, bits);
        join(name, &[a.clone(), bent, c.clone()], &[&[0], &[1], &[2]]);
    }
    let pushed = bend(&a, 33, 0x08);
    join("nothing follows PSH", &[pushed, b.clone()], &[&[0], &[1]]);
    join("PSH ends it", &[a.clone(), bend(&b, 33, 0x08), c.clone()], &[&[0, 1], &[2]]);
    let mut wrong = b;
    *wrong.last_mut().unwrap() ^= 1;
    join("a wrong checksum", &[a, wrong, c], &[&[0], &[1], &[2]]);
}

#[test]
fn datagrams_join_as_carefully() {
    let stream = Stream { protocol: 17, dont_fragment: false, count: 3, ..Stream::default() };
    let packets = stream.packets();
    join("three in a row", &packets, &[&[0, 1, 2]]);
    let gap = [packets[0].clone(), packets[2].clone()];
    join("which must count on where a router may cut", &gap, &[&[0], &[1]]);
    let stream = Stream { dont_fragment: true, ..stream };
    let packets = stream.packets();
    join("and need not where none may", &[packets[0].clone(), packets[2].clone()], &[&[0, 1]]);
    let mut without = packets.clone();
    without[1][26..28].fill(0);
    join("one without a checksum", &without, &[&[0], &[1], &[2]]);
    let many = Stream { protocol: 17, size: 10, last: 10, count: 70, ..Stream::default() };
    let (first, second): (Vec<usize>, Vec<usize>) = ((0..64).collect(), (64..70).collect());
    join("no more than the kernel takes", &many.packets(), &[&first, &second]);
}

#[test]
fn flows_do_not_disturb_each_other_and_keep_their_order() {
    let [a, b, c] = tcp();
    let datagrams = Stream { protocol: 17, ..Stream::default() }.packets();
    let mixed = [a.clone(), datagrams[0].clone(), b.clone(), datagrams[1].clone(), c.clone()];
    join("two flows", &mixed, &[&[0, 2, 4], &[1, 3]]);
    let ping = Sample { protocol: 1, ..Sample::default() }.bytes();
    join("another protocol between", &[a.clone(), ping, b.clone()], &[&[0, 2], &[1]]);
    let part = Sample { fragment: 0x2000, ..Sample::default() }.bytes();
    join("nothing overtakes a fragment", &[a.clone(), part, b.clone()], &[&[0], &[1], &[2]]);
    let fin = bend(&b, 33, 0x01);
    join("nor the end of its flow", &[a.clone(), fin, b.clone()], &[&[0], &[1], &[2]]);
    let none = written(Joins { tcp: true, udp: false }, &datagrams);
    assert_eq!(none, [[0], [1], [2]], "a device that takes no joined datagrams");
    assert_eq!(written(Joins::default(), &[a, b]), [[0], [1]], "nor anything joined");
    let long = Stream { size: 1400, last: 1400, count: 47, ..Stream::default() };
    let (first, rest): (Vec<usize>, Vec<usize>) = ((0..46).collect(), vec![46]);
    join("no packet is longer than one can be", &long.packets(), &[&first, &rest]);
}

#[test]
fn a_batch_can_be_used_again() {
    let packets = Stream::default().packets();
    let buffer = packets.concat();
    let mut batch = Batch::new(Joins { tcp: true, udp: true });
    for _round in 0..2 {
        let mut at = 0;
        for packet in &packets {
            let head = Head::parse(packet).unwrap();
            batch.push(&buffer, (at..at + packet.len(), &head));
            at += packet.len();
        }
        assert_eq!(batch.groups().iter().map(Group::count).collect::<Vec<_>>(), [3]);
        batch.clear();
        assert!(batch.groups().is_empty());
    }
}

fn tcp() -> [Vec<u8>; 3] {
    Stream::default().packets().try_into().unwrap()
}

/// Flips bits and makes the checksums right again.
fn bend(packet: &[u8], at: usize, bits: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at] ^= bits;
    for (range, place) in [(0..20, 10), (20..packet.len(), 36)] {
        packet[place..place + 2].fill(0);
        let length = u16::try_from(packet.len() - 20).unwrap();
        let pseudo = Sum::of(&packet[12..20]) + Sum::word(6) + Sum::word(length);
        let pseudo = if place == 10 { Sum::default() } else { pseudo };
        let sum = (pseudo + Sum::of(&packet[range])).checksum();
        put(&mut packet, (place, sum));
    }
    packet
}
