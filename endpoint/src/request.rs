//! What is asked of a host, and what it answers.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use twill_core::ids::{Family, Mac, Mtu, Subnet};
use twill_net::netns::Netns;

use crate::limits::Limits;
use crate::ports::Port;

/// The name of a network interface, as the kernel allows it: 1 to 15 bytes, no `/`, no `:`, no
/// white space, neither `.` nor `..` (`dev_valid_name` of the kernel, and the CNI specification).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Interface(String);

/// A text that cannot be the name of an interface.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` cannot be the name of a network interface")]
pub struct InvalidInterface(String);

impl Interface {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Interface {
    /// The bridge that containers join when nothing else is asked for.
    pub(crate) fn usual() -> Self {
        Self(crate::BRIDGE.to_owned())
    }
}

impl FromStr for Interface {
    type Err = InvalidInterface;

    fn from_str(text: &str) -> Result<Self, InvalidInterface> {
        let forbidden = |c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace();
        let fits = (1..=15).contains(&text.len()) && !matches!(text, "." | "..");
        if !fits || text.contains(forbidden) {
            return Err(InvalidInterface(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who looks after a container, and so may say that it is gone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Keeper {
    /// Twill's own runtime.
    Twill,
    /// A runtime that speaks CNI, for the network of this name.
    Cni(String),
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twill => f.write_str("twill"),
            Self::Cni(network) => write!(f, "cni:{network}"),
        }
    }
}

impl FromStr for Keeper {
    type Err = UnknownKeeper;

    fn from_str(text: &str) -> Result<Self, UnknownKeeper> {
        match text.split_once(':') {
            Some(("cni", network)) => Ok(Self::Cni(network.to_owned())),
            None if text == "twill" => Ok(Self::Twill),
            _other => Err(UnknownKeeper(text.to_owned())),
        }
    }
}

/// A text that names no [`Keeper`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is neither `twill` nor `cni:` and the name of a network")]
pub struct UnknownKeeper(String);

/// Whom an address belongs to: one interface of one container.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Owner {
    /// Who looks after the container.
    pub keeper: Keeper,
    /// The container's id, as its keeper calls it.
    pub container: String,
    /// The interface in it.
    pub interface: Interface,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keeper, container, interface } = self;
        write!(f, "{interface} of container {container} ({keeper})")
    }
}

/// A route for the container besides the default route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StaticRoute {
    /// Where it leads.
    pub destination: Subnet,
    /// The next hop; the bridge if not given.
    pub gateway: Option<IpAddr>,
}

/// A container's address of one family.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Place {
    /// The address; its prefix length is that of `subnet`.
    pub address: IpAddr,
    /// The host's block that it is of.
    pub subnet: Subnet,
}

impl Place {
    /// The bridge's address, the container's way out.
    #[must_use]
    pub fn gateway(&self) -> IpAddr {
        self.subnet.first_host()
    }

    /// Of which family it is.
    #[must_use]
    pub fn family(&self) -> Family {
        self.subnet.family()
    }
}

/// A wish to join a container to the host's subnet.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Whom the address will belong to, and the interface's name.
    pub owner: Owner,
    /// The container's network namespace. Its path is recorded, so that the address can be taken
    /// back when nothing is there any more; a path that outlives this process is best.
    pub netns: &'a Netns,
    /// The bridge to join.
    pub bridge: Interface,
    /// Addresses of the host's subnet, at most one of each family that it has; for the others the next
    /// free one is taken.
    pub addresses: Vec<IpAddr>,
    /// A hardware address, or one made from the address: whoever gets the address later is reached
    /// by neighbours that still remember the one before.
    pub mac: Option<Mac>,
    /// What the interface carries; what the host's subnet carries if not given.
    pub mtu: Option<Mtu>,
    /// May the container reach itself through the bridge? Needed for ports that are published on
    /// the host and used from inside.
    pub hairpin: bool,
    /// Shall everything else go through the bridge, in each family?
    pub default_route: bool,
    /// Further routes.
    pub routes: Vec<StaticRoute>,
    /// Refuse what the container sends from another address of the host's subnet than its own, and
    /// let no other container draw its hardware address to itself?
    pub spoof_check: bool,
    /// Ports that the host passes on to the container.
    pub ports: Vec<Port>,
    /// Names that the agent answers with its addresses.
    pub aliases: Vec<String>,
    /// How fast its packets may come and go.
    pub limits: Limits,
}

impl<'a> Request<'a> {
    /// The usual wish: the next free address, the usual bridge, a default route.
    #[must_use]
    pub fn new(owner: Owner, netns: &'a Netns) -> Self {
        Self {
            owner,
            netns,
            bridge: Interface::usual(),
            addresses: Vec::new(),
            mac: None,
            mtu: None,
            hairpin: true,
            default_route: true,
            routes: Vec::new(),
            spoof_check: true,
            ports: Vec::new(),
            aliases: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// An interface that takes part in an [`Attachment`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct End {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: Mac,
}

/// A container that has been joined to the host's subnet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attachment {
    /// The bridge on the host.
    pub bridge: End,
    /// The host's end of the pair, a port of the bridge.
    pub host: End,
    /// The container's end of the pair.
    pub container: End,
    /// The container's addresses, one for each family of the network, IPv4 first.
    pub places: Vec<Place>,
    /// What the container's interface carries.
    pub mtu: Mtu,
    /// The container's routes through the interface, the default routes first.
    pub routes: Vec<StaticRoute>,
    /// The container's network namespace.
    pub netns: PathBuf,
}

impl Attachment {
    /// The bridge's address of that family.
    #[must_use]
    pub fn gateway(&self, family: Family) -> Option<IpAddr> {
        self.places.iter().find(|place| place.family() == family).map(Place::gateway)
    }
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(Interface, Keeper);
