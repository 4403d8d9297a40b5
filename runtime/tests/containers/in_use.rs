//! Images that containers have, and everybody who would take them away.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::world::{World, eventually, strike};

/// One with a layer of its own, over busybox.
fn image(world: &World, name: &str) {
    let script = format!("echo of {name} >/layer");
    let maker = ["run", "--name", "maker", "--network", "none", "bb", "sh", "-c", &script];
    world.twill(&maker).ok();
    world.twill(&["commit", "-c", "CMD [\"cat\", \"/layer\"]", "maker", name]).ok();
    world.twill(&["rm", "maker"]).ok();
}

fn status(world: &World, name: &str) -> String {
    world.inspect(name, "/State/Status").as_str().unwrap().to_owned()
}

const STATES: [&str; 6] = ["created", "running", "paused", "restarting", "exited", "orphaned"];

/// A container of the image in each state that there is.
fn one_of_each(world: &World) {
    let run = |name: &str, options: &[&str], command: &[&str]| {
        let head = ["run", "--name", name, "--network", "none"];
        world.twill(&[&head, options, &["mine"], command].concat()).ok();
    };
    world.twill(&["create", "--name", "created", "--network", "none", "mine"]).ok();
    run("exited", &[], &[]);
    for name in ["running", "paused", "orphaned"] {
        run(name, &["-d"], &["sleep", "1000"]);
    }
    run("restarting", &["-d", "--restart", "always"], &[]);
    world.twill(&["pause", "paused"]).ok();
    strike(world.monitor("orphaned"));
    eventually("it waits for its next start", || status(world, "restarting") == "restarting");
}

/// Loads go on beside those who take images away, and those who look at one.
fn beside_everybody(world: &World, archive: &str) {
    let at_work = AtomicBool::new(true);
    let everybody_else = |work: &dyn Fn()| {
        while at_work.load(Ordering::Relaxed) {
            work();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            everybody_else(&|| {
                let said = world.twill(&["image", "prune", "-af"]).ok();
                assert!(!said.contains("mine:latest"), "{said}");
            });
        });
        scope.spawn(|| {
            everybody_else(&|| {
                world.twill(&["rmi", "mine"]).fails(1, "is being used by container");
            });
        });
        scope.spawn(|| {
            everybody_else(&|| {
                let seen = world.twill(&["exec", "running", "cat", "/layer"]).ok();
                assert_eq!(seen, "of mine");
            });
        });
        // Judged when the others have ended: they would not, otherwise.
        let said: Vec<_> = (0..8).map(|_| world.twill(&["load", "-i", archive])).collect();
        at_work.store(false, Ordering::Relaxed);
        for said in said {
            assert_eq!(said.ok(), "Loaded image: other:latest");
        }
    });
}

#[test]
fn an_image_stays_while_a_container_in_any_state_has_it() {
    let Some(world) = World::new() else { return };
    for name in ["mine", "other"] {
        image(&world, name);
    }
    let archive = world.path("other.tar");
    let archive = archive.to_str().unwrap();
    world.twill(&["save", "-o", archive, "other"]).ok();
    world.twill(&["rmi", "other"]).ok();
    one_of_each(&world);
    beside_everybody(&world, archive);
    // By force it loses its name, and no more.
    assert_eq!(world.twill(&["rmi", "-f", "mine"]).ok(), "Untagged: mine:latest");
    world.twill(&["image", "prune", "-af"]).ok();
    for name in ["created", "exited", "restarting"] {
        world.twill(&["stop", "-t", "0", name]).ok();
        assert_eq!(world.twill(&["start", "-a", name]).ok(), "of mine", "{name}");
    }
    world.twill(&["unpause", "paused"]).ok();
    assert_eq!(world.twill(&["exec", "paused", "cat", "/layer"]).ok(), "of mine");
    world.twill(&["start", "orphaned"]).ok();
    assert_eq!(world.twill(&["exec", "orphaned", "cat", "/layer"]).ok(), "of mine");
    world.twill(&[&["rm", "-f"], &STATES[..]].concat()).ok();
    let said = world.twill(&["image", "prune", "-af"]).ok();
    assert!(said.contains("deleted: "), "{said}");
    assert_eq!(world.twill(&["images", "-aq"]).ok(), "");
    world.assert_nothing_left();
}

#[test]
fn an_image_stays_while_nobody_can_tell_whose_it_is() {
    let Some(world) = World::new() else { return };
    let id = world.twill(&["create", "--name", "torn", "bb"]).ok();
    fs::write(world.path("lib/containers").join(&id).join("config.json"), "{").unwrap();
    world.twill(&["rmi", "-f", "bb"]).fails(1, "cannot tell which containers use the image");
    world.twill(&["image", "prune", "-af"]).fails(1, "cannot understand");
    assert_eq!(world.twill(&["images", "-q"]).ok().lines().count(), 1);
    world.twill(&["rm", "-f", &id]).ok();
    world.twill(&["rmi", "bb"]).ok();
    world.assert_nothing_left();
}
