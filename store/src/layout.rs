//! Which key means what.

use std::borrow::Cow;

use twill_core::ids::{LeaseId, NetworkName, NodeId, Revision};
use twill_core::lease::{Event, Key, KeyError, Lease, LeaseValue, Malformed};
use twill_core::node::NodeRecord;

use crate::model::{Nodes, UnreadableNode};

/// The last part of the key of a network's configuration.
pub(crate) const CONFIG: &str = "config";

/// The keys of one network.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    prefix: String,
}

impl Layout {
    /// Joins as Go's `path.Join` does, since flannel does: no empty parts, no `.`, no `..`.
    pub(crate) fn new(prefix: &str) -> Self {
        let rooted = prefix.starts_with('/');
        let mut parts: Vec<&str> = Vec::new();
        for part in prefix.split('/') {
            match part {
                "" | "." => {}
                ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
                ".." if rooted => {}
                part => parts.push(part),
            }
        }
        let root = if rooted { "/" } else { "" };
        let mut prefix = format!("{root}{}", parts.join("/"));
        if !parts.is_empty() {
            prefix.push('/');
        }
        Self { prefix }
    }

    /// What every key begins with.
    pub(crate) fn root(&self) -> &str {
        &self.prefix
    }

    /// Of which network that lies under a name of its own this key is the configuration.
    pub(crate) fn network_of<'a>(&self, key: &'a str) -> Option<&'a str> {
        let (name, rest) = key.strip_prefix(&self.prefix)?.split_once('/')?;
        (rest == CONFIG).then_some(name)
    }

    /// The configuration of that one.
    pub(crate) fn config_of(&self, network: &NetworkName) -> String {
        format!("{}{network}/{CONFIG}", self.prefix)
    }

    pub(crate) fn config(&self) -> String {
        format!("{}{CONFIG}", self.prefix)
    }

    /// With the slash at the end: flannel leaves it out and sees `subnets-old/` too.
    pub(crate) fn leases(&self) -> String {
        format!("{}subnets/", self.prefix)
    }

    pub(crate) fn lease(&self, key: Key) -> String {
        format!("{}subnets/{key}", self.prefix)
    }

    pub(crate) fn nodes(&self) -> String {
        format!("{}twill/nodes/", self.prefix)
    }

    pub(crate) fn node(&self, id: NodeId) -> String {
        format!("{}twill/nodes/{id}", self.prefix)
    }

    /// Where a host asks whether another one lives that has its node id.
    pub(crate) fn double(&self, id: NodeId) -> String {
        format!("{}twill/doubles/{id}", self.prefix)
    }
}

/// One key with its value, as etcd holds it.
#[derive(Clone, Debug)]
pub(crate) struct Row<'a> {
    /// Without the prefix of its kind.
    pub(crate) key: Cow<'a, str>,
    pub(crate) value: &'a [u8],
    pub(crate) revision: Revision,
    pub(crate) lease_id: Option<LeaseId>,
}

impl Row<'_> {
    pub(crate) fn lease(&self) -> Result<Lease, Malformed> {
        let text = self.printable();
        let malformed =
            |lease, why| Malformed { key: text.clone(), lease, why, revision: self.revision };
        let key: Key =
            text.parse().map_err(|error: KeyError| malformed(None, error.to_string()))?;
        let value = LeaseValue::parse(self.value)
            .map_err(|error| malformed(Some(key), error.to_string()))?;
        Ok(Lease { key, value, revision: self.revision, lease_id: self.lease_id })
    }

    /// What a write of this row means to a watcher.
    pub(crate) fn put(&self) -> Event {
        self.lease().map_or_else(Event::Malformed, Event::Put)
    }

    /// What the end of this row means to a watcher.
    pub(crate) fn gone(&self) -> Event {
        match self.key.parse() {
            Ok(key) => Event::Gone(key, self.revision),
            Err(_no_lease) => Event::GoneMalformed(self.printable(), self.revision),
        }
    }

    /// Anybody who may write to etcd chooses keys, and they end up on terminals.
    fn printable(&self) -> String {
        printable(&self.key)
    }
}

fn printable(key: &str) -> String {
    key.escape_debug().to_string()
}

pub(crate) fn sort_nodes<'a>(rows: impl Iterator<Item = (&'a str, &'a [u8])>) -> Nodes {
    let mut nodes = Nodes::default();
    for (key, value) in rows {
        let read = NodeRecord::parse(value).map_err(|error| {
            use std::error::Error as _;
            error.source().map_or_else(|| error.to_string(), ToString::to_string)
        });
        match read {
            Ok(record) if record.id.to_string() == key => nodes.records.push(record),
            Ok(record) => nodes.unreadable.push(UnreadableNode {
                key: printable(key),
                why: format!("it is the record of {}", record.id),
            }),
            Err(why) => nodes.unreadable.push(UnreadableNode { key: printable(key), why }),
        }
    }
    nodes.records.sort_by_key(|record| record.id);
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right column is what Go's `path.Join(prefix, "config")` gives.
    #[test]
    fn prefixes_are_joined_as_go_joins_them() {
        let rows = [
            ("/coreos.com/network", "/coreos.com/network/config"),
            ("/coreos.com/network/", "/coreos.com/network/config"),
            ("//coreos.com///network//", "/coreos.com/network/config"),
            ("coreos.com/network", "coreos.com/network/config"),
            ("/a/./b", "/a/b/config"),
            ("/a/../b", "/b/config"),
            ("/../a", "/a/config"),
            ("../a", "../a/config"),
            ("a/../../b", "../b/config"),
            ("/", "/config"),
            ("", "config"),
            (".", "config"),
        ];
        for (prefix, config) in rows {
            assert_eq!(Layout::new(prefix).config(), config, "{prefix}");
        }
    }

    #[test]
    fn our_own_keys_are_out_of_flannels_sight() {
        let layout = Layout::new("/coreos.com/network");
        let key = "10.5.52.0-24".parse().expect("a key");
        assert_eq!(layout.lease(key), "/coreos.com/network/subnets/10.5.52.0-24");
        let node = layout.node(NodeId::from_random([1; 16]));
        assert_eq!(node, "/coreos.com/network/twill/nodes/01010101010101010101010101010101");
        // flannel lists and watches without the slash at the end.
        assert!(!node.starts_with(layout.leases().trim_end_matches('/')));
    }

    #[test]
    fn what_a_key_says_cannot_steer_a_terminal() {
        let (revision, lease_id) = (Revision(1), None);
        let row = |key: &'static str| Row { key: key.into(), value: b"{}", revision, lease_id };
        let Event::Malformed(malformed) = row("a\u{1b}[31m\nb").put() else { panic!("no key") };
        assert_eq!(malformed.key, "a\\u{1b}[31m\\nb");
        assert!(!malformed.why.contains(char::is_control), "{}", malformed.why);
        let gone = Event::GoneMalformed(malformed.key, revision);
        assert_eq!(row("a\u{1b}[31m\nb").gone(), gone, "and its end is told under the same name");
        let nodes = sort_nodes([("\u{1b}c", b"".as_slice())].into_iter());
        assert_eq!(nodes.unreadable[0].key, "\\u{1b}c");
    }
}
