//! The mounts that were asked for, made ready: sources that are there, volumes that are filled, targets that
//! lie in the container.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::rootfs::Inside;
use crate::Paths;
use crate::container::{Record, Store};
use crate::error::{Error, FileContext as _, Result};
use crate::mount::{Mount, Source, VolumeOf};
use crate::volume::{self, Backing, Volumes};

/// One mount, found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ready {
    /// In the container; links in the image are followed already.
    pub target: PathBuf,
    /// How.
    pub from: From,
    /// May the container write?
    pub read_only: bool,
}

/// From where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum From {
    /// A path of the host; with the mounts below it, or without.
    Host(PathBuf, bool),
    /// Memory, with these options.
    Memory(Vec<String>),
}

/// Below these the image has nothing to say: they are mounted first.
const OURS: [&str; 2] = ["/dev", "/sys"];

/// On these the kernel's own file systems are mounted, and something is made below them before that has
/// become the root: by their paths, so a link of the image's would lead to files of the host.
const KERNELS: [&str; 3] = ["/dev", "/proc", "/sys"];

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Makes everything ready that needs the image's files, before anything is mounted on them.
///
/// The volumes are in use as long as the second result is there.
pub fn prepare(
    paths: &Paths,
    record: &Record,
    inside: &Inside,
) -> Result<(Vec<Ready>, Vec<volume::Use>)> {
    KERNELS.iter().try_for_each(|path| inside.ensure_own_directory(Path::new(path)))?;
    // Docker fills what is the host's when the container is made.
    let is_first = Store::new(paths).read(&record.id)?.state.started.is_none();
    let volumes = Volumes::new(paths);
    let mut preparing = Preparing { paths, volumes, record, inside, is_first, uses: Vec::new() };
    let ready = record.mounts.iter().map(|mount| preparing.ready(mount)).collect::<Result<_>>()?;
    Ok((ready, preparing.uses))
}

struct Preparing<'a> {
    paths: &'a Paths,
    volumes: Volumes<'a>,
    record: &'a Record,
    inside: &'a Inside,
    /// Was the container never started?
    is_first: bool,
    uses: Vec<volume::Use>,
}

impl Preparing<'_> {
    fn ready(&mut self, mount: &Mount) -> Result<Ready> {
        let place = |is_file| place(self.record, mount, (self.inside, is_file));
        let mut read_only = mount.read_only;
        let (target, from) = match &mount.source {
            Source::Bind(bind) => {
                if bind.made {
                    ensure_there(&bind.path)?;
                }
                (place(is_file(&bind.path)?)?, From::Host(bind.path.clone(), bind.recursive))
            }
            Source::Tmpfs(tmpfs) => (place(false)?, From::Memory(tmpfs.options.clone())),
            Source::Volume(volume) => match self.volumes.find(&volume.name)?.backing()? {
                Backing::Directory => self.directory(mount, volume)?,
                Backing::Host { path, recursive, read_only: never } => {
                    read_only |= never;
                    (self.of_the_host(mount, (volume, &path, never))?, From::Host(path, recursive))
                }
                Backing::Memory(options) => {
                    let target = place(false)?;
                    let what = (volume.name.as_str(), options.as_slice());
                    self.uses.push(volume::mount_memory(self.paths, self.record, what)?);
                    (target, From::Host(self.volumes.data(&volume.name), false))
                }
            },
        };
        Ok(Ready { target, from, read_only })
    }

    /// A volume that has its own.
    fn directory(&mut self, mount: &Mount, volume: &VolumeOf) -> Result<(PathBuf, From)> {
        let data = self.volumes.data(&volume.name);
        if !data.is_dir() {
            return Err(volume::unknown(&volume.name));
        }
        let target = place(self.record, mount, (self.inside, false))?;
        // What cannot be opened lies in another mount.
        let from = volume.copies.then(|| self.inside.descend(&target, DIRECTORY).ok()).flatten();
        self.uses.push(volume::take(&self.volumes, &volume.name, from.as_ref())?);
        Ok((target, From::Host(data, true)))
    }

    /// A volume that is a path of the host, which perhaps nobody may write to.
    fn of_the_host(
        &self,
        mount: &Mount,
        (volume, path, never): (&VolumeOf, &Path, bool),
    ) -> Result<PathBuf> {
        let is_file = is_file(path)?;
        // Before its place is made: what the image does not have is not copied, nor is its owner.
        let copies = self.is_first && volume.copies && !is_file && !never;
        let from = copies.then(|| self.inside.descend(&mount.target, DIRECTORY).ok()).flatten();
        let target = place(self.record, mount, (self.inside, is_file))?;
        if let Some(from) = from {
            volume::adopt(&self.volumes, &volume.name, (path, &from))?;
        }
        Ok(target)
    }
}

/// Does a path of the host lead to something else than a directory?
fn is_file(path: &Path) -> Result<bool> {
    fs::metadata(path).map(|found| !found.is_dir()).map_err(|_missing| missing(path))
}

/// As with `-v`.
fn ensure_there(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path).file("create", path)
        }
        // If it cannot be looked at, the next look says so.
        _ => Ok(()),
    }
}

/// In Docker's words.
pub fn missing(path: &Path) -> Error {
    Error::Usage(format!(
        "invalid mount config for type \"bind\": bind source path does not exist: {}",
        path.display()
    ))
}

/// The target in the image, whatever links lead there; it is made if it is not there. One that lies in
/// another mount is found when that is mounted, by libcontainer, which stays in the root as well.
fn place(record: &Record, mount: &Mount, (inside, is_file): (&Inside, bool)) -> Result<PathBuf> {
    let target = &mount.target;
    let lies_in = |other: &Path| other != target && target.starts_with(other);
    if OURS.iter().any(|path| target.starts_with(path))
        || record.mounts.iter().any(|other| lies_in(&other.target))
    {
        return Ok(target.clone());
    }
    if is_file {
        inside.ensure_file(target)?;
    } else {
        inside.ensure_directory(target)?;
    }
    let real = inside.real_path(target)?;
    if ["/", "/dev"].iter().any(|path| real == Path::new(path)) || real.starts_with("/proc") {
        // The image's link may have been made so that nobody sees what is hidden from containers.
        return Err(Error::Usage(format!(
            "\"{}\" cannot be mounted because it is inside {}",
            target.display(),
            real.display()
        )));
    }
    Ok(real)
}

impl Inside {
    /// Makes a directory unless it is there; anything else at that path, a link above all, is refused.
    fn ensure_own_directory(&self, path: &Path) -> Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY;
        match self.descend(path, flags) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::NOENT)
                if self.descend(path, OFlags::PATH | OFlags::NOFOLLOW).is_err() =>
            {
                self.ensure_directory(path)
            }
            Err(_) => Err(Error::Usage(format!(
                "the image's {} is not a directory: no container can be made of it",
                path.display()
            ))),
        }
    }

    /// Where a path really leads, from the container's root.
    fn real_path(&self, path: &Path) -> Result<PathBuf> {
        let of = |number: i32| {
            fs::read_link(format!("/proc/self/fd/{number}")).file("open in the container", path)
        };
        let found = self.descend(path, OFlags::PATH).file("open in the container", path)?;
        let (root, real) = (of(self.number())?, of(found.as_raw_fd())?);
        let below = real.strip_prefix(&root).map(|below| Path::new("/").join(below));
        below.map_err(|_outside| Error::NoSuchDirectory(path.display().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::container::record::sample;
    use crate::mount::parse_volume;

    #[test]
    fn what_the_kernel_is_mounted_on_is_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("real")).unwrap();
        symlink("/real", root.join("link")).unwrap();
        symlink("/nowhere", root.join("dangling")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        let inside = Inside::open(&root).unwrap();
        for (path, good) in
            [("real", true), ("new", true), ("link", false), ("dangling", false), ("file", false)]
        {
            let path = Path::new("/").join(path);
            assert_eq!(inside.ensure_own_directory(&path).is_ok(), good, "{}", path.display());
        }
        assert!(root.join("new").is_dir());
        assert!(!root.join("nowhere").exists());
    }

    #[test]
    fn targets_lie_where_the_images_links_lead_and_never_outside() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("real")).unwrap();
        for (link, target) in [
            ("in", "/real"),
            ("out", "../../.."),
            ("up", "/"),
            ("proc-link", "/proc"),
            ("dev-link", "/dev"),
            ("gone", "/new/x"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let inside = Inside::open(&root).unwrap();
        let record = sample();
        let check = |target: &str, want: Option<&str>| {
            let mount = parse_volume(&format!("data:{target}")).unwrap();
            let got = place(&record, &mount, (&inside, false)).ok();
            assert_eq!(got.as_deref(), want.map(Path::new), "{target}");
        };
        check("/in/sub", Some("/real/sub"));
        check("/fresh/deep", Some("/fresh/deep"));
        check("/gone", Some("/new/x"));
        check("/out/sub", Some("/sub"));
        check("/up", None);
        check("/out", None);
        check("/proc-link", None);
        check("/proc-link/sys", None);
        check("/dev-link", None);
        check("/dev/x", Some("/dev/x"));
        assert!(!directory.path().join("sub").exists());
    }
}
