//! Several networks under one prefix.

use std::fs;

use super::process::Process;
use super::{PREFIX, World, get, try_command};

impl World {
    pub(crate) fn network(&self, name: &str, text: &str) {
        self.etcdctl(&["put", &format!("{PREFIX}/{name}/config"), text]);
    }

    pub(crate) fn no_network(&self, name: &str) {
        self.etcdctl(&["del", &format!("{PREFIX}/{name}/config")]);
    }

    pub(crate) fn peer_in(&self, name: &str, key: &str, value: &str) {
        self.etcdctl(&["put", &format!("{PREFIX}/{name}/subnets/{key}"), value]);
    }

    /// The only lease in a network that is not a peer's.
    pub(crate) fn lease_in(&self, name: &str) -> String {
        let told = self.etcdctl(&["get", "--prefix", &format!("{PREFIX}/{name}/subnets/")]);
        let lines: Vec<&str> = told.lines().collect();
        let own = lines.chunks_exact(2).filter(|pair| pair[1].contains("TwillNodeID"));
        let keys: Vec<_> = own.map(|pair| pair[0].rsplit('/').next().expect("a key")).collect();
        assert_eq!(keys.len(), 1, "{told}");
        keys[0].to_owned()
    }

    /// How far etcd is.
    pub(crate) fn revision(&self) -> String {
        let told = self.etcdctl(&["get", "x", "-w", "json"]);
        let (_before, revision) = told.split_once("\"revision\":").expect("a revision");
        revision.split(',').next().unwrap_or_default().to_owned()
    }

    /// All that is in etcd of a network.
    pub(crate) fn keys_of(&self, name: &str) -> String {
        self.etcdctl(&["get", "--prefix", "--keys-only", &format!("{PREFIX}/{name}/")])
    }
}

pub(crate) fn env(name: &str) -> String {
    fs::read_to_string(format!("/run/twill/networks/{name}.env")).unwrap_or_default()
}

/// Are all of these there?
pub(crate) fn stand(twilld: &mut Process, names: &[&str]) {
    for name in names {
        twilld.says(&format!("network{{name={name}}}: bootstrap done"));
    }
}

pub(crate) fn rules() -> String {
    ["iptables-save", "nft list tables"].map(|line| try_command(line).expect(line)).concat()
}

pub(crate) fn is_ready(query: &str) -> bool {
    get(&format!("/readyz{query}")).ends_with("\r\n\r\nflanneld is ready")
}
