//! Many at once.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use twill::image::{Devices, Error, Removal};

use crate::archives::{Picture, Tar, docker, picture};
use crate::commands::{Printed as _, finish, twill};
use crate::support::{Lab, stream};

#[test]
fn twenty_processes_load_the_same_image() {
    let Some(lab) = Lab::new() else { return };
    let archive = lab.beside("bb.tar");
    fs::write(&archive, docker(&[picture("bb:1"), picture("bb:2")])).unwrap();
    let arguments = ["load", "-i", archive.to_str().unwrap()];
    let children: Vec<_> = (0..20).map(|_| twill(&lab, &arguments)).collect();
    for child in children {
        let output = finish(child);
        assert_eq!(output.text(), "Loaded image: bb:1\nLoaded image: bb:2\n");
    }
    lab.assert_staging_is_empty();
    let layers = fs::read_dir(lab.paths.layers()).unwrap().count();
    assert_eq!((lab.store.list().unwrap().len(), layers), (2, 3));
}

#[test]
fn loads_and_removals_of_the_same_layers_never_make_a_half_image() {
    let Some(lab) = Lab::new() else { return };
    let archive = docker(&[picture("bb:1")]);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..15 {
                    lab.store.load(stream(archive.clone()), Devices::Standard).unwrap();
                }
            });
            scope.spawn(|| {
                for _ in 0..40 {
                    let removal = Removal { force: false, user_of: &|_| Ok(None) };
                    match lab.store.remove("bb:1", removal) {
                        Ok(_) | Err(Error::Unknown { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
            scope.spawn(|| {
                for _ in 0..100 {
                    let _hold = lab.store.hold().unwrap();
                    match lab.store.resolve("bb:1") {
                        Ok(image) => assert!(image.layers[0].join("etc/motd").exists()),
                        Err(Error::Unknown { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
        }
    });
    lab.assert_staging_is_empty();
    lab.load(archive).unwrap();
    assert_eq!(fs::read_dir(lab.paths.layers()).unwrap().count(), 2);
}

/// The load finds the layer in the store, relies on it, and loses it before its end.
#[test]
fn a_layer_that_goes_away_during_a_load_is_unpacked_after_all() {
    let Some(lab) = Lab::new() else { return };
    lab.load(docker(&[picture("bb:1")])).unwrap();
    let layer = lab.root_of("bb:1");
    let id = picture("bb:1").id();
    thread::scope(|scope| {
        let held = lab.store.hold().unwrap();
        let load = scope.spawn(|| lab.load(docker(&[picture("bb:1")])).unwrap());
        await_waiter(&lab.paths.images().join("lock"));
        // What a removal does.
        fs::remove_file(lab.paths.images().join(format!("{}.json", id.hex()))).unwrap();
        fs::remove_dir_all(layer.parent().unwrap()).unwrap();
        drop(held);
        load.join().unwrap();
    });
    assert_eq!(fs::read(lab.root_of("bb:1").join("etc/motd")).unwrap(), b"bb:1");
    lab.assert_staging_is_empty();
}

/// Returns when somebody waits for the lock on this file.
fn await_waiter(file: &Path) {
    let inode = format!(":{} ", fs::metadata(file).unwrap().ino());
    let limit = Instant::now() + Duration::from_secs(30);
    let waits = |line: &str| line.contains("->") && line.contains(&inode);
    while !fs::read_to_string("/proc/locks").unwrap().lines().any(waits) {
        assert!(Instant::now() < limit, "nobody waits for {}", file.display());
        thread::yield_now();
    }
}

#[test]
fn names_given_at_once_are_all_kept() {
    let Some(lab) = Lab::new() else { return };
    lab.load(docker(&[picture("bb:1")])).unwrap();
    thread::scope(|scope| {
        for n in 0..20 {
            let lab = &lab;
            scope.spawn(move || lab.store.tag("bb:1", &format!("name-{n}")).unwrap());
        }
    });
    assert_eq!(lab.store.resolve("bb:1").unwrap().names.len(), 21);
    let missing = twill::image::open(&lab.beside("nosuch.tar")).unwrap_err();
    assert!(missing.to_string().starts_with("cannot open "));
}

#[test]
fn layers_and_depths_are_not_bounded_by_the_soft_limit_of_open_files() {
    let Some(lab) = Lab::new() else { return };
    let down = |depth: usize| "d/".repeat(depth);
    let deep = (1..=45).fold(Tar::new(), |tar, depth| tar.folder(&down(depth)));
    let mut layers = vec![deep.file(&(down(45) + "last"), b"x").bytes()];
    layers.extend((0..60_u8).map(|n| Tar::new().file(&format!("f{n}"), &[n]).bytes()));
    let archive = lab.beside("many.tar");
    fs::write(&archive, docker(&[Picture { layers, names: vec!["many:1"] }])).unwrap();
    let few = |words: &str| finish(with_few_files(&lab, words));
    few("load -i many.tar");
    // A layer without the record of its stream is packed from its files.
    for layer in lab.store.resolve("many:1").unwrap().layers {
        fs::remove_file(layer.with_file_name("stream.zst")).unwrap();
    }
    few("save -o saved.tar many:1");
    few("rmi many:1");
    few("load -i saved.tar");
    let image = lab.store.resolve("many:1").unwrap();
    assert_eq!(image.layers.len(), 61);
    assert_eq!(fs::read(image.layers[0].join(down(45)).join("last")).unwrap(), b"x");
}

/// Beside the store, and with fewer files than the image has layers.
#[expect(clippy::disallowed_methods, reason = "a test starts the program that it tests")]
fn with_few_files(lab: &Lab, words: &str) -> Child {
    let script = format!("ulimit -Sn 48; exec {} {words}", env!("CARGO_BIN_EXE_twill"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(lab.beside(""));
    shell.env("TWILL_ROOT", lab.paths.root()).env("TWILL_RUN_ROOT", lab.paths.run_root());
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}
