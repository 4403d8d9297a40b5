//! What each packet deserves. Pure: no file, no clock.

use std::net::IpAddr;

use twill_core::ids::Mtu;

use crate::blocks::Blocks;
use crate::counters::Event;
use crate::icmp::{self, Complaint};
use crate::marks::{self, Marks};
use crate::packet::Head;
use crate::peers::Peers;
use crate::segment::Shape;
use crate::train::Way;
use crate::tunnel::Accept;
use crate::vnet::Vnet;

/// What a host knows about its own end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Local {
    /// The blocks that this host owns.
    pub(crate) own: Blocks,
    /// The longest packet the tunnel carries.
    pub(crate) mtu: Mtu,
    /// Whose packets the tunnel takes.
    pub(crate) accept: Accept,
    /// What the outer header says about the inner one.
    pub(crate) marks: Marks,
}

/// What to do with a packet, or a super-packet, that a container sent.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outbound {
    /// To the peer, as the packet now stands.
    Send(Way, Shape),
    /// Drop it for this reason, and tell its sender.
    Answer(Event, Vec<u8>),
    /// Drop it for this reason.
    Drop(Event),
}

/// Judges a packet read from the device, and takes one hop off its time to live if it may go.
///
/// One hop per tunnel crossing; flannel takes two, one at each end.
pub(crate) fn outbound(local: &Local, peers: &Peers, (bytes, vnet): (&mut [u8], Vnet)) -> Outbound {
    let judged = Head::parse(bytes).and_then(|head| {
        // What a family without a block of ours sends has no business here.
        local.own.of(head.family()).ok_or(Event::NotIpv4)?;
        Ok((head, Shape::of(&head, bytes, vnet)?))
    });
    let (head, shape) = match judged {
        Ok(judged) => judged,
        Err(why) => return Outbound::Drop(why),
    };
    let refuse = |why, complaint| {
        if head.may_be_answered(bytes) {
            Outbound::Answer(why, icmp::answer(complaint, (&head, bytes)))
        } else {
            Outbound::Drop(why)
        }
    };
    if head.hops <= 1 {
        return refuse(Event::Expired, Complaint::TimeExceeded);
    }
    let Some(peer) = peers.owner(head.destination) else {
        return refuse(Event::NoRoute, Complaint::NetUnreachable);
    };
    // The device has this MTU too, so the kernel has cut what may be cut before it came here. A
    // super-packet is as long as what becomes of it.
    if u32::try_from(shape.longest(bytes)).is_ok_and(|len| len > local.mtu.bytes()) {
        return if head.may_be_cut {
            Outbound::Drop(Event::TooBig)
        } else {
            refuse(Event::TooBig, Complaint::TooBig(local.mtu))
        };
    }
    head.take_hop(bytes);
    Outbound::Send(Way { peer, class: local.marks.outside(head.class) }, shape)
}

/// Is the sender one of those whose packets are looked at?
pub(crate) fn admits(local: &Local, peers: &Peers, sender: IpAddr) -> Result<(), Event> {
    if local.accept == Accept::Anyone || peers.knows(sender) {
        Ok(())
    } else {
        Err(Event::UnknownSender)
    }
}

/// Judges a packet that came from `sender`, who is admitted, in an outer packet of `class`; `Ok` means
/// that the device shall have it. Only congestion that the outer packet met changes it.
///
/// The sender's port does not matter: behind a NAT it is not the one that the peer uses.
pub(crate) fn inbound(
    local: &Local,
    peers: &Peers,
    (sender, class, bytes): (IpAddr, u8, &mut [u8]),
) -> Result<Head, Event> {
    let mut head = Head::parse(bytes)?;
    local.own.of(head.family()).ok_or(Event::NotIpv4)?;
    if head.hops == 0 {
        return Err(Event::Expired);
    }
    let theirs = match local.accept {
        Accept::Anyone => true,
        Accept::PeersAndOutside(network) if !network.contains(head.source) => true,
        Accept::Peers | Accept::PeersAndOutside(_) => peers.owner(head.source) == Some(sender),
    };
    if !theirs {
        return Err(Event::ForeignSource);
    }
    if !local.own.contains(head.destination) {
        return Err(Event::ForeignDestination);
    }
    let inside = marks::inside(head.class, class).ok_or(Event::Congested)?;
    if inside != head.class {
        head.set_class(bytes, inside);
        head.class = inside;
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::samples::Sample;
    use crate::vnet::Train;
    use proptest::prelude::*;
    use twill_core::ids::{Family, Subnet};

    const DONT_FRAGMENT: u16 = 0x4000;

    #[test]
    fn what_containers_send() {
        let sends = |ttl| Sample { ttl, ..Sample::default() };
        let (mut before, after) = (sends(64).bytes(), sends(63).bytes());
        assert_eq!(judge(&mut before), goes());
        assert_eq!(before, after, "one hop less, nothing else changed");

        drops("the last hop", &sends(1), Event::Expired, Some([11, 0]));
        drops("no hop left", &sends(0), Event::Expired, Some([11, 0]));
        let nobody = [10, 5, 9, 1].into();
        drops("to nobody", &to(nobody), Event::NoRoute, Some([3, 0]));
        let ping = Sample { protocol: 1, ..to(nobody) };
        drops("an echo request to nobody", &ping, Event::NoRoute, None);
        drops("to an address of our own", &to([10, 5, 1, 9].into()), Event::NoRoute, Some([3, 0]));
        let full = Sample { payload: 1452, fragment: DONT_FRAGMENT, ..Sample::default() };
        assert_eq!(judge(&mut full.bytes()), goes());
        let over = Sample { payload: 1453, ..full };
        drops("a byte too long", &over, Event::TooBig, Some([3, 4]));
        let over = Sample { payload: 1453, ..Sample::default() };
        drops("a byte too long, and the kernel did not cut it", &over, Event::TooBig, None);
    }

    #[test]
    fn what_peers_send() {
        let good = Sample {
            source: [10, 5, 2, 2].into(),
            destination: [10, 5, 1, 2].into(),
            ..Sample::default()
        };
        let good = || Sample { ..good };
        comes("a peer's container", 2, &good(), Ok(()));
        let gateway = Sample { source: [10, 5, 2, 0].into(), ..good() };
        comes("the peer itself, through its gateway address", 2, &gateway, Ok(()));
        comes("a stranger", 7, &good(), Err(Event::UnknownSender));
        comes("a peer in another's name", 3, &good(), Err(Event::ForeignSource));
        let ours = Sample { source: [10, 5, 1, 3].into(), ..good() };
        comes("a peer in our name", 2, &ours, Err(Event::ForeignSource));
        let outside = Sample { source: [8, 8, 8, 8].into(), ..good() };
        comes("a peer in the name of the world", 2, &outside, Err(Event::ForeignSource));
        let third = Sample { destination: [10, 5, 3, 1].into(), ..good() };
        comes("to a third host", 2, &third, Err(Event::ForeignDestination));
        comes("no hop left", 2, &Sample { ttl: 0, ..good() }, Err(Event::Expired));
        comes("the last hop", 2, &Sample { ttl: 1, ..good() }, Ok(()));
    }

    #[test]
    fn what_else_may_come() {
        let network = "10.5.0.0/16".parse::<Subnet>().unwrap().into();
        let outside = Accept::PeersAndOutside(network);
        for (name, accept, (from, source), wanted) in [
            ("a peer's client", outside, (2, [8, 8, 8, 8]), Ok(())),
            ("a peer's container", outside, (2, [10, 5, 2, 2]), Ok(())),
            ("another's name", outside, (2, [10, 5, 3, 2]), Err(Event::ForeignSource)),
            ("our name", outside, (2, [10, 5, 1, 3]), Err(Event::ForeignSource)),
            ("nobody's block", outside, (2, [10, 5, 9, 9]), Err(Event::ForeignSource)),
            ("a stranger's client", outside, (7, [8, 8, 8, 8]), Err(Event::UnknownSender)),
            ("a stranger, for those who want it", Accept::Anyone, (7, [10, 5, 2, 2]), Ok(())),
        ] {
            let sample = Sample {
                source: source.into(),
                destination: [10, 5, 1, 2].into(),
                ..Sample::default()
            };
            let local = Local { accept, ..local() };
            assert_eq!(arrive(&local, from, &mut sample.bytes()), wanted, "{name}");
        }
        let third = Sample { destination: [10, 5, 3, 1].into(), ..Sample::default() };
        let anyone = Local { accept: Accept::Anyone, ..local() };
        let judged = arrive(&anyone, 7, &mut third.bytes());
        assert_eq!(judged, Err(Event::ForeignDestination), "never for a third host");
    }

    #[test]
    fn ipv6_is_judged_alike() {
        let (mut before, after) = (Sample::v6(), Sample { ttl: 63, ..Sample::v6() });
        let mut bytes = before.bytes();
        assert_eq!((judge(&mut bytes), bytes), (goes(), after.bytes()));
        drops("the last hop", &Sample { ttl: 1, ..before }, Event::Expired, Some([3, 0]));
        let nobody = "fd00:5:9::1".parse().unwrap();
        drops("to nobody", &Sample { destination: nobody, ..before }, Event::NoRoute, Some([1, 0]));
        let over = Sample { payload: 1433, ..before };
        drops("a byte too long", &over, Event::TooBig, Some([2, 0]));
        (before.source, before.destination) = (before.destination, before.source);
        comes("a peer's container", 2, &before, Ok(()));
        comes("a peer in another's name", 3, &before, Err(Event::ForeignSource));
        let alone = Local { own: subnet(1).into(), ..local() };
        assert_eq!(arrive(&alone, 2, &mut before.bytes()), Err(Event::NotIpv4), "no block of it");
        let judged = outbound(&alone, &peers(), (&mut before.bytes(), Vnet::default()));
        assert_eq!(judged, Outbound::Drop(Event::NotIpv4), "nor outwards");
    }

    #[test]
    fn a_super_packet_is_as_long_as_its_parts() {
        let sample =
            Sample { protocol: 6, payload: 30_000, fragment: DONT_FRAGMENT, ..Sample::default() };
        let super_packet = || {
            let mut bytes = sample.bytes();
            bytes[32] = 0x50;
            bytes
        };
        let vnet = |size| Vnet::train((Train::Tcp, Family::V4), (20, 40), size);
        let judge = |size| outbound(&local(), &peers(), (&mut super_packet(), vnet(size)));
        assert!(matches!(judge(1432), Outbound::Send(_, Shape::Many(_))), "all that fits");
        assert!(matches!(judge(1433), Outbound::Answer(Event::TooBig, _)), "a byte more");
        assert_eq!(judge(0), Outbound::Drop(Event::LengthMismatch), "nonsense");
    }

    #[test]
    fn congestion_outside_is_told_inside() {
        let sample = |class| Sample {
            source: [10, 5, 2, 2].into(),
            destination: [10, 5, 1, 2].into(),
            class,
            ..Sample::default()
        };
        let mut bytes = sample(0xba).bytes();
        let judged = inbound(&local(), &peers(), (host(2), 3, &mut bytes));
        assert_eq!((judged.map(|head| head.class), bytes), (Ok(0xbb), sample(0xbb).bytes()));
        let judged = inbound(&local(), &peers(), (host(2), 3, &mut sample(0xb8).bytes()));
        assert_eq!(judged, Err(Event::Congested), "it cannot be told");
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..100), near in any::<bool>()) {
            if near && bytes.len() >= 20 {
                bytes[0] = 0x45;
                let total = u16::try_from(bytes.len()).unwrap().to_be_bytes();
                bytes[2..4].copy_from_slice(&total);
                bytes[10..12].copy_from_slice(&[0, 0]);
                let sum = crate::checksum::checksum(&bytes[..20]);
                bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            let _judged = arrive(&local(), 2, &mut bytes);
            let _judged = judge(&mut bytes);
        }
    }

    #[track_caller]
    fn drops(name: &str, sample: &Sample, why: Event, answer: Option<[u8; 2]>) {
        let mut bytes = sample.bytes();
        let judged = match judge(&mut bytes) {
            Outbound::Send(way, _shape) => panic!("{name}: sent to {}", way.peer),
            Outbound::Drop(why) => (why, None),
            Outbound::Answer(why, answer) => {
                let at = Head::parse(&answer).unwrap().transport;
                (why, Some([answer[at], answer[at + 1]]))
            }
        };
        assert_eq!(judged, (why, answer), "{name}");
        assert_eq!(bytes, sample.bytes(), "{name}: what is dropped stays as it came");
    }

    #[track_caller]
    fn comes(name: &str, from: u8, sample: &Sample, wanted: Result<(), Event>) {
        let mut bytes = sample.bytes();
        assert_eq!(arrive(&local(), from, &mut bytes), wanted, "{name}");
        assert_eq!(bytes, sample.bytes(), "{name}: nothing is changed on this side");
    }

    fn to(destination: IpAddr) -> Sample {
        Sample { destination, ..Sample::default() }
    }

    fn judge(bytes: &mut [u8]) -> Outbound {
        outbound(&local(), &peers(), (bytes, Vnet::default()))
    }

    fn arrive(local: &Local, from: u8, bytes: &mut [u8]) -> Result<(), Event> {
        admits(local, &peers(), host(from))?;
        inbound(local, &peers(), (host(from), 0, bytes)).map(|_head| ())
    }

    fn goes() -> Outbound {
        Outbound::Send(Way { peer: host(2), class: 0 }, Shape::One(None))
    }

    fn local() -> Local {
        let own = Blocks::from(subnet(1)).and("fd00:5:1::/64".parse().unwrap());
        let (mtu, accept) = (Mtu::new(1472).unwrap(), Accept::Peers);
        Local { own, mtu, accept, marks: Marks::None }
    }

    fn peers() -> Peers {
        let six = |n: u8| format!("fd00:5:{n}::/64").parse().unwrap();
        Peers::new(
            [2, 3].into_iter().flat_map(|n| [(subnet(n), host(n)), (six(n), host(n))]).collect(),
        )
    }

    fn subnet(n: u8) -> Subnet {
        Subnet::new([10, 5, n, 0].into(), 24).unwrap()
    }

    fn host(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }
}
