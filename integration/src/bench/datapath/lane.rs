//! Ways for packets from one end to the other, all on this machine, all between two hosts of a lab.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use anyhow::Result;
use nix::unistd::Pid;

use super::memory::Memory;
use crate::container::Endpoint;
use crate::enter::within;
use crate::fabric::Backend;
use crate::host::Host;

/// How packets get from one host to the other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub(super) enum Path {
    /// From host to host, without containers: what the wire and this machine can do at all
    Raw,
    /// By routes alone: Twill's backend host-gw
    Routed,
    /// By the kernel's VXLAN device: Twill's backend vxlan
    Vxlan,
    /// Through a TUN, one call into the kernel for each packet, as flanneld's udp does it
    Naive,
    /// Through tinc 1.0, without encryption and authentication, if it is installed
    Tinc,
    /// Through twilld: Twill's backend udp, by the kernel's shortcut where it can
    Twill,
    /// Through twilld: Twill's backend udp, all of it in user space
    TwillUser,
}

/// A network namespace and its address.
#[derive(Clone, Debug)]
pub(super) struct End {
    network: PathBuf,
    pub(super) address: IpAddr,
}

/// One path, ready.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) path: Path,
    pub(super) near: End,
    pub(super) far: End,
    /// What both ends' interfaces carry.
    pub(super) mtu: usize,
    /// The programs on the way, or beside it, on both hosts.
    pub(super) programs: Vec<Pid>,
    /// What each of them had when it was ready, before it carried anything.
    pub(super) before: Vec<Memory>,
}

impl Path {
    /// In tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw veth",
            Self::Routed => "routed",
            Self::Vxlan => "VXLAN",
            Self::Naive => "naive",
            Self::Tinc => "tinc",
            Self::Twill => "twill udp",
            Self::TwillUser => "in user space",
        }
    }

    /// The backend with which Twill makes it.
    pub(super) fn backend(self) -> Option<Backend> {
        match self {
            Self::Routed => Some(Backend::HostGw),
            Self::Vxlan => Some(Backend::Vxlan),
            Self::Twill => Some(Backend::UdpShortcut),
            Self::TwillUser => Some(Backend::Udp),
            Self::Raw | Self::Naive | Self::Tinc => None,
        }
    }
}

impl End {
    /// A host itself.
    pub(super) fn host(host: &Host, address: Ipv4Addr) -> Self {
        Self { network: host.network_of(1), address: address.into() }
    }

    /// A named network namespace on a host.
    pub(super) fn named(host: &Host, (name, address): (&str, Ipv4Addr)) -> Self {
        Self { network: host.path(&format!("/run/netns/{name}")), address: address.into() }
    }

    /// A container or pod.
    pub(super) fn endpoint(of: &Endpoint) -> Self {
        Self { network: of.host.path(&of.network), address: of.address }
    }

    /// Runs `work` in its network namespace; sockets made there may be carried out.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.network, work)
    }
}

impl Lane {
    /// With the programs `programs`, which have carried nothing yet.
    pub(super) fn new(
        path: Path,
        ends: [End; 2],
        (mtu, programs): (usize, Vec<Pid>),
    ) -> Result<Self> {
        let [near, far] = ends;
        let before = programs.iter().map(|pid| Memory::of(*pid)).collect::<Result<_>>()?;
        Ok(Self { path, near, far, mtu, programs, before })
    }
}
