//! A network of two: configurations, what the other host says, and what a host makes of it.

use std::fs;

use super::process::{Process, wait_for};
use super::{PREFIX, World, get, ip};

pub(crate) const UDP: &str = r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0"}"#;
pub(crate) const VXLAN: &str =
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan"}}"#;
pub(crate) const HOST_GW: &str =
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"host-gw"}}"#;

pub(crate) const UDP_PEER: &str = r#"{"PublicIP":"192.0.2.9","PublicIPv6":null}"#;
pub(crate) const VXLAN_PEER: &str = r#"{"PublicIP":"192.0.2.9","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:09"}}"#;
pub(crate) const HOST_GW_PEER: &str =
    r#"{"PublicIP":"192.0.2.9","PublicIPv6":null,"BackendType":"host-gw"}"#;

pub(crate) const OF_IPV6: &str = r#"{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:88::/48","IPv6SubnetMin":"fd00:88:0:64::","Backend":{"Type":"vxlan"}}"#;
pub(crate) const OF_BOTH: &str = r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","EnableIPv6":true,"IPv6Network":"fd00:88::/48","IPv6SubnetMin":"fd00:88:0:64::","Backend":{"Type":"vxlan"}}"#;

/// Of a host in a network of IPv6: the end of its key, and its lease.
pub(crate) const PEER_OF_IPV6: (&str, &str) = (
    "0.0.0.0-0&fd00:88:0:9::-64",
    r#"{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::9","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"02:00:00:00:00:19"}}"#,
);
pub(crate) const PEER_OF_BOTH: (&str, &str) = (
    "10.88.9.0-24&fd00:88:0:9::-64",
    r#"{"PublicIP":"192.0.2.9","PublicIPv6":"2001:db8::9","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:09"},"BackendV6Data":{"VNI":1,"VtepMAC":"02:00:00:00:00:19"}}"#,
);

pub(crate) const SUBNET_FILE: &str = "/run/flannel/subnet.env";
pub(crate) const PICTURE: &str = "/run/state/picture";

impl World {
    /// Writes the network's configuration.
    pub(crate) fn configure(&self, text: &str) {
        self.etcdctl(&["put", &format!("{PREFIX}/config"), text]);
    }

    /// Writes the lease of the other host, which has 10.88.9.0/24.
    pub(crate) fn peer(&self, value: &str) {
        self.etcdctl(&["put", &format!("{PREFIX}/subnets/10.88.9.0-24"), value]);
    }

    /// Writes a lease.
    pub(crate) fn peer_of(&self, (key, value): (&str, &str)) {
        self.etcdctl(&["put", &format!("{PREFIX}/subnets/{key}"), value]);
    }

    pub(crate) fn peer_of_goes(&self, (key, _value): (&str, &str)) {
        self.etcdctl(&["del", &format!("{PREFIX}/subnets/{key}")]);
    }

    pub(crate) fn peer_goes(&self) {
        self.etcdctl(&["del", &format!("{PREFIX}/subnets/10.88.9.0-24")]);
    }

    /// A host with one peer, whose picture of both is on disk.
    pub(crate) fn joined(&self, peer: &str) -> (Process, String) {
        self.peer(peer);
        Self::joins(self.twilld(&[]))
    }

    /// The same with that agent, beside a peer that is there.
    pub(crate) fn joins(mut twilld: Process) -> (Process, String) {
        twilld.says("bootstrap done");
        wait_for("picture", || {
            fs::read_to_string(PICTURE).is_ok_and(|text| text.contains("10.88.9.0"))
        });
        (twilld, subnet_env())
    }
}

/// Gives the uplink `2001:db8::1/64` and a default route beside those of IPv4.
pub(crate) fn give_ipv6() {
    ip("-6 addr add 2001:db8::1/64 dev u0 nodad");
    ip("-6 route add default via 2001:db8::fe dev u0");
}

pub(crate) fn subnet_env() -> String {
    fs::read_to_string(SUBNET_FILE).expect("subnet.env")
}

/// Everything a flow depends on; counters and times left out.
pub(crate) fn data_plane(device: &str) -> String {
    let rows = [
        format!("-4 -o addr show dev {device}"),
        "route show".to_owned(),
        format!("neigh show dev {device} nud permanent"),
    ];
    // A TUN that nobody reads from has no carrier.
    rows.map(|words| ip(&words)).concat().replace(" linkdown", "")
}

/// What follows the name of a member in the status.
pub(crate) fn status(member: &str) -> String {
    let text = get("/status");
    let (_before, value) = text.split_once(&format!("\"{member}\":")).expect(&text);
    value.to_owned()
}
