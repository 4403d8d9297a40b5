//! Container ids: 64 hexadecimal digits, shown as the first twelve.

use std::fmt::Write as _;

use rand::Rng as _;

/// Digits in a full id.
pub const LENGTH: usize = 64;
const SHORT: usize = 12;

/// A new one. 256 random bits are never drawn twice.
#[must_use]
pub fn random() -> String {
    let mut bytes = [0_u8; LENGTH / 2];
    rand::rng().fill_bytes(&mut bytes);
    // Docker's rule: twelve decimal digits could be taken for a number, and a host name of digits
    // alone confuses many programs.
    bytes[0] |= 0xa0;
    let mut text = String::with_capacity(LENGTH);
    for byte in bytes {
        // Writing to a string cannot fail.
        _ = write!(text, "{byte:02x}");
    }
    text
}

/// As people see it.
#[must_use]
pub fn short(id: &str) -> &str {
    id.get(..SHORT).unwrap_or(id)
}

/// Is this the name of a container's directory?
#[must_use]
pub fn is_full(text: &str) -> bool {
    text.len() == LENGTH && is_prefix(text)
}

/// Could an id begin so?
#[must_use]
pub fn is_prefix(text: &str) -> bool {
    (1..=LENGTH).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let (one, other) = (random(), random());
        assert!(is_full(&one) && is_full(&other) && one != other);
        assert!(!short(&one).bytes().all(|byte| byte.is_ascii_digit()));
        assert_eq!(short(&one).len(), 12);
        assert_eq!(short("abc"), "abc");
        for (text, want) in [("", false), ("a", true), ("A", false), ("g", false), ("../", false)] {
            assert_eq!(is_prefix(text), want, "{text:?}");
        }
    }
}
