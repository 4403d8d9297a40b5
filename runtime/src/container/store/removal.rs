//! Taking containers away, and what a crash left of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Store;
use crate::container::{Record, liveness, names};
use crate::error::{Error, FileContext as _, Result};

impl Store<'_> {
    /// Takes away what is left of a container whose files cannot be understood, as after a power
    /// cut or a slip of an editor. One that has a monitor is left alone.
    pub fn discard(&self, query: &str) -> Result<()> {
        let id = self.identify(query)?.ok_or_else(|| Error::NoSuchContainer(query.to_owned()))?;
        let Some(_lock) = self.lock_container(&id)? else { return Ok(()) };
        if liveness::monitor(self.paths, &id)?.is_some() {
            return Err(Error::StillRunning { name: id });
        }
        let directory = self.paths.names();
        let mut held = Vec::new();
        for name in fs::read_dir(&directory).file("list", &directory)? {
            let name = name.file("list", &directory)?.file_name();
            held.extend(name.into_string());
        }
        held.retain(|name| names::holder(self.paths, name).as_ref() == Some(&id));
        self.bury(&id, &held)
    }

    /// Takes a container's files away. Whatever runs must have been reaped before.
    pub fn remove(&self, record: &Record) -> Result<()> {
        // It may have got another name meanwhile.
        let now = self.read(&record.id).map(|found| found.record.name);
        let names = [record.name.clone()].into_iter().chain(now.ok()).collect::<Vec<_>>();
        self.bury(&record.id, &names)
    }

    fn bury(&self, id: &str, held: &[String]) -> Result<()> {
        let directory = self.paths.container(id);
        // Out of sight in one step; then however long it takes.
        let grave = self.paths.containers().join(format!(".{id}"));
        {
            let _lock = self.lock()?;
            match fs::rename(&directory, &grave) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed.file("remove", &directory)?,
            }
            held.iter().try_for_each(|name| names::release(self.paths, name, id))?;
        }
        remove_all(&self.paths.run_container(id))?;
        remove_all(&grave)
    }

    pub(super) fn sweep(&self) -> Result<()> {
        // Whoever is removing one may be faster.
        for path in self.leftovers()? {
            drop(fs::remove_dir_all(path));
        }
        Ok(())
    }

    /// Under the lock nobody is adding: a directory that begins with a dot was left by a crash, or is on its
    /// way out.
    fn leftovers(&self) -> Result<Vec<PathBuf>> {
        let directory = self.paths.containers();
        let mut found = Vec::new();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries.file("list", &directory)?,
        };
        for entry in entries {
            let entry = entry.file("list", &directory)?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    /// Takes away what is nobody's container: what a crash left of one that was being made or removed, and
    /// names of such.
    pub fn tidy(&self) -> Result<()> {
        let directory = self.paths.names();
        let names = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            names => names.file("list", &directory)?,
        };
        let lock = self.lock()?;
        let leftovers = self.leftovers()?;
        for name in names {
            let Ok(name) = name.file("list", &directory)?.file_name().into_string() else {
                continue;
            };
            if let Some(holder) = names::holder(self.paths, &name)
                && !self.paths.container(&holder).exists()
            {
                names::release(self.paths, &name, &holder)?;
            }
        }
        // However long that takes, nobody has to wait for it.
        drop(lock);
        for path in leftovers {
            drop(fs::remove_dir_all(path));
        }
        Ok(())
    }
}

/// Removes a tree; one that is not there is removed already.
pub(crate) fn remove_all(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.file("remove", directory),
    }
}
