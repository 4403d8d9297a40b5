//! Images made of containers, and archives of both.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::world::{Said, World};

fn run(world: &World, image: &str, script: &str) -> String {
    world.twill(&["run", "--rm", "--network", "none", image, "sh", "-c", script]).ok()
}

/// A container that changed, added and removed something.
fn changed(world: &World) {
    let script = "echo new > /new; rm /etc/plain; rm -r /bin/busybox.d 2>/dev/null; mkdir /d; echo x > /d/f; ln /d/f /d/g; chown 33:34 /d/f";
    let head = [
        "run",
        "--name",
        "it",
        "--network",
        "none",
        "-e",
        "A=1",
        "-l",
        "tier=front",
        "-w",
        "/d",
        "--expose",
        "80",
        "bb",
    ];
    world.twill(&[head.as_slice(), &["sh", "-c", script]].concat()).ok();
}

#[test]
fn an_image_of_what_a_container_made() {
    let Some(world) = World::new() else { return };
    changed(&world);
    let line = [
        "commit",
        "-a",
        "me",
        "-m",
        "why",
        "-c",
        "ENV B=2",
        "-c",
        "CMD [\"cat\", \"/new\"]",
        "it",
        "made:1",
    ];
    let id = world.twill(&line).ok();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(world.twill(&["run", "--rm", "--network", "none", "made:1"]).ok(), "new");
    let script = "test ! -e /etc/plain; echo $A $B $PWD; stat -c '%u %g %h' /d/f; ls /etc";
    assert_eq!(
        run(&world, "made:1", script),
        "1 2 /d\n33 34 2\ngroup\nhostname\nhosts\npasswd\nresolv.conf"
    );
    let shown = world.twill(&["inspect", "made:1"]).ok();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    for (pointer, want) in [
        ("/0/Author", json!("me")),
        ("/0/Config/Labels", json!({"tier": "front"})),
        ("/0/Config/ExposedPorts", json!({"80/tcp": {}})),
        ("/0/Config/Cmd", json!(["cat", "/new"])),
        ("/0/RepoTags", json!(["made:1"])),
    ] {
        assert_eq!(shown.pointer(pointer), Some(&want), "{pointer}");
    }
    assert_eq!(shown[0]["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    let history = world.twill(&["history", "made:1"]).ok();
    assert!(history.lines().nth(1).unwrap().contains("why"), "{history}");
    world.twill(&["commit", "nosuch"]).fails(1, "No such container: nosuch");
    world.twill(&["commit", "-c", "BOGUS x", "it"]).fails(1, "invalid change 'BOGUS x'");
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn what_runs_is_halted_for_a_commit_and_goes_on() {
    let Some(world) = World::new() else { return };
    let head = ["run", "-d", "--name", "it", "--network", "none", "-v", "/vol", "bb", "sh", "-c"];
    world
        .twill(&[head.as_slice(), &["echo in > /vol/x; echo up > /up; exec sleep 1000"]].concat())
        .ok();
    crate::world::eventually("it has written", || {
        world.twill(&["exec", "it", "test", "-e", "/up"]).code == 0
    });
    world.twill(&["commit", "it", "made"]).ok();
    world.twill(&["commit", "--pause=false", "it", "made"]).ok();
    assert_eq!(world.inspect("it", "/State/Status"), "running");
    world.twill(&["exec", "it", "true"]).ok();
    assert_eq!(run(&world, "made", "cat /up; ls /vol"), "up");
    world.twill(&["rm", "-fv", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn all_files_of_a_container_as_an_archive() {
    let Some(world) = World::new() else { return };
    changed(&world);
    let (resting, running) = (world.path("resting.tar"), world.path("running.tar"));
    world.twill(&["export", "-o", resting.to_str().unwrap(), "it"]).ok();
    let list = |path: &std::path::Path| World::run(&["tar", "-tvf", path.to_str().unwrap()]);
    let of_resting = list(&resting);
    assert!(of_resting.contains(" bin/busybox\n") && of_resting.contains(" new\n"), "{of_resting}");
    assert!(of_resting.contains("33/34") && !of_resting.contains("etc/plain"), "{of_resting}");
    world.twill(&["rm", "it"]).ok();
    let line = [
        "run",
        "-d",
        "--name",
        "it",
        "--network",
        "none",
        "-v",
        "/vol",
        "bb",
        "sh",
        "-c",
        "echo x > /vol/x; echo up > /up; exec sleep 1000",
    ];
    world.twill(&line).ok();
    crate::world::eventually("it has written", || {
        world.twill(&["exec", "it", "test", "-e", "/up"]).code == 0
    });
    let out = world.command(&["export", "it"]).stdout(fs::File::create(&running).unwrap()).status();
    assert!(out.unwrap().success());
    let of_running = list(&running);
    assert!(of_running.contains(" vol/\n") && !of_running.contains("vol/x"), "{of_running}");
    assert!(
        of_running.contains(" proc/\n") && !of_running.contains("proc/1"),
        "mounts stay outside"
    );
    let import =
        world.command(&["import", "-", "flat"]).stdin(fs::File::open(&running).unwrap()).output();
    Said::new(import.unwrap()).ok();
    assert_eq!(run(&world, "flat", "cat /up"), "up");
    world.twill(&["export", "-o", "/nosuch/x.tar", "it"]).fails(1, "/nosuch");
    let pipe = world.path("pipe").display().to_string();
    World::run(&["mkfifo", &pipe]);
    world.twill(&["export", "-o", &pipe, "it"]).fails(1, "not a regular file");
    world.twill(&["rm", "-fv", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn an_archive_goes_where_a_link_leads() {
    let Some(world) = World::new() else { return };
    let (link, file) = (world.path("link.tar"), world.path("file.tar"));
    fs::write(&file, "before").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    world.twill(&["save", "-o", link.to_str().unwrap(), "bb"]).ok();
    assert_eq!(fs::read_link(&link).unwrap(), file);
    let names = World::run(&["tar", "-tf", file.to_str().unwrap()]);
    assert!(names.contains("manifest.json"), "{names}");
    world.assert_nothing_left();
}

#[test]
fn saved_images_are_loaded_again() {
    let Some(world) = World::new() else { return };
    changed(&world);
    world.twill(&["commit", "it", "made:1"]).ok();
    world.twill(&["tag", "made:1", "other/made:2"]).ok();
    world.twill(&["rm", "it"]).ok();
    let archive = world.path("saved.tar");
    let path = archive.to_str().unwrap();
    world.twill(&["save", "-o", path, "made:1", "other/made:2", "bb"]).ok();
    let read = |name: &str| World::run(&["tar", "-xOf", path, name]);
    let manifest: Value = serde_json::from_str(&read("manifest.json")).unwrap();
    assert_eq!(manifest[0]["RepoTags"], json!(["made:1", "other/made:2"]));
    assert_eq!(manifest[1]["RepoTags"], json!(["bb:latest"]));
    let config: Value =
        serde_json::from_str(&read(manifest[0]["Config"].as_str().unwrap())).unwrap();
    for (layer, diff_id) in manifest[0]["Layers"]
        .as_array()
        .unwrap()
        .iter()
        .zip(config["rootfs"]["diff_ids"].as_array().unwrap())
    {
        assert_eq!(
            format!("sha256:{}", layer.as_str().unwrap().rsplit('/').next().unwrap()),
            diff_id.as_str().unwrap()
        );
    }
    let index: Value = serde_json::from_str(&read("index.json")).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 3);
    let names = World::run(&["tar", "-tf", path]);
    let unique: std::collections::BTreeSet<&str> = names.lines().collect();
    assert_eq!(unique.len(), names.lines().count(), "what images share is there once");
    world.twill(&["rmi", "-f", "made:1", "other/made:2", "bb"]).ok();
    let loaded = world.twill(&["load", "-i", path]).ok();
    assert!(loaded.contains("Loaded image: made:1") && loaded.contains("other/made:2"), "{loaded}");
    assert_eq!(
        run(&world, "made:1", "cat /new; test ! -e /etc/plain && stat -c '%u %h' /d/f"),
        "new\n33 2"
    );
    // What was packed here once is packed the same again.
    let again = world.path("again.tar");
    let before = world.twill(&["images", "-q", "--no-trunc", "made"]).ok();
    world.twill(&["save", "-o", again.to_str().unwrap(), "made:1"]).ok();
    world.twill(&["load", "-i", again.to_str().unwrap()]).ok();
    assert_eq!(world.twill(&["images", "-q", "--no-trunc", "made"]).ok(), before);
    world.twill(&["save", "nosuch"]).fails(1, "no such image: nosuch:latest");
    world.assert_nothing_left();
}

#[test]
fn the_whole_is_counted_and_cleared() {
    let Some(world) = World::new() else { return };
    world
        .twill(&[
            "run",
            "--name",
            "it",
            "--network",
            "none",
            "-v",
            "/vol",
            "bb",
            "sh",
            "-c",
            "head -c 5000 /dev/zero > /f; head -c 700 /dev/zero > /vol/f",
        ])
        .ok();
    let df = |kind: &str| {
        let format = "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}";
        let all = world.twill(&["system", "df", "--format", format]).ok();
        all.lines().find(|line| line.starts_with(kind)).unwrap().to_owned()
    };
    assert!(df("Images").starts_with("Images|1|1|"), "{}", df("Images"));
    assert_eq!(df("Containers"), "Containers|1|0|5kB|5kB (100%)");
    assert_eq!(df("Local Volumes"), "Local Volumes|1|1|700B|0B (0%)");
    assert_eq!(df("Build Cache"), "Build Cache|0|0|0B|0B");
    let mut asked = world.spawn(&["system", "prune"], Stdio::piped());
    drop(asked.stdin.take());
    let said = Said::new(asked.wait_with_output().unwrap());
    assert!(
        said.out.contains("- all stopped containers") && said.out.contains("- all dangling images"),
        "{}",
        said.out
    );
    let cleared = world.twill(&["system", "prune", "-af", "--volumes"]).ok();
    for want in
        ["Deleted Containers:", "Deleted Volumes:", "Deleted Images:", "Total reclaimed space: "]
    {
        assert!(cleared.contains(want), "{want}: {cleared}");
    }
    assert!(df("Images").starts_with("Images|0|0|0B"), "{}", df("Images"));
    assert_eq!(df("Local Volumes"), "Local Volumes|0|0|0B|0B");
    world.twill(&["system", "info"]).ok();
    world.assert_nothing_left();
}
