//! Numbers and addresses that carry a meaning, each a type of its own.

mod boot;
mod network_name;
mod subnet;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use boot::BootId;
pub use network_name::NetworkName;
pub use subnet::{Subnet, bits, of_bits};

/// Text that is not the value it should be.
#[derive(Clone, Debug, thiserror::Error, Eq, PartialEq)]
#[error("`{text}` is not {wanted}")]
pub struct ParseError {
    text: String,
    wanted: &'static str,
}

impl ParseError {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self { text: text.to_owned(), wanted }
    }
}

/// An Ethernet hardware address.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Turns six random bytes into a locally administered unicast address.
    #[must_use]
    pub fn from_random(mut bytes: [u8; 6]) -> Self {
        bytes[0] = (bytes[0] & 0xfe) | 0x02;
        Self(bytes)
    }

    /// Is it the address of one device, and not of a group (IEEE 802, lowest bit of the first byte)
    /// or of nobody?
    ///
    /// ```
    /// use twill_core::ids::Mac;
    /// assert!(Mac([2, 0, 0, 0, 0, 1]).is_unicast());
    /// assert!(!Mac([0x01, 0, 0x5e, 0, 0, 1]).is_unicast(), "a group");
    /// assert!(!Mac([0; 6]).is_unicast(), "nobody");
    /// ```
    #[must_use]
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

impl FromStr for Mac {
    type Err = ParseError;

    /// Accepts every 48-bit form that Go's `net.ParseMAC` accepts: `aa:bb:…`, `aa-bb-…` and
    /// `aabb.ccdd.eeff`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wanted = || ParseError::new(text, "a hardware address such as 02:42:ac:11:00:02");
        let pairs: Vec<&str> = if text.contains('.') {
            let words: Vec<&str> = text.split('.').collect();
            if words.len() != 3 || words.iter().any(|word| word.len() != 4 || !word.is_ascii()) {
                return Err(wanted());
            }
            words.iter().flat_map(|word| [&word[..2], &word[2..]]).collect()
        } else {
            let separator = if text.contains('-') { '-' } else { ':' };
            text.split(separator).collect()
        };
        let mut bytes = [0; 6];
        if pairs.len() != bytes.len() {
            return Err(wanted());
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(wanted());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_not_hex| wanted())?;
        }
        Ok(Self(bytes))
    }
}

/// A VXLAN network identifier, 1 to 2^24 − 1 (RFC 7348 section 5).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Vni(u32);

impl Vni {
    /// The number of a network that did not choose one.
    pub const ONE: Self = Self(1);

    /// `None` outside 1 ..= 2^24 − 1.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        (1..1 << 24).contains(&number).then_some(Self(number))
    }

    /// The number itself.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The largest packet, in bytes, that an interface carries: 68 (RFC 791) to 65535.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Mtu(u32);

impl Mtu {
    /// `None` outside 68 ..= 65535.
    #[must_use]
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes >= 68 && bytes <= 65535 { Some(Self(bytes)) } else { None }
    }

    /// The size in bytes.
    #[must_use]
    pub fn bytes(self) -> u32 {
        self.0
    }

    /// What is left inside an encapsulation of `overhead` bytes; `None` when nothing useful is.
    #[must_use]
    pub fn inside(self, overhead: u32) -> Option<Self> {
        self.0.checked_sub(overhead).and_then(Self::new)
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One of the two kinds of addresses on the Internet.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Of which one it is.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// How many bits an address has, which is the prefix length of a block of one.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Where a host's end of the tunnel listens, on the network that joins the hosts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Underlay(pub IpAddr);

impl fmt::Display for Underlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Underlay {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.parse().map(Self).map_err(|_not_an_address| ParseError::new(text, "an IP address"))
    }
}

/// The overlay address of a host's tunnel device: the first address of its subnet.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Gateway(pub IpAddr);

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tells one host from another for as long as its state directory lives: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(u128);

impl NodeId {
    /// A new identity out of 16 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wanted = || ParseError::new(text, "a node id of 32 hexadecimal digits");
        if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wanted());
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_not_hex| wanted())
    }
}

/// A revision of the etcd key space, or of one key in it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub i64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an etcd lease; a key without one is a reservation.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(Mac, NetworkName, Subnet, Underlay, NodeId, BootId);

macro_rules! serde_as_number {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u32(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = u32::deserialize(deserializer)?;
                Self::new(number).ok_or_else(|| {
                    de::Error::custom(concat!(stringify!($name), " out of range"))
                })
            }
        }
    )*};
}

serde_as_number!(Vni, Mtu);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_as_go_reads_them() {
        let wanted = Mac([0xc6, 0xd2, 0x32, 0x6f, 0x8f, 0x44]);
        for text in ["c6:d2:32:6f:8f:44", "C6-D2-32-6F-8F-44", "c6d2.326f.8f44"] {
            assert_eq!(text.parse(), Ok(wanted), "{text}");
        }
        assert_eq!(wanted.to_string(), "c6:d2:32:6f:8f:44");
        for text in [
            "",
            "c6",
            "c6:d2:32:6f:8f",
            "c6:d2:32:6f:8f:44:55",
            "c6:d2:32:6f:8f:4",
            "c6:d2:32:6f:8f:4g",
            "c6:d2-32:6f:8f:44",
            "c6d2.326f",
            "c6d2.326f.8f4\u{e9}",
            "+6:d2:32:6f:8f:44",
        ] {
            let error = text.parse::<Mac>().expect_err(text).to_string();
            assert_eq!(
                error,
                format!("`{text}` is not a hardware address such as 02:42:ac:11:00:02")
            );
        }
    }

    #[test]
    fn made_up_hardware_addresses_are_local_and_for_one_host() {
        for first in 0..=u8::MAX {
            let Mac([made, ..]) = Mac::from_random([first, 1, 2, 3, 4, 5]);
            assert_eq!(made & 0b11, 0b10, "{first:#x}");
        }
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let vnis = [(0, false), (1, true), ((1 << 24) - 1, true), (1 << 24, false)];
        for (number, legal) in vnis {
            assert_eq!(Vni::new(number).is_some(), legal, "{number}");
        }
        for (bytes, legal) in [(67, false), (68, true), (65535, true), (65536, false)] {
            assert_eq!(Mtu::new(bytes).is_some(), legal, "{bytes}");
        }
        let mtu = Mtu::new(100).expect("in range");
        assert_eq!((mtu.inside(32), mtu.inside(33), mtu.inside(101)), (Mtu::new(68), None, None));
    }

    #[test]
    fn subnets_have_no_host_bits() {
        let subnet: Subnet = "10.5.52.0/24".parse().expect("aligned");
        assert_eq!(subnet.gateway(), Gateway([10, 5, 52, 0].into()));
        assert_eq!(subnet.first_host(), IpAddr::from([10, 5, 52, 1]));
        assert_eq!(subnet.last(), IpAddr::from([10, 5, 52, 255]));
        assert_eq!(Subnet::containing([10, 5, 52, 9].into(), 24), Some(subnet));
        for text in ["10.5.52.1/24", "10.5.52.0", "10.5.52.0/33", "10.5.52.0/-1", "10.5.52/24", "x"]
        {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn subnets_overlap_when_they_share_an_address() {
        let rows = [
            ("the same", "10.5.2.0/24", "10.5.2.0/24", true),
            ("one in the other", "10.5.0.0/16", "10.5.2.0/24", true),
            ("side by side", "10.5.2.0/24", "10.5.3.0/24", false),
            ("everything", "0.0.0.0/0", "10.5.3.0/24", true),
            ("the ends of all addresses", "0.0.0.0/1", "128.0.0.0/1", false),
        ];
        for (name, one, other, overlap) in rows {
            let [one, other] = [one, other].map(|text| text.parse::<Subnet>().expect(text));
            assert_eq!(one.overlaps(other), overlap, "{name}");
            assert_eq!(other.overlaps(one), overlap, "{name}");
        }
    }

    #[test]
    fn node_ids_are_thirty_two_digits() {
        let id = NodeId::from_random([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0e0f");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in
            ["", "abc", "000102030405060708090a0b0c0d0e0g", "+00102030405060708090a0b0c0d0e0f"]
        {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
    }
}
