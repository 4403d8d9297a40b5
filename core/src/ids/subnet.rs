//! Blocks of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::IpNetwork;

use super::{Family, Gateway, ParseError};

/// A block of container addresses of one family: a whole network, or the range that one host owns.
///
/// Every block of IPv4 is lower than any of IPv6.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Subnet(IpNetwork);

impl Subnet {
    /// `None` unless `base` is the first address of a block of that prefix length.
    #[must_use]
    pub fn new(base: IpAddr, len: u8) -> Option<Self> {
        Self::containing(base, len).filter(|subnet| subnet.base() == base)
    }

    /// The block of that prefix length which holds `address`; `None` if `len` is over 32, or over 128
    /// with IPv6.
    #[must_use]
    pub fn containing(address: IpAddr, len: u8) -> Option<Self> {
        let network = IpNetwork::new(address, len).ok()?;
        IpNetwork::new(network.network(), len).ok().map(Self)
    }

    /// Of which family its addresses are.
    #[must_use]
    pub fn family(self) -> Family {
        Family::of(self.base())
    }

    /// The first address of the block.
    #[must_use]
    pub fn base(self) -> IpAddr {
        self.0.network()
    }

    /// The last address of the block.
    #[must_use]
    pub fn last(self) -> IpAddr {
        self.0.broadcast()
    }

    /// The prefix length.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a length in bits, not a count of items")]
    pub fn len(self) -> u8 {
        self.0.prefix()
    }

    /// The address that the tunnel device of the owner carries, which peers route through.
    #[must_use]
    pub fn gateway(self) -> Gateway {
        Gateway(self.base())
    }

    /// The address that the owner's bridge carries: the second of the block, `.1` of a /24.
    #[must_use]
    pub fn first_host(self) -> IpAddr {
        after(self.base()).unwrap_or_else(|| self.base())
    }

    /// The block of the same length right behind this one; `None` behind the last of all addresses.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Self::containing(after(self.last())?, self.len())
    }

    /// The block of the same length that comes so many behind this one; `None` behind the last of all
    /// addresses.
    #[must_use]
    pub fn ahead(self, blocks: u128) -> Option<Self> {
        let host_bits = u32::from(self.family().bits() - self.len());
        let distance = blocks.checked_shl(host_bits).filter(|by| by >> host_bits == blocks)?;
        let bits = bits(self.base()).checked_add(distance)?;
        Self::new(of_bits(self.family(), bits)?, self.len())
    }

    /// How many blocks of this length there are from this one to `last`, with both.
    #[must_use]
    pub fn count_to(self, last: Self) -> u128 {
        let steps = bits(last.base()).saturating_sub(bits(self.base()));
        let host_bits = u32::from(self.family().bits() - self.len());
        steps.checked_shr(host_bits).unwrap_or(0).saturating_add(1)
    }

    /// Is `address` in the block?
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// Is the whole of `other` in the block?
    #[must_use]
    pub fn holds(self, other: Self) -> bool {
        self.len() <= other.len() && self.contains(other.base())
    }

    /// Do the two blocks share an address?
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.holds(other) || other.holds(self)
    }
}

/// The number that an address is.
#[must_use]
pub fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of that number; `None` if it is too large for the family.
#[must_use]
pub fn of_bits(family: Family, bits: u128) -> Option<IpAddr> {
    Some(match family {
        Family::V4 => Ipv4Addr::from_bits(u32::try_from(bits).ok()?).into(),
        Family::V6 => Ipv6Addr::from_bits(bits).into(),
    })
}

/// The address behind it; `None` behind the last one of its family.
fn after(address: IpAddr) -> Option<IpAddr> {
    of_bits(Family::of(address), bits(address).checked_add(1)?)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base(), self.len())
    }
}

impl FromStr for Subnet {
    type Err = ParseError;

    /// `10.5.2.0/24` or `fd00:5::/64`; refuses host bits, so that a slip of the hand is not rounded
    /// away.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wanted = || ParseError::new(text, "a block of addresses such as 10.5.2.0/24");
        let (base, len) = text.split_once('/').ok_or_else(wanted)?;
        let base = base.parse().map_err(|_not_an_address| wanted())?;
        let len = len.parse().map_err(|_not_a_number| wanted())?;
        let block = Self::containing(base, len).ok_or_else(wanted)?;
        let first = "the first address of a block: bits behind its length are set";
        (block.base() == base).then_some(block).ok_or_else(|| ParseError::new(text, first))
    }
}
