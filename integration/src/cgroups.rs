//! Control groups for the hosts of a lab, below the groups this process is in itself.
//!
//! Works on version 1, version 2 and the hybrid of both; the layout is read from
//! `/proc/self/mountinfo` (see proc(5)) and `/proc/self/cgroup` (cgroups(7)).

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::wait_until;

/// On cgroup2 a group with processes cannot hand controllers to children, so the host's own
/// processes sit one level down, as systemd's do.
const LEAF: &str = "init.scope";

/// One mounted hierarchy and our place in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// Mount options that name it again (`cpu,cpuacct`, `name=systemd`); `None` on cgroup2.
    pub(crate) controllers: Option<String>,
    /// The directory of the group this process is in.
    own: PathBuf,
}

impl Hierarchy {
    /// The directory of `name` (may have several parts) below our own group.
    pub(crate) fn below(&self, name: &str) -> PathBuf {
        self.own.join(name)
    }

    /// Where the processes of the group in `dir` belong.
    fn seat(&self, dir: &Path) -> PathBuf {
        if self.controllers.is_none() { dir.join(LEAF) } else { dir.to_owned() }
    }

    /// Makes the group `name` and its parents; one that is there is fine.
    pub(crate) fn ensure(&self, name: &str) -> Result<PathBuf> {
        let mut dir = self.own.clone();
        for part in Path::new(name) {
            let child = dir.join(part);
            ensure_dir(&child)?;
            self.inherit(&dir, &child)?;
            dir = child;
        }
        ensure_dir(&self.seat(&dir))?;
        Ok(dir)
    }

    // A new cpuset has no processors and refuses processes until it is given some.
    fn inherit(&self, parent: &Path, child: &Path) -> Result<()> {
        let Some(controllers) = &self.controllers else {
            delegate(parent);
            return Ok(());
        };
        if controllers.split(',').any(|controller| controller == "cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(child.join(file), fs::read(parent.join(file))?)?;
            }
        }
        Ok(())
    }
}

/// Every hierarchy of this machine that can be reached through a mount.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    Ok(parse(&mounts, &groups))
}

/// Makes a group for visitors beside the process that manages the groups of a machine, in every
/// hierarchy where it has one, and answers where they are.
pub(crate) fn beside(manager: Pid) -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let groups = fs::read_to_string(format!("/proc/{manager}/cgroup"))?;
    let seats = parse(&mounts, &groups).into_iter().map(|Hierarchy { own, .. }| {
        if !own.ends_with(LEAF) {
            return Ok(own);
        }
        let seat = own.with_file_name("lab.scope");
        ensure_dir(&seat).map(|()| seat)
    });
    seats.collect()
}

/// Moves the calling process into the group at `dir`, which a control group namespace made next
/// will take for its root.
pub(crate) fn enter(dir: &Path) -> Result<()> {
    fs::write(dir.join("cgroup.procs"), "0")
}

/// Moves the calling process to where the processes of the group at `dir` belong, and lets that
/// group hand its controllers to others.
pub(crate) fn take_seat(hierarchy: &Hierarchy, dir: &Path) -> Result<()> {
    enter(&hierarchy.seat(dir))?;
    if hierarchy.controllers.is_none() {
        delegate(dir);
    }
    Ok(())
}

/// Kills what runs in the group and its children, then removes all of them. One that is not
/// there is fine.
pub(crate) fn remove(dir: &Path) -> anyhow::Result<()> {
    let what = format!("the control group {} is empty", dir.display());
    wait_until(&what, Duration::from_secs(10), || {
        for pid in processes(dir) {
            // It may have ended between the listing and now.
            kill(pid, Signal::SIGKILL).ok();
        }
        remove_tree(dir).is_ok()
    })?;
    Ok(())
}

/// The processes in the group at `dir` and below, by our own process numbers.
pub(crate) fn processes(dir: &Path) -> BTreeSet<Pid> {
    let listed = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    // Number 0 stands for a process that our own PID namespace cannot name.
    let own = listed.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0);
    own.map(Pid::from_raw).chain(children(dir).iter().flat_map(|child| processes(child))).collect()
}

/// The groups directly below `dir`.
pub(crate) fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn remove_tree(dir: &Path) -> Result<()> {
    for child in children(dir) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn ensure_dir(dir: &Path) -> Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

// Best effort: where our own group holds processes the kernel refuses, and the hosts then have
// no controllers, which is what a user of such a machine would see too.
fn delegate(dir: &Path) {
    let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        drop(fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")));
    }
}

fn parse(mounts: &str, groups: &str) -> Vec<Hierarchy> {
    mounts.lines().filter_map(|line| parse_mount(line, groups)).collect()
}

// 36 35 0:31 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
fn parse_mount(line: &str, groups: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, mount) = (left.next()?, PathBuf::from(left.next()?));
    let mut right = right.split(' ');
    let (kind, options) = (right.next()?, right.nth(1)?);
    let controllers = match kind {
        "cgroup2" => None,
        "cgroup" => Some(options.split(',').filter(|o| !is_flag(o)).collect::<Vec<_>>().join(",")),
        _ => return None,
    };
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, path) = (fields.next()?, fields.next()?);
        same_set(names, controllers.as_deref().unwrap_or_default()).then_some(path)
    })?;
    let inside = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
    let own = mount.join(inside.trim_start_matches('/'));
    Some(Hierarchy { mount, controllers, own })
}

fn is_flag(option: &str) -> bool {
    matches!(option, "rw" | "ro" | "xattr" | "noprefix" | "clone_children" | "nsdelegate")
        || option.starts_with("release_agent=")
}

fn same_set(a: &str, b: &str) -> bool {
    a.split(',').collect::<BTreeSet<_>>() == b.split(',').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_our_own_group_in_every_kind_of_hierarchy() {
        let mounts = "\
            31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            36 31 0:33 /box /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpuacct,cpu\n\
            40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let groups = "9:name=systemd:/\n4:memory:/a/b\n2:cpu,cpuacct:/box/c\n0::/\n";
        let row = |mount: &str, controllers: Option<&str>, own: &str| Hierarchy {
            mount: format!("/sys/fs/cgroup/{mount}").into(),
            controllers: controllers.map(str::to_owned),
            own: format!("/sys/fs/cgroup/{own}").into(),
        };
        let want = [
            row("memory", Some("memory"), "memory/a/b"),
            row("cpu,cpuacct", Some("cpuacct,cpu"), "cpu,cpuacct/c"),
            row("systemd", Some("name=systemd"), "systemd/"),
            row("unified", None, "unified/"),
        ];
        assert_eq!(parse(mounts, groups), want);
    }

    #[test]
    fn a_machine_with_one_unified_hierarchy() {
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = parse(mounts, "0::/user.slice\n");
        assert_eq!(found[0].below("lab"), Path::new("/sys/fs/cgroup/user.slice/lab"));
        assert_eq!(found[0].controllers, None);
    }
}
