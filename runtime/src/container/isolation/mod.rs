//! What sets a container apart from others besides its powers: limits, devices, namespaces. Pure.

mod device;
mod sharing;
mod sysctl;
mod ulimit;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use device::Device;
pub use sharing::{Ipc, Pid, Uts};
pub use sysctl::Sysctl;
pub use ulimit::Ulimit;

/// Docker's, unless something else was asked for.
pub const SHM_SIZE: u64 = 64 << 20;

/// The wishes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Isolation {
    /// Is its root file system read-only?
    pub read_only: bool,
    /// Does a small first process of ours reap orphans?
    pub init: bool,
    /// The last one for a resource counts.
    pub ulimits: Vec<Ulimit>,
    /// Further groups of its processes, by name or number.
    pub groups: Vec<String>,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<u64>,
    /// Parameters of the kernel that belong to a namespace.
    pub sysctls: BTreeMap<String, String>,
    /// Whose processes it sees.
    pub pid: Pid,
    /// Whose shared memory it sees.
    pub ipc: Ipc,
    /// Whose name it has.
    pub uts: Uts,
    /// The name of its NIS domain.
    pub domainname: String,
}

impl Isolation {
    /// Bytes of `/dev/shm`.
    #[must_use]
    pub fn shm(&self) -> u64 {
        self.shm_size.unwrap_or(SHM_SIZE)
    }
}
