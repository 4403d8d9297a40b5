//! What a network is called on a host that is in several.

use std::fmt;
use std::str::FromStr;

use super::ParseError;

/// The name of one of several networks: the last part of its prefix in etcd, and of its files on every
/// host.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NetworkName(String);

/// A directory with room for an ending.
const LONGEST: usize = 63;

/// What lies beside `config` under the prefix of a network that has no name.
const TAKEN: [&str; 3] = ["config", "subnets", "twill"];

impl NetworkName {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NetworkName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        let begins = text.starts_with(|letter: char| letter.is_ascii_alphanumeric());
        let fits = begins && text.len() <= LONGEST && text.chars().all(plain);
        (fits && !TAKEN.contains(&text)).then(|| Self(text.to_owned())).ok_or_else(|| {
            ParseError::new(
                text,
                "a name for a network: up to 63 letters, digits, dots, dashes and underscores, a \
                 letter or digit first, and not config, subnets or twill",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let longest = "x".repeat(63);
        for text in ["blue", "Green-2", "0", "a.b_c", "subnets2", &longest] {
            assert_eq!(text.parse::<NetworkName>().expect(text).to_string(), text);
        }
        let long = "x".repeat(64);
        for text in [
            "", ".", "..", "-x", "_x", "a/b", "a b", "ä", "a\n", "config", "subnets", "twill",
            &long,
        ] {
            let error = text.parse::<NetworkName>().expect_err(text);
            assert!(error.to_string().contains("not a name for a network"), "{error}");
        }
    }
}
