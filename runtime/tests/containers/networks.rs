//! Ways to the network, and what containers know of it.

use std::fs;

use crate::bridge::{assert_pool_is_empty, host};
use crate::world::{World, eventually};

fn run(world: &World, options: &[&str]) {
    world.twill(&[&["run", "-d"], options, &["bb", "sleep", "1000"]].concat()).ok();
}

fn cat(world: &World, name: &str, file: &str) -> String {
    world.twill(&["exec", name, "cat", file]).ok()
}

fn address(world: &World, name: &str) -> String {
    world.inspect(name, "/NetworkSettings/IPAddress").as_str().unwrap().to_owned()
}

#[test]
fn two_containers_share_one_network() {
    let Some(world) = host() else { return };
    run(&world, &["--name", "web", "-h", "web.example", "--add-host", "db:10.0.0.9"]);
    run(&world, &["--name", "two", "--network", "container:web"]);
    let look = |name: &str| {
        let line = "ip -o -4 addr show eth0; hostname; cat /etc/hosts /etc/resolv.conf";
        world.twill(&["exec", name, "sh", "-c", line]).ok()
    };
    run(&world, &["--name", "three", "--network", "container:two"]);
    assert_eq!(look("web"), look("two"));
    assert_eq!(look("web"), look("three"), "whose network is another's as well");
    world.twill(&["rm", "-f", "three"]).ok();
    assert!(look("web").contains("\tweb.example web"), "{}", look("web"));
    assert!(look("web").contains("10.0.0.9\tdb"));
    let id = world.inspect("web", "/Id").as_str().unwrap().to_owned();
    assert_eq!(world.inspect("two", "/HostConfig/NetworkMode"), format!("container:{id}"));
    assert_eq!(world.inspect("two", "/NetworkSettings/Networks").to_string(), "{}");
    let refused = |options: &[&str], words: &str| {
        let all = [&["create", "--network", "container:web"], options, &["bb"]].concat();
        world.twill(&all).fails(1, words);
    };
    refused(&["-h", "x"], "conflicting options: hostname and the network mode");
    refused(&["-p", "80:80"], "conflicting options: port publishing and the container");
    refused(&["--link", "web"], "conflicting options: container type network can't be used");
    world.twill(&["create", "--network", "container:none", "bb"]).fails(1, "No such container");
    world.twill(&["create", "--network", "foo", "bb"]).fails(1, "network foo not found");
    world.twill(&["stop", "-t", "0", "two", "web"]).ok();
    world.twill(&["start", "two"]).fails(1, "cannot join network of a non running container: ");
    world.twill(&["start", "web", "two"]).ok();
    assert_eq!(look("web"), look("two"));
    world.twill(&["rm", "-f", "web", "two"]).ok();
    world.assert_nothing_left();
    assert_pool_is_empty();
}

#[test]
fn addresses_and_resolvers_are_as_wished() {
    let Some(world) = host() else { return };
    let mac = "02:00:00:00:00:77";
    run(
        &world,
        &[
            "--name",
            "web",
            "--ip",
            "10.5.2.77",
            "--mac-address",
            mac,
            "--dns",
            "192.0.2.53",
            "--dns-search",
            "example",
            "--dns-option",
            "ndots:2",
            "--add-host",
            "gate:host-gateway",
        ],
    );
    assert_eq!(address(&world, "web"), "10.5.2.77");
    assert_eq!(world.inspect("web", "/NetworkSettings/MacAddress"), mac);
    assert_eq!(
        cat(&world, "web", "/etc/resolv.conf"),
        "nameserver 192.0.2.53\nsearch example\noptions ndots:2"
    );
    assert!(cat(&world, "web", "/etc/hosts").contains("10.5.2.1\tgate"));
    assert_eq!(world.inspect("web", "/HostConfig/ExtraHosts/0"), "gate:host-gateway");
    refuses_what_cannot_be(&world);
    // Where the agent answers, it is asked first.
    fs::create_dir_all(world.path("run")).unwrap();
    fs::write(world.path("run/resolvers"), "10.5.2.1\n").unwrap();
    run(&world, &["--name", "two", "--dns", "192.0.2.53"]);
    let text = cat(&world, "two", "/etc/resolv.conf");
    assert!(text.starts_with("nameserver 10.5.2.1\nnameserver 192.0.2.53"), "{text}");
    let text = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
    fs::write(world.path("subnet.env"), text).unwrap();
    world.twill(&["network", "sync"]).ok();
    let text = cat(&world, "two", "/etc/resolv.conf");
    assert!(text.starts_with("nameserver 10.5.3.1\nnameserver 192.0.2.53"), "{text}");
    assert_eq!(world.inspect("web", "/NetworkSettings/MacAddress"), mac);
    world.twill(&["rm", "-f", "web", "two"]).ok();
    world.assert_nothing_left();
}

fn refuses_what_cannot_be(world: &World) {
    let create = |options: &[&str], words: &str| {
        world.twill(&[&["run", "-d"], options, &["bb", "true"]].concat()).fails(125, words);
    };
    create(&["--ip", "10.5.2.77"], "address 10.5.2.77 is in use by");
    create(&["--ip", "10.5.9.1"], "address 10.5.9.1 is not in this host's subnet");
    create(&["--network", "host", "--ip", "10.5.2.8"], "user specified IP address");
    create(&["--mac-address", "zz"], "zz is not a valid mac address");
    create(&["--dns", "zz"], "IP address is not correctly formatted: zz");
    create(&["--add-host", "zz"], "bad format for add-host: \"zz\"");
    create(
        &["--link", "web", "--network", "host"],
        "host type networking can't be used with links",
    );
}

#[test]
fn a_link_leads_to_wherever_the_other_side_is() {
    let Some(world) = host() else { return };
    run(&world, &["--name", "db"]);
    run(&world, &["--name", "web", "--link", "db:MySQL", "--link", "db"]);
    let leads = |to: &str| {
        let hosts = cat(&world, "web", "/etc/hosts");
        let mut lines = hosts.lines().filter(|line| line.contains("mysql"));
        lines.next().is_some_and(|line| line.starts_with(&format!("{to}\tmysql ")))
    };
    let first = address(&world, "db");
    assert!(leads(&first));
    world.twill(&["exec", "web", "ping", "-c", "1", "mysql"]).ok();
    // Somebody else takes the address meanwhile.
    world.twill(&["stop", "-t", "0", "db"]).ok();
    run(&world, &["--name", "other", "--ip", &first]);
    world.twill(&["start", "db"]).ok();
    let second = address(&world, "db");
    assert_ne!(first, second);
    eventually("the link follows", || leads(&second));
    world.twill(&["exec", "web", "ping", "-c", "1", "db"]).ok();
    world.twill(&["stop", "-t", "0", "web", "db"]).ok();
    world.twill(&["start", "web"]).fails(1, "Cannot link to a non running container: /db AS /web/");
    world.twill(&["create", "--link", "nosuch", "bb"]).fails(1, "No such container: nosuch");
    world.twill(&["rm", "-f", "web", "db", "other"]).ok();
    world.assert_nothing_left();
}

#[test]
fn networks_are_listed_and_looked_at() {
    let Some(world) = host() else { return };
    run(&world, &["--name", "web"]);
    let list = world.twill(&["network", "ls"]).ok();
    let lines: Vec<Vec<&str>> =
        list.lines().map(|line| line.split_whitespace().skip(1).collect()).collect();
    assert_eq!(
        lines,
        [
            vec!["ID", "NAME", "DRIVER", "SCOPE"],
            vec!["bridge", "bridge", "local"],
            vec!["host", "host", "local"],
            vec!["none", "null", "local"],
        ]
    );
    let quiet = world.twill(&["network", "ls", "-q", "-f", "driver=null"]).ok();
    let id = world.twill(&["network", "inspect", "-f", "{{.Id}}", "none"]).ok();
    assert!(quiet.len() == 12 && id.starts_with(&quiet), "{quiet} {id}");
    let text = world.twill(&["network", "inspect", "bridge"]).ok();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let own = world.inspect("web", "/Id").as_str().unwrap().to_owned();
    assert_eq!(all[0]["IPAM"]["Config"][0]["Subnet"], "10.5.2.0/24");
    assert_eq!(all[0]["Containers"][&own]["Name"], "web");
    let ip = format!("{}/24", address(&world, "web"));
    assert_eq!(all[0]["Containers"][&own]["IPv4Address"], ip.as_str());
    world.twill(&["network", "inspect", "foo"]).fails(1, "network foo not found");
    world.twill(&["network", "ls", "-f", "bogus=1"]).fails(1, "invalid filter 'bogus'");
    world.twill(&["rm", "-f", "web"]).ok();
    world.assert_nothing_left();
}
