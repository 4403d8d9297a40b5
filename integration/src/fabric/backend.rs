//! How packets travel, and what that means for devices and sizes.

/// How packets travel between hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Backend {
    /// Through a TUN device and a user-space process, flannel's default.
    Udp,
    /// The same, and what is ordinary by the kernel's shortcut.
    UdpShortcut,
    /// By the kernel.
    Vxlan,
    /// By the kernel, encrypted.
    Wireguard,
    /// By routes alone.
    HostGw,
}

impl Backend {
    /// The word for it in configurations and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp | Self::UdpShortcut => "udp",
            Self::Vxlan => "vxlan",
            Self::Wireguard => "wireguard",
            Self::HostGw => "host-gw",
        }
    }

    /// What agents are told beside the network's configuration.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Self::UdpShortcut => &["--udp-shortcut=auto"],
            Self::Udp => &["--udp-shortcut=off"],
            Self::Vxlan | Self::Wireguard | Self::HostGw => &[],
        }
    }

    /// The tunnel's device; the uplink where there is no tunnel.
    pub fn device(self) -> &'static str {
        match self {
            Self::Udp | Self::UdpShortcut => "flannel0",
            Self::Vxlan => "flannel.1",
            Self::Wireguard => "flannel-wg",
            Self::HostGw => "eth0",
        }
    }

    /// What a container's interface carries on an underlay of 1500 bytes.
    pub fn mtu(self) -> usize {
        match self {
            Self::Udp | Self::UdpShortcut => 1472,
            Self::Vxlan => 1450,
            Self::Wireguard => 1440,
            Self::HostGw => 1500,
        }
    }
}
