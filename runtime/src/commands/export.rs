//! `twill export`: all files of a container, as an archive.

use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::commands::{Code, each};
use crate::container::Store;
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
pub struct Target(Option<(tempfile::NamedTempFile, PathBuf)>);

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
        let file = tempfile::NamedTempFile::new_in(folder).file("write into", folder)?;
        Ok(Self(Some((file, path))))
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
            Some((file, path)) => {
                let mut out = BufWriter::new(file);
                work(&mut out)?;
                let file = out.into_inner().map_err(io::IntoInnerError::into_error);
                let file = file.file("write", &path)?;
                let kept = file.persist(&path).map_err(|error| error.error);
                kept.map(drop).file("write", &path)?;
                Ok(())
            }
        }
    }
}
