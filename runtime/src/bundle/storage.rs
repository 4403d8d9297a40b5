//! The mounts that were asked for, made ready: sources that are there, volumes that are filled, targets that
//! lie in the container.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::rootfs::Inside;
use crate::Paths;
use crate::container::Record;
use crate::error::{Error, FileContext as _, Result};
use crate::mount::{Bind, Mount, Source, VolumeOf};
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

/// Makes everything ready that needs the image's files, before anything is mounted on them.
///
/// The volumes are in use as long as the second result is there.
pub fn prepare(
    paths: &Paths,
    record: &Record,
    inside: &Inside,
) -> Result<(Vec<Ready>, Vec<volume::Use>)> {
    KERNELS.iter().try_for_each(|path| inside.ensure_own_directory(Path::new(path)))?;
    let volumes = Volumes::new(paths);
    let (mut ready, mut uses) = (Vec::new(), Vec::new());
    for mount in &record.mounts {
        let mut read_only = mount.read_only;
        let (from, is_file) = match &mount.source {
            Source::Bind(bind) => find(bind)?,
            Source::Volume(volume) => see(&volumes, volume, &mut read_only)?,
            Source::Tmpfs(tmpfs) => (From::Memory(tmpfs.options.clone()), false),
        };
        let target = place(record, mount, (inside, is_file))?;
        match (mount.volume(), &from) {
            (Some(volume), From::Memory(_)) => {
                uses.push(volume::take_alone(&volumes, &volume.name)?);
            }
            (Some(volume), From::Host(path, _)) if *path == volumes.data(&volume.name) => {
                uses.push(take(&volumes, volume, (inside, &target))?);
            }
            _ => {}
        }
        ready.push(Ready { target, from, read_only });
    }
    Ok((ready, uses))
}

/// What is there in the place of a volume.
fn see(volumes: &Volumes<'_>, volume: &VolumeOf, read_only: &mut bool) -> Result<(From, bool)> {
    match volumes.find(&volume.name)?.backing()? {
        Backing::Directory => {
            let data = volumes.data(&volume.name);
            if data.is_dir() {
                Ok((From::Host(data, true), false))
            } else {
                Err(volume::unknown(&volume.name))
            }
        }
        Backing::Host { path, recursive, read_only: never } => {
            *read_only |= never;
            let propagation = "rprivate".to_owned();
            find(&Bind { path, made: false, recursive, propagation })
        }
        Backing::Memory(mut options) => {
            options.extend(read_only.then(|| "ro".to_owned()));
            Ok((From::Memory(options), false))
        }
    }
}

fn find(bind: &Bind) -> Result<(From, bool)> {
    let path = &bind.path;
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && bind.made => {
            fs::create_dir_all(path).file("create", path)?;
            fs::metadata(path)
        }
        found => found,
    };
    let found = found.map_err(|_missing| missing(path))?;
    Ok((From::Host(path.clone(), bind.recursive), !found.is_dir()))
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

fn take(
    volumes: &Volumes<'_>,
    volume: &VolumeOf,
    (inside, target): (&Inside, &Path),
) -> Result<volume::Use> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    // What cannot be opened lies in another mount.
    let from = volume.copies.then(|| inside.descend(target, flags).ok()).flatten();
    volume::take(volumes, &volume.name, from.as_ref())
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
