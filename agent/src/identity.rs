//! Who this host is, over restarts and reboots: the state directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use twill_core::ids::{Mac, NodeId};

use crate::failure::Failure;
use crate::files::{self, Wanted};
use crate::lock::Lock;

/// The state directory, held by this process alone.
#[derive(Debug)]
pub(crate) struct Identity {
    directory: PathBuf,
    /// Which host this is.
    pub(crate) node: NodeId,
    /// Released by the kernel, however the process ends.
    _lock: Lock,
}

impl Identity {
    /// Takes the lock, and makes the node id if there is none yet.
    pub(crate) fn open(directory: &Path) -> Result<Self, Failure> {
        files::ensure_directory(directory, 0o700).map_err(cannot_keep)?;
        let lock = Lock::directory(directory)?;
        let path = directory.join("node-id");
        let node = if let Some(node) = read(&path)? {
            node
        } else {
            let node = NodeId::from_random(rand::random());
            write(&path, &node.to_string()).map_err(cannot_keep)?;
            node
        };
        Ok(Self { directory: directory.to_owned(), node, _lock: lock })
    }

    /// The hardware address that peers know this host by, and that must survive a new device:
    /// the one of a device that is there, or the one remembered, or a new one.
    pub(crate) fn mac(&self, of_device: Option<Mac>) -> Result<Mac, Failure> {
        let path = self.directory.join("mac");
        let remembered = read(&path)?;
        let mac = of_device.or(remembered).unwrap_or_else(|| Mac::from_random(rand::random()));
        if remembered != Some(mac) {
            write(&path, &mac.to_string()).map_err(cannot_keep)?;
        }
        Ok(mac)
    }
}

/// `None` if the file is missing; an error if it holds something else than it should.
fn read<T>(path: &Path) -> Result<Option<T>, Failure>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let context = || format!("cannot read {}", path.display());
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot_keep(anyhow::Error::new(error).context(context()))),
    };
    let value = text.trim().parse().with_context(context);
    value.map(Some).map_err(|error| {
        Failure::refused(error).hint("restore the file; or delete it, and the host gets a new one")
    })
}

fn cannot_keep(error: anyhow::Error) -> Failure {
    Failure::refused(error).hint("make room and write access there, or choose another --state-dir")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let text = &format!("{text}\n");
    files::ensure(Wanted { path, text, mode: 0o600 }).map(|_written| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_once() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("twill/agent");
        let first = Identity::open(&directory).unwrap();
        let refusal = Identity::open(&directory).unwrap_err();
        assert!(refusal.line().contains("another twilld runs on"), "{}", refusal.line());
        let (node, mac) = (first.node, first.mac(None).unwrap());
        drop(first);
        let again = Identity::open(&directory).unwrap();
        assert_eq!((again.node, again.mac(None).unwrap()), (node, mac));
        let adopted = Mac([2, 0, 0, 0, 0, 1]);
        assert_eq!(again.mac(Some(adopted)).unwrap(), adopted, "a device that is there wins");
        assert_eq!(again.mac(None).unwrap(), adopted, "and is remembered");
    }

    #[test]
    fn a_spoilt_file_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("node-id"), "me\n").unwrap();
        let refusal = Identity::open(root.path()).unwrap_err();
        assert!(refusal.line().contains("node-id"), "{}", refusal.line());
        assert!(refusal.way_out().is_some());
    }
}
