//! The process that is a host: it makes the host's namespaces and file systems, and then only
//! waits, as the init of the host's PID namespace. When it ends, the host ends.

use std::fs;
use std::io::{Read, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::cgroups::{self, Hierarchy, hierarchies};
use crate::programs::Programs;

/// First half: joins the host's control groups, makes the namespaces and starts the init in
/// them. Tells the guardian `pid N`; `ready` or `error` come from the init.
///
/// # Errors
/// When the kernel refuses a namespace.
pub fn run(lab: &Path, name: &str) -> Result<()> {
    let mut init = match separate(lab, name) {
        Ok(init) => init,
        Err(error) => {
            tell(&format!("error {error:#}"))?;
            return Err(error);
        }
    };
    tell(&format!("pid {}", init.id()))?;
    init.wait()?;
    Ok(())
}

fn separate(lab: &Path, name: &str) -> Result<Child> {
    let host = lab.join("hosts").join(name);
    for (_, group) in cgroups_of(&host)? {
        cgroups::enter(&group).with_context(|| format!("cannot join {}", group.display()))?;
    }
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWCGROUP
            | CloneFlags::CLONE_NEWPID,
    )
    .context("cannot make namespaces (root is needed)")?;
    take_seats(&host)?;
    Command::new(std::env::current_exe()?)
        .arg("init")
        .arg(lab)
        .arg(name)
        .stdin(Stdio::inherit())
        .spawn()
        .context("cannot start a host's init")
}

/// Second half, process 1 of the host: mounts its file systems, then reaps orphans until the
/// lifeline on standard input ends.
///
/// # Errors
/// When a file system cannot be mounted; the guardian is told too.
pub fn init(lab: &Path, name: &str) -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;
    let children = SignalFd::new(&signals)?;
    if let Err(error) = furnish(lab, name) {
        tell(&format!("error {error:#}"))?;
        return Err(error);
    }
    tell("ready now")?;
    loop {
        let input = stdin();
        let mut sources = [
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
            PollFd::new(input.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut sources, PollTimeout::NONE)?;
        if sources[0].any() == Some(true) {
            children.read_signal()?;
            reap();
        }
        if sources[1].any() == Some(true) && input.lock().read(&mut [0; 64])? == 0 {
            return Ok(());
        }
    }
}

/// Moves this process to its place in each control group of the host whose directory is given.
pub(crate) fn take_seats(host: &Path) -> Result<()> {
    // Where a machine has come up, it is known which they are.
    if let Ok(seats) = fs::read_to_string(host.join("seats")) {
        for seat in seats.lines().map(Path::new) {
            cgroups::enter(seat).with_context(|| format!("cannot join {}", seat.display()))?;
        }
        return Ok(());
    }
    for (hierarchy, group) in cgroups_of(host)? {
        cgroups::take_seat(&hierarchy, &group)
            .with_context(|| format!("cannot join the control group {}", group.display()))?;
    }
    Ok(())
}

/// The control groups of the host whose directory is given, one in each hierarchy.
fn cgroups_of(host: &Path) -> Result<Vec<(Hierarchy, PathBuf)>> {
    let groups = fs::read_to_string(host.join("groups")).context("cannot read the groups")?;
    Ok(hierarchies()?.into_iter().zip(groups.lines().map(PathBuf::from)).collect())
}

fn reap() {
    let any = None::<nix::unistd::Pid>;
    while waitpid(any, Some(WaitPidFlag::WNOHANG)).is_ok_and(|s| s != WaitStatus::StillAlive) {}
}

fn furnish(lab: &Path, name: &str) -> Result<()> {
    let host = lab.join("hosts").join(name);
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&Path>, "/", None::<&str>, private, None::<&str>).context("cannot be private")?;
    fresh("proc", Path::new("/proc"), "")?;
    fresh("sysfs", Path::new("/sys"), "")?;
    mount_cgroups()?;
    private_var_lib(&host)?;
    private_etc(&host, name)?;
    // Last, as it may hide what the others came from.
    private_run(lab, &host)?;
    nix::unistd::sethostname(name).context("cannot set the host name")
}

fn mount_cgroups() -> Result<()> {
    let hierarchies = hierarchies()?;
    let top = Path::new("/sys/fs/cgroup");
    if hierarchies.iter().all(|hierarchy| hierarchy.mount != top) {
        fresh("tmpfs", top, "mode=755")?;
    }
    for Hierarchy { mount, controllers, .. } in hierarchies {
        fs::create_dir_all(&mount)?;
        match controllers {
            Some(controllers) => fresh("cgroup", &mount, &controllers)?,
            None => fresh("cgroup2", &mount, "")?,
        }
    }
    Ok(())
}

// Containers keep overlay layers under /var/lib, and those cannot lie on an overlay themselves.
fn private_var_lib(host: &Path) -> Result<()> {
    let own = writable(host, "var-lib")?;
    bind(&own, Path::new("/var/lib"), MsFlags::MS_BIND | MsFlags::MS_REC)
}

// The machine's /etc, with the host's own changes on top.
fn private_etc(host: &Path, name: &str) -> Result<()> {
    let own = writable(host, "etc")?;
    let (upper, work) = (own.join("upper"), own.join("work"));
    fs::create_dir(&upper)?;
    fs::create_dir(&work)?;
    fs::create_dir(upper.join("twill"))?;
    fs::write(upper.join("hostname"), format!("{name}\n"))?;
    let layers = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    fresh("overlay", Path::new("/etc"), &layers)
}

// An empty /run, but for the programs under test and what the hosts of a lab share.
fn private_run(lab: &Path, host: &Path) -> Result<()> {
    let staged = host.join("run");
    fs::create_dir(&staged)?;
    fresh("tmpfs", &staged, "mode=755")?;
    let programs = Programs::find()?;
    for (name, source) in [("bin", programs.dir()), ("share", &lab.join("share"))] {
        let target = staged.join("lab").join(name);
        fs::create_dir_all(&target)?;
        bind(source, &target, MsFlags::MS_BIND)?;
    }
    fs::create_dir(staged.join("lock"))?;
    bind(&staged, Path::new("/run"), MsFlags::MS_MOVE)
}

// A directory of the host that overlayfs accepts as an upper layer: on disk where that can be,
// in memory where this machine's own root is an overlay.
fn writable(host: &Path, name: &str) -> Result<PathBuf> {
    let dir = host.join(name);
    fs::create_dir(&dir)?;
    if statfs(&dir)?.filesystem_type() == OVERLAYFS_SUPER_MAGIC {
        fresh("tmpfs", &dir, "mode=755")?;
    }
    Ok(dir)
}

fn fresh(kind: &str, target: &Path, options: &str) -> Result<()> {
    mount(Some(kind), target, Some(kind), MsFlags::empty(), Some(options))
        .with_context(|| format!("cannot mount {kind} on {}", target.display()))
}

fn bind(source: &Path, target: &Path, how: MsFlags) -> Result<()> {
    mount(Some(source), target, None::<&str>, how, None::<&str>)
        .with_context(|| format!("cannot show {} as {}", source.display(), target.display()))
}

fn tell(line: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    out.flush().context("cannot tell the guardian")
}
