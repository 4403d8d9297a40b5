//! What stands in etcd of the host.

use super::{PREFIX, World};

/// The last part of the key under which the subnet of that `subnet.env` is leased, behind all of it.
pub(crate) fn own_key(env: &str) -> String {
    let subnet = env.lines().find_map(|line| line.strip_prefix("FLANNEL_SUBNET="));
    let subnet = subnet.expect("a subnet");
    format!("{PREFIX}/subnets/{}", subnet.replace(".1/", ".0-"))
}

impl World {
    /// The only lease: the last part of its key.
    pub(crate) fn lease(&self) -> String {
        let keys = self.etcdctl(&["get", "--prefix", "--keys-only", &format!("{PREFIX}/subnets/")]);
        let keys: Vec<&str> = keys.split_whitespace().collect();
        assert_eq!(keys.len(), 1, "{keys:?}");
        keys[0].rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// The lease of the host itself, among others': the last part of its key.
    pub(crate) fn lease_of_node(&self) -> String {
        let (key, _value) = self.own_leases().remove(0);
        key.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// What it says.
    pub(crate) fn value_of_node(&self) -> String {
        self.own_leases().remove(0).1
    }

    pub(crate) fn leases_of_node(&self) -> usize {
        self.own_leases().len()
    }

    /// When it was written.
    pub(crate) fn lease_revision(&self) -> String {
        let key = format!("{PREFIX}/subnets/{}", self.lease_of_node());
        let told = self.etcdctl(&["get", &key, "-w", "json"]);
        let (_before, revision) = told.split_once("\"mod_revision\":").expect("a revision");
        revision.split(',').next().unwrap_or_default().to_owned()
    }

    fn own_leases(&self) -> Vec<(String, String)> {
        let told = self.etcdctl(&["get", "--prefix", &format!("{PREFIX}/subnets/")]);
        let lines: Vec<&str> = told.lines().collect();
        let pairs = lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
        let own: Vec<_> = pairs.filter(|(_key, value)| value.contains("TwillNodeID")).collect();
        assert!(!own.is_empty(), "{told}");
        own
    }
}
