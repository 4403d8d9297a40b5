//! Packets that a peer's kernel left unfinished on its shortcut, because their way here never left this
//! kernel: a network namespace's wire. Who takes them up finishes them; by the shortcut that is the kernel, here
//! it is the device.

use twill_core::ids::{Family, Mtu};

use crate::checksum::Sum;
use crate::packet::{Head, Part, TCP, TCP_HEADER, UDP, UDP_HEADER, word};
use crate::vnet::{Train, Vnet};

/// What is left to do, if the checksum field holds no more than the sum of the pseudo header. (A finished
/// packet of which that is true by chance comes to no harm.)
pub(crate) fn of(head: &Head, packet: &[u8], mtu: Mtu) -> Option<Vnet> {
    if head.family() != Family::V4 || head.part != Part::Whole {
        return None;
    }
    let segment = packet.get(head.transport..)?;
    let (least, offset) = match head.protocol {
        TCP => (TCP_HEADER, 16),
        UDP => (UDP_HEADER, 6),
        _other => return None,
    };
    if segment.len() < least {
        return None;
    }
    let length = u16::try_from(segment.len()).ok()?;
    let pseudo = Sum::of(&packet[12..20]) + Sum::word(head.protocol.into()) + Sum::word(length);
    if word(segment, offset) != pseudo.folded() {
        return None;
    }
    let transport = u16::try_from(head.transport).ok()?;
    if u32::from(length) + u32::from(transport) <= mtu.bytes() {
        return Some(Vnet::unfinished(transport, u16::try_from(offset).ok()?));
    }
    // One that was to be cut, which only happens to streams. Into what it was is not known any more.
    let headers = transport + u16::from(segment[12] >> 4) * 4;
    let size = u16::try_from(mtu.bytes()).ok()?.checked_sub(headers).filter(|size| *size > 0)?;
    (head.protocol == TCP)
        .then(|| Vnet::train((Train::Tcp, Family::V4), (transport, headers), size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::put;
    use crate::packet::samples::Sample;

    #[test]
    fn only_what_lacks_a_checksum_is_unfinished() {
        let mtu = Mtu::new(1472).unwrap();
        let judge = |bytes: &[u8]| of(&Head::parse(bytes).unwrap(), bytes, mtu);
        for (protocol, payload, offset) in [(TCP, 100, 16), (UDP, 100, 6), (TCP, 20_000, 16)] {
            let mut bytes = Sample { protocol, payload, ..Sample::default() }.bytes();
            let transport = Head::parse(&bytes).unwrap().transport;
            bytes[transport + 12] = 0x50;
            let length = u16::try_from(bytes.len() - transport).unwrap();
            let pseudo = Sum::of(&bytes[12..20]) + Sum::word(protocol.into()) + Sum::word(length);
            put(&mut bytes, (transport + offset, pseudo.folded()));
            let vnet = judge(&bytes).unwrap();
            assert_eq!(vnet.checksum(), Some((transport, offset)));
            let cut = (payload > 1472).then_some((Train::Tcp, 1432));
            assert_eq!(vnet.cut(), Ok(cut));
            bytes[transport + offset] ^= 1;
            assert_eq!(judge(&bytes), None, "finished, right or not");
        }
        assert_eq!(judge(&Sample { protocol: 1, ..Sample::default() }.bytes()), None);
    }
}
