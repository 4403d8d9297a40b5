//! Kernel settings below `/proc/sys/net`, of the calling thread's namespace. Each is read before it
//! is written, so that a host on which all is well may have a read-only `/proc`.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::Error;

/// Lets the host pass packets on between its interfaces: `net.ipv4.ip_forward`. Tells whether that
/// had to be switched on.
pub fn ensure_forwarding() -> Result<bool, Error> {
    ensure(PathBuf::from("/proc/sys/net/ipv4/ip_forward"), "1")
}

/// The same for IPv6: `net.ipv6.conf.all.forwarding`.
///
/// To Linux a host that passes IPv6 on is a router, and a router believes no other (`accept_ra`), so
/// that interfaces would lose default routes that they have from one: of `believing` those that take them
/// are told to go on first.
pub fn ensure_ipv6_forwarding(believing: &[&str]) -> Result<bool, Error> {
    let mut switched = false;
    for interface in believing {
        let believes = of_device("ipv6", interface, "accept_ra");
        if read(&believes)? == "1" {
            switched |= ensure(believes, "2")?;
        }
    }
    Ok(ensure(of_device("ipv6", "all", "forwarding"), "1")? || switched)
}

/// Lets `device` carry IPv6, whatever the default is. Tells whether that had to be switched on.
pub fn ensure_ipv6(device: &str) -> Result<bool, Error> {
    ensure(of_device("ipv6", device, "disable_ipv6"), "0")
}

/// The same for an interface that containers have, or their bridge: it takes no configuration from whoever
/// advertises on its link, uses addresses without asking whether others have them (a port of a bridge in
/// hairpin mode would send the question back), and tells its neighbours when its hardware address changes.
pub fn ensure_ipv6_of_containers(device: &str) -> Result<(), Error> {
    for (setting, value) in [("accept_ra", "0"), ("accept_dad", "0"), ("ndisc_notify", "1")] {
        ensure(of_device("ipv6", device, setting), value)?;
    }
    ensure_ipv6(device).map(drop)
}

/// Lets the host pass on packets that come in through `device`, whatever the default is.
pub fn ensure_forwarding_from(device: &str) -> Result<bool, Error> {
    ensure(of_device("ipv4", device, "forwarding"), "1")
}

/// Lets packets in through `device` whose way back leads through another interface: `rp_filter`
/// loose.
pub fn ensure_loose_source_check(device: &str) -> Result<bool, Error> {
    let (path, all) =
        (of_device("ipv4", device, "rp_filter"), of_device("ipv4", "all", "rp_filter"));
    // The kernel goes by the higher of the two. Off is looser still: only the strict check is in the
    // way.
    if read(&path)?.max(read(&all)?) == "1" { ensure(path, "2") } else { Ok(false) }
}

/// Lets packets from and to the host's loopback addresses pass `device`, or no more. `false` also if there is no
/// such device.
pub fn ensure_loopback_routed(device: &str, on: bool) -> Result<bool, Error> {
    let value = if on { "1" } else { "0" };
    match ensure(of_device("ipv4", device, "route_localnet"), value) {
        Err(Error::ReadSysctl { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(false)
        }
        other => other,
    }
}

/// Lets in nothing through `device`, as far as settings go: no IPv6, no packets for others, none whose way back
/// does not lead there.
pub fn ensure_shut(device: &str) -> Result<(), Error> {
    ensure(of_device("ipv4", device, "rp_filter"), "1")?;
    ensure(of_device("ipv4", device, "forwarding"), "0")?;
    match ensure(of_device("ipv6", device, "disable_ipv6"), "1") {
        Err(Error::ReadSysctl { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map(drop),
    }
}

/// The ports that the kernel gives to whoever asks for any.
pub fn local_ports() -> Result<RangeInclusive<u16>, Error> {
    let path = PathBuf::from("/proc/sys/net/ipv4/ip_local_port_range");
    let text = read(&path)?;
    let mut ends = text.split_ascii_whitespace().map(str::parse);
    match (ends.next(), ends.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Ok(first..=last),
        _other => Err(Error::ReadSysctl { path, source: io::ErrorKind::InvalidData.into() }),
    }
}

/// Takes no IPv6 configuration from whoever advertises on `device`. A kernel without IPv6 takes
/// none anyway.
pub fn ensure_no_router_advertisements(device: &str) -> Result<bool, Error> {
    match ensure(of_device("ipv6", device, "accept_ra"), "0") {
        Err(Error::ReadSysctl { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(false)
        }
        other => other,
    }
}

// Not the dotted form: a device may have a dot in its name, `flannel.1` for one.
fn of_device(family: &str, device: &str, setting: &str) -> PathBuf {
    ["/proc/sys/net", family, "conf", device, setting].iter().collect()
}

fn ensure(path: PathBuf, value: &'static str) -> Result<bool, Error> {
    if read(&path)? == value {
        return Ok(false);
    }
    match fs::write(&path, value) {
        Ok(()) => Ok(true),
        Err(source) => Err(Error::WriteSysctl { path, value, source }),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|source| Error::ReadSysctl { path: path.to_owned(), source })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::Scratch;

    #[test]
    fn a_setting_is_made_once() {
        let Some(_scratch) = Scratch::enter() else { return };
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        assert!(ensure_forwarding().unwrap(), "it had to be switched on");
        assert!(!ensure_forwarding().unwrap(), "it is on already");
        assert_eq!(read(Path::new("/proc/sys/net/ipv4/ip_forward")).unwrap(), "1");
        fs::write("/proc/sys/net/ipv4/conf/lo/forwarding", "0").unwrap();
        assert!(ensure_forwarding_from("lo").unwrap());
        assert!(!ensure_forwarding_from("lo").unwrap());
    }

    #[test]
    fn a_host_that_passes_ipv6_on_still_believes_its_routers() {
        let Some(_scratch) = Scratch::enter() else { return };
        let path = |setting| of_device("ipv6", "lo", setting);
        // Whether it believes them before and after.
        for (before, after) in [("0", "0"), ("1", "2"), ("2", "2")] {
            fs::write(of_device("ipv6", "all", "forwarding"), "0").unwrap();
            fs::write(path("accept_ra"), before).unwrap();
            assert!(ensure_ipv6_forwarding(&["lo"]).unwrap(), "{before}");
            assert!(!ensure_ipv6_forwarding(&["lo"]).unwrap(), "{before}: it is on already");
            assert_eq!(read(&path("accept_ra")).unwrap(), after, "{before}");
            assert_eq!(read(&of_device("ipv6", "all", "forwarding")).unwrap(), "1");
        }
        fs::write(path("disable_ipv6"), "1").unwrap();
        assert!(ensure_ipv6("lo").unwrap() && !ensure_ipv6("lo").unwrap());
        fs::write(path("disable_ipv6"), "1").unwrap();
        ensure_ipv6_of_containers("lo").unwrap();
        let settings = ["accept_ra", "accept_dad", "ndisc_notify", "disable_ipv6"];
        assert_eq!(settings.map(|it| read(&path(it)).unwrap()), ["0", "0", "1", "0"]);
    }

    #[test]
    fn only_a_strict_source_check_is_loosened() {
        let Some(_scratch) = Scratch::enter() else { return };
        let path = |device| of_device("ipv4", device, "rp_filter");
        // Of all, of the device before and after, and whether it had to be written.
        let rows = [
            ("0", "0", "0", false),
            ("0", "1", "2", true),
            ("0", "2", "2", false),
            ("1", "0", "2", true),
            ("1", "2", "2", false),
            ("2", "0", "0", false),
        ];
        for (all, before, after, changed) in rows {
            fs::write(path("all"), all).unwrap();
            fs::write(path("lo"), before).unwrap();
            let name = format!("{before} under {all}");
            assert_eq!(ensure_loose_source_check("lo").unwrap(), changed, "{name}");
            assert_eq!(read(&path("lo")).unwrap(), after, "{name}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_that_names_the_file() {
        let error = ensure_forwarding_from("flannel.9999").unwrap_err();
        let path = "/proc/sys/net/ipv4/conf/flannel.9999/forwarding";
        assert_eq!(error.to_string(), format!("cannot read {path}"));
        assert!(error.hint().is_some());
        // IPv6 may be compiled out, so here it is no error.
        assert!(!ensure_no_router_advertisements("flannel.9999").unwrap());
    }
}
