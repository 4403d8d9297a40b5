//! What each packet deserves. Pure: no file, no clock.

use std::net::Ipv4Addr;

use twill_core::ids::{Ipv4Subnet, Mtu};

use crate::counters::Event;
use crate::icmp::{Answer, Complaint};
use crate::ipv4::Packet;
use crate::peers::Peers;
use crate::tunnel::Accept;

/// What a host knows about its own end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Local {
    /// The block that this host owns.
    pub(crate) subnet: Ipv4Subnet,
    /// The longest packet the tunnel carries.
    pub(crate) mtu: Mtu,
    /// Whose packets the tunnel takes.
    pub(crate) accept: Accept,
}

/// What to do with a packet that a container sent.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outbound {
    /// To the peer, as the packet now stands.
    Send(Ipv4Addr),
    /// Drop it for this reason, and tell its sender.
    Answer(Event, Answer),
    /// Drop it for this reason.
    Drop(Event),
}

/// Judges a packet read from the device, and takes one hop off its time to live if it may go.
///
/// One hop per tunnel crossing; flannel takes two, one at each end.
pub(crate) fn outbound(local: &Local, peers: &Peers, bytes: &mut [u8]) -> Outbound {
    let mut packet = match Packet::parse(bytes) {
        Ok(packet) => packet,
        Err(why) => return Outbound::Drop(why),
    };
    let refuse = |why, complaint| {
        if packet.may_be_answered() {
            Outbound::Answer(why, Answer::new(complaint, &packet))
        } else {
            Outbound::Drop(why)
        }
    };
    if packet.ttl() <= 1 {
        return refuse(Event::Expired, Complaint::TimeExceeded);
    }
    let Some(peer) = peers.owner(packet.destination()) else {
        return refuse(Event::NoRoute, Complaint::NetUnreachable);
    };
    // The device has this MTU too, so the kernel has cut what may be cut before it came here.
    if u32::try_from(packet.len()).is_ok_and(|len| len > local.mtu.bytes()) {
        return if packet.must_not_fragment() {
            refuse(Event::TooBig, Complaint::FragmentationNeeded(local.mtu))
        } else {
            Outbound::Drop(Event::TooBig)
        };
    }
    packet.decrement_ttl();
    Outbound::Send(peer)
}

/// Judges a datagram that came from `sender`; `Ok` means that the device shall have it unchanged.
///
/// The sender's port does not matter: behind a NAT it is not the one that the peer uses.
pub(crate) fn inbound(
    local: &Local,
    peers: &Peers,
    (sender, bytes): (Ipv4Addr, &mut [u8]),
) -> Result<(), Event> {
    // Strangers first, so that their bytes are not even parsed.
    if local.accept != Accept::Anyone && !peers.knows(sender) {
        return Err(Event::UnknownSender);
    }
    let packet = Packet::parse(bytes)?;
    if packet.ttl() == 0 {
        return Err(Event::Expired);
    }
    let theirs = match local.accept {
        Accept::Anyone => true,
        Accept::PeersAndOutside(network) if !network.contains(packet.source()) => true,
        Accept::Peers | Accept::PeersAndOutside(_) => peers.owner(packet.source()) == Some(sender),
    };
    if !theirs {
        return Err(Event::ForeignSource);
    }
    if !local.subnet.contains(packet.destination()) {
        return Err(Event::ForeignDestination);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv4::samples::Sample;
    use proptest::prelude::*;

    const DONT_FRAGMENT: u16 = 0x4000;

    #[test]
    fn what_containers_send() {
        let sends = |ttl| Sample { ttl, ..Sample::default() };
        let (mut before, after) = (sends(64).bytes(), sends(63).bytes());
        assert_eq!(outbound(&local(), &peers(), &mut before), Outbound::Send(host(2)));
        assert_eq!(before, after, "one hop less, nothing else changed");

        drops("the last hop", &sends(1), Event::Expired, Some([11, 0]));
        drops("no hop left", &sends(0), Event::Expired, Some([11, 0]));
        let nobody = [10, 5, 9, 1];
        drops("to nobody", &to(nobody), Event::NoRoute, Some([3, 0]));
        let ping = Sample { protocol: 1, ..to(nobody) };
        drops("an echo request to nobody", &ping, Event::NoRoute, None);
        drops("to an address of our own", &to([10, 5, 1, 9]), Event::NoRoute, Some([3, 0]));
        let full = Sample { payload: 1452, fragment: DONT_FRAGMENT, ..Sample::default() };
        assert_eq!(outbound(&local(), &peers(), &mut full.bytes()), Outbound::Send(host(2)));
        let over = Sample { payload: 1453, ..full };
        drops("a byte too long", &over, Event::TooBig, Some([3, 4]));
        let over = Sample { payload: 1453, ..Sample::default() };
        drops("a byte too long, and the kernel did not cut it", &over, Event::TooBig, None);
    }

    #[test]
    fn what_peers_send() {
        let good =
            Sample { source: [10, 5, 2, 2], destination: [10, 5, 1, 2], ..Sample::default() };
        let good = || Sample { ..good };
        comes("a peer's container", 2, &good(), Ok(()));
        let gateway = Sample { source: [10, 5, 2, 0], ..good() };
        comes("the peer itself, through its gateway address", 2, &gateway, Ok(()));
        comes("a stranger", 7, &good(), Err(Event::UnknownSender));
        comes("a peer in another's name", 3, &good(), Err(Event::ForeignSource));
        let ours = Sample { source: [10, 5, 1, 3], ..good() };
        comes("a peer in our name", 2, &ours, Err(Event::ForeignSource));
        let outside = Sample { source: [8, 8, 8, 8], ..good() };
        comes("a peer in the name of the world", 2, &outside, Err(Event::ForeignSource));
        let third = Sample { destination: [10, 5, 3, 1], ..good() };
        comes("to a third host", 2, &third, Err(Event::ForeignDestination));
        comes("no hop left", 2, &Sample { ttl: 0, ..good() }, Err(Event::Expired));
        comes("the last hop", 2, &Sample { ttl: 1, ..good() }, Ok(()));
    }

    #[test]
    fn what_else_may_come() {
        let network = "10.5.0.0/16".parse().unwrap();
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
            let sample = Sample { source, destination: [10, 5, 1, 2], ..Sample::default() };
            let local = Local { accept, ..local() };
            let judged = inbound(&local, &peers(), (host(from), &mut sample.bytes()));
            assert_eq!(judged, wanted, "{name}");
        }
        let third = Sample { destination: [10, 5, 3, 1], ..Sample::default() };
        let judged = inbound(
            &Local { accept: Accept::Anyone, ..local() },
            &peers(),
            (host(7), &mut third.bytes()),
        );
        assert_eq!(judged, Err(Event::ForeignDestination), "never for a third host");
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
            let _judged = inbound(&local(), &peers(), (host(2), &mut bytes));
            let _judged = outbound(&local(), &peers(), &mut bytes);
        }
    }

    #[track_caller]
    fn drops(name: &str, sample: &Sample, why: Event, answer: Option<[u8; 2]>) {
        let mut bytes = sample.bytes();
        let judged = match outbound(&local(), &peers(), &mut bytes) {
            Outbound::Send(peer) => panic!("{name}: sent to {peer}"),
            Outbound::Drop(why) => (why, None),
            Outbound::Answer(why, answer) => (why, Some([answer.bytes()[20], answer.bytes()[21]])),
        };
        assert_eq!(judged, (why, answer), "{name}");
        assert_eq!(bytes, sample.bytes(), "{name}: what is dropped stays as it came");
    }

    #[track_caller]
    fn comes(name: &str, from: u8, sample: &Sample, wanted: Result<(), Event>) {
        let mut bytes = sample.bytes();
        assert_eq!(inbound(&local(), &peers(), (host(from), &mut bytes)), wanted, "{name}");
        assert_eq!(bytes, sample.bytes(), "{name}: nothing is changed on this side");
    }

    fn to(destination: [u8; 4]) -> Sample {
        Sample { destination, ..Sample::default() }
    }

    fn local() -> Local {
        Local { subnet: subnet(1), mtu: Mtu::new(1472).unwrap(), accept: Accept::Peers }
    }

    fn peers() -> Peers {
        Peers::new(vec![(subnet(2), host(2)), (subnet(3), host(3))])
    }

    fn subnet(n: u8) -> Ipv4Subnet {
        Ipv4Subnet::new([10, 5, n, 0].into(), 24).unwrap()
    }

    fn host(n: u8) -> Ipv4Addr {
        [192, 0, 2, n].into()
    }
}
