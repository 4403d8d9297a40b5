//! A host that gets another subnet while things are going on.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::bridge::{assert_pool_is_empty, host};
use crate::world::World;

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

/// As the agent writes it.
fn move_to(world: &World, subnet: &str) {
    let text = format!(
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET={subnet}\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    );
    let (new, file) = (world.path("subnet.env.new"), world.path("subnet.env"));
    fs::write(&new, text).unwrap();
    fs::rename(new, file).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "nothing is waited for: each moment is tried")]
fn some_moment_after(time: Duration) {
    std::thread::sleep(time);
}

fn run(world: &World, name: &str) {
    world.twill(&["run", "-d", "--name", name, "bb", "sleep", "1000"]).ok();
}

fn address(world: &World, name: &str) -> String {
    world.inspect(name, "/NetworkSettings/IPAddress").as_str().unwrap().to_owned()
}

/// What people are told is what the container has, and nothing is left of another subnet.
#[track_caller]
fn assert_is_in(world: &World, name: &str, beginning: &str) -> String {
    let told = address(world, name);
    assert!(told.starts_with(beginning), "{name} is told to have {told}");
    let look = "ip -o -4 addr show eth0; ip route; cat /etc/hosts";
    let inside = world.twill(&["exec", name, "sh", "-c", look]).ok();
    assert!(inside.contains(&format!("inet {told}/")), "{name}: {told}: {inside}");
    let own = inside.lines().filter(|line| line.contains("10.5."));
    assert!(own.clone().all(|line| line.contains(beginning)), "{name}: {inside}");
    assert!(own.count() >= 3, "{name}: {inside}");
    told
}

#[test]
fn whoever_moves_containers_may_be_killed_at_any_moment() {
    let Some(world) = host() else { return };
    for name in NAMES {
        run(&world, name);
    }
    let mut still_to_move = Vec::new();
    for round in 0..12_u8 {
        let subnet = if round % 2 == 0 { "10.5.3." } else { "10.5.2." };
        move_to(&world, &format!("{subnet}1/24"));
        let mut killed = world.spawn(&["network", "sync"], Stdio::null());
        some_moment_after(Duration::from_millis(15) * round.into());
        killed.kill().unwrap();
        killed.wait().unwrap();
        let stays = |name: &&&str| !address(&world, name).starts_with(subnet);
        still_to_move.push(NAMES.iter().filter(stays).count());
        world.twill(&["network", "sync"]).ok();
        let addresses: BTreeSet<String> =
            NAMES.iter().map(|name| assert_is_in(&world, name, subnet)).collect();
        assert_eq!(addresses.len(), NAMES.len(), "{addresses:?}");
        world.twill(&["exec", "one", "ping", "-c", "1", &address(&world, "two")]).ok();
        assert_eq!(world.twill(&["network", "sync"]).ok(), "", "all is right");
        let bridge = World::run(&["ip", "-o", "-4", "addr", "show", "dev", "twill0"]);
        assert_eq!(bridge.lines().count(), 1, "{bridge}");
    }
    println!("killed with so many containers still to move: {still_to_move:?}");
    world.twill(&[&["rm", "-f"], NAMES.as_slice()].concat()).ok();
    world.assert_nothing_left();
    assert_pool_is_empty();
}

#[test]
fn a_container_without_room_stays_behind_until_there_is_some() {
    let Some(world) = host() else { return };
    for name in ["one", "two"] {
        run(&world, name);
    }
    // Room for the gateway and one more.
    move_to(&world, "10.5.3.1/30");
    let said = world.twill(&["network", "sync"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains(" stays behind"), "{}", said.err);
    assert_eq!(said.out.lines().count(), 1, "one has moved: {}", said.out);
    let stays = |name: &&&str| address(&world, name).starts_with("10.5.2.");
    assert_eq!(["one", "two"].iter().filter(stays).count(), 1);
    let again = world.twill(&["network", "sync"]);
    assert_eq!((again.code, again.out.as_str()), (1, ""), "{}", again.err);
    move_to(&world, "10.5.4.1/24");
    world.twill(&["network", "sync"]).ok();
    for name in ["one", "two"] {
        assert_is_in(&world, name, "10.5.4.");
    }
    world.twill(&["rm", "-f", "one", "two"]).ok();
    world.assert_nothing_left();
    assert_pool_is_empty();
}

/// One that is not yet seen to run is nobody's to move, so it looks itself.
#[test]
fn a_container_that_starts_meanwhile_comes_along() {
    let Some(world) = host() else { return };
    for round in 0..24_u8 {
        let subnet = if round % 2 == 0 { "10.5.3." } else { "10.5.2." };
        let started =
            world.spawn(&["run", "-d", "--name", "it", "bb", "sleep", "1000"], Stdio::null());
        some_moment_after(Duration::from_millis(8) * round.into());
        move_to(&world, &format!("{subnet}1/24"));
        world.twill(&["network", "sync"]).ok();
        let started = started.wait_with_output().unwrap();
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        assert_is_in(&world, "it", subnet);
        world.twill(&["rm", "-f", "it"]).ok();
    }
    world.assert_nothing_left();
    assert_pool_is_empty();
}
