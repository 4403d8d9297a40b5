//! Why a container cannot be joined to, or taken off, the host's subnet.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use twill_core::ids::{Family, Mtu, Subnet};
use twill_core::subnet_env;
use twill_net::{blocking, netns};

use crate::ports::Port;
use crate::request::Owner;

/// An operation, the thing it was about, and what was in the way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody has said which subnet this host has.
    #[error("cannot read {path}, which says which subnet this host has")]
    ReadSubnetEnv {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// What says which subnet this host has makes no sense.
    #[error("{path} cannot be used")]
    ParseSubnetEnv {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: subnet_env::Error,
    },
    /// The pool's directory or a file in it cannot be read or written.
    #[error("cannot use {path} of the address pool")]
    Pool {
        /// The directory or file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel does not say which boot this is.
    #[error("cannot read {path}, which tells one boot from another")]
    ReadBootId {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A record of this boot is not what we write.
    #[error("{path} is not a record of the address pool")]
    ParseRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The interface is to carry less than IPv6 needs.
    #[error("an MTU of {mtu} is too small for the subnet of IPv6 that this host has")]
    TooSmallForIpv6 {
        /// What was asked for.
        mtu: Mtu,
    },
    /// Every address is in use.
    #[error("all {usable} addresses of this host's subnet {subnet} are in use")]
    Exhausted {
        /// The host's block.
        subnet: Subnet,
        /// How many containers it has room for.
        usable: u128,
    },
    /// The requested address is not this host's to give.
    #[error("address {address} is not in this host's subnet {subnet}")]
    AddressOutside {
        /// The requested address.
        address: IpAddr,
        /// The host's block.
        subnet: Subnet,
    },
    /// The requested address is of a family that this host has no subnet of.
    #[error("address {address} is of {}, which this host's network has not", Family::of(*.address))]
    NoSuchFamily {
        /// The requested address.
        address: IpAddr,
    },
    /// Two addresses are requested where one is given.
    #[error("a container cannot have both {0} and {1}", addresses[0], addresses[1])]
    TwoOfAFamily {
        /// The requested addresses.
        addresses: [IpAddr; 2],
    },
    /// The requested address has another meaning.
    #[error(
        "address {address} of {subnet} is the network's, the bridge's{}",
        if .address.is_ipv4() { " or the broadcast address" } else { "" }
    )]
    AddressReserved {
        /// The requested address.
        address: IpAddr,
        /// The host's block.
        subnet: Subnet,
    },
    /// The requested address belongs to somebody.
    #[error("address {address} is in use by {owner}")]
    AddressTaken {
        /// The requested address.
        address: IpAddr,
        /// Whom it belongs to.
        owner: Box<Owner>,
    },
    /// The requested port belongs to somebody. Docker's words.
    #[error("Bind for {} failed: port is already allocated: {owner} has it", port.place())]
    PortTaken {
        /// The requested port.
        port: Port,
        /// Whom it belongs to.
        owner: Box<Owner>,
    },
    /// A process holds the requested port.
    #[error("Bind for {} failed: port is already allocated", port.place())]
    PortOccupied {
        /// The requested port.
        port: Port,
    },
    /// The same, with what is known of the process.
    #[error("Bind for {} failed: port is already allocated: {by}", port.place())]
    PortInUse {
        /// The requested port.
        port: Port,
        /// Who has it, in words.
        by: String,
    },
    /// The host has no such address, or the kernel no such protocol.
    #[error("a port cannot be published at {}", port.place())]
    PortNotThere {
        /// The requested port.
        port: Port,
        /// What the kernel says.
        source: io::Error,
    },
    /// A port is to be published where no rule can lead it from.
    #[error("a port cannot be published at ::1, which Linux leads to no container: use 127.0.0.1")]
    PortAtLoopback,
    /// A port is to be published at an address of a family that containers have none of.
    #[error("a port cannot be published at {ip}: the network has no {}", Family::of(*.ip))]
    PortOfNoFamily {
        /// The host's address.
        ip: IpAddr,
    },
    /// Several things went wrong, each by itself.
    #[error("{}; and {} more: {}", first.in_full(), others.len(), list(others))]
    Several {
        /// What went wrong first.
        first: Box<Error>,
        /// The rest.
        others: Vec<Error>,
    },
    /// The container has no namespace of its own.
    #[error("{netns} is the network namespace of the host")]
    SameNamespace {
        /// What should be the container's.
        netns: PathBuf,
    },
    /// The container has such an interface already.
    #[error("network namespace {netns} has an interface {interface} already")]
    InterfaceExists {
        /// The interface.
        interface: String,
        /// The container's namespace.
        netns: PathBuf,
    },
    /// An interface of another kind has the bridge's name.
    #[error("interface {name} is not a bridge")]
    NotABridge {
        /// Its name.
        name: String,
    },
    /// The address of our bridge is on another interface.
    #[error("the gateway address {address} of this host's subnet is on interface {interface}")]
    GatewayElsewhere {
        /// The address.
        address: IpAddr,
        /// Who has it.
        interface: String,
    },
    /// The host reaches addresses of the subnet elsewhere.
    #[error("this host's subnet {subnet} overlaps the route to {route} on interface {interface}")]
    Overlap {
        /// The host's block.
        subnet: Subnet,
        /// What the host's route covers.
        route: Subnet,
        /// Where it leads.
        interface: String,
    },
    /// An interface that was there a moment ago is not there any more.
    #[error("interface {name} vanished while a container was joined")]
    Vanished {
        /// Its name.
        name: String,
    },
    /// Names of interfaces are made from the owner; all that this owner could have are taken.
    #[error("no name is left for the host's interface of {owner}")]
    NoName {
        /// For whom.
        owner: Box<Owner>,
    },
    /// A container has no address of the pool.
    #[error("{owner} is not joined to this host's subnet")]
    NotJoined {
        /// Whom it is about.
        owner: Box<Owner>,
    },
    /// The host has moved on, and the container has not.
    #[error("{owner} has {address}, but this host's subnet is {subnet} now")]
    Stranded {
        /// Whom it is about.
        owner: Box<Owner>,
        /// Its address, which may be another host's to give.
        address: IpAddr,
        /// The host's block.
        subnet: Subnet,
    },
    /// The host has a family more, and the container has not.
    #[error("{owner} has no address of {subnet}, which this host has now")]
    Lacking {
        /// Whom it is about.
        owner: Box<Owner>,
        /// The host's block.
        subnet: Subnet,
    },
    /// A joined container lacks something.
    #[error("{owner} is cut off: {what}")]
    Spoilt {
        /// Whom it is about.
        owner: Box<Owner>,
        /// In words.
        what: &'static str,
    },
    /// The kernel's network is not as asked.
    #[error(transparent)]
    Network(#[from] blocking::Error),
    /// A switch of the kernel cannot be read or set, or a rule not be written.
    #[error(transparent)]
    Sysctl(#[from] twill_net::Error),
    /// The container's namespace is not as it should be.
    #[error(transparent)]
    Netns(#[from] netns::Error),
}

fn list(errors: &[Error]) -> String {
    let words: Vec<String> = errors.iter().map(Error::in_full).collect();
    words.join("; ")
}

impl Error {
    /// Each of them, if there are any.
    pub(crate) fn all(mut errors: Vec<Self>) -> Result<(), Self> {
        if errors.len() < 2 {
            return errors.pop().map_or(Ok(()), Err);
        }
        let first = Box::new(errors.remove(0));
        Err(Self::Several { first, others: errors })
    }

    /// With all of its causes, in one line.
    #[must_use]
    pub fn in_full(&self) -> String {
        let mut words = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(next) = cause {
            words = format!("{words}: {next}");
            cause = next.source();
        }
        words
    }

    /// The way out, if there is one that we know.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::ReadSubnetEnv { .. } => "twilld.service writes it as soon as the host holds a \
                 subnet: start it, or see `systemctl status twilld`"
                .to_owned(),
            Self::ParseSubnetEnv { .. } => {
                "twilld.service writes it anew when it is restarted".to_owned()
            }
            Self::Exhausted { .. } => "remove containers, or give hosts larger subnets \
                 (`SubnetLen` of the network's configuration)"
                .to_owned(),
            Self::AddressOutside { subnet, .. } | Self::AddressReserved { subnet, .. } => {
                format!("choose a free address of {subnet}, or none")
            }
            Self::NoSuchFamily { .. } | Self::TwoOfAFamily { .. } => {
                "ask for one address of each family that the host's subnet has, or for none"
                    .to_owned()
            }
            Self::PortTaken { .. } => "publish another port, or remove that container".to_owned(),
            Self::PortOccupied { .. } | Self::PortInUse { .. } => {
                "publish another port, or end that process".to_owned()
            }
            Self::PortNotThere { .. } => "`ip address` lists this host's addresses".to_owned(),
            Self::PortAtLoopback | Self::PortOfNoFamily { .. } => {
                "publish it at another address, or at none: at all".to_owned()
            }
            Self::Several { first, .. } => return first.hint(),
            Self::AddressTaken { .. } => "choose another address, or none".to_owned(),
            Self::TooSmallForIpv6 { .. } => "choose 1280 or more, or none: the host's".to_owned(),
            Self::GatewayElsewhere { interface, .. } => format!(
                "join containers to that bridge, or remove it: `ip link delete {interface}`"
            ),
            Self::Overlap { .. } => "choose another network for the containers, or remove the \
                 route"
                .to_owned(),
            Self::NotABridge { .. } => "choose another bridge, or remove the interface".to_owned(),
            Self::ParseRecord { .. } => "remove the file if no container has the address of its \
                 name"
                .to_owned(),
            Self::NotJoined { .. }
            | Self::Stranded { .. }
            | Self::Lacking { .. }
            | Self::Spoilt { .. } => "delete the container or pod, and make it again".to_owned(),
            Self::Netns(_) | Self::SameNamespace { .. } => {
                "whoever starts the container makes a namespace for it \
                 first: look whether its process is alive, or the file that it is bound to is there"
                    .to_owned()
            }
            Self::Sysctl(error) => return error.hint().map(str::to_owned),
            _no_advice => return None,
        })
    }
}
