//! The kernel's switches below `/proc/sys/net`, of the calling thread's namespace. Each is written only if
//! it is not as wanted: some writes reset other switches.

use std::fs;
use std::path::PathBuf;

use super::error::Error;

/// Lets the host pass packets on between its interfaces (`net.ipv4.ip_forward`).
pub fn ensure_forwarding() -> Result<(), Error> {
    ensure("ipv4/ip_forward".into(), "1")
}

/// The same for IPv6. To Linux the host is a router then, and believes no other one: `believing` are the
/// interfaces that have a default route from one, and are to keep it.
pub fn ensure_ipv6_forwarding(believing: &[String]) -> Result<(), Error> {
    for interface in believing {
        ensure(of_interface(interface, "accept_ra"), "2")?;
    }
    ensure(of_interface("all", "forwarding"), "1")
}

/// Lets an interface carry IPv6, whatever the default is. It takes no configuration from whoever
/// advertises on its link, uses addresses without asking whether others have them (a port of a bridge
/// in hairpin mode would send the question back), and tells its neighbours when its hardware address changes.
pub fn ensure_ipv6(interface: &str) -> Result<(), Error> {
    for (switch, value) in
        [("accept_ra", "0"), ("accept_dad", "0"), ("ndisc_notify", "1"), ("disable_ipv6", "0")]
    {
        ensure(of_interface(interface, switch), value)?;
    }
    Ok(())
}

// Not the dotted form: a name may have a dot in it.
fn of_interface(interface: &str, switch: &str) -> PathBuf {
    ["ipv6/conf", interface, switch].iter().collect()
}

fn ensure(switch: PathBuf, value: &'static str) -> Result<(), Error> {
    let path = PathBuf::from("/proc/sys/net").join(switch);
    let failed = |source| Error::Sysctl { path: path.clone(), value, source };
    if fs::read_to_string(&path).map_err(failed)?.trim() != value {
        fs::write(&path, value).map_err(failed)?;
    }
    Ok(())
}
