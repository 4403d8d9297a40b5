//! What this host keeps of one network, over restarts and reboots: a part of the state directory.

use std::fs;
use std::path::{Path, PathBuf};

use twill_core::ids::Mac;
use twill_core::serving::Serving;
use twill_core::wireguard::PrivateKey;

use crate::failure::Failure;
use crate::identity::{cannot_keep, read, write};

/// A directory that is held already, with all of the state directory.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    directory: PathBuf,
}

const HARDWARE: &str = "mac";
const BACKENDS: &str = "backends";
/// The private key of this host's `WireGuard` devices.
pub(crate) const WIREGUARD: &str = "wireguard-key";

/// What a flanneld takes its key from, and where it is if that says nothing.
const FLANNELS_KEY: (&str, &str) = ("WIREGUARD_KEY_FILE", "/run/flannel/wgkey");

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

    /// Another host may have the address and the key that were: from now on this one has others.
    pub(crate) fn renew(&self) -> Result<(), Failure> {
        let mac = Mac::from_random(rand::random());
        write(&self.directory.join(HARDWARE), &mac.to_string()).map_err(cannot_keep)?;
        if self.directory.join(WIREGUARD).exists() {
            self.keep_key(PrivateKey::from_random(rand::random()))?;
        }
        Ok(())
    }

    /// The key that peers know this host by, and that must survive restarts and reboots: the one remembered,
    /// or that of a flanneld which was here, or a new one.
    pub(crate) fn key(&self) -> Result<PrivateKey, Failure> {
        let (variable, usual) = FLANNELS_KEY;
        let flannels = std::env::var_os(variable).unwrap_or_else(|| usual.into());
        self.key_or(Path::new(&flannels))
    }

    fn key_or(&self, flannels: &Path) -> Result<PrivateKey, Failure> {
        if let Some(key) = read(&self.directory.join(WIREGUARD))? {
            return Ok(key);
        }
        let key = match read(flannels) {
            Ok(Some(key)) => {
                tracing::info!(file = %flannels.display(), "this host goes on with flannel's key");
                key
            }
            Ok(None) => PrivateKey::from_random(rand::random()),
            Err(failure) => {
                tracing::warn!("this host gets a new key: {}", failure.line());
                PrivateKey::from_random(rand::random())
            }
        };
        self.keep_key(key)?;
        Ok(key)
    }

    /// The same, if there is one yet.
    pub(crate) fn known_key(&self) -> Option<PrivateKey> {
        read(&self.directory.join(WIREGUARD)).ok().flatten()
    }

    fn keep_key(&self, key: PrivateKey) -> Result<(), Failure> {
        write(&self.directory.join(WIREGUARD), &key.to_base64()).map_err(cannot_keep)
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
    fn a_key_is_made_once_for_root_alone_and_never_said() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(root.path());
        let nowhere = root.path().join("flannel/wgkey");
        let key = shelf.key_or(&nowhere).unwrap();
        assert_eq!(Shelf::new(root.path()).key_or(&nowhere).unwrap(), key);
        let file = root.path().join(WIREGUARD);
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o7777, 0o600);
        shelf.renew().unwrap();
        let other = shelf.known_key().unwrap();
        assert_ne!(other, key, "another host may have that one");
        fs::remove_file(&file).unwrap();
        fs::write(&file, "half of a ke").unwrap();
        let words = shelf.key_or(&nowhere).unwrap_err();
        let line = words.line();
        assert!(line.contains("wireguard-key") && !line.contains("half of a ke"), "{line}");
    }

    #[test]
    fn a_flannelds_key_is_taken_over() {
        let root = tempfile::tempdir().unwrap();
        let flannels = root.path().join("wgkey");
        let key = PrivateKey::from_random([7; 32]);
        fs::write(&flannels, key.to_base64()).unwrap();
        let shelf = Shelf::new(&root.path().join("state"));
        assert_eq!(shelf.key_or(&flannels).unwrap(), key);
        fs::write(&flannels, "a spoilt one").unwrap();
        assert_eq!(shelf.key_or(&flannels).unwrap(), key, "what is remembered wins");
        let another = Shelf::new(&root.path().join("other"));
        assert_ne!(another.key_or(&flannels).unwrap(), key, "a new one is better than none");
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
