//! All containers: finding, listing, adding, taking away.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::Record;
use super::state::{State, Wish};
use super::{id, liveness, names};
use crate::durable::{self, Lock, Sharing};
use crate::error::{Error, FileContext as _, Result};
use crate::{Paths, output};

/// The containers below one root.
#[derive(Clone, Debug)]
pub struct Store<'a> {
    paths: &'a Paths,
}

/// A container as its files show it.
#[derive(Clone, Debug)]
pub struct Container {
    /// What it was asked to be.
    pub record: Record,
    /// How it fares.
    pub state: State,
}

/// What came of locking a container without waiting.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Locked(Flock<File>),
    /// Somebody has it, perhaps for long: whoever copies what is in it.
    Held,
    /// It is being removed.
    Gone,
}

impl<'a> Store<'a> {
    /// Touches nothing: there may be no container yet, and nobody may have asked for one.
    #[must_use]
    pub fn new(paths: &'a Paths) -> Self {
        Self { paths }
    }

    /// The layout this store lies in.
    #[must_use]
    pub fn paths(&self) -> &'a Paths {
        self.paths
    }

    /// Writes a new container down and reserves its name; with no wish, one is made up.
    ///
    /// All or nothing: the directory appears under its id in one step, after its contents.
    pub fn add(&self, mut record: Record, wish: Option<&str>) -> Result<Record> {
        wish.map_or(Ok(()), names::check)?;
        for directory in [self.paths.containers(), self.paths.names(), self.paths.run_root().into()]
        {
            make_private(&directory)?;
        }
        let staging = self.paths.containers().join(format!(".{}", record.id));
        let added = self.reserve(&mut record, wish, &staging);
        if added.is_err() {
            // The first cause counts; a leftover that begins with a dot is nobody's container.
            drop(fs::remove_dir_all(&staging));
        }
        added.map(|()| record)
    }

    fn reserve(&self, record: &mut Record, wish: Option<&str>, staging: &Path) -> Result<()> {
        let _lock = self.lock()?;
        self.sweep()?;
        make_private(staging)?;
        wish.unwrap_or_default().clone_into(&mut record.name);
        if wish.is_none() {
            record.name = names::invent();
            while names::owner(self.paths, &record.name).is_some() {
                record.name = format!("{}_{}", names::invent(), &record.id[..4]);
            }
        }
        names::reserve(self.paths, &record.name, &record.id)?;
        let directory = self.paths.container(&record.id);
        let written = write(&staging.join("config.json"), record, !record.auto_remove)
            .and_then(|()| {
                write(&staging.join("state.json"), &State::default(), !record.auto_remove)
            })
            .and_then(|()| fs::rename(staging, &directory).file("create", &directory));
        if written.is_err() {
            drop(names::release(self.paths, &record.name, &record.id));
        }
        written
    }

    /// Finds one by full id, exact name or unique start of an id, in this order.
    pub fn find(&self, query: &str) -> Result<Container> {
        let query = query.strip_prefix('/').unwrap_or(query);
        if let Some(id) = self.identify(query)? {
            return self.read(&id).map_err(|error| match error {
                // Removed between the two looks.
                Error::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    Error::NoSuchContainer(query.to_owned())
                }
                error => error,
            });
        }
        Err(Error::NoSuchContainer(query.to_owned()))
    }

    fn identify(&self, query: &str) -> Result<Option<String>> {
        if id::is_full(query) {
            return Ok(self.paths.container(query).exists().then(|| query.to_owned()));
        }
        if let Some(holder) = names::owner(self.paths, query) {
            return Ok(Some(holder));
        }
        if !id::is_prefix(query) {
            return Ok(None);
        }
        let mut found = self.ids()?.into_iter().filter(|id| id.starts_with(query));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Error::AmbiguousId(query.to_owned())),
            (first, _) => Ok(first),
        }
    }

    /// All of them, the newest first. One that is being removed may be missing; of one whose files
    /// are torn the person is told.
    pub fn list(&self) -> Result<Vec<Container>> {
        let mut all = Vec::new();
        for id in self.ids()? {
            match self.read(&id) {
                Ok(container) => all.push(container),
                Err(error @ Error::Decode { .. }) => {
                    output::note(format_args!("twill: warning: {}", error.chain()));
                    output::note(format_args!("hint: `twill rm -f {}` removes it", id::short(&id)));
                }
                Err(_being_removed) => {}
            }
        }
        all.sort_by_key(|one| std::cmp::Reverse(one.record.created));
        Ok(all)
    }

    /// All of them, in no order; files that are torn are a failure, for whoever must not miss any.
    pub fn list_whole(&self) -> Result<Vec<Container>> {
        let mut all = Vec::new();
        for id in self.ids()? {
            match self.read(&id) {
                Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                container => all.push(container?),
            }
        }
        Ok(all)
    }

    /// Reads one by its full id.
    pub fn read(&self, id: &str) -> Result<Container> {
        let directory = self.paths.container(id);
        Ok(Container {
            record: read(&directory.join("config.json"))?,
            state: read(&directory.join("state.json"))?,
        })
    }

    /// Replaces the record of a container. The caller holds its lock.
    pub(super) fn write_record(&self, record: &Record) -> Result<()> {
        write(&self.paths.container(&record.id).join("config.json"), record, !record.auto_remove)
    }

    /// Writes down what was asked for last, if a monitor is there to heed it. Returns the state that
    /// the wish met.
    pub fn wish(&self, id: &str, wish: Wish) -> Result<State> {
        let gone = || Error::NoSuchContainer(id.to_owned());
        let _lock = self.lock_container(id)?.ok_or_else(gone)?;
        let Container { record, state } = self.read(id)?;
        if !state.status.is_alive() || state.wish == wish {
            return Ok(state);
        }
        let state = State { wish, ..state };
        self.write_state(&record, &state)?;
        Ok(state)
    }

    /// Replaces the state of a container.
    pub fn write_state(&self, record: &Record, state: &State) -> Result<()> {
        write(&self.paths.container(&record.id).join("state.json"), state, !record.auto_remove)
    }

    /// Makes the volatile directory for a new run.
    pub fn prepare_run(&self, id: &str) -> Result<()> {
        make_private(&self.paths.run_container(id))
    }

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

    /// One at a time halts this container or lets it go on. `None` if it is gone.
    pub fn lock_freezer(&self, id: &str) -> Result<Option<Lock>> {
        let path = self.paths.container(id).join("freezer.lock");
        match durable::lock(&path, Sharing::Exclusive) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            lock => lock.file("lock", &path).map(Some),
        }
    }

    /// One at a time changes the life of this container. `None` if it is being removed.
    pub fn lock_container(&self, id: &str) -> Result<Option<Flock<File>>> {
        match self.attempt(id, FlockArg::LockExclusive)? {
            Attempt::Locked(lock) => Ok(Some(lock)),
            Attempt::Held | Attempt::Gone => Ok(None),
        }
    }

    /// The same without waiting.
    pub fn try_lock_container(&self, id: &str) -> Result<Attempt> {
        self.attempt(id, FlockArg::LockExclusiveNonblock)
    }

    fn attempt(&self, id: &str, how: FlockArg) -> Result<Attempt> {
        let directory = self.paths.container(id);
        let file = match File::open(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Attempt::Gone),
            file => file.file("open", &directory)?,
        };
        let lock = match Flock::lock(file, how) {
            Err((_, Errno::EWOULDBLOCK)) => return Ok(Attempt::Held),
            lock => lock.map_err(|(_, error)| error).file("lock", &directory)?,
        };
        Ok(if directory.exists() { Attempt::Locked(lock) } else { Attempt::Gone })
    }

    pub(super) fn lock(&self) -> Result<Lock> {
        // Gone with the last boot, perhaps.
        make_private(self.paths.run_root())?;
        let path = self.paths.lock();
        durable::lock(&path, Sharing::Exclusive).file("lock", &path)
    }

    fn sweep(&self) -> Result<()> {
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

    fn ids(&self) -> Result<Vec<String>> {
        let directory = self.paths.containers();
        let mut ids = Vec::new();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ids),
            entries => entries.file("list", &directory)?,
        };
        for entry in entries {
            let name = entry.file("list", &directory)?.file_name();
            ids.extend(name.into_string().ok().filter(|name| id::is_full(name)));
        }
        Ok(ids)
    }
}

/// Removes a tree; one that is not there is removed already.
pub(crate) fn remove_all(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.file("remove", directory),
    }
}

/// Layers and logs may hold secrets: nobody but root looks in.
pub(crate) fn make_private(directory: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).file("create", directory)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).file("read", path)?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Decode { path: path.to_owned(), source })
}

/// Whole or not at all. A container that vanishes with its end need not survive a power cut.
fn write<T: Serialize>(path: &Path, value: &T, durable: bool) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(value).map_err(io::Error::other).file("write", path)?;
    if durable {
        return durable::write(path, &bytes, 0o600).file("write", path);
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&temporary, &bytes).and_then(|()| fs::rename(&temporary, path)).file("write", path)
}

#[cfg(test)]
mod tests;
