//! All containers: finding, listing, adding, taking away.

mod locks;
mod removal;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::locks::Attempt;
pub(crate) use self::removal::remove_all;
use super::record::Record;
use super::state::{State, Wish};
use super::{id, names};
use crate::durable;
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
