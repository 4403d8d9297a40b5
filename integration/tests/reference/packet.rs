//! IPv4 packets by hand: made, judged, and aged by a hop.

/// Protocol numbers.
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// More fragments follow; the word of flags and offset.
pub(crate) const MORE: u16 = 0x2000;
pub(crate) const WHOLE: u16 = 0x4000;

/// What a header says; the rest follows from the payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'a> {
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
    pub(crate) protocol: u8,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) identification: u16,
    /// Flags and offset.
    pub(crate) fragment: u16,
    /// A multiple of four bytes.
    pub(crate) options: &'a [u8],
}

impl Header<'_> {
    /// The whole packet; its checksum is right.
    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let length = 20 + self.options.len();
        let words = |number: usize| u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
        let mut packet = vec![0x40 | u8::try_from(length / 4).unwrap_or(15), self.tos];
        packet.extend(words(length + payload.len()));
        packet.extend(self.identification.to_be_bytes());
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([self.ttl, self.protocol, 0, 0]);
        packet.extend(self.source);
        packet.extend(self.destination);
        packet.extend(self.options);
        let sum = !sum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(payload);
        packet
    }

    /// A UDP datagram or a TCP segment, whose checksum it puts in where it belongs.
    pub(crate) fn finished(&self, mut payload: Vec<u8>) -> Vec<u8> {
        let at = if self.protocol == TCP { 16 } else { 6 };
        let sum = !with_pseudo_header(&self.packet(&payload), &payload);
        payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        payload
    }
}

/// Is it exactly one IPv4 packet of at most `mtu` bytes, with nothing behind it and nothing wrong in it?
pub(crate) fn judge(datagram: &[u8], mtu: usize) -> Result<(), &'static str> {
    let word = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
    if datagram.len() < 20 || datagram[0] >> 4 != 4 {
        return Err("no IPv4 header");
    }
    let header = usize::from(datagram[0] & 15) * 4;
    if header < 20 || datagram.len() < header {
        return Err("a header that is not whole");
    }
    if usize::from(word(2)) != datagram.len() {
        return Err("not as long as it says");
    }
    if datagram.len() > mtu {
        return Err("too long for the tunnel");
    }
    if sum(&datagram[..header]) != 0xffff {
        return Err("a wrong checksum of the header");
    }
    let payload = &datagram[header..];
    // A fragment's checksum is over all of them.
    if word(6) & 0x3fff != 0 {
        return Ok(());
    }
    match datagram[9] {
        ICMP if payload.len() < 8 || sum(payload) != 0xffff => Err("a wrong checksum of ICMP"),
        TCP => judge_tcp(datagram, payload),
        UDP => judge_udp(datagram, payload),
        _other => Ok(()),
    }
}

fn judge_tcp(packet: &[u8], segment: &[u8]) -> Result<(), &'static str> {
    if segment.len() < 20 || !(20..=segment.len()).contains(&(usize::from(segment[12] >> 4) * 4)) {
        return Err("a header of TCP that is not whole");
    }
    if with_pseudo_header(packet, segment) != 0xffff {
        return Err("a wrong checksum of TCP");
    }
    Ok(())
}

fn judge_udp(packet: &[u8], datagram: &[u8]) -> Result<(), &'static str> {
    if datagram.len() < 8
        || usize::from(u16::from_be_bytes([datagram[4], datagram[5]])) != datagram.len()
    {
        return Err("not as long as UDP says");
    }
    // Zero: its sender did without.
    if datagram[6..8] != [0, 0] && with_pseudo_header(packet, datagram) != 0xffff {
        return Err("a wrong checksum of UDP");
    }
    Ok(())
}

/// Takes a hop off; `false` if none is left, or it is no IPv4 packet.
pub(crate) fn one_hop_less(packet: &mut [u8]) -> bool {
    if packet.len() < 20 || packet[0] >> 4 != 4 || packet[8] <= 1 {
        return false;
    }
    let header = usize::from(packet[0] & 15) * 4;
    if packet.len() < header {
        return false;
    }
    packet[8] -= 1;
    packet[10..12].copy_from_slice(&[0, 0]);
    let sum = !sum(&packet[..header]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    true
}

/// RFC 1071; of bytes that carry their own right checksum, it is all ones.
fn sum(bytes: &[u8]) -> u16 {
    let (words, odd) = bytes.as_chunks::<2>();
    let words = words.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let odd = odd.iter().map(|byte| u32::from(*byte) << 8);
    let mut sum: u32 = words.chain(odd).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or_default()
}

fn with_pseudo_header(packet: &[u8], payload: &[u8]) -> u16 {
    let length = u16::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    sum(&[&packet[12..20], &[0, packet[9]], &length, payload].concat())
}

#[test]
fn what_is_judged() {
    let header = Header {
        source: [10, 0, 0, 1],
        destination: [10, 0, 0, 2],
        protocol: UDP,
        tos: 0,
        ttl: 9,
        identification: 1,
        fragment: 0,
        options: &[],
    };
    let good = header.packet(&header.finished(vec![0, 9, 0, 9, 0, 11, 0, 0, 1, 2, 3]));
    assert_eq!(judge(&good, 100), Ok(()));
    assert_eq!(judge(&good, 30), Err("too long for the tunnel"));
    assert_eq!(judge(&[&good[..], &[0]].concat(), 100), Err("not as long as it says"));
    assert_eq!(judge(&[&good[..], &good].concat(), 100), Err("not as long as it says"));
    let spoilt = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        judge(&bad, 100)
    };
    assert_eq!(spoilt(5), Err("a wrong checksum of the header"));
    assert_eq!(spoilt(25), Err("not as long as UDP says"));
    assert_eq!(spoilt(30), Err("a wrong checksum of UDP"));
    let mut aged = good.clone();
    assert!(one_hop_less(&mut aged) && aged[8] == 8 && judge(&aged, 100) == Ok(()));
}
