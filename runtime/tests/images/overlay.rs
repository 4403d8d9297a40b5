//! The layers mean to overlayfs what they mean to the image format.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::archives::{Picture, Tar, docker};
use crate::support::Lab;
use crate::tree;

#[test]
fn whiteouts_hide_what_is_below_and_only_that() {
    let Some(lab) = Lab::new() else { return };
    let picture = Picture { layers: vec![below().bytes(), above().bytes()], names: vec!["bb:1"] };
    lab.load(docker(&[picture])).unwrap();
    let want = [
        ("emptied/new", "2"),
        ("hidden/implied/new", "2"),
        ("kept", "1"),
        ("remade-late/new", "2"),
        ("remade/new", "2"),
        ("to-file", "2"),
        ("to-folder/new", "2"),
        ("tree/new", "2"),
        ("tree/old", "1"),
    ];
    let want: BTreeMap<String, String> =
        want.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    assert_eq!(mounted(&lab, "bb:1"), want);
}

fn below() -> Tar {
    Tar::new()
        .file("kept", b"1")
        .file("gone", b"1")
        .folder("tree")
        .file("tree/old", b"1")
        .file("tree/sub/deep", b"1")
        .folder("emptied")
        .file("emptied/old", b"1")
        .file("emptied/sub/old", b"1")
        .folder("remade")
        .file("remade/old", b"1")
        .folder("remade-late")
        .file("remade-late/old", b"1")
        .folder("to-file")
        .file("to-file/old", b"1")
        .file("to-folder", b"1")
        .folder("hidden")
        .file("hidden/old", b"1")
}

fn above() -> Tar {
    Tar::new()
        .file(".wh.gone", b"")
        .file("tree/sub/.wh.deep", b"")
        .file("tree/new", b"2")
        // The mark may come before or after what the directory gets instead.
        .file("emptied/.wh..wh..opq", b"")
        .file("emptied/new", b"2")
        .file(".wh.remade", b"")
        .folder("remade")
        .file("remade/new", b"2")
        .folder("remade-late")
        .file("remade-late/new", b"2")
        .file(".wh.remade-late", b"")
        .file(".wh.to-file", b"")
        .file("to-file", b"2")
        .folder("to-folder")
        .file("to-folder/new", b"2")
        .file(".wh.hidden", b"")
        .file("hidden/implied/new", b"2")
        .file(".wh..wh.aufs", b"")
        .file(".wh..wh.plnk/1.2", b"")
}

/// The files of an image as a container sees them, and their contents.
fn mounted(lab: &Lab, name: &str) -> BTreeMap<String, String> {
    tree::seen(lab, name, |root| {
        let mut found = BTreeMap::new();
        collect(root, root, &mut found);
        found
    })
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}
