//! Blocks of addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnetwork::Ipv4Network;

use super::{Gateway, ParseError};

/// A block of container addresses: a whole network, or the range that one host owns.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Subnet(Ipv4Network);

impl Subnet {
    /// `None` unless `base` is the first address of a block of that prefix length.
    #[must_use]
    pub fn new(base: Ipv4Addr, len: u8) -> Option<Self> {
        Self::containing(base, len).filter(|subnet| subnet.base() == base)
    }

    /// The block of that prefix length which holds `address`; `None` if `len` is over 32.
    #[must_use]
    pub fn containing(address: Ipv4Addr, len: u8) -> Option<Self> {
        let network = Ipv4Network::new(address, len).ok()?;
        Ipv4Network::new(network.network(), len).ok().map(Self)
    }

    /// The first address of the block.
    #[must_use]
    pub fn base(self) -> Ipv4Addr {
        self.0.network()
    }

    /// The last address of the block.
    #[must_use]
    pub fn last(self) -> Ipv4Addr {
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
    pub fn first_host(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base().to_bits().saturating_add(1))
    }

    /// Is `address` in the block?
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.0.contains(address)
    }

    /// Do the two blocks share an address?
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.0.overlaps(other.0)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base(), self.len())
    }
}

impl FromStr for Subnet {
    type Err = ParseError;

    /// `10.5.2.0/24`; refuses host bits, so that a slip of the hand is not rounded away.
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
