//! One run of the kernel.

use std::fmt;
use std::str::FromStr;

use super::ParseError;

/// Tells one start of this host from another: the kernel makes it up anew each time, and writes it
/// into `/proc/sys/kernel/random/boot_id`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BootId(u128);

/// How long the groups of digits are, between dashes.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

impl BootId {
    /// One of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let mut rest = digits.as_str();
        for (index, len) in GROUPS.into_iter().enumerate() {
            let (group, after) = rest.split_at(len);
            f.write_str(if index == 0 { "" } else { "-" })?;
            f.write_str(group)?;
            rest = after;
        }
        Ok(())
    }
}

impl FromStr for BootId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wanted = || ParseError::new(text, "a boot id of 8-4-4-4-12 hexadecimal digits");
        let hex = |group: &str| group.bytes().all(|digit| digit.is_ascii_hexdigit());
        let groups: Vec<&str> = text.split('-').collect();
        if !groups.iter().map(|group| group.len()).eq(GROUPS) || !groups.iter().all(|one| hex(one))
        {
            return Err(wanted());
        }
        u128::from_str_radix(&groups.concat(), 16).map(Self).map_err(|_not_hex| wanted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_and_written_as_the_kernel_does() {
        let text = "0e477a94-bb9c-4ece-ae26-fa92d2475d8a";
        let id: BootId = text.parse().expect("the kernel's");
        assert_eq!(id.to_string(), text);
        assert_eq!(BootId::from_bytes([0; 16]).to_string(), "00000000-0000-0000-0000-000000000000");
        for text in [
            "",
            "0e477a94bb9c4eceae26fa92d2475d8a",
            "0e477a94-bb9c-4ece-ae26-fa92d2475d8",
            "0e477a94-bb9c-4ece-ae26-fa92d2475d8a-",
            "+e477a94-bb9c-4ece-ae26-fa92d2475d8a",
        ] {
            assert!(text.parse::<BootId>().is_err(), "{text}");
        }
    }
}
