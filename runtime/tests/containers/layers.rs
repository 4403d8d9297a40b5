//! Images of as many layers as there may be.

use std::fs;

use serde_json::json;
use tar::{Builder, Header};
use twill::image::Digest;

use crate::world::World;

/// Docker makes at most 127.
const LAYERS: usize = 130;

#[test]
fn a_hundred_and_thirty_layers_and_one_that_occurs_twice() {
    let Some(world) = World::new() else { return };
    let base = fs::read(world.path("bb.tar")).unwrap();
    let own = |n: usize| archive(&[("last", n.to_string()), (&format!("of-{n}"), n.to_string())]);
    let mut layers: Vec<Vec<u8>> = (1..LAYERS).map(own).collect();
    layers.insert(0, base);
    // Above, it says again what it said below.
    layers.push(layers[7].clone());
    let path = world.path("many.tar");
    fs::write(&path, image("many:1", &layers)).unwrap();
    assert_eq!(world.twill(&["load", "-i", path.to_str().unwrap()]).ok(), "Loaded image: many:1");
    let script = "cat /last /of-1 /of-7 /of-129; ls / | grep -c of-";
    let said =
        world.twill(&["run", "--rm", "--network", "none", "many:1", "sh", "-c", script]).ok();
    assert_eq!(said, "717129129");
    world.assert_nothing_left();
}

fn archive(files: &[(&str, String)]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, content) in files {
        put(&mut tar, name, content.as_bytes());
    }
    tar.into_inner().unwrap()
}

fn put(tar: &mut Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, name, content).unwrap();
}

/// As `docker save` writes it.
fn image(name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let names: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": names}]);
    let mut tar = Builder::new(Vec::new());
    put(&mut tar, "config.json", config.to_string().as_bytes());
    for (name, layer) in names.iter().zip(layers) {
        put(&mut tar, name, layer);
    }
    put(&mut tar, "manifest.json", manifest.to_string().as_bytes());
    tar.into_inner().unwrap()
}
