//! The cgroups of one world, which are all that it sees.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MsFlags, mount};
use nix::unistd::{UnlinkatFlags, unlinkat};
use twill::process::Process;

static NEXT: AtomicU32 = AtomicU32::new(0);
const PREFIX: &str = "twill-test-";

/// A cgroup of one hierarchy that this process is in, until this is dropped.
pub(super) struct Own {
    parent: OwnedFd,
    procs: File,
    name: String,
}

/// Moves this process into new cgroups. Returns them and what to mount where.
pub(super) fn enter() -> (Vec<Own>, Vec<(String, String)>) {
    let process = Process::of_pid(std::process::id().try_into().unwrap()).unwrap();
    let unique = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{PREFIX}{}-{}-{unique}", process.pid, process.started);
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    own.lines().filter_map(|line| Own::enter(line, &name)).unzip()
}

/// What tests left that were killed. Whoever is still inside keeps the directory.
fn clear_dead(parent: &Path) {
    for entry in fs::read_dir(parent).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(numbers) = name.strip_prefix(PREFIX) else { continue };
        let mut numbers = numbers.split('-').map(str::parse::<u64>);
        if let (Some(Ok(pid)), Some(Ok(started))) = (numbers.next(), numbers.next())
            && !(Process { pid: i32::try_from(pid).unwrap(), started }).is_alive()
        {
            remove_below(&entry.path());
        }
    }
}

fn remove_below(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    drop(fs::remove_dir(directory));
}

impl Own {
    /// Moves this process into a new cgroup below its own. Returns it and what to mount where.
    fn enter(line: &str, name: &str) -> Option<(Self, (String, String))> {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, own) = (fields.next()?, fields.next()?);
        if controllers.starts_with("name=") {
            return None;
        }
        let hierarchy = if controllers.is_empty() && Path::new("/sys/fs/cgroup/unified").exists() {
            "unified"
        } else {
            controllers
        };
        let parent = PathBuf::from(format!("/sys/fs/cgroup/{hierarchy}{own}"));
        let parent_file = File::open(&parent).ok()?;
        let procs = File::options().write(true).open(parent.join("cgroup.procs")).ok()?;
        let directory = parent.join(name);
        clear_dead(&parent);
        fs::create_dir(&directory).unwrap();
        if controllers.split(',').any(|one| one == "cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(directory.join(file), fs::read(parent.join(file)).unwrap()).unwrap();
            }
        }
        fs::write(directory.join("cgroup.procs"), "0").unwrap();
        let own = Self { parent: parent_file.into(), procs, name: name.to_owned() };
        Some((own, (hierarchy.to_owned(), controllers.to_owned())))
    }
}

/// Shows the new cgroups as the roots of their hierarchies.
pub(super) fn remount(hierarchies: &[(String, String)]) {
    let (none, flags) = (None::<&str>, MsFlags::empty());
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("sysfs"), "/sys", Some("sysfs"), flags, none).unwrap();
    if hierarchies.iter().all(|(hierarchy, _)| hierarchy.is_empty()) {
        mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), flags, none).unwrap();
        return;
    }
    mount(Some("tmpfs"), "/sys/fs/cgroup", Some("tmpfs"), flags, Some("mode=755")).unwrap();
    for (hierarchy, controllers) in hierarchies {
        let target = Path::new("/sys/fs/cgroup").join(hierarchy);
        fs::create_dir(&target).unwrap();
        let (kind, data) = match controllers.as_str() {
            "" => ("cgroup2", None),
            controllers => ("cgroup", Some(controllers)),
        };
        mount(Some(kind), &target, Some(kind), flags, data).unwrap();
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Threads leave with their process; whoever is still inside keeps the directory.
        drop(self.procs.write_all(b"0"));
        let name = self.name.as_str();
        let parents = [format!("{name}/twill"), format!("{name}/elsewhere"), name.to_owned()];
        for path in &parents {
            // Who was killed just now may not be out of it yet.
            for _ in 0..200 {
                let removed = unlinkat(&self.parent, path.as_str(), UnlinkatFlags::RemoveDir);
                if removed != Err(nix::Error::EBUSY) {
                    break;
                }
                _ = nix::poll::poll(&mut [], 5_u8);
            }
        }
    }
}
