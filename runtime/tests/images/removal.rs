//! Names go, images go, layers go: in this order, and only when nobody needs them.

use std::fs::{self, File};

use nix::fcntl::{Flock, FlockArg};
use twill::image::{Digest, Error, Removal, Removed, UserOf};

use crate::archives::{Picture, Tar, docker, picture};
use crate::support::{Lab, chain};

#[expect(clippy::unnecessary_wraps, reason = "the shape that a removal asks for")]
fn unused(_: &Digest) -> Result<Option<String>, UserOf> {
    Ok(None)
}

const GENTLE: Removal<'_> = Removal { force: false, user_of: &unused };
const FORCE: Removal<'_> = Removal { force: true, user_of: &unused };

#[test]
fn the_last_name_takes_the_image_along() {
    let Some(lab) = Lab::new() else { return };
    let empty = lab.contents();
    lab.load(docker(&[picture("bb:1")])).unwrap();
    lab.store.tag("bb:1", "docker.io/library/other").unwrap();
    let id = picture("bb:1").id();
    let shown = |removed: &[Removed]| format!("{removed:?}").contains("Deleted");
    let removed = lab.store.remove("bb:1", GENTLE).unwrap();
    assert_eq!((removed.len(), shown(&removed)), (1, false));
    let removed = lab.store.remove("other", GENTLE).unwrap();
    assert_eq!(removed[1], Removed::Deleted { id, freed: 4 });
    let mut left = lab.contents();
    left.retain(|path| !empty.contains(path) && !path.ends_with("references.json"));
    assert!(left.is_empty(), "{left:?}");
    lab.assert_staging_is_empty();
    assert!(matches!(lab.store.remove("other", GENTLE), Err(Error::Unknown { .. })));
}

#[test]
fn by_its_id_an_image_goes_with_its_name_and_by_force_with_all() {
    let Some(lab) = Lab::new() else { return };
    lab.load(docker(&[picture("bb:1")])).unwrap();
    let id = picture("bb:1").id();
    lab.store.remove(&id.short(), GENTLE).unwrap();
    lab.load(docker(&[picture("bb:1")])).unwrap();
    lab.store.tag("bb:1", "bb:2").unwrap();
    let error = lab.store.remove(&id.to_string(), GENTLE).unwrap_err();
    assert_eq!(chain(&error), format!("image {} has several names: bb:1, bb:2", id.short()));
    assert_eq!(lab.store.remove(&id.hex(), FORCE).unwrap().len(), 3);
    assert!(lab.store.list().unwrap().is_empty());
}

#[test]
fn shared_layers_stay_with_the_image_that_is_left() {
    let Some(lab) = Lab::new() else { return };
    let base = picture("base:1");
    let layers = vec![base.layers[0].clone(), Tar::new().file("top", b"").bytes()];
    let two = Picture { layers, names: vec!["two:1"] };
    lab.load(docker(&[base, two])).unwrap();
    lab.store.remove("two:1", GENTLE).unwrap();
    assert_eq!(lab.store.resolve("base:1").unwrap().size, 6);
    assert_eq!(layer_count(&lab), 1);
}

#[test]
fn a_container_keeps_its_image() {
    let Some(lab) = Lab::new() else { return };
    lab.load(docker(&[picture("bb:1")])).unwrap();
    lab.store.tag("bb:1", "bb:2").unwrap();
    let used = |image: &Digest| Ok((*image == picture("bb:1").id()).then(|| "web".to_owned()));
    let gentle = Removal { force: false, user_of: &used };
    lab.store.remove("bb:2", gentle).expect("the image still has a name");
    let error = lab.store.remove("bb:1", gentle).unwrap_err();
    assert_eq!(chain(&error), "image bb:1 is being used by container web");
    assert_eq!(error.hint().as_deref(), Some("remove the container first: `twill rm web`"));
    let removed = lab.store.remove("bb:1", Removal { force: true, user_of: &used }).unwrap();
    assert_eq!(removed.len(), 1, "the name went, the image stays: {removed:?}");
    let image = lab.store.resolve(&picture("bb:1").id().to_string()).unwrap();
    assert!(image.names.is_empty() && image.layers[0].exists());
}

#[test]
fn when_nobody_can_tell_who_uses_it_an_image_stays() {
    let Some(lab) = Lab::new() else { return };
    lab.load(docker(&[picture("bb:1")])).unwrap();
    let blind = |_: &Digest| Err("the disk is on fire".into());
    let error = lab.store.remove("bb:1", Removal { force: true, user_of: &blind }).unwrap_err();
    let text = "cannot tell which containers use the image: the disk is on fire";
    assert_eq!(chain(&error), text);
    lab.store.resolve("bb:1").unwrap();
}

#[test]
fn while_the_store_is_held_no_removal_gets_in() {
    let Some(lab) = Lab::new() else { return };
    let held = lab.store.hold().unwrap();
    let other = lab.store.hold().expect("holders do not exclude each other");
    let lock = File::open(lab.paths.images().join("lock")).unwrap();
    let (lock, _) = Flock::lock(lock, FlockArg::LockExclusiveNonblock).unwrap_err();
    drop((held, other));
    drop(Flock::lock(lock, FlockArg::LockExclusiveNonblock).unwrap());
}

#[test]
fn a_name_moves_to_the_newer_image() {
    let Some(lab) = Lab::new() else { return };
    let fs = |content: &[u8]| Tar::new().file("x", content).bytes();
    let old = lab.import(fs(b"old"), "fs").unwrap();
    let new = lab.import(fs(b"new"), "fs").unwrap();
    assert_eq!(lab.store.resolve("fs").unwrap().id, new);
    let nameless = lab.store.resolve(&old.to_string()).unwrap();
    assert!(nameless.names.is_empty());
    assert_eq!(lab.store.list().unwrap().len(), 2);
}

#[test]
fn what_is_asked_for_is_found_or_named() {
    let Some(lab) = Lab::new() else { return };
    lab.load(docker(&[picture("bb:latest")])).unwrap();
    let id = picture("bb:latest").id();
    let pinned = id.to_string();
    for name in [
        "bb",
        "bb:latest",
        "docker.io/library/bb",
        &id.hex(),
        &pinned,
        &id.hex()[..6],
        &pinned[..12],
    ] {
        assert_eq!(lab.store.resolve(name).unwrap().id, id, "{name}");
    }
    let none = "0".repeat(64);
    let refused = [
        ("nosuch", "no such image: nosuch:latest"),
        ("bb:2", "no such image: bb:2"),
        (&none, "no such image: 0000000000000000000000000000000000000000000000000000000000000000"),
        ("", "invalid image name '': it is empty"),
        (
            "a/B",
            "invalid image name 'a/B': the name may hold only lower-case letters, digits and single '.', '_', '-', '/'",
        ),
    ];
    for (name, why) in refused {
        assert_eq!(chain(&lab.store.resolve(name).unwrap_err()), why);
    }
    assert_eq!(
        chain(&lab.store.tag("bb", &format!("x@{pinned}")).unwrap_err()),
        format!("a digest cannot be given to an image: 'x@{pinned}'")
    );
}

#[test]
fn a_prefix_of_two_ids_is_nobodys() {
    let Some(lab) = Lab::new() else { return };
    let pictures: Vec<Picture> = (0..17)
        .map(|n: u8| Picture { layers: vec![Tar::new().file("n", &[n]).bytes()], names: vec![] })
        .collect();
    lab.load(docker(&pictures)).unwrap();
    // Among 17 ids two begin with the same digit.
    let mut firsts: Vec<String> = pictures.iter().map(|p| p.id().hex()[..1].to_owned()).collect();
    firsts.sort();
    let twice = firsts.windows(2).find(|pair| pair[0] == pair[1]).unwrap()[0].clone();
    let error = lab.store.resolve(&twice).unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error:?}");
    assert!(error.hint().unwrap().starts_with("give more digits: "));
}

fn layer_count(lab: &Lab) -> usize {
    let entries = fs::read_dir(lab.paths.layers()).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_name().len() == 64).count()
}
