//! Dying at any moment leaves nothing that lasts, and nothing half done that can be seen.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Child;

use twill::image::Store;

use crate::archives::{Picture, Tar, docker, picture};
use crate::commands::twill;
use crate::support::Lab;

/// More than a pipe holds, so that whoever has written it knows that it is being read.
const LARGE: usize = 4 << 20;

#[test]
fn a_killed_import_is_swept_by_the_next_command_and_a_living_one_is_not() {
    let Some(lab) = Lab::new() else { return };
    let tar = Tar::new().file("large", &vec![7; LARGE]).file("last", b"x").bytes();
    let before = lab.contents();
    let [mut dead, mut alive] = [start(&lab, &tar), start(&lab, &tar)];
    dead.kill().unwrap();
    dead.wait().unwrap();
    assert_eq!(working(&lab), 2, "a killed process cannot clean up");
    Store::open(&lab.paths).unwrap();
    assert_eq!(working(&lab), 1, "whose owner lives stays");
    assert_ne!(lab.contents(), before);

    alive.stdin.take().unwrap().write_all(&tar[LARGE / 2..]).unwrap();
    assert!(alive.wait().unwrap().success());
    assert_eq!(fs::read(lab.root_of("fs").join("last")).unwrap(), b"x");
    lab.assert_staging_is_empty();
}

#[test]
fn layers_of_a_load_that_died_before_its_configuration_are_taken_away() {
    let Some(lab) = Lab::new() else { return };
    lab.load(docker(&[picture("bb:1")])).unwrap();
    let configuration = lab.paths.images().join(format!("{}.json", picture("bb:1").id().hex()));
    fs::remove_file(configuration).unwrap();
    fs::remove_file(lab.paths.images().join("references.json")).unwrap();
    lab.load(docker(&[picture("bb:2")])).unwrap();
    let layers = fs::read_dir(lab.paths.layers()).unwrap().count();
    assert_eq!(layers, 2, "the staging area and the one layer of the image");
    lab.assert_staging_is_empty();
}

#[test]
fn records_that_somebody_died_over_are_taken_away_unless_the_store_is_busy() {
    let Some(lab) = Lab::new() else { return };
    let leftover = lab.paths.images().join(".references.json.1-0.tmp");
    fs::write(&leftover, b"{").unwrap();
    let hold = lab.store.hold().unwrap();
    Store::open(&lab.paths).unwrap();
    assert!(leftover.exists(), "it may be somebody's who lives");
    drop(hold);
    Store::open(&lab.paths).unwrap();
    assert!(!leftover.exists());
}

#[test]
fn a_name_without_its_image_is_an_unknown_image() {
    let Some(lab) = Lab::new() else { return };
    lab.load(docker(&[picture("bb:1")])).unwrap();
    let configuration = lab.paths.images().join(format!("{}.json", picture("bb:1").id().hex()));
    fs::remove_file(configuration).unwrap();
    assert!(lab.store.resolve("bb:1").is_err());
    lab.load(docker(&[picture("bb:1")])).unwrap();
    lab.store.resolve("bb:1").unwrap();
}

#[test]
fn a_save_that_is_killed_leaves_no_part_of_its_file() {
    let Some(lab) = Lab::new() else { return };
    let layer = Tar::new().file("large", &vec![7; 8 * LARGE]).bytes();
    lab.load(docker(&[Picture { layers: vec![layer], names: vec!["large:1"] }])).unwrap();
    let folder = lab.beside("saved");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("large.tar");
    let mut save = twill(&lab, &["save", "-o", file.to_str().unwrap(), "large:1"]);
    let open = format!("/proc/{}/fd", save.id());
    let writes = || {
        let mut open = fs::read_dir(&open).into_iter().flatten().flatten();
        let is_draft = |to: &Path| to != folder && to.starts_with(&folder);
        open.any(|one| fs::read_link(one.path()).is_ok_and(|to| is_draft(&to)))
    };
    while !writes() && save.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    save.kill().unwrap();
    save.wait().unwrap();
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty() || left == [file], "{left:?}");
}

/// An import that has unpacked something and waits for the second half.
fn start(lab: &Lab, tar: &[u8]) -> Child {
    let mut child = twill(lab, &["import", "-", "fs"]);
    child.stdin.as_mut().unwrap().write_all(&tar[..LARGE / 2]).unwrap();
    child
}

fn working(lab: &Lab) -> usize {
    fs::read_dir(lab.paths.layers().join(".staging"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().is_dir())
        .count()
}
