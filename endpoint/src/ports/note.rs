//! The note of what rules were written, in a directory beside the pools: a host has one, however many pools.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use twill_core::firewall::Engine;
use twill_core::firewall::ports::Publication;
use twill_net::ports::Left;

use crate::boot::boot_id;
use crate::error::Error;
use crate::host::Host;

/// What is known of the rules that are there.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Note {
    /// Nothing of an earlier boot is there.
    pub(super) boot_id: String,
    pub(super) engine: Engine,
    /// Do the rules stand as the note says? Else they may be those before, too.
    pub(super) settled: bool,
    pub(super) publications: Vec<Publication>,
    /// How the kernel shows the table of nftables.
    pub(super) printed: String,
    /// Is nothing of ours to be in iptables beside that?
    #[serde(default)]
    pub(super) apart: bool,
    /// Of nftables' rules, when these were written.
    #[serde(default)]
    pub(super) generation: u32,
}

impl Note {
    /// How the rules were left.
    pub(super) fn left(&self) -> Left {
        let Self { printed, apart, generation, .. } = self;
        Left { changed: false, printed: printed.clone(), apart: *apart, generation: *generation }
    }
}

impl Host {
    pub(super) fn lock_ports(&self) -> Result<fs::File, Error> {
        let path = self.shared().join("ports").join("lock");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.shared().join("ports"))
            .and_then(|()| OpenOptions::new().create(true).truncate(false).write(true).open(&path))
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|source| Error::Pool { path, source })
    }

    /// `None` if nothing was written since the host came up. One that was torn is no knowledge either.
    pub(super) fn note(&self) -> Result<Option<Note>, Error> {
        let path = self.note_path();
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|source| Error::Pool { path, source })?,
        };
        let boot_id = boot_id()?;
        let note: Option<Note> = serde_json::from_slice(&text).ok();
        Ok(note.filter(|note| note.boot_id == boot_id))
    }

    pub(super) fn put_note(&self, note: &Note) -> Result<(), Error> {
        let (path, new) = (self.note_path(), self.shared().join("ports").join(".new"));
        let text = serde_json::to_vec_pretty(note).map_err(io::Error::from);
        let written = text.and_then(|text| {
            forgive_missing(fs::remove_file(&new))?;
            fs::write(&new, text)?;
            exchange(&new, &path)
        });
        written.map_err(|source| Error::Pool { path, source })
    }

    fn note_path(&self) -> PathBuf {
        self.shared().join("ports").join("note.json")
    }

    /// Where the pools of this host lie.
    pub(super) fn shared(&self) -> &Path {
        let parent = self.state.parent().unwrap_or(Path::new("/"));
        if parent.as_os_str().is_empty() { Path::new(".") } else { parent }
    }
}

/// Puts a file in another's place. Where that is there the two change places, as the file system may write a file to the disk
/// at once that takes another's (ext4 with `auto_da_alloc`), which takes longer than all the rest of joining a container; the
/// note is of no use after a loss of power.
fn exchange(new: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // It is not there, or the file system cannot do that.
        Err(_other) => fs::rename(new, path),
    }
}

fn forgive_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _done => Ok(()),
    }
}
