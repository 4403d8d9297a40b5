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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_read() {
        for (name, status, want) in [
            ("root", "Name:\tx\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n", true),
            ("that one alone", "CapEff:\t0000000000001000\n", true),
            ("all but that one", "CapEff:\t000001ffffffefff\n", false),
            ("another set", "CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000000\n", false),
            ("nothing to read", "", false),
            ("not a number", "CapEff:\tall\n", false),
        ] {
            assert_eq!(has_effective(status, NET_ADMIN), want, "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_a_way_out() {
        let enoent = nix::libc::ENOENT;
        let none = Capabilities { net_admin: false, tun: Err(enoent) };
        let error = none.need_net_admin().unwrap_err();
        assert!(error.to_string().contains("needs root"), "{error}");
        assert!(error.hint().unwrap().contains("systemd"));
        let error = none.need_tun().unwrap_err();
        assert_eq!(error.to_string(), "cannot open /dev/net/tun");
        assert!(error.hint().unwrap().contains("modprobe tun"));
        let all = Capabilities { net_admin: true, tun: Ok(()) };
        assert!(all.need_net_admin().is_ok() && all.need_tun().is_ok());
    }
}
