//! Who this host is, over restarts and reboots: the state directory.

mod anchors;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use twill_core::ids::NodeId;

use crate::failure::Failure;
use crate::files::{self, Wanted};
use crate::flags::networks_in;
use crate::lock::Lock;
use crate::shelf::Shelf;
use anchors::Anchors;

/// The state directory, held by this process alone.
#[derive(Debug)]
pub(crate) struct Identity {
    directory: PathBuf,
    /// Which host this is.
    pub(crate) node: NodeId,
    /// Does this machine look like the one that the directory was made on?
    pub(crate) anchored: bool,
    /// Released by the kernel, however the process ends.
    _lock: Lock,
}

impl Identity {
    /// Takes the lock, and makes the node id if there is none yet.
    pub(crate) fn open(directory: &Path) -> Result<Self, Failure> {
        files::ensure_directory(directory, 0o700).map_err(cannot_keep)?;
        let lock = Lock::directory(directory)?;
        let machine = Anchors::of_this_machine();
        let (node, anchored) = match read(&directory.join(NODE))? {
            Some(node) => (node, machine.match_those_in(&directory.join(MACHINE))),
            None => (fresh(directory, &machine)?, true),
        };
        if !anchored {
            let hint = format!(
                "is it the same host on new hardware? Stop twilld, write {node} into {}, delete {}",
                directory.join(NODE).display(),
                directory.join(MACHINE).display(),
            );
            tracing::warn!(%node, hint, "the state directory was made on another machine");
        }
        Ok(Self { directory: directory.to_owned(), node, anchored, _lock: lock })
    }

    /// This host is in the network as the one that the directory says: the next start will know this
    /// machine.
    ///
    /// A machine that was known already can do without, whatever the disk says: one match is enough.
    pub(crate) fn settle(&mut self) -> Result<(), Failure> {
        let kept = write(&self.directory.join(MACHINE), &Anchors::of_this_machine().to_text());
        match kept.map_err(cannot_keep) {
            Err(failure) if self.anchored => {
                let hint = failure.way_out();
                tracing::warn!(
                    hint,
                    "what tells this machine from a copy is not kept: {}",
                    failure.line()
                );
            }
            kept => kept?,
        }
        self.anchored = true;
        Ok(())
    }

    /// Which host a state directory is of, without holding it.
    pub(crate) fn known(directory: &Path) -> Option<NodeId> {
        read(&directory.join(NODE)).ok().flatten()
    }

    /// Another host has our node id. From now on this is a new one, with a hardware address and a key of its own.
    pub(crate) fn become_another(&mut self) -> Result<NodeId, Failure> {
        // In this order a death in between leaves a host that still is to become another.
        Shelf::new(&self.directory).renew()?;
        for entry in networks_in(&self.directory).read_dir().into_iter().flatten().flatten() {
            Shelf::new(&entry.path()).renew()?;
        }
        self.node = fresh(&self.directory, &Anchors::of_this_machine())?;
        self.anchored = true;
        Ok(self.node)
    }
}

const NODE: &str = "node-id";
const MACHINE: &str = "machine";

/// The machine is written last: next to the node id of another host it would make of a copy, if we die in
/// between, the host that it was copied from. A new node id that no machine knows is nobody's either way.
fn fresh(directory: &Path, machine: &Anchors) -> Result<NodeId, Failure> {
    let node = NodeId::from_random(rand::random());
    write(&directory.join(NODE), &node.to_string()).map_err(cannot_keep)?;
    write(&directory.join(MACHINE), &machine.to_text()).map_err(cannot_keep)?;
    Ok(node)
}

/// `None` if the file is missing; an error if it holds something else than it should.
pub(crate) fn read<T>(path: &Path) -> Result<Option<T>, Failure>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let context = || format!("cannot read {}", path.display());
    let spoilt = |error| {
        Failure::refused(error).hint("restore the file; or delete it, and the host gets a new one")
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let of_text = error.kind() == ErrorKind::InvalidData;
            let error = anyhow::Error::new(error).context(context());
            return Err(if of_text { spoilt(error) } else { cannot_keep(error) });
        }
    };
    let value = text.trim().parse().with_context(context);
    value.map(Some).map_err(spoilt)
}

pub(crate) fn cannot_keep(error: anyhow::Error) -> Failure {
    Failure::refused(error).hint("make room and write access there, or choose another --state-dir")
}

pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
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
        let node = first.node;
        drop(first);
        assert_eq!(Identity::open(&directory).unwrap().node, node);
    }

    #[test]
    fn a_host_that_becomes_another_shares_nothing_with_the_first() {
        let root = tempfile::tempdir().unwrap();
        let mut identity = Identity::open(root.path()).unwrap();
        let shelf = Shelf::new(root.path());
        let of_network = Shelf::new(&root.path().join("networks/blue"));
        let (node, mac) = (identity.node, shelf.mac(None).unwrap());
        let mac_of_network = of_network.mac(None).unwrap();
        let other = identity.become_another().unwrap();
        assert_ne!(other, node);
        let of_device = shelf.mac(Some(mac)).unwrap();
        assert_ne!(of_device, mac, "though its device still has the old address");
        assert_ne!(of_network.mac(None).unwrap(), mac_of_network, "in every network");
        drop(identity);
        let again = Identity::open(root.path()).unwrap();
        assert_eq!((again.node, again.anchored), (other, true));
        assert_eq!(shelf.mac(Some(mac)).unwrap(), of_device);
    }

    #[test]
    fn a_directory_from_another_machine_is_known_until_it_has_settled() {
        let root = tempfile::tempdir().unwrap();
        let node = Identity::open(root.path()).unwrap().node;
        fs::write(root.path().join("machine"), "boot elsewhere\nlink 02:00:00:00:00:01\n").unwrap();
        let mut copied = Identity::open(root.path()).unwrap();
        assert_eq!((copied.node, copied.anchored), (node, false));
        copied.settle().unwrap();
        drop(copied);
        assert!(Identity::open(root.path()).unwrap().anchored);
        fs::remove_file(root.path().join("machine")).unwrap();
        assert!(Identity::open(root.path()).unwrap().anchored, "an earlier version wrote none");
    }

    #[test]
    fn a_full_disk_keeps_nobody_out_whose_machine_is_known() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("machine");
        let mut known = Identity::open(root.path()).unwrap();
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        known.settle().unwrap();
        known.anchored = false;
        known.settle().unwrap_err();
        assert!(!known.anchored);
    }

    #[test]
    fn a_copy_that_dies_while_it_becomes_another_is_still_a_copy() {
        let root = tempfile::tempdir().unwrap();
        let node = Identity::open(root.path()).unwrap().node;
        fs::write(root.path().join("machine"), "boot elsewhere\nlink 02:00:00:00:00:01\n").unwrap();
        let mut copied = Identity::open(root.path()).unwrap();
        let file = root.path().join("node-id");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        copied.become_another().unwrap_err();
        drop(copied);
        fs::remove_dir(&file).unwrap();
        fs::write(&file, format!("{node}\n")).unwrap();
        let again = Identity::open(root.path()).unwrap();
        assert_eq!((again.node, again.anchored), (node, false));
    }

    #[test]
    fn a_spoilt_file_is_named() {
        let root = tempfile::tempdir().unwrap();
        for text in [&b"me\n"[..], b"", b"\xff\0"] {
            fs::write(root.path().join("node-id"), text).unwrap();
            let refusal = Identity::open(root.path()).unwrap_err();
            assert!(refusal.line().contains("node-id"), "{}", refusal.line());
            assert!(refusal.way_out().is_some_and(|hint| hint.starts_with("restore the file")));
        }
    }
}
