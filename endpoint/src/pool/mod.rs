//! The addresses of a host's subnet and whom they belong to, on disk.
//!
//! ```text
//! lock                          locked while an address is chosen; holds the last one given of each family
//! boot                          the boot in which the records were last looked through
//! 10.5.2.7,tw0a1b2c3d4e.json    one per container, named by its address, or by both
//! freed                         the addresses that were given back a moment ago, and when
//! turns                         of which each owner locks a byte while its container is joined or taken off
//! .new                          a record in the making; worthless, written over by the next
//! ```
//!
//! A record is complete or not there: it is written aside and renamed. Nothing is flushed to the
//! disk on purpose. `rename` makes a record visible to every process of this boot even if its
//! writer dies in the next instruction, and only a loss of power or a crash of the kernel can undo
//! it; but that ends all interfaces and namespaces too, and records of another boot, whole or torn,
//! are thrown away anyhow. A flush would cost each container some milliseconds to keep what nobody
//! will read.

mod choose;
mod record;
mod rest;
mod turn;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

pub(crate) use self::choose::{Wish, capacity, choose, is_usable};
pub(crate) use self::record::{Entry, host_interfaces};
pub use self::record::{NetnsRecord, Record};
use twill_core::ids::Family;

use crate::error::Error;
use crate::request::{Owner, Place};

/// The pool of one host.
#[derive(Debug)]
pub(crate) struct Pool {
    directory: PathBuf,
}

/// The pool while nobody else can take an address. Unlocked when dropped, or when the process dies.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    pool: &'a Pool,
    file: File,
}

impl Pool {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Waits until no other process chooses an address, and throws away what an earlier boot left.
    pub(crate) fn lock(&self, boot_id: &str) -> Result<Locked<'_>, Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.map_err(|source| self.failed("", source))?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let file = options.open(self.path("lock"));
        let file = file.and_then(|file| file.lock().map(|()| file));
        let file = file.map_err(|source| self.failed("lock", source))?;
        let locked = Locked { pool: self, file };
        locked.forget_earlier_boots(boot_id)?;
        Ok(locked)
    }

    /// Was it used in that boot? Before that there is nothing of it in it.
    pub(crate) fn is_of(&self, boot_id: &str) -> bool {
        fs::read_to_string(self.path("boot")).is_ok_and(|marker| marker == boot_id)
    }

    /// The names of all records. An address may be given or taken back at the same time.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, Error> {
        let failed = |source| self.failed("", source);
        let directory = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            directory => directory.map_err(failed)?,
        };
        let mut entries = Vec::new();
        for file in directory {
            let name = file.map_err(failed)?.file_name();
            entries.extend(name.to_str().and_then(Entry::parse));
        }
        Ok(entries)
    }

    /// The record of that name; `None` if it was taken back by now.
    pub(crate) fn read(&self, entry: &Entry) -> Result<Option<Record>, Error> {
        let name = entry.to_string();
        let text = match fs::read(self.path(&name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|source| self.failed(&name, source))?,
        };
        let record = serde_json::from_slice(&text);
        record.map_err(|source| Error::ParseRecord { path: self.path(&name), source })
    }

    /// What belongs to `owner`, if anything does.
    pub(crate) fn find(&self, owner: &Owner) -> Result<Option<Entry>, Error> {
        Ok(self.entries_of(owner)?.into_iter().next())
    }

    /// All that belongs to `owner`: two while it moves from one subnet to another.
    pub(crate) fn entries_of(&self, owner: &Owner) -> Result<Vec<Entry>, Error> {
        let names: Vec<String> = host_interfaces(owner).collect();
        let mut found = Vec::new();
        for entry in self.entries()? {
            if names.contains(&entry.host_interface) && self.belongs_to(&entry, owner)? {
                found.push(entry);
            }
        }
        Ok(found)
    }

    fn belongs_to(&self, entry: &Entry, owner: &Owner) -> Result<bool, Error> {
        match self.read(entry) {
            Ok(record) => Ok(record.is_some_and(|record| record.owner == *owner)),
            // The name was made from the owner. Whatever broke the contents, the owner must be able
            // to give the address back.
            Err(Error::ParseRecord { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Takes an address back. Needs no lock: a name is removed or not.
    pub(crate) fn release(&self, entry: &Entry) -> Result<(), Error> {
        let name = entry.to_string();
        match fs::remove_file(self.path(&name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.failed(&name, error)),
            Err(_gone) => Ok(()),
            Ok(()) => {
                self.lay_to_rest(entry);
                Ok(())
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn failed(&self, name: &str, source: io::Error) -> Error {
        Error::Pool { path: self.path(name), source }
    }
}

impl Locked<'_> {
    /// The address given last of that family; `None` at first, or if the file was tampered with.
    pub(crate) fn last_given(&self, family: Family) -> Result<Option<IpAddr>, Error> {
        let (offset, width) = line(family);
        let mut text = vec![0; width];
        let length = self.file.read_at(&mut text, offset);
        let length = length.map_err(|source| self.pool.failed("lock", source))?;
        let text = std::str::from_utf8(text.get(..length).unwrap_or_default());
        let address: Option<IpAddr> = text.ok().and_then(|text| text.trim().parse().ok());
        Ok(address.filter(|address| Family::of(*address) == family))
    }

    /// The same of every family.
    pub(crate) fn all_last_given(&self) -> Result<Vec<IpAddr>, Error> {
        let given = [Family::V4, Family::V6].map(|family| self.last_given(family));
        given.into_iter().filter_map(Result::transpose).collect()
    }

    /// Gives addresses away for good; those of `kept` its owner has already.
    pub(crate) fn write(&self, record: &Record, kept: Option<&Record>) -> Result<(), Error> {
        let name = Entry::of(record).to_string();
        let has = |place: &Place| kept.is_some_and(|kept| kept.places().any(|it| it == *place));
        for place in record.places().filter(|place| !has(place)) {
            // Fixed width and in place: one write, no second file. If we die before the record is
            // there, an address is passed over once.
            let (offset, width) = line(place.family());
            let last = format!("{:<width$}\n", place.address, width = width - 1);
            let written = self.file.write_all_at(last.as_bytes(), offset);
            written.map_err(|source| self.pool.failed("lock", source))?;
        }
        let text = serde_json::to_vec_pretty(record).map_err(io::Error::from);
        let new = self.pool.path(".new");
        let written = text.and_then(|text| fs::write(&new, text));
        let written = written.and_then(|()| fs::rename(&new, self.pool.path(&name)));
        written.map_err(|source| self.pool.failed(&name, source))
    }

    /// The first command after a boot finds records of interfaces that the boot has ended.
    fn forget_earlier_boots(&self, boot_id: &str) -> Result<(), Error> {
        // Unreadable and torn are "another boot" too.
        if self.pool.is_of(boot_id) {
            return Ok(());
        }
        for entry in self.pool.entries()? {
            let of_this_boot = matches!(
                self.pool.read(&entry),
                Ok(Some(record)) if record.boot_id == boot_id
            );
            if !of_this_boot {
                self.pool.release(&entry)?;
            }
        }
        let new = self.pool.path(".new");
        let marker = self.pool.path("boot");
        let written = fs::write(&new, boot_id).and_then(|()| fs::rename(&new, &marker));
        written.map_err(|source| self.pool.failed("boot", source))
    }
}

/// Where in the file of the lock a family has its line, and how long that is: its longest address and a
/// line end.
fn line(family: Family) -> (u64, usize) {
    match family {
        Family::V4 => (0, 16),
        Family::V6 => (16, 40),
    }
}
