//! `twill export`: all files of a container, as an archive.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, renameat, unlinkat};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::commands::{Code, each};
use crate::container::{Store, id};
use crate::copy::{self, root::Root};
use crate::error::{FileContext as _, SystemContext as _};
use crate::terminal::is_terminal;
use crate::{Error, Paths, events};

/// Arguments.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  twill export -o web.tar web
  twill export web | tar -t
  twill export web | twill import - flat        an image of one layer

What is mounted in the container is no part of it: volumes are empty directories there.")]
pub struct Args {
    /// Write into a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The container, by name, id or the start of its id
    pub container: String,
}

/// Does it.
pub fn run(args: &Args, paths: &Paths) -> anyhow::Result<Code> {
    let store = Store::new(paths);
    let target = Target::new(args.output.as_deref())?;
    let container = each::one(&store, &args.container)?;
    let root = Root::open(&store, &container)?;
    let top = Path::new("/");
    let open = root.inside().descend(top, OFlags::PATH | OFlags::DIRECTORY).file("open", top)?;
    target.fill(|out| copy::pack_root(&open, out).system("read the container's files"))?;
    events::container(paths, &container.record, "export", &[]);
    Ok(Code::OK)
}

/// Where an archive goes: a file that appears when it is whole, or standard output.
pub struct Target(Option<(Draft, PathBuf)>);

/// A file that is not whole yet.
#[derive(Debug)]
enum Draft {
    /// It has no name: whoever is killed leaves nothing.
    Nameless {
        /// What is written.
        file: File,
        /// Where it gets its name: by this descriptor, for the work may take place in mounts of its own.
        folder: OwnedFd,
    },
    /// For file systems that know no such files.
    Named(NamedTempFile),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Target").field(&self.0.as_ref().map(|(_, path)| path)).finish()
    }
}

impl Target {
    /// Refuses a terminal. Paths are made absolute: the directory that we are in may change.
    pub fn new(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else {
            if is_terminal(io::stdout()) {
                let text = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
                return Err(Error::Usage(text.into()));
            }
            return Ok(Self(None));
        };
        let path = std::path::absolute(path).file("find", path)?;
        // A link stays, as /dev/stdout: what it leads to is replaced.
        let path = fs::canonicalize(&path).unwrap_or(path);
        // A device or a pipe would be taken away and a file put in its place.
        if path.exists() && !path.is_file() {
            return Err(Error::Usage(format!("{} is not a regular file", path.display())));
        }
        let folder = path.parent().unwrap_or(&path);
        let draft = Draft::new(folder).file("write into", folder)?;
        Ok(Self(Some((draft, path))))
    }

    /// Writes it.
    pub fn fill<E: From<Error>>(
        self,
        work: impl FnOnce(&mut dyn io::Write) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.0 {
            None => {
                let mut out = BufWriter::new(io::stdout().lock());
                work(&mut out)?;
                Ok(out.flush().system("write the archive")?)
            }
            Some((draft, path)) => {
                let mut out = BufWriter::new(draft.file());
                work(&mut out)?;
                out.flush().file("write", &path)?;
                drop(out);
                Ok(draft.publish(&path).file("write", &path)?)
            }
        }
    }
}

impl Draft {
    fn new(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = rustix::fs::open(folder, flags, Mode::empty())?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(&place, ".", flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(Self::Nameless { file: file.into(), folder: place }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => NamedTempFile::new_in(folder).map(Self::Named),
            Err(error) => Err(error.into()),
        }
    }

    fn file(&self) -> &File {
        match self {
            Self::Nameless { file, .. } => file,
            Self::Named(file) => file.as_file(),
        }
    }

    /// Gives it its name, in place of what has it by now.
    fn publish(self, path: &Path) -> io::Result<()> {
        // Else a loss of power could leave the name and nothing in it.
        self.file().sync_data()?;
        let (file, folder) = match self {
            Self::Nameless { file, folder } => (file, folder),
            Self::Named(file) => return file.persist(path).map(drop).map_err(|error| error.error),
        };
        let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
        let name = path.file_name().unwrap_or_default();
        let link =
            |to: &OsStr| rustix::fs::linkat(CWD, &magic, &folder, to, AtFlags::SYMLINK_FOLLOW);
        match link(name) {
            Err(Errno::EXIST) => {}
            linked => return Ok(linked?),
        }
        // The kernel replaces nothing in the same step.
        let other = format!(".twill-{}.tmp", &id::random()[..12]);
        link(OsStr::new(&other))?;
        Ok(renameat(&folder, &other, &folder, name).inspect_err(|_| {
            // The first cause counts.
            _ = unlinkat(&folder, &other, AtFlags::empty());
        })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also on a file system that knows no files without a name.
    #[test]
    fn a_draft_takes_the_place_of_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.tar");
        let named = || NamedTempFile::new_in(folder.path()).map(Draft::Named);
        let nameless = || Draft::new(folder.path());
        let makers: [&dyn Fn() -> io::Result<Draft>; 4] = [&named, &named, &nameless, &nameless];
        for make in makers {
            let draft = make().unwrap();
            let text = format!("{draft:?}");
            draft.file().write_all(text.as_bytes()).unwrap();
            draft.publish(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing beside it");
        }
    }
}
