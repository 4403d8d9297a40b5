//! What this host keeps of one network, over restarts and reboots: a part of the state directory.

use std::fs;
use std::path::{Path, PathBuf};

use twill_core::ids::Mac;
use twill_core::serving::Serving;

use crate::failure::Failure;
use crate::identity::{cannot_keep, read, write};

/// A directory that is held already, with all of the state directory.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    directory: PathBuf,
}

const HARDWARE: &str = "mac";
const BACKENDS: &str = "backends";

impl Shelf {
    /// Nothing is read or written yet.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The hardware address that peers know this host by, and that must survive a new device: the
    /// one remembered, or the one of a device that is there, a flanneld's perhaps, or a new one.
    pub(crate) fn mac(&self, of_device: Option<Mac>) -> Result<Mac, Failure> {
        let path = self.directory.join(HARDWARE);
        let remembered = read(&path)?;
        let mac = remembered.or(of_device).unwrap_or_else(|| Mac::from_random(rand::random()));
        if remembered != Some(mac) {
            write(&path, &mac.to_string()).map_err(cannot_keep)?;
        }
        Ok(mac)
    }

    /// The hardware address that peers know this host by, if there is one yet.
    pub(crate) fn known_mac(&self) -> Option<Mac> {
        read(&self.directory.join(HARDWARE)).ok().flatten()
    }

    /// Another host may have the address that was: from now on this one has another.
    pub(crate) fn renew_mac(&self) -> Result<(), Failure> {
        let mac = Mac::from_random(rand::random());
        write(&self.directory.join(HARDWARE), &mac.to_string()).map_err(cannot_keep)
    }

    /// The backends that this host served when it last changed; nothing if that cannot be read, because
    /// then its peers find another way or are told.
    pub(crate) fn serving(&self) -> Option<Serving> {
        let path = self.directory.join(BACKENDS);
        let text = fs::read(&path).ok()?;
        match Serving::parse(&text) {
            Ok(serving) => Some(serving),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cannot read what was served before");
                None
            }
        }
    }

    /// Before a backend comes or goes: who starts again must know of it.
    pub(crate) fn keep_serving(&self, serving: &Serving) -> Result<(), Failure> {
        write(&self.directory.join(BACKENDS), &serving.to_json()).map_err(cannot_keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_made_once() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(root.path());
        let mac = shelf.mac(None).unwrap();
        let again = Shelf::new(root.path());
        assert_eq!(again.mac(None).unwrap(), mac);
        let other = Mac([2, 0, 0, 0, 0, 1]);
        assert_eq!(again.mac(Some(other)).unwrap(), mac, "what is remembered wins");
    }

    #[test]
    fn a_flannelds_device_keeps_its_address() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(root.path());
        let adopted = Mac([2, 0, 0, 0, 0, 1]);
        assert_eq!(shelf.mac(Some(adopted)).unwrap(), adopted);
        assert_eq!(shelf.mac(None).unwrap(), adopted, "and is remembered");
    }
}
