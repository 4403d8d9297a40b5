//! Twill's only door to the kernel's network.
//!
//! Two ways in: `blocking` for programs that do one thing and end, and, with the feature `agent`,
//! an asynchronous `Kernel` for the one that stays. Whatever is written here carries our mark, and
//! whatever does not carry it is left alone: routes have [`ROUTE_PROTOCOL`], devices and chains
//! have our names.

#[cfg(feature = "agent")]
pub mod attendant;
pub mod blocking;
#[cfg(feature = "agent")]
pub mod capabilities;
#[cfg(feature = "agent")]
pub mod command;
mod conntrack;
#[cfg(feature = "agent")]
pub mod errand;
mod error;
#[cfg(feature = "agent")]
pub mod firewall;
#[cfg(feature = "agent")]
pub mod ipsec;
#[cfg(feature = "agent")]
pub mod kernel;
mod netfilter;
mod netlink;
pub mod netns;
#[cfg(feature = "agent")]
pub mod ping;
pub mod ports;
#[cfg(feature = "agent")]
pub mod process;
#[cfg(feature = "agent")]
pub mod rights;
#[cfg(feature = "agent")]
pub mod survey;
pub mod sysctl;

pub use error::Error;
#[cfg(feature = "agent")]
pub use kernel::Kernel;

/// What tells our routes from other people's (`rtm_protocol`; 84 is nobody's, and `T` in ASCII).
pub const ROUTE_PROTOCOL: u8 = 84;

/// The TUN driver.
pub const TUN_PATH: &str = "/dev/net/tun";
