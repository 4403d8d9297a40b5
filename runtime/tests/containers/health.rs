//! Containers that are asked whether they do their work.

use std::fs::{self, File};

use serde_json::json;

use crate::world::{World, eventually};

fn start(world: &World, options: &[&str]) {
    let head = ["run", "-d", "--name", "it", "--network", "none"];
    world.twill(&[head.as_slice(), options, &["bb", "sleep", "1000"]].concat()).ok();
}

fn status(world: &World) -> String {
    world.inspect("it", "/State/Health/Status").as_str().unwrap_or_default().to_owned()
}

fn shown(world: &World) -> String {
    let status = world.twill(&["ps", "-a", "--format", "{{.Status}}"]).ok();
    status
        .split_once('(')
        .map_or_else(String::new, |(_, rest)| rest.trim_end_matches(')').to_owned())
}

#[test]
fn answers_are_counted_shown_and_told() {
    let Some(world) = World::new() else { return };
    let options = [
        "--health-cmd",
        "echo asked; test -e /well",
        "--health-interval",
        "20ms",
        "--health-retries",
        "2",
    ];
    start(&world, &options);
    eventually("it is unhealthy", || status(&world) == "unhealthy");
    assert_eq!(shown(&world), "unhealthy");
    world.twill(&["exec", "it", "touch", "/well"]).ok();
    eventually("it is healthy", || status(&world) == "healthy");
    assert_eq!(shown(&world), "healthy");
    let last = world.inspect("it", "/State/Health/Log/0");
    assert_eq!((&last["Output"], last["Start"].is_string()), (&json!("asked\n"), true));
    eventually("only five answers are kept", || {
        world.inspect("it", "/State/Health/Log").as_array().is_some_and(|log| log.len() == 5)
    });
    let events = world
        .twill(&[
            "events",
            "--since",
            "1h",
            "--until",
            "0s",
            "-f",
            "event=health_status",
            "--format",
            "{{.Action}}",
        ])
        .ok();
    assert_eq!(events, "health_status: unhealthy\nhealth_status: healthy");
    for (filter, want) in [("health=healthy", 1), ("health=unhealthy", 0), ("health=none", 0)] {
        assert_eq!(world.twill(&["ps", "-q", "-f", filter]).ok().lines().count(), want, "{filter}");
    }
    world.twill(&["stop", "-t", "0", "it"]).ok();
    assert_eq!(status(&world), "healthy", "the last answer stays");
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn who_does_not_answer_in_time_is_ill() {
    let Some(world) = World::new() else { return };
    let options = [
        "--health-cmd",
        "exec sleep 987",
        "--health-interval",
        "10ms",
        "--health-timeout",
        "50ms",
        "--health-retries",
        "1",
    ];
    start(&world, &options);
    eventually("it is unhealthy", || status(&world) == "unhealthy");
    let last = world.inspect("it", "/State/Health/Log/0");
    assert_eq!(
        (&last["ExitCode"], &last["Output"]),
        (&json!(-1), &json!("Health check exceeded timeout (50ms)"))
    );
    world.twill(&["stop", "-t", "0", "it"]).ok();
    // Who asked has ended with it.
    let left = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(b"sleep\x00987"))
    });
    assert_eq!(left.count(), 0);
    world.twill(&["rm", "it"]).ok();
    world.assert_nothing_left();
}

#[test]
fn the_image_asks_unless_the_user_asks_otherwise() {
    let Some(world) = World::new() else { return };
    let saved = world.path("image.tar");
    write_image(&world, &saved);
    world.twill(&["load", "-i", saved.to_str().unwrap()]).ok();
    assert_eq!(world.inspect("asks", "/Config/Healthcheck/Test"), json!(["CMD", "true"]));
    world.twill(&["create", "--name", "it", "asks"]).ok();
    assert_eq!(world.inspect("it", "/Config/Healthcheck/Test"), json!(["CMD", "true"]));
    world.twill(&["rm", "it"]).ok();
    world.twill(&["create", "--name", "it", "--health-retries", "9", "asks"]).ok();
    assert_eq!(world.inspect("it", "/Config/Healthcheck/Retries"), 9);
    assert_eq!(world.inspect("it", "/Config/Healthcheck/Test"), json!(["CMD", "true"]));
    world.twill(&["rm", "it"]).ok();
    world.twill(&["create", "--name", "it", "--no-healthcheck", "asks"]).ok();
    assert_eq!(world.inspect("it", "/Config/Healthcheck"), json!(null));
    world.twill(&["rm", "it"]).ok();
    let both = ["create", "--no-healthcheck", "--health-cmd", "x", "asks"];
    world.twill(&both).fails(125, "--no-healthcheck conflicts with --health-* options");
    world
        .twill(&["create", "--health-interval", "1us", "bb"])
        .fails(125, "cannot be less than 1ms");
    world.assert_nothing_left();
}

/// As `docker save` writes it.
fn write_image(world: &World, path: &std::path::Path) {
    let directory = world.path("image");
    fs::create_dir(&directory).unwrap();
    tar::Builder::new(File::create(directory.join("layer.tar")).unwrap()).finish().unwrap();
    let digest = World::run(&["sha256sum", directory.join("layer.tar").to_str().unwrap()]);
    let digest = format!("sha256:{}", digest.split(' ').next().unwrap());
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Cmd": ["true"], "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000_000}},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    });
    fs::write(directory.join("config.json"), config.to_string()).unwrap();
    let manifest =
        json!([{"Config": "config.json", "RepoTags": ["asks:latest"], "Layers": ["layer.tar"]}]);
    fs::write(directory.join("manifest.json"), manifest.to_string()).unwrap();
    let (from, to) = (directory.to_str().unwrap(), path.to_str().unwrap());
    World::run(&["tar", "-C", from, "-cf", to, "manifest.json", "config.json", "layer.tar"]);
}

#[test]
fn what_a_pause_keeps_from_answering_is_not_ill() {
    let Some(world) = World::new() else { return };
    let shared = world.path("shared");
    fs::create_dir(&shared).unwrap();
    let volume = format!("{}:/shared", shared.display());
    let options = [
        "-v",
        &volume,
        "--health-cmd",
        "touch /shared/asked; until test -e /shared/answer; do sleep 0.01; done",
        "--health-interval",
        "20ms",
        "--health-timeout",
        "4s",
        "--health-retries",
        "1",
    ];
    start(&world, &options);
    eventually("it is asked", || shared.join("asked").exists());
    world.twill(&["pause", "it"]).ok();
    // What is asked later and has as much time runs out of it.
    let mut clock = vec!["run", "-d", "--name", "clock", "--network", "none"];
    clock.extend(["--health-cmd", "sleep 654", "--health-interval", "20ms"]);
    clock.extend(["--health-timeout", "4s", "bb", "sleep", "1000"]);
    world.twill(&clock).ok();
    eventually("the time was up", || {
        world.inspect("clock", "/State/Health/FailingStreak").as_u64() >= Some(1)
    });
    assert_eq!(
        (status(&world).as_str(), world.inspect("it", "/State/Health/Log")),
        ("starting", json!([]))
    );
    fs::write(shared.join("answer"), "").unwrap();
    world.twill(&["unpause", "it"]).ok();
    eventually("it is healthy", || status(&world) == "healthy");
    assert_eq!(world.inspect("it", "/State/Health/Log/0/ExitCode"), 0, "the question was answered");
    world.twill(&["rm", "-f", "it", "clock"]).ok();
    world.assert_nothing_left();
}
