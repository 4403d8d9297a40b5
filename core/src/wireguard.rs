//! Keys of `WireGuard`, and what hosts that speak it tell each other.
//!
//! Secrets are values like others here, but for two things: no `Debug` shows them, and nothing prints them by
//! accident, because they have no `Display`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

/// The UDP port of the device that carries IPv4.
pub const PORT: u16 = 51820;
/// The UDP port of the device that carries IPv6 beside it.
pub const PORT_V6: u16 = 51821;

const KEY: usize = 32;

/// What everybody may know of a host: peers know it by this.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PublicKey(pub [u8; KEY]);

/// What makes a host the one that it is.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct PrivateKey([u8; KEY]);

/// A second secret, which all hosts of a network share.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub struct PresharedKey([u8; KEY]);

/// Text that is no key. It is not shown: it may be one nearly.
#[derive(Clone, Copy, Debug, thiserror::Error, Eq, PartialEq)]
#[error("it is not a key: 32 bytes in base64, as `wg genkey` prints them")]
pub struct NotAKey;

/// How a host says in its lease that it can be reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct End {
    /// Who it is.
    #[serde(rename = "PublicKey")]
    pub key: PublicKey,
    /// Its UDP port; leases of old flannels lack it, and mean the one of whoever reads.
    #[serde(rename = "Port", skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// The same, of a peer: whoever reads has put its own port in if there was none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Contact {
    /// Who it is.
    pub key: PublicKey,
    /// Its UDP port.
    pub port: u16,
}

/// What is the same towards every peer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Shared {
    /// The second secret, if the network has one.
    pub psk: Option<PresharedKey>,
    /// After so many seconds without a packet an empty one goes out; none if zero.
    pub keepalive: u16,
}

impl PrivateKey {
    /// Turns random bytes into one, as RFC 7748 section 5 has it.
    #[must_use]
    pub fn from_random(mut bytes: [u8; KEY]) -> Self {
        bytes[0] &= 0xf8;
        bytes[31] = (bytes[31] & 0x7f) | 0x40;
        Self(bytes)
    }

    /// What peers know it by.
    #[must_use]
    pub fn public(self) -> PublicKey {
        PublicKey(x25519(self.0, X25519_BASEPOINT_BYTES))
    }

    /// For the kernel, and for nobody else.
    #[must_use]
    pub fn bytes(self) -> [u8; KEY] {
        self.0
    }

    /// For the file that it is kept in, and for nothing else.
    #[must_use]
    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }
}

impl PresharedKey {
    /// As the kernel tells it: it has no other word for "none" than zeros.
    #[must_use]
    pub fn told(bytes: [u8; KEY]) -> Option<Self> {
        (bytes != [0; KEY]).then_some(Self(bytes))
    }

    /// For the kernel, and for nobody else.
    #[must_use]
    pub fn bytes(self) -> [u8; KEY] {
        self.0
    }

    /// For the configuration, and for nothing else.
    #[must_use]
    pub(crate) fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }
}

fn decoded(text: &str) -> Result<[u8; KEY], NotAKey> {
    let bytes = STANDARD.decode(text).map_err(|_not_base64| NotAKey)?;
    bytes.try_into().map_err(|_of_another_length| NotAKey)
}

impl FromStr for PublicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        decoded(text).map(Self)
    }
}

impl FromStr for PrivateKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        // Whoever made it may have used another tool, and the kernel does the same.
        decoded(text).map(Self::from_random)
    }
}

impl FromStr for PresharedKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        decoded(text).and_then(|bytes| Self::told(bytes).ok_or(NotAKey))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(not shown)")
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 7748 section 6.1.
    #[test]
    fn a_public_key_follows_from_a_private_one() {
        for (private, public) in [
            (
                "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=",
                "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=",
            ),
            (
                "XasIfmJKikt54X+Lg4AO5m87sSkmGLb9HC+LJ/+I4Os=",
                "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=",
            ),
        ] {
            let private: PrivateKey = private.parse().unwrap();
            assert_eq!(private.public(), public.parse().unwrap(), "{public}");
        }
        let key = PrivateKey::from_random([0xff; 32]);
        assert_eq!(key.to_base64().parse(), Ok(key), "it is one already");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let key = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
        for text in ["", "x", &key[1..], &key[..43], &format!("{key}\n"), &format!("{key}{key}")] {
            assert_eq!(text.parse::<PublicKey>(), Err(NotAKey), "{text:?}");
            assert_eq!(text.parse::<PrivateKey>(), Err(NotAKey), "{text:?}");
        }
        let zeros = STANDARD.encode([0; 32]);
        assert_eq!(zeros.parse::<PresharedKey>(), Err(NotAKey), "the kernel's word for none");
        assert!(zeros.parse::<PublicKey>().is_ok());
    }

    #[test]
    fn secrets_have_no_debug() {
        let private: PrivateKey = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=".parse().unwrap();
        let psk: PresharedKey = "XasIfmJKikt54X+Lg4AO5m87sSkmGLb9HC+LJ/+I4Os=".parse().unwrap();
        let shared = Shared { psk: Some(psk), keepalive: 25 };
        let shown = format!("{private:?} {shared:?}");
        assert!(!shown.contains("dwdt") && !shown.contains("XasI"), "{shown}");
        assert!(!shown.contains("119, 7") && !shown.contains("93, 171"), "{shown}");
    }
}
