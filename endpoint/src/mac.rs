//! Hardware addresses that say which address they are for.

use std::net::{IpAddr, Ipv4Addr};

use twill_core::ids::Mac;

/// Locally administered, and the same for ever: whoever gets the address later is reached by neighbours
/// that still remember the one before. For IPv4 as Docker's are; an address of IPv6 has too many bits, and
/// two on one bridge share a hardware address once in a hundred million hosts with a thousand containers.
#[must_use]
pub fn mac_of(address: IpAddr) -> Mac {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            Mac([0x02, 0x42, a, b, c, d])
        }
        IpAddr::V6(address) => {
            let [_, _, mut mac @ ..] = fnv1a(address.octets().into_iter()).to_be_bytes();
            mac[0] = mac[0] & 0xfc | 0x02;
            Mac(mac)
        }
    }
}

/// Which address of IPv4 a hardware address was made of, if it was.
#[must_use]
pub fn address_of(mac: Mac) -> Option<IpAddr> {
    let Mac([0x02, 0x42, a, b, c, d]) = mac else { return None };
    Some(Ipv4Addr::new(a, b, c, d).into())
}

/// FNV-1a with 64 bits (RFC 9923). The hash of the standard library may change with its release.
pub(crate) fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn one_for_each_address() {
        assert_eq!(mac_of([10, 5, 2, 7].into()), Mac([2, 0x42, 10, 5, 2, 7]));
        assert_eq!(address_of(Mac([2, 0x42, 10, 5, 2, 7])), Some([10, 5, 2, 7].into()));
        assert_eq!(address_of(Mac([2, 0, 10, 5, 2, 7])), None);
        let of = |block: u16, host: u16| {
            mac_of(Ipv6Addr::new(0xfd00, 0x88, 0, block, 0, 0, 0, host).into())
        };
        let all: BTreeSet<Mac> =
            (0..16).flat_map(|block| (0..4096).map(move |host| of(block, host))).collect();
        assert_eq!(all.len(), 1 << 16);
        assert!(all.iter().all(|mac| mac.0[0] & 3 == 2), "for one interface, and nobody's");
        // A release that makes others leaves neighbours with the ones before.
        assert_eq!(of(0x5e, 2).to_string(), "6a:84:ce:02:63:54");
    }
}
