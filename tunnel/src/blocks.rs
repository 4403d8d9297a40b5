//! The addresses of one host, or of one network, in both families.

use std::net::IpAddr;

use twill_core::ids::{Family, Subnet};

/// At most one block of IPv4 and one of IPv6.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Blocks {
    ipv4: Option<Subnet>,
    ipv6: Option<Subnet>,
}

impl Blocks {
    /// This block in addition, in place of one of the same family.
    #[must_use]
    pub fn and(self, block: Subnet) -> Self {
        match block.family() {
            Family::V4 => Self { ipv4: Some(block), ..self },
            Family::V6 => Self { ipv6: Some(block), ..self },
        }
    }

    /// The block of a family.
    #[must_use]
    pub fn of(self, family: Family) -> Option<Subnet> {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }

    /// Is `address` in one of them?
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.of(Family::of(address)).is_some_and(|block| block.contains(address))
    }
}

impl From<Subnet> for Blocks {
    fn from(block: Subnet) -> Self {
        Self::default().and(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_block() {
        let four: Subnet = "10.5.1.0/24".parse().unwrap();
        let six: Subnet = "fd00:5:1::/64".parse().unwrap();
        let both = Blocks::from(four).and(six);
        assert_eq!((both.of(Family::V4), both.of(Family::V6)), (Some(four), Some(six)));
        assert!(both.contains("10.5.1.9".parse().unwrap()));
        assert!(!both.contains("10.5.2.9".parse().unwrap()));
        assert!(both.contains("fd00:5:1::9".parse().unwrap()));
        assert!(
            !Blocks::from(four).contains("fd00:5:1::9".parse().unwrap()),
            "no block, no address"
        );
        assert_eq!(both.and("10.5.7.0/24".parse().unwrap()).of(Family::V6), Some(six));
    }
}
