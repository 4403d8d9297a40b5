//! JSON objects as Go reads them, because other programs of the cluster are written in Go.
//!
//! Go matches member names without regard to case, ignores members it does not know, lets the last
//! of several win, and treats `null` as "not there" for plain values.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// The members of one object, in the order of the text, duplicates included.
#[derive(Debug)]
pub(crate) struct Members(Vec<(String, Value)>);

impl Members {
    /// Every value given to the member, the last of which counts.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Value> {
        let alike = move |known: &str| {
            known.chars().map(fold).eq(name.chars().map(|letter| letter.to_ascii_lowercase()))
        };
        self.0.iter().filter(move |(known, _value)| alike(known)).map(|(_name, value)| value)
    }

    /// The value that counts.
    pub(crate) fn last<'a>(&'a self, name: &'a str) -> Option<&'a Value> {
        self.all(name).next_back()
    }
}

/// The two letters outside ASCII that Go's folding equates with one inside are in here.
fn fold(letter: char) -> char {
    match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

impl From<&serde_json::Map<String, Value>> for Members {
    fn from(map: &serde_json::Map<String, Value>) -> Self {
        Self(map.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
