//! What can go wrong at the kernel's door, and what to do about it.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use twill_core::firewall::Variant;
use twill_core::firewall::choose::Missing;
use twill_core::ids::{Family, Mac, Subnet};
use twill_core::plan::Change;

/// An operation, the thing it was about, and what the kernel or a child said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no socket to talk to the kernel with.
    #[error("cannot open a netlink socket")]
    OpenNetlink {
        /// What the kernel says.
        source: io::Error,
    },
    /// The socket that tells of changes broke.
    #[error("cannot listen for changes of links, addresses, routes and neighbours")]
    Listen {
        /// What the kernel says.
        source: io::Error,
    },
    /// There is no socket to send echoes with.
    #[error("cannot send ICMP echoes")]
    Echo {
        /// What the kernel says.
        source: io::Error,
    },
    /// They cannot be sent from where they were to be sent.
    #[error("cannot send ICMP echoes out of a container")]
    EchoWithin {
        /// Why its namespace cannot be entered.
        source: crate::netns::Error,
    },
    /// The others on the link do not hear where an address is now.
    #[error("cannot announce {address} on its link")]
    Announce {
        /// Which one.
        address: twill_core::ids::Underlay,
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel does not show a table.
    #[error("cannot list {table}")]
    List {
        /// In words.
        table: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// No interface has that name.
    #[error("there is no interface {name}")]
    NoInterface {
        /// The name.
        name: String,
    },
    /// An interface of that name is something else, and not ours to take away.
    #[error("interface {name} is not {wanted}")]
    ForeignInterface {
        /// The name.
        name: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// No new interface.
    #[error("cannot create interface {name}")]
    CreateInterface {
        /// The name.
        name: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// A program stays where it was.
    #[error("cannot take a program of the udp shortcut away")]
    DropProgram {
        /// What the kernel says.
        source: io::Error,
    },
    /// An interface of the wrong shape cannot be taken away.
    #[error("cannot delete interface {name}")]
    DeleteInterface {
        /// The name.
        name: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel was built without it, or its module is not installed.
    #[error("the kernel {release} has no WireGuard, neither built in nor as a module")]
    NoWireguard {
        /// Which kernel.
        release: String,
        /// What it says.
        source: io::Error,
    },
    /// A property of an interface cannot be set.
    #[error("cannot set the {property} of interface {name}")]
    SetInterface {
        /// The interface.
        name: String,
        /// The property, in words.
        property: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// Somebody changed the hardware address after we set it.
    #[error("interface {name} has hardware address {found} instead of {wanted}")]
    ChangedMac {
        /// The interface.
        name: String,
        /// What we set.
        wanted: Mac,
        /// What is there.
        found: Mac,
    },
    /// An address cannot be given to an interface.
    #[error("cannot add address {address} to interface {name}")]
    AddAddress {
        /// The interface.
        name: String,
        /// The address.
        address: IpAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// An address cannot be taken from an interface.
    #[error("cannot delete address {address} from interface {name}")]
    DeleteAddress {
        /// The interface.
        name: String,
        /// The address.
        address: IpAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// There is no talking with the kernel about rows.
    #[error("cannot write routes, neighbours and forwarding entries")]
    WriteRows {
        /// What the kernel says.
        source: io::Error,
    },
    /// A row towards a peer cannot be written or dropped.
    #[error("cannot {change}")]
    Apply {
        /// The write.
        change: Box<Change>,
        /// What the kernel says.
        source: io::Error,
    },
    /// A route of ours cannot be dropped when a host leaves the network.
    #[error("cannot drop the {route}")]
    DropRoute {
        /// In words.
        route: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// Somebody else has a route to a peer's block.
    #[error("a route to {subnet} that is not ours leads through {through}")]
    ForeignRoute {
        /// The peer's block.
        subnet: Subnet,
        /// The interface of the foreign route, or what there is of it.
        through: String,
    },
    /// No interface is what the options ask for.
    #[error("no interface {sought}; this host has {present}")]
    NoUplink {
        /// What was looked for, in words.
        sought: String,
        /// The interfaces of this host, with their addresses.
        present: String,
    },
    /// The interface is there, and of no use.
    #[error("interface {name} has no usable {family} address")]
    NoAddress {
        /// The interface.
        name: String,
        /// Of which kind.
        family: Family,
    },
    /// The interface carries nothing useful.
    #[error("interface {name} has an MTU of {mtu}")]
    UselessMtu {
        /// The interface.
        name: String,
        /// In bytes.
        mtu: u32,
    },
    /// The kernel knows no way to an address.
    #[error("cannot find the route to {destination}")]
    RouteTo {
        /// The address.
        destination: IpAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel does not say where it would send a packet.
    #[error("cannot ask where packets for {destination} go")]
    LookUp {
        /// The address.
        destination: IpAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// A kernel setting cannot be read.
    #[error("cannot read {path}")]
    ReadSysctl {
        /// The setting, as a file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A kernel setting cannot be written.
    #[error("cannot write {value} to {path}")]
    WriteSysctl {
        /// The setting, as a file.
        path: PathBuf,
        /// What was to be written.
        value: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// A program cannot be started.
    #[error("cannot run {program}")]
    StartProgram {
        /// The program.
        program: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The process that keeps rights which we give up cannot be started.
    #[error("cannot start the process that runs the subnet hook")]
    StartAttendant {
        /// What the kernel says.
        source: io::Error,
    },
    /// It is gone.
    #[error("the process that runs the subnet hook has died")]
    TellAttendant {
        /// What the kernel says.
        source: io::Error,
    },
    /// Rights belong to threads, and only the calling one can be told.
    #[error("cannot give up rights beside another thread")]
    RightsOfThreads,
    /// Rights that are not needed cannot be given up.
    #[cfg(feature = "agent")]
    #[error("cannot give up the rights that are not needed")]
    ShedRights {
        /// What the kernel says.
        source: caps::errors::CapsError,
    },
    /// A program did not end in time, and was killed.
    #[error("{program} did not end within {deadline:?}")]
    Deadline {
        /// The program.
        program: String,
        /// How long it had.
        deadline: Duration,
    },
    /// A program ended with an error.
    #[error("{program} failed ({status}): {complaint}")]
    ProgramFailed {
        /// The program.
        program: String,
        /// Its exit status or signal, in words.
        status: String,
        /// What it wrote to stderr.
        complaint: String,
    },
    /// The iptables program is not what we know.
    #[error("cannot read a version out of what iptables says of itself: {text}")]
    StrangeIptables {
        /// What it says.
        text: String,
    },
    /// There is nothing to write rules with.
    #[error("cannot write firewall rules")]
    NoFirewall {
        /// What is missing.
        source: Missing,
    },
    /// There are rules of IPv6 to write, and nothing to write them with.
    #[error("there is no ip6tables ({variant}) beside the iptables of that kind")]
    NoIp6tables {
        /// The kind.
        variant: Variant,
    },
    /// The kernel's memory of connections is closed to us.
    #[error("cannot make the kernel forget where connections of former rules led")]
    ForgetFlows {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel does not take rules, or does not show them.
    #[error("cannot write the rules of published ports")]
    WriteRules {
        /// What the kernel says.
        source: io::Error,
    },
    /// The socket that tells of changed rules cannot be had.
    #[error("cannot listen for changes of the firewall rules")]
    WatchRules {
        /// What the kernel says.
        source: io::Error,
    },
    /// The process lacks a privilege.
    #[error("changing the network needs root, or at least CAP_NET_ADMIN")]
    NotPermitted,
    /// The TUN driver does not answer.
    #[error("cannot open {path}", path = crate::TUN_PATH)]
    OpenTun {
        /// What the kernel says.
        source: io::Error,
    },
}

const NO_WIREGUARD: &str = "`modprobe wireguard` tells why: Linux has it since 5.6, some distributions in a package of extra \
                            modules; or give the network another backend: `twillctl network set --backend vxlan`";
const TAKEN_PORT: &str = "another program or device has that UDP port: `ss -uanp`, `wg show`; or choose another \
                          ListenPort for the whole network";
const NO_TUN: &str = "load the driver with `modprobe tun`; in a container pass the device in, \
                      or make it with `mkdir -p /dev/net && mknod /dev/net/tun c 10 200`";
const NO_UPLINK: &str = "name the interface that reaches the other hosts with --iface";
const NO_IPV6: &str = "give it an address of IPv6 that is valid beyond its link, or name another interface with \
                       --iface; a network gives IPv6 up with `twillctl network set --ipv6-network default`";

impl Error {
    /// The way out, for people, where there is one to name.
    pub fn hint(&self) -> Option<&'static str> {
        use io::ErrorKind::{
            AddrInUse, AlreadyExists, NotFound, PermissionDenied, ReadOnlyFilesystem,
        };
        match self {
            Self::Echo { .. } => {
                Some("give it CAP_NET_RAW, or its group a place in net.ipv4.ping_group_range")
            }
            Self::NotPermitted => Some("run it as root, or from its systemd unit"),
            Self::OpenTun { source } if source.kind() == NotFound => Some(NO_TUN),
            Self::OpenTun { .. } => Some("in a container, pass /dev/net/tun in and allow its use"),
            Self::CreateInterface { source, .. } if is_unsupported(source) => Some(
                "this kernel has no VXLAN: load it with `modprobe vxlan`, or use the udp backend",
            ),
            Self::CreateInterface { source, .. } if source.kind() == AlreadyExists => Some(
                "another VXLAN device has this identifier and port; see `ip -d link show type vxlan`",
            ),
            Self::NoWireguard { .. } => Some(NO_WIREGUARD),
            Self::SetInterface { source, .. } if source.kind() == AddrInUse => Some(TAKEN_PORT),
            Self::SetInterface { property: "MTU", .. } => {
                Some("the MTU in the network's configuration may not exceed the uplink's")
            }
            Self::ChangedMac { .. } => Some(
                "keep others off it; for systemd, a .link file that matches flannel.* with \
                 MACAddressPolicy=none",
            ),
            Self::ForeignRoute { .. } => {
                Some("delete that route, or choose another network for the containers")
            }
            Self::NoAddress { family: Family::V6, .. } => Some(NO_IPV6),
            Self::NoUplink { .. } | Self::NoAddress { .. } => Some(NO_UPLINK),
            Self::ReadSysctl { source, .. } if source.kind() == NotFound => {
                Some("is /proc mounted, and the kernel built with this setting?")
            }
            Self::TellAttendant { .. } => {
                Some("start the agent again: it has given up the rights to start another one")
            }
            Self::WriteSysctl { source, .. }
                if matches!(source.kind(), ReadOnlyFilesystem | PermissionDenied) =>
            {
                Some("/proc/sys is read-only here: make the setting from outside the container")
            }
            Self::NoFirewall { source: Missing::Nft } => {
                Some("install the package nftables, have /usr/sbin in PATH, or use --firewall auto")
            }
            Self::NoIp6tables { .. } | Self::NoFirewall { .. } => Some(
                "install the package iptables or nftables, have /usr/sbin in PATH, or look after \
                 the rules yourself with --firewall none",
            ),
            _no_advice => None,
        }
    }
}

// The standard library's `ErrorKind::Unsupported` covers EOPNOTSUPP, which is what rtnetlink says
// of a kind of link that the kernel was built without.
fn is_unsupported(source: &io::Error) -> bool {
    source.kind() == io::ErrorKind::Unsupported
}

#[cfg(test)]
mod tests {
    use nix::libc;

    use super::*;

    /// What the kernel says, and a word that the way out has to hold.
    #[test]
    fn hints() {
        let name = || "flannel.1".to_owned();
        let create = |code| Error::CreateInterface { name: name(), source: os(code) };
        let no_wireguard =
            || Error::NoWireguard { release: "6.1.0".to_owned(), source: os(libc::ENOENT) };
        let property = "key or port";
        let taken = |code| Error::SetInterface { name: name(), property, source: os(code) };
        let write = |code| Error::WriteSysctl {
            path: "/proc/sys/net/ipv4/ip_forward".into(),
            value: "1",
            source: os(code),
        };
        let cases = [
            ("no VXLAN in the kernel", create(libc::EOPNOTSUPP), "udp backend"),
            ("identifier taken", create(libc::EEXIST), "another VXLAN device"),
            ("read-only /proc", write(libc::EROFS), "read-only"),
            ("not allowed to write", write(libc::EACCES), "read-only"),
            ("no engine", Error::NoFirewall { source: Missing::Both }, "iptables or nftables"),
            ("no nft", Error::NoFirewall { source: Missing::Nft }, "package nftables"),
            ("no IPv6", Error::NoIp6tables { variant: Variant::Legacy }, "package iptables"),
            ("no WireGuard", no_wireguard(), "modprobe wireguard"),
            ("its port is taken", taken(libc::EADDRINUSE), "UDP port"),
            ("no TUN driver", Error::OpenTun { source: os(libc::ENOENT) }, "modprobe tun"),
            ("TUN not allowed", Error::OpenTun { source: os(libc::EPERM) }, "in a container"),
            ("not root", Error::NotPermitted, "as root"),
            ("no address", Error::NoAddress { name: name(), family: Family::V6 }, "of IPv6"),
        ];
        for (name, error, word) in cases {
            let hint = error.hint().unwrap_or_default();
            assert!(hint.contains(word), "{name}: {hint}");
        }
    }

    #[test]
    fn where_there_is_no_advice_there_is_no_hint() {
        let error = Error::DeleteInterface { name: "x".to_owned(), source: os(libc::EBUSY) };
        assert_eq!(error.hint(), None);
        assert_eq!(error.to_string(), "cannot delete interface x");
    }

    fn os(code: i32) -> io::Error {
        io::Error::from_raw_os_error(code)
    }
}
