//! A host that boots: systemd as its process 1, units, a journal, packages, reboots and power cuts.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use twill_integration::{Lab, machine};
//!
//! if !machine::may_boot() {
//!     return Ok(()); // says so; with REQUIRE_MACHINES=1 that is a failure
//! }
//! let mut lab = Lab::new(0)?;
//! let mut node1 = lab.add_machine()?; // 192.168.140.22, still off
//! node1.put("target/twill.deb".as_ref(), "/root/twill.deb")?; // files: at any time, on or off
//! std::fs::write(node1.path("/etc/motd"), "welcome\n")?; // of /usr only while it is on
//! let host = node1.start()?; // until systemd says `running` and eth0 has its address
//! host.ok(["dpkg", "-i", "/root/twill.deb"])?; // a Host as any other: ok, sh, run, spawn, path, within
//! let host = node1.reboot()?; // another Host, as its process 1 is another
//! host.ok(["journalctl", "--list-boots"])?;
//! node1.cut()?; // no power; nothing was written that was not written already
//! node1.start()?;
//! node1.off()?;
//! lab.finish() // fails if anything is left of it; dropped or killed, nothing is left either
//! # }
//! ```
//!
//! It is made by `systemd-nspawn`, inside a host of the lab that keeps what belongs to it together:
//! namespaces, control groups and files end as those of any host. `/usr` is this machine's with the
//! host's own changes on top, so whatever is installed here is there too, and `dpkg` inside changes
//! nothing here. `/etc` and `/var` begin nearly empty: see `skeleton`. No unit runs that is not
//! enabled by a test. `/root`, `/etc`, `/var` survive its end, `/run`, the network and the kernel's tables do
//! not. `/run/lab/bin` holds the programs under test, which are not in its `PATH`; `/run/lab/share` is the
//! lab's share. Limits of units, as `MemoryMax=`, have no effect where this machine's controllers are of version 1.
//! The console, with the journal, is printed when a test fails.

mod skeleton;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroups;
use crate::host::Host;
use crate::lab::{ip, plug_in};
use crate::process::Daemon;
use crate::wait::{probe, wait_until};

/// How long a boot, or an orderly end, may take on a busy machine.
const BOOT: Duration = Duration::from_mins(1);

/// Where a machine's files are, on the host around it.
const HOME: &str = "/var/lib/machine";

/// What `systemd-nspawn` ends with when the machine wants to boot again, and it is not to do that itself.
const AGAIN: i32 = 133;

/// See the module's own words.
#[derive(Debug)]
pub struct Machine {
    // The boot ends before what is around it.
    boot: Option<Boot>,
    around: Host,
    underlay: Host,
}

/// From the power button to the end.
#[derive(Debug)]
struct Boot {
    host: Host,
    nspawn: Daemon,
}

/// Whether this process may boot machines.
///
/// Says so on standard error when it may not; with `REQUIRE_MACHINES=1` in the environment that is a
/// failure.
///
/// # Panics
/// Then.
#[expect(clippy::print_stderr, reason = "a skipped test has to be loud")]
pub fn may_boot() -> bool {
    if !crate::may_build_labs() {
        return false;
    }
    if Command::new("systemd-nspawn").arg("--version").output().is_ok() {
        return true;
    }
    let required = std::env::var_os("REQUIRE_MACHINES").is_some_and(|value| value == "1");
    assert!(!required, "REQUIRE_MACHINES=1, but there is no systemd-nspawn");
    eprintln!("SKIPPED: no systemd-nspawn; scripts/deps.sh test installs it");
    false
}

impl Machine {
    pub(crate) fn new(around: Host, underlay: &Host, address: Ipv4Addr) -> Result<Self> {
        skeleton::lay_out(&around, address).context("cannot lay out a machine")?;
        Ok(Self { boot: None, around, underlay: underlay.clone() })
    }

    /// `node1`, `node2`, …
    pub fn name(&self) -> &str {
        self.around.name()
    }

    /// The running machine. The value is that of one boot, and of no use after it.
    ///
    /// # Panics
    /// When it is off.
    pub fn host(&self) -> &Host {
        &self.boot.as_ref().expect("the machine is on").host
    }

    /// A file of the machine, seen from here. While it is off, what it has changed in `/usr` is not
    /// seen.
    pub fn path(&self, path: &str) -> PathBuf {
        match &self.boot {
            Some(boot) => boot.host.path(path),
            None => self.around.path(&format!("{HOME}/root{path}")),
        }
    }

    /// Copies a file or a tree of this machine's, with its modes, to where `to` says.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn put(&self, from: &Path, to: &str) -> Result<()> {
        let to = self.path(to);
        fs::create_dir_all(to.parent().context("not the root")?)?;
        skeleton::copy(from, &to)
    }

    /// Switches it on, and waits until systemd says `running` and the network is there.
    ///
    /// # Errors
    /// When it is on, or does not come up; `degraded` is an error that names the units.
    pub fn start(&mut self) -> Result<&Host> {
        self.switch_on()?;
        let host = self.host();
        let state = host.run_with(["systemctl", "is-system-running", "--wait"], b"", BOOT)?;
        if state.stdout.trim() != "running" {
            let failed = host.sh(
                "systemctl --failed --no-pager --plain; journalctl -b -p warning -n 50 --no-pager",
            )?;
            bail!("{} is {}: {failed}", host.name(), state.stdout.trim());
        }
        host.ok(["/lib/systemd/systemd-networkd-wait-online", "-i", "eth0", "--timeout=30"])?;
        Ok(self.host())
    }

    /// Switches it on, and waits until systemd can be asked.
    ///
    /// # Errors
    /// When it is on, or does not get so far.
    pub fn switch_on(&mut self) -> Result<()> {
        ensure!(self.boot.is_none(), "{} is on", self.name());
        let nspawn = self.around.spawn("console", skeleton::nspawn(&self.around, HOME))?;
        let host = match self.meet(&nspawn) {
            Ok(host) => host,
            Err(error) => return Err(error.context(nspawn.transcript())),
        };
        let ready = host.path("/run/systemd/private");
        wait_until("systemd can be asked", BOOT, || ready.exists() || !nspawn.is_running())?;
        self.boot = Some(Boot { host, nspawn });
        Ok(())
    }

    /// Boots it anew, in good order.
    ///
    /// # Errors
    /// When it does not end, or does not come up.
    pub fn reboot(&mut self) -> Result<&Host> {
        let code = self.end(|host| host.run(["systemctl", "reboot"]).map(drop))?;
        ensure!(code == AGAIN, "{} has ended with {code}, and not to boot", self.name());
        self.start()
    }

    /// Switches it off, in good order.
    ///
    /// # Errors
    /// When it does not end.
    pub fn off(&mut self) -> Result<()> {
        let code = self.end(|host| host.run(["systemctl", "poweroff"]).map(drop))?;
        ensure!(code == 0, "{} has ended with {code}", self.name());
        Ok(())
    }

    /// Takes the power away: all that runs on it dies at once.
    ///
    /// # Errors
    /// When it is off.
    pub fn cut(&mut self) -> Result<()> {
        self.end(|host| kill(host.init(), Signal::SIGKILL).context("cannot kill it")).map(drop)
    }

    /// Answers what `systemd-nspawn` ended with.
    fn end(&mut self, how: impl FnOnce(&Host) -> Result<()>) -> Result<i32> {
        let Boot { host, nspawn } = self.boot.take().context("the machine is off")?;
        // Whatever asks from inside may itself be ended by what it asks for.
        how(&host)?;
        wait_until(&format!("{} has ended", host.name()), BOOT, || {
            // The kernel waits for us to reap those of its processes that are our children.
            host.children().reap();
            !nspawn.is_running()
        })?;
        nspawn.wait(BOOT)
    }

    /// Finds its process 1, and connects it.
    fn meet(&self, nspawn: &Daemon) -> Result<Host> {
        let look =
            || if nspawn.is_running() { init_of(nspawn.pid()).map(Some) } else { Some(None) };
        let (init, _took) = probe("systemd runs as process 1", BOOT, look)?;
        let init = init.context("systemd-nspawn has ended")?;
        let dir = self.around.dir().join("machine");
        fs::create_dir_all(&dir)?;
        let seats = cgroups::beside(init).context("cannot find its control groups")?;
        let seats: Vec<_> = seats.iter().map(|seat| seat.display().to_string()).collect();
        fs::write(dir.join("seats"), seats.join("\n"))?;
        fs::write(dir.join("pid"), init.to_string())?;
        let host = self.around.inside(init, dir);
        // That of the boot before: the kernel takes its time.
        drop(ip(&self.underlay, &["link", "delete", self.name()]));
        plug_in(&self.underlay, &host)?;
        Ok(host)
    }
}

/// The systemd among the children of a process.
fn init_of(nspawn: Pid) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    let named = |pid: &&str| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // It has moved to its own group once the name is that.
        name.trim() == "systemd" && is_process_1(pid)
    };
    children.split_whitespace().find(named)?.parse().ok().map(Pid::from_raw)
}

fn is_process_1(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.split_whitespace().last() == Some("1"))
}
