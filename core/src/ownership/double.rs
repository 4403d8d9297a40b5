//! The question that a host puts under `<prefix>/twill/doubles/<node id>` when it finds a lease with
//! its own node id and another address: does anybody live who is me?
//!
//! A host that holds a lease under that node id answers in the same place. flannel never looks there.

use serde::{Deserialize, Serialize};

use crate::ids::Underlay;

/// The value of `<prefix>/twill/doubles/<node id>`. It ends with an etcd lease of some seconds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Challenge {
    /// Where the host is that asks.
    pub public_ip: Underlay,
    /// Its name, for people.
    pub hostname: String,
    /// Where the host is that answered; `None` as long as nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Underlay>,
}

/// The value is no challenge.
#[derive(Debug, thiserror::Error)]
#[error("not a question about a double")]
pub struct ChallengeError(#[from] serde_json::Error);

impl Challenge {
    /// The text of the value: compact JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and addresses always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the value; members of later versions are ignored.
    pub fn parse(text: &[u8]) -> Result<Self, ChallengeError> {
        Ok(serde_json::from_slice(text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_what_comes_later() {
        let asked = Challenge {
            public_ip: Underlay([192, 168, 140, 22].into()),
            hostname: "node1".to_owned(),
            answer: None,
        };
        let text = asked.to_json();
        assert_eq!(text, r#"{"public_ip":"192.168.140.22","hostname":"node1"}"#);
        let answered = Challenge { answer: Some(Underlay([192, 168, 140, 23].into())), ..asked };
        assert_eq!(Challenge::parse(answered.to_json().as_bytes()).expect("ours"), answered);
        let later = answered.to_json().replace('{', r#"{"since":1,"#);
        assert_eq!(Challenge::parse(later.as_bytes()).expect("a later version's"), answered);
        for text in ["", "{}", "[]", r#"{"public_ip":"here","hostname":"a"}"#] {
            assert!(Challenge::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
