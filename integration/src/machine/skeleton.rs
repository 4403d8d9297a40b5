//! What a machine has on its disk before its first boot, and how it is started.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::HOME;
use crate::host::Host;
use crate::lab::{ROUTER, address};

/// What of this machine's `/etc` a machine needs for its users, its libraries and its tools.
const ETC: [&str; 30] = [
    "alternatives",
    "ca-certificates.conf",
    "containers",
    "dbus-1",
    "debconf.conf",
    "debian_version",
    "dpkg",
    "ethertypes",
    "group",
    "gshadow",
    "host.conf",
    "init.d",
    "iproute2",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "login.defs",
    "nsswitch.conf",
    "pam.conf",
    "pam.d",
    "passwd",
    "protocols",
    "rpc",
    "security",
    "services",
    "shadow",
    "ssl/certs",
    "subgid",
    "subuid",
    "xattr.conf",
];

/// Units that wait for people, or ask the outside.
const MASKED: [&str; 3] = ["console-getty", "systemd-firstboot", "systemd-timesyncd"];

/// Runs before all others: `systemd-nspawn` mounts controllers to be read only, and images of containers,
/// as continuous integration has them, forbid packages to start services.
const FIRST: &str = "[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for group in /sys/fs/cgroup/*/; do mount -o remount,rw,bind $group || :; done 2>/dev/null'
ExecStart=/bin/rm -f /usr/sbin/policy-rc.d
";

const JOURNAL: &str =
    "[Journal]\nStorage=persistent\nForwardToConsole=yes\nRateLimitIntervalSec=0\n";

/// Files and directories, in the home of the machine on the host around it.
pub(super) fn lay_out(around: &Host, own: Ipv4Addr) -> Result<()> {
    let home = around.path(HOME);
    let root = home.join("root");
    for directory in ["etc/systemd/system/multi-user.target.wants", "root", "tmp", "usr"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::create_dir_all(home.join("usr"))?;
    for link in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), root.join(link))?;
    }
    for directory in ["var/lib", "var/log/journal", "etc/default", "etc/systemd/network"] {
        fs::create_dir_all(root.join(directory))?;
    }
    // Not an overlay: on the host around, another /var/lib is in its place.
    copy(Path::new("/var/lib/dpkg"), &root.join("var/lib/dpkg"))?;
    let etc = root.join("etc");
    for name in ETC.iter().filter(|name| Path::new("/etc").join(name).exists()) {
        let (from, to) = (Path::new("/etc").join(name), etc.join(name));
        fs::create_dir_all(to.parent().context("below /etc")?)?;
        copy(&from, &to)?;
    }
    fs::copy("/usr/lib/os-release", etc.join("os-release")).context("cannot copy os-release")?;
    fs::write(etc.join("machine-id"), format!("{:032x}\n", rand::random::<u128>() | 1))?;
    fs::write(etc.join("hostname"), format!("{}\n", around.name()))?;
    let names = (1..=9).map(|number| format!("{} node{number}\n", address(number)));
    fs::write(etc.join("hosts"), "127.0.0.1 localhost\n".to_owned() + &names.collect::<String>())?;
    fs::write(etc.join("resolv.conf"), "")?;
    units(&etc.join("systemd"), own)
}

fn units(systemd: &Path, own: Ipv4Addr) -> Result<()> {
    let system = systemd.join("system");
    for name in MASKED {
        symlink("/dev/null", system.join(format!("{name}.service")))?;
    }
    symlink("/lib/systemd/system/multi-user.target", system.join("default.target"))?;
    fs::write(system.join("lab-first.service"), FIRST)?;
    let wanted = [
        ("multi-user", "/lib/systemd/system/systemd-networkd.service"),
        ("network-online", "/lib/systemd/system/systemd-networkd-wait-online.service"),
        ("sysinit", "/etc/systemd/system/lab-first.service"),
    ];
    for (target, unit) in wanted {
        let wants = system.join(format!("{target}.target.wants"));
        fs::create_dir_all(&wants)?;
        let name = Path::new(unit).file_name().context("a unit has a name")?;
        symlink(unit, wants.join(name))?;
    }
    let network = format!(
        "[Match]\nName=eth0\n[Network]\nAddress={own}/24\nGateway={ROUTER}\nLinkLocalAddressing=no\n\
         IPv6AcceptRA=no\n"
    );
    fs::write(systemd.join("network/10-eth0.network"), network)?;
    fs::create_dir_all(systemd.join("journald.conf.d"))?;
    fs::write(systemd.join("journald.conf.d/lab.conf"), JOURNAL)?;
    Ok(())
}

/// The command that is a boot, for the host around.
pub(super) fn nspawn(around: &Host, home: &str) -> Vec<String> {
    let root = format!("--directory={home}/root");
    let overlay = format!("--overlay=/usr:{home}/usr:/usr");
    let name = format!("--machine={}", around.name());
    let fixed = [
        "systemd-nspawn",
        "--boot",
        &root,
        &name,
        &overlay,
        "--private-network",
        // There may be no systemd outside: neither a machine to be registered nor a unit of its own.
        "--register=no",
        "--keep-unit",
        "--console=read-only",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        // runc wants keyrings, and rules for devices on version 2 of control groups are programs.
        "--system-call-filter=@keyring bpf perf_event_open",
        "--capability=CAP_BPF,CAP_PERFMON",
        "--bind=/run/lab/share",
        "--bind-ro=/run/lab/bin",
    ];
    let devices = ["/dev/net/tun", "/dev/fuse", "/dev/kmsg"].into_iter();
    let devices = devices.filter(|device| Path::new(device).exists());
    let devices = devices.map(|device| format!("--bind={device}"));
    fixed.into_iter().map(str::to_owned).chain(devices).collect()
}

/// As `cp -a` does it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let output = Command::new("cp").args(["-a", "-T"]).args([from, to]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "cannot copy {}: {said}", from.display());
    Ok(())
}
