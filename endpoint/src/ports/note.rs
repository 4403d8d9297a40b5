//! The note of what rules were written, beside the pool's records.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use twill_core::firewall::Engine;
use twill_core::firewall::ports::Publication;

use crate::error::Error;
use crate::host::Host;
use crate::reserve::boot_id;

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
    /// How nft printed its table.
    pub(super) printed: String,
}

impl Host {
    pub(super) fn lock_ports(&self) -> Result<fs::File, Error> {
        let path = self.state.join("ports.lock");
        fs::create_dir_all(&self.state)
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
        let (path, new) = (self.note_path(), self.state.join(".ports.new"));
        let text = serde_json::to_vec_pretty(note).map_err(std::io::Error::from);
        let written = text.and_then(|text| fs::write(&new, text));
        written
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|source| Error::Pool { path, source })
    }

    fn note_path(&self) -> PathBuf {
        self.state.join("ports.json")
    }
}
