//! Backends that leave the kernel alone: `alloc`, which only takes a subnet, and `extension`, which runs
//! the administrator's commands.

#[expect(dead_code, reason = "each test file uses its part of the support")]
mod support;

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use support::process::wait_for;
use support::{PREFIX, World, get, ip};

const VXLAN: &str =
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"vxlan"}}"#;
const ALLOC: &str =
    r#"{"Network":"10.88.0.0/16","SubnetMin":"10.88.100.0","Backend":{"Type":"alloc"}}"#;
const DONE: &str = "/run/done";

/// Writes down how it was called: its name, its environment, and what it reads.
const SCRIPT: &str = r#"#!/bin/sh
what=$1; shift
read -r told
echo "$what $NETWORK $SUBNET $PUBLIC_IP $IPV6SUBNET $PUBLIC_IPV6 <$told> $*" >> /run/done
[ -e "/run/fail-$what-$PUBLIC_IP" ] && { echo "no $what today" >&2; exit 3; }
[ -e "/run/hang-$what-$PUBLIC_IP" ] && exec sleep 600
[ "$what" = pre ] && { echo "{\"key\":1}"; echo "and more" >&2; }
exit 0
"#;

fn world(backend: &Value) -> Option<World> {
    let world = World::with_config(&configuration(backend))?;
    fs::write("/run/script", SCRIPT).expect("the script");
    Some(world)
}

fn configuration(backend: &Value) -> String {
    json!({"Network": "10.88.0.0/16", "Backend": backend}).to_string()
}

fn commands() -> Value {
    json!({
        "Type": "extension",
        // flannel's form and ours.
        "PreStartupCommand": "sh /run/script pre",
        "PostStartupCommand": ["sh", "/run/script", "post", "$SUBNET", "two words"],
        "ShutdownCommand": "sh /run/script stop",
        "SubnetAddCommand": "sh /run/script add ${SUBNET} $PUBLIC_IP; $NONE",
        "SubnetRemoveCommand": "sh /run/script remove",
    })
}

fn peer(world: &World, last: u8, data: &Value) {
    let value = json!({
        "PublicIP": format!("192.0.2.{last}"), "PublicIPv6": null,
        "BackendType": "extension", "BackendData": data,
    });
    world.etcdctl(&["put", &format!("{PREFIX}/subnets/10.88.{last}.0-24"), &value.to_string()]);
}

fn done() -> Vec<String> {
    fs::read_to_string(DONE).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[track_caller]
fn wait_for_line(line: &str) -> Duration {
    wait_for(&format!("`{line}`"), || done().iter().any(|each| each == line))
}

#[test]
fn commands_are_run_as_flannel_runs_them() {
    let Some(world) = world(&commands()) else { return };
    peer(&world, 9, &json!("from nine"));
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    let subnet = world.lease_of_node().replace('-', "/");
    let value: Value = serde_json::from_str(&world.value_of_node()).unwrap();
    assert_eq!(value["BackendType"], "extension");
    assert_eq!(value["BackendData"], "{\"key\":1}\nand more", "what the first command said");
    let post = format!("post 10.88.0.0/16 {subnet} 192.0.2.1 ::/0 <nil> <> $SUBNET two words");
    assert_eq!(done()[..2], ["pre      <> ".to_owned(), post], "before the host is ready");
    wait_for_line("add  10.88.9.0/24 192.0.2.9   <from nine> 10.88.9.0/24 192.0.2.9; ");
    assert!(ip("-4 route show proto 84").is_empty(), "no row of ours");
    assert!(!ip("-o link show").contains("flannel"), "no device of ours");
    let env = fs::read_to_string("/run/flannel/subnet.env").unwrap();
    assert!(env.contains("FLANNEL_MTU=1500"), "{env}");
    wait_for("an empty plan", || get("/status").contains(r#""pending":[]"#));

    // A host that says something else is removed as it was added, and added anew.
    peer(&world, 9, &json!("again"));
    wait_for_line("add  10.88.9.0/24 192.0.2.9   <again> 10.88.9.0/24 192.0.2.9; ");
    let removed = "remove  10.88.9.0/24 192.0.2.9   <from nine> ".to_owned();
    assert!(done().contains(&removed), "{:?}", done());
    // One that leaves while the agent is dead is removed by the next.
    peer(&world, 10, &Value::Null);
    wait_for_line("add  10.88.10.0/24 192.0.2.10   <> 10.88.10.0/24 192.0.2.10; ");
    twilld.dies();
    world.etcdctl(&["del", &format!("{PREFIX}/subnets/10.88.10.0-24")]);
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    wait_for_line("remove  10.88.10.0/24 192.0.2.10   <> ");
    twilld.stops();
    let stop = format!("stop 10.88.0.0/16 {subnet} 192.0.2.1 ::/0 <nil> <> ");
    assert_eq!(done().last(), Some(&stop));
}

#[test]
fn one_host_whose_command_fails_or_hangs_delays_no_other() {
    let Some(world) = world(&commands()) else { return };
    fs::write("/run/fail-add-192.0.2.9", "").unwrap();
    fs::write("/run/hang-add-192.0.2.10", "").unwrap();
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    peer(&world, 9, &Value::Null);
    peer(&world, 10, &Value::Null);
    wait_for("its second try", || {
        done().iter().filter(|line| line.starts_with("add  10.88.9.0/24")).count() > 1
    });
    peer(&world, 11, &Value::Null);
    wait_for_line("add  10.88.11.0/24 192.0.2.11   <> 10.88.11.0/24 192.0.2.11; ");
    let status = get("/status");
    assert!(status.contains("no add today"), "{status}");
    assert!(status.contains("add 10.88.9.0/24 at 192.0.2.9"), "{status}");
    assert_eq!(twilld.count("no add today"), 1, "said once: {}", twilld.said());
    fs::remove_file("/run/fail-add-192.0.2.9").unwrap();
    wait_for("only the one that hangs", || {
        get("/status").contains(r#""pending":["add 10.88.10.0/24 at 192.0.2.10"]"#)
    });
    twilld.stops();
}

#[test]
fn a_start_whose_commands_fail_is_refused() {
    for (what, ip) in [("pre", ""), ("post", "192.0.2.1")] {
        let run = move || {
            let Some(world) = world(&commands()) else { return };
            fs::write(format!("/run/fail-{what}-{ip}"), "").unwrap();
            let mut twilld = world.twilld(&[]);
            let name = if what == "pre" { "PreStartupCommand" } else { "PostStartupCommand" };
            twilld.refuses(1, &[name, "exit status: 3", &format!("no {what} today")]);
            assert!(!fs::exists("/run/flannel/subnet.env").unwrap(), "not published");
        };
        std::thread::spawn(run).join().expect("the world");
    }
}

#[test]
fn a_network_comes_to_commands_and_leaves_them_while_it_runs() {
    let Some(world) = World::with_config(VXLAN) else { return };
    fs::write("/run/script", SCRIPT).unwrap();
    fs::write("/run/fail-post-192.0.2.1", "").unwrap();
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    let configure = |text: &str| world.etcdctl(&["put", &format!("{PREFIX}/config"), text]);
    configure(&configuration(&commands()));
    twilld.says("cannot serve the new configuration yet");
    assert!(ip("-o link show").contains("flannel.1"), "goes on as before");
    assert!(world.value_of_node().contains("vxlan"), "and says so");
    fs::remove_file("/run/fail-post-192.0.2.1").unwrap();
    wait_for("its lease", || world.value_of_node().contains("extension"));
    peer(&world, 9, &Value::Null);
    wait_for_line("add  10.88.9.0/24 192.0.2.9   <> 10.88.9.0/24 192.0.2.9; ");
    configure(ALLOC);
    wait_for("its lease", || !world.value_of_node().contains("extension"));
    // The peer still wants it so.
    assert!(!done().iter().any(|line| line.starts_with("remove")), "{:?}", done());
    world.etcdctl(&["del", &format!("{PREFIX}/subnets/10.88.9.0-24")]);
    wait_for_line("remove  10.88.9.0/24 192.0.2.9   <> ");
    wait_for("the end", || done().last().is_some_and(|line| line.starts_with("stop")));
    assert_eq!(twilld.count("bootstrap done"), 1, "one session: {}", twilld.said());
    twilld.stops();
}

#[test]
fn alloc_takes_a_subnet_and_leaves_the_kernel_alone() {
    let Some(world) = World::with_config(ALLOC) else { return };
    let value = r#"{"PublicIP":"192.0.2.9","PublicIPv6":null}"#;
    world.etcdctl(&["put", &format!("{PREFIX}/subnets/10.88.9.0-24"), value]);
    let (links, routes) = (ip("-o link show"), ip("-4 route show table all"));
    let mut twilld = world.twilld(&[]);
    twilld.says("bootstrap done");
    assert_eq!(ip("-o link show"), links);
    assert_eq!(ip("-4 route show table all"), routes);
    let told = world.value_of_node();
    assert!(
        told.starts_with(r#"{"PublicIP":"192.0.2.1","PublicIPv6":null,"TwillNodeID":"#),
        "{told}"
    );
    let subnet = world.lease_of_node().replace(".0-", ".1/");
    let env = fs::read_to_string("/run/flannel/subnet.env").unwrap();
    let wanted = format!(
        "FLANNEL_NETWORK=10.88.0.0/16\nFLANNEL_SUBNET={subnet}\nFLANNEL_MTU=1500\nFLANNEL_IPMASQ=false\n"
    );
    assert_eq!(env, wanted);
    wait_for("readiness", || get("/readyz").contains("200 OK"));
    assert!(
        get("/status").contains(r#""subnet":"10.88.9.0/24""#),
        "the others are known all the same"
    );
    twilld.stops();
}
