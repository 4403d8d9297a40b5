//! Networks, what this host has in them, and whom deeds are about.

use twill_core::ids::Family;

use super::deeds::{FOREIGN_ON_THE_UPLINK, FOREIGN_ON_TUN, FOREIGN_ON_VXLAN};

/// A network, and this host in it.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) family: Family,
    /// As tables of results call it.
    pub(crate) backend: &'static str,
    /// Without one deeds are about rows alone.
    pub(crate) engine: Option<&'static str>,
    pub(crate) device: &'static str,
    /// The backend's part of the network's configuration.
    config: &'static str,
    /// The peer that deeds are about: on the link, or behind a router.
    pub(crate) near: bool,
    pub(crate) foreign: &'static [&'static str],
}

pub(crate) const VXLAN: Setting = Setting {
    family: Family::V4,
    backend: "vxlan",
    engine: None,
    device: "flannel.1",
    config: r#"{"Type":"vxlan"}"#,
    near: false,
    foreign: &FOREIGN_ON_VXLAN,
};

pub(crate) const DIRECT: Setting = Setting {
    backend: "vxlan, DirectRouting",
    config: r#"{"Type":"vxlan","DirectRouting":true}"#,
    near: true,
    ..VXLAN
};

pub(crate) const UDP: Setting = Setting {
    backend: "udp",
    device: "flannel0",
    config: r#"{"Type":"udp"}"#,
    near: true,
    foreign: &FOREIGN_ON_TUN,
    ..VXLAN
};

pub(crate) const HOST_GW: Setting = Setting {
    backend: "host-gw",
    device: "u0",
    config: r#"{"Type":"host-gw"}"#,
    near: true,
    foreign: &FOREIGN_ON_THE_UPLINK,
    ..VXLAN
};

impl Setting {
    /// The same in a network of IPv6.
    pub(crate) fn of_ipv6(self) -> Self {
        let device = match self.device {
            "flannel.1" => "flannel-v6.1",
            "flannel0" => "flannel0-v6",
            uplink => uplink,
        };
        Self { family: Family::V6, device, ..self }
    }

    /// The same, and deeds are about what that engine has written.
    pub(crate) fn with(self, engine: &'static str) -> Self {
        Self { engine: Some(engine), ..self }
    }

    /// The network's configuration; blocks below the first stay free for rows about nobody.
    pub(crate) fn config(&self) -> String {
        let addresses = match self.family {
            Family::V4 => r#""Network":"10.88.0.0/16","SubnetMin":"10.88.100.0""#,
            Family::V6 => {
                r#""EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:88::/48","IPv6SubnetMin":"fd00:88:0:64::""#
            }
        };
        format!(r#"{{{addresses},"Backend":{}}}"#, self.config)
    }

    /// The leases of the peers, one on the link and, with VXLAN, one behind a router: the last part of
    /// each key, and its value.
    pub(crate) fn peers(&self) -> Vec<(String, String)> {
        let far = (self.device != "u0" && self.backend != "udp").then_some(("10", "0a"));
        let peers = [("9", "09")].into_iter().chain(far);
        peers.map(|(number, hex)| (self.key(number), self.lease(number, hex))).collect()
    }

    fn key(&self, number: &str) -> String {
        let block = self.block(number);
        match self.family {
            Family::V4 => format!("{block}-24"),
            Family::V6 => format!("0.0.0.0-0&{block}-64"),
        }
    }

    fn lease(&self, number: &str, hex: &str) -> String {
        let address = self.address(number);
        let (addresses, data) = match self.family {
            Family::V4 => (format!(r#""PublicIP":"{address}","PublicIPv6":null"#), "BackendData"),
            Family::V6 => {
                (format!(r#""PublicIP":"0.0.0.0","PublicIPv6":"{address}""#), "BackendV6Data")
            }
        };
        let backend = match self.backend {
            "udp" => String::new(),
            "host-gw" => r#","BackendType":"host-gw""#.to_owned(),
            _vxlan => format!(
                r#","BackendType":"vxlan","{data}":{{"VNI":1,"VtepMAC":"02:00:00:00:00:{hex}"}}"#
            ),
        };
        format!("{{{addresses}{backend}}}")
    }

    /// The words of this host, but for its own address, and of the peer that deeds are about.
    pub(crate) fn words(&self) -> Vec<(&'static str, String)> {
        let (number, last) = if self.near { ("9", "09") } else { ("10", "0a") };
        let (network, stranger, router) = match self.family {
            Family::V4 => ("10.88.0.0/16", "192.0.2.7", "192.0.2.254"),
            Family::V6 => ("fd00:88::/48", "2001:db8::7", "2001:db8::fe"),
        };
        vec![
            ("DEVICE", self.device.to_owned()),
            ("UPLINK", "u0".to_owned()),
            ("NETWORK", network.to_owned()),
            ("STRANGER", stranger.to_owned()),
            ("ROUTER", router.to_owned()),
            ("PEER", self.block(number)),
            ("MAC", format!("02:00:00:00:00:{last}")),
            ("HOST", self.address(number)),
        ]
    }

    /// Those of the rows of others, all about the peer on the link.
    pub(crate) fn words_of_others(&self) -> [(&'static str, String); 2] {
        [("PEER", self.block("9")), ("STRANGER", self.address("9"))]
    }

    /// The first address of that peer's block.
    pub(crate) fn block(&self, number: &str) -> String {
        match (self.family, number) {
            (Family::V4, number) => format!("10.88.{number}.0"),
            (Family::V6, "9") => "fd00:88:0:9::".to_owned(),
            (Family::V6, _far) => "fd00:88:0:a::".to_owned(),
        }
    }

    fn address(&self, number: &str) -> String {
        let text = match (self.family, number) {
            (Family::V4, "9") => "192.0.2.9",
            (Family::V4, _far) => "198.51.100.10",
            (Family::V6, "9") => "2001:db8::9",
            (Family::V6, _far) => "2001:db8:1::10",
        };
        text.to_owned()
    }
}
