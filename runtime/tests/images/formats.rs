//! Every form an image may come in leads to the same store.

use std::fs;

use serde_json::json;
use twill::image::{Devices, Digest, Source};

use crate::archives::{Layout, Picture, Tar, docker, docker_with, gzip, layout, picture, zstd};
use crate::support::Lab;

/// Makes an archive.
type Make = fn() -> Vec<u8>;

fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

#[test]
fn every_form_of_an_image_gives_the_same_image() {
    let forms: [(&str, Make); 10] = [
        ("docker save", || docker(&[picture("bb:1")])),
        ("docker save, packed by gzip", || gzip(&docker(&[picture("bb:1")]))),
        ("docker save, packed by zstd", || zstd(&docker(&[picture("bb:1")]))),
        ("docker save, layers packed by gzip", || docker_with(&[picture("bb:1")], gzip)),
        ("docker save, everything packed", || gzip(&docker_with(&[picture("bb:1")], zstd))),
        ("OCI layout", || layout(&[picture("bb:1")], plain)),
        ("OCI layout, layers packed by gzip", || layout(&[picture("bb:1")], gzip)),
        ("OCI layout, layers packed by zstd", || layout(&[picture("bb:1")], zstd)),
        ("OCI layout, packed by gzip", || gzip(&layout(&[picture("bb:1")], plain))),
        ("both, as docker 25 and later", docker_25),
    ];
    for (form, archive) in forms {
        let Some(lab) = Lab::new() else { return };
        let loaded = lab.load(archive()).unwrap_or_else(|error| panic!("{form}: {error:?}"));
        let names: Vec<String> = loaded[0].names.iter().map(ToString::to_string).collect();
        assert_eq!((loaded.len(), loaded[0].id), (1, picture("bb:1").id()), "{form}");
        assert_eq!(names, ["bb:1"], "{form}");
        let root = lab.root_of("bb:1");
        assert_eq!(fs::read(root.join("etc/motd")).unwrap(), b"bb:1", "{form}");
        lab.assert_staging_is_empty();
    }
}

/// Layers and configuration are blobs of a layout; manifest.json names the image.
fn docker_25() -> Vec<u8> {
    let picture = picture("bb:1");
    let mut layout = Layout::new();
    let descriptor = layout.image(&picture, plain);
    let blob = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
    let layers: Vec<String> = picture.layers.iter().map(|layer| blob(Digest::of(layer))).collect();
    let manifest =
        json!([{ "Config": blob(picture.id()), "RepoTags": picture.names, "Layers": layers }]);
    layout.member("manifest.json", manifest.to_string().as_bytes());
    layout.finish(&[descriptor])
}

#[test]
fn an_image_is_what_its_configuration_says() {
    let Some(lab) = Lab::new() else { return };
    lab.load(docker(&[picture("bb:1")])).unwrap();
    let image = lab.store.resolve("bb:1").unwrap();
    let config = image.config.config().as_ref().unwrap();
    assert_eq!(config.cmd().as_deref(), Some(&["sh".to_owned()][..]));
    assert_eq!(config.env().as_deref(), Some(&["A=b".to_owned()][..]));
    assert_eq!(image.size, 4);
    assert_eq!(image.created.unwrap().to_string(), "2026-01-02T03:04:05.678Z");
    assert_eq!(lab.store.configuration(&image.id).unwrap(), picture("bb:1").configuration());
}

#[test]
fn a_file_is_read_in_place_and_a_stream_is_spooled() {
    let Some(lab) = Lab::new() else { return };
    let path = lab.beside("bb.tar");
    for archive in [docker(&[picture("bb:1")]), gzip(&docker(&[picture("bb:1")]))] {
        fs::write(&path, archive).unwrap();
        let loaded = lab.store.load(Source::file(&path).unwrap(), Devices::Standard).unwrap();
        assert_eq!(loaded[0].id, picture("bb:1").id());
    }
    lab.assert_staging_is_empty();
}

#[test]
fn images_of_one_archive_share_layers_also_by_dockers_links() {
    let Some(lab) = Lab::new() else { return };
    let base = picture("base:1");
    let top = Tar::new().file("top", b"top").bytes();
    let both = Picture { layers: vec![base.layers[0].clone(), top.clone()], names: vec!["two:1"] };
    let manifest = json!([
        { "Config": "a.json", "RepoTags": ["base:1"], "Layers": ["one/layer.tar"] },
        { "Config": "b.json", "RepoTags": ["two:1", "two:x"], "Layers": ["copy/layer.tar", "./two/layer.tar"] },
    ]);
    let archive = Tar::new()
        .symlink("copy/layer.tar", "../one/layer.tar")
        .file("one/layer.tar", &base.layers[0])
        .file("two/layer.tar", &top)
        .file("a.json", &base.configuration())
        .file("b.json", &both.configuration())
        .file("manifest.json", manifest.to_string().as_bytes());
    let loaded = lab.load(archive.bytes()).unwrap();
    assert_eq!(loaded.len(), 2);
    assert_eq!(loaded[1].to_string(), "Loaded image: two:1\nLoaded image: two:x");
    let [one, two] = ["base:1", "two:x"].map(|name| lab.store.resolve(name).unwrap());
    assert_eq!(one.layers[0], two.layers[0]);
    assert_eq!(two.layers.len(), 2);
}

#[test]
fn of_an_index_the_image_for_this_machine_is_taken() {
    let Some(lab) = Lab::new() else { return };
    let here = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let mut layout = Layout::new();
    let mut foreign = layout.image(&picture("foreign"), plain);
    foreign["platform"] = json!({ "os": "linux", "architecture": "s390x" });
    let mut record = layout.image(&picture("record"), plain);
    record["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let mut ours = layout.image(&picture("ours"), plain);
    ours["platform"] = json!({ "os": "linux", "architecture": here });
    let mut index = layout.index(&[foreign.clone(), record, ours]);
    index["annotations"] = json!({
        "io.containerd.image.name": "docker.io/library/bb:2",
        "org.opencontainers.image.ref.name": "2",
    });
    let loaded = lab.load(layout.finish(&[index])).unwrap();
    assert_eq!(loaded[0].id, picture("ours").id());
    assert_eq!(loaded[0].names[0].to_string(), "bb:2");

    let mut layout = Layout::new();
    layout.image(&picture("foreign"), plain);
    let error = lab.load(layout.finish(&[foreign])).unwrap_err();
    assert_eq!(
        crate::support::chain(&error),
        format!("cannot use the archive: it holds no image for linux/{here}")
    );
}

#[test]
fn a_layout_that_knows_only_a_tag_gives_an_image_without_a_name() {
    let Some(lab) = Lab::new() else { return };
    let mut latest = picture("x:1");
    latest.names = vec!["latest"];
    let loaded = lab.load(layout(&[latest], plain)).unwrap();
    assert_eq!(loaded[0].to_string(), format!("Loaded image ID: {}", loaded[0].id));
    assert_eq!(lab.store.resolve(&loaded[0].id.short()).unwrap().names, []);
}

#[test]
fn every_packing_of_a_root_file_system_gives_the_same_layer() {
    let Some(lab) = Lab::new() else { return };
    let tar = Tar::new().folder("./").file("./hello", b"world").bytes();
    let halves = tar.split_at(700);
    let archives = [
        ("plain", tar.clone()),
        ("gzip", gzip(&tar)),
        ("gzip in two members", [gzip(halves.0), gzip(halves.1)].concat()),
        ("zstd", zstd(&tar)),
        ("zstd in two frames", [zstd(halves.0), zstd(halves.1)].concat()),
    ];
    for (packing, archive) in archives {
        lab.import(archive, "fs").unwrap_or_else(|error| panic!("{packing}: {error:?}"));
        let image = lab.store.resolve("fs").unwrap();
        assert_eq!(*image.config.rootfs().diff_ids(), [Digest::of(&tar).to_string()], "{packing}");
        assert_eq!(fs::read(lab.root_of("fs").join("hello")).unwrap(), b"world", "{packing}");
    }
    assert_eq!(lab.store.list().unwrap().len(), 5, "each import is an image, as with docker");
}

#[test]
fn an_image_that_is_listed_for_each_name_is_loaded_once() {
    let Some(lab) = Lab::new() else { return };
    let named = |name| Picture { layers: picture("bb:1").layers, names: vec![name] };
    let pictures = [named("a:1"), named("b:1")];
    for archive in [docker(&pictures), layout(&pictures, plain)] {
        let loaded = lab.load(archive).unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].to_string(), "Loaded image: a:1\nLoaded image: b:1");
    }
}

#[test]
fn loading_again_changes_nothing() {
    let Some(lab) = Lab::new() else { return };
    lab.load(docker(&[picture("bb:1")])).unwrap();
    let before = lab.contents();
    lab.load(layout(&[picture("bb:1")], gzip)).unwrap();
    assert_eq!(lab.contents(), before);
}
