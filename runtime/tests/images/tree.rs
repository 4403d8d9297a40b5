//! Everything that can be seen of an image's files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use twill::image::Digest;

use crate::support::Lab;

/// A name and what is known of it.
pub(crate) type Tree = BTreeMap<String, String>;

/// The files of an image as a container sees them. The mount lives in a mount namespace of a thread, and ends
/// with it.
pub(crate) fn of(lab: &Lab, name: &str) -> Tree {
    seen(lab, name, |root| {
        let mut tree = Tree::new();
        walk(root, root, &mut tree);
        tree
    })
}

/// Looks at the files of an image as a container sees them.
pub(crate) fn seen<T: Send>(lab: &Lab, name: &str, look: impl FnOnce(&Path) -> T + Send) -> T {
    let mut layers = lab.store.resolve(name).unwrap().layers;
    let (target, empty) = (lab.beside("mnt"), lab.beside("empty"));
    for folder in [&target, &empty] {
        fs::create_dir_all(folder).unwrap();
    }
    // One layer alone would be no overlay.
    layers.insert(0, empty);
    let lower: Vec<&str> = layers.iter().rev().map(|layer| layer.to_str().unwrap()).collect();
    let options = format!("lowerdir={}", lower.join(":"));
    std::thread::scope(|scope| {
        let looker = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            let kind = Some("overlay");
            mount(kind, &target, kind, MsFlags::MS_RDONLY, Some(options.as_str())).unwrap();
            look(&target)
        });
        looker.join().unwrap()
    })
}

fn walk(root: &Path, folder: &Path, tree: &mut Tree) {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = String::from_utf8_lossy(path.strip_prefix(root).unwrap().as_os_str().as_bytes());
        tree.insert(name.into_owned(), describe(&path));
        if path.symlink_metadata().unwrap().is_dir() {
            walk(root, &path, tree);
        }
    }
}

fn describe(path: &Path) -> String {
    let meta = path.symlink_metadata().unwrap();
    let kind = meta.file_type();
    let mut text = format!("{:o} {}:{} {}", meta.mode(), meta.uid(), meta.gid(), meta.mtime());
    if kind.is_symlink() {
        text = format!("{text} -> {}", fs::read_link(path).unwrap().display());
    } else if kind.is_file() {
        let content = fs::read(path).unwrap();
        text =
            format!("{text} {} {} x{}", content.len(), Digest::of(&content).short(), meta.nlink());
        for name in ["security.capability", "user.note"] {
            let mut value = [0; 100];
            if let Ok(length) = rustix::fs::getxattr(path, name, &mut value) {
                text = format!("{text} {name}={}", value[..length].escape_ascii());
            }
        }
    } else if !kind.is_dir() {
        text = format!("{text} {:x}", meta.rdev());
    }
    text
}
