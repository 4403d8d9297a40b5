//! What this process may do and this kernel can, asked once at the start.

use std::fs::{self, OpenOptions};
use std::io;

use crate::{Error, TUN_PATH};

/// What was found. Code branches on this, and not on error numbers deep down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// May the process change the network of its namespace?
    pub net_admin: bool,
    /// Does the TUN driver answer? The error number if not.
    pub tun: Result<(), i32>,
}

/// The bit of `CAP_NET_ADMIN` (`linux/capability.h`).
const NET_ADMIN: u32 = 12;

impl Capabilities {
    /// Asks the kernel; changes nothing.
    #[must_use]
    pub fn probe() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let tun = OpenOptions::new().read(true).write(true).open(TUN_PATH);
        let tun = tun.map(drop).map_err(|error| error.raw_os_error().unwrap_or_default());
        Self { net_admin: has_effective(&status, NET_ADMIN), tun }
    }

    /// Refuses a process that cannot change the network.
    pub fn need_net_admin(self) -> Result<(), Error> {
        if self.net_admin { Ok(()) } else { Err(Error::NotPermitted) }
    }

    /// Refuses a host without a TUN driver, which the udp backend cannot do without.
    pub fn need_tun(self) -> Result<(), Error> {
        let source = |code| Error::OpenTun { source: io::Error::from_raw_os_error(code) };
        self.tun.map_err(source)
    }
}

/// Reads the line `CapEff:` of `/proc/<pid>/status`, see `proc_pid_status(5)`.
fn has_effective(status: &str, capability: u32) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    set.is_some_and(|set| set >> capability & 1 == 1)
}
