//! One address and whom it belongs to, as a file.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use twill_core::ids::Subnet;
use twill_net::netns::Identity;

use crate::limits::Limits;
use crate::mac::fnv1a;
use crate::ports::Port;
use crate::request::{Interface, Owner, Place};

/// How many names an owner's interface on the host can have. One does nearly always: two of a
/// thousand containers share their first name once in two million hosts.
const NAMES_PER_OWNER: u8 = 4;

/// An address of the pool, or one of each family, and whom they belong to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Whom the address belongs to.
    #[serde(flatten)]
    pub owner: Owner,
    /// The address; that of IPv4, if there are two.
    pub address: IpAddr,
    /// The host's block at the time.
    pub subnet: Subnet,
    /// The address of IPv6 beside one of IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Place>,
    /// The bridge that the container was joined to.
    pub bridge: Interface,
    /// The host's end of the pair.
    pub host_interface: String,
    /// The container's namespace.
    pub netns: NetnsRecord,
    /// The boot in which this was written: no interface, and
    /// so no record, outlives it.
    pub boot_id: String,
    /// When it was written, in seconds since 1970.
    pub made_at: u64,
    /// Is the container kept to its own addresses?
    #[serde(default)]
    pub spoof_check: bool,
    /// Which of its ports the host passes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// What else it is called; those of Twill's own containers are known from their own records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// How fast its packets come and go.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
}

impl Record {
    /// The addresses, IPv4 first.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let first = Place { address: self.address, subnet: self.subnet };
        [first].into_iter().chain(self.ipv6)
    }
}

/// A network namespace, as remembered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NetnsRecord {
    /// Where it was found.
    pub path: PathBuf,
    /// The device number of its file.
    pub device: u64,
    /// The inode number of its file: a path below `/proc` can lead to another namespace by now.
    pub inode: u64,
}

impl NetnsRecord {
    pub(crate) fn new(path: PathBuf, identity: Identity) -> Self {
        Self { path, device: identity.device, inode: identity.inode }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { device: self.device, inode: self.inode }
    }
}

/// The name of a record's file. It holds all that is needed to give out an address or to find an
/// owner's record, so that neither has to open the others: `10.5.2.7,tw0a1b2c3d4e.json`, or with two
/// families `10.5.2.7,fd00::7,tw0a1b2c3d4e.json`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Entry {
    /// At least one.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) host_interface: String,
}

impl Entry {
    pub(crate) fn of(record: &Record) -> Self {
        let addresses = record.places().map(|place| place.address).collect();
        Self { addresses, host_interface: record.host_interface.clone() }
    }

    /// `None` for a file that is no record.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (addresses, interface) = name.strip_suffix(".json")?.rsplit_once(',')?;
        let addresses = addresses.split(',').map(|address| address.parse().ok());
        let addresses = addresses.collect::<Option<_>>()?;
        Some(Self { addresses, host_interface: interface.to_owned() })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for address in &self.addresses {
            write!(f, "{address},")?;
        }
        write!(f, "{}.json", self.host_interface)
    }
}

/// The names that the host's end of the owner's pair may have, in the order in which they are
/// tried: `tw` and 40 bits of a hash. The same for ever, so that a DEL finds the interface even if
/// the record is lost.
pub(crate) fn host_interfaces(owner: &Owner) -> impl Iterator<Item = String> {
    let Owner { keeper, container, interface } = owner;
    let text = format!("{keeper}\0{container}\0{interface}");
    (0..NAMES_PER_OWNER).map(move |attempt| {
        let hash = fnv1a(text.bytes().chain([0, attempt]));
        format!("tw{:010x}", (hash >> 40 ^ hash) & 0xff_ffff_ffff)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::request::Keeper;

    #[test]
    fn names_are_lasting_and_different() {
        let all: BTreeSet<String> =
            (0..10_000).filter_map(|n| host_interfaces(&owner(&n.to_string())).next()).collect();
        assert_eq!(all.len(), 10_000);
        assert!(all.iter().all(|name| name.parse::<Interface>().is_ok()));
        let names: Vec<String> = host_interfaces(&owner("web")).collect();
        // A release that makes other names would not find the interfaces of the one before.
        assert_eq!(names, ["tw392d9306b6", "tw392d930460", "tw392d93010e", "tw392d9300fc"]);
    }

    #[test]
    fn entries_are_file_names() {
        let host_interface = "tw0a1b2c3d4e".to_owned();
        for (name, addresses) in [
            ("10.5.2.7,tw0a1b2c3d4e.json", &["10.5.2.7"][..]),
            ("fd00::7,tw0a1b2c3d4e.json", &["fd00::7"]),
            ("10.5.2.7,fd00::7,tw0a1b2c3d4e.json", &["10.5.2.7", "fd00::7"]),
        ] {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            let entry = Entry { addresses, host_interface: host_interface.clone() };
            assert_eq!(entry.to_string(), name);
            assert_eq!(Entry::parse(name), Some(entry));
        }
        for other in [".new", "lock", "boot", "10.5.2.7.json", "10.5.2,tw0.json", ",.json"] {
            assert_eq!(Entry::parse(other), None, "{other}");
        }
    }

    #[test]
    fn records_of_one_family_are_as_before() {
        let text = r#"{
  "keeper": "twill",
  "container": "web",
  "interface": "eth0",
  "address": "10.5.2.7",
  "subnet": "10.5.2.0/24",
  "bridge": "twill0",
  "hostInterface": "tw0a1b2c3d4e",
  "netns": {
    "path": "/proc/7/ns/net",
    "device": 4,
    "inode": 7
  },
  "bootId": "b",
  "madeAt": 1,
  "spoofCheck": true
}"#;
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(record.places().count(), 1);
        assert_eq!(serde_json::to_string_pretty(&record).unwrap(), text);
        let place =
            Place { address: "fd00::7".parse().unwrap(), subnet: "fd00::/64".parse().unwrap() };
        let both = Record { ipv6: Some(place), ..record };
        let text = serde_json::to_string(&both).unwrap();
        assert!(text.contains(r#""ipv6":{"address":"fd00::7","subnet":"fd00::/64"}"#), "{text}");
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), both);
    }

    fn owner(container: &str) -> Owner {
        let interface = "eth0".parse().unwrap();
        Owner { keeper: Keeper::Twill, container: container.to_owned(), interface }
    }
}
