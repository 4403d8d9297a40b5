//! Podman, a host where it runs pods and one that asks.

use std::fs;

use anyhow::{Result, ensure};
use twill_integration::container::IMAGE_TAR;
use twill_integration::{Host, machine};

use super::left::{Before, no_namespace};
use super::world::{PORT, SERVE, World, published, served, subnet};

/// As docs/cni.md has it; below `[engine]` is what machines of a lab want, which have no journal for Podman to find and
/// control groups of version 1.
const CONFIGURATION: &str = r#"[network]
network_backend = "cni"
cni_plugin_dirs = ["/usr/lib/cni"]

[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
"#;

const IMAGE: &str = "localhost/busybox";
const MAC: &str = "02:00:00:00:77:01";

#[test]
fn podman_publishes_asks_for_addresses_reloads_and_disconnects() -> Result<()> {
    if !machine::may_boot() {
        return Ok(());
    }
    let world = World::start(2)?;
    let host = world.host(2);
    set_up(host)?;
    let container = world.container()?;
    let publish = format!("-p={PORT}:80");
    podman(host, &["run", "--rm", "--network=twill", &publish, IMAGE, "true"])?;
    host.ok(["twill", "import", IMAGE_TAR, "busybox"])?;
    host.ok(["twill", "run", "--rm", "busybox", "true"])?;
    let before = Before::of(host)?;

    let address = asked(host)?;
    let run = ["run", "-d", "--name=web", "--network=twill", "--network-alias=page", &publish];
    podman(host, &[&run[..], &["--ip", &address, "--mac-address", MAC, IMAGE]].concat())?;
    is_as_asked(host, &address)?;
    published(&world, 2, &container)?;
    host.ok(["twill", "run", "--rm", "busybox", "ping", "-c1", "-W3", "page"])?;

    // Somebody throws all rules away, which is what the command is for.
    host.sh("nft flush ruleset")?;
    podman(host, &["network", "reload", "web"])?;
    is_as_asked(host, &address)?;
    published(&world, 2, &container)?;

    // An agent that knows of nothing looks at all that is there.
    host.ok(["systemctl", "restart", "twilld"])?;
    published(&world, 2, &container)?;

    let refused = podman(host, &["run", "--rm", "--network=twill", &publish, IMAGE, "true"]);
    let refused = format!("{:#}", refused.expect_err("the port is taken"));
    ensure!(refused.contains(&id(host, "web")?), "its owner is not named: {refused}");

    podman(host, &["network", "disconnect", "twill", "web"])?;
    before.is_as_now(host)?;
    podman(host, &["network", "connect", "twill", "web"])?;
    published(&world, 2, &container)?;
    podman(host, &["rm", "-f", "-t=0", "web"])?;
    before.is_as_now(host)?;
    no_namespace(host)?;
    let said = host.ok(["journalctl", "--unit=twilld", "--boot", "--output=cat", "--no-pager"])?;
    ensure!(!said.contains("cannot keep"), "the agent could not do its work: {said}");
    world.finish()
}

/// Tells Podman of our plugin, and gives it an image.
pub(super) fn set_up(host: &Host) -> Result<()> {
    fs::write(host.path("/etc/containers/containers.conf"), CONFIGURATION)?;
    podman(host, &["import", "-c", SERVE, IMAGE_TAR, IMAGE])?;
    let backend = podman(host, &["info", "-f", "{{.Host.NetworkBackend}}"])?;
    ensure!(backend == "cni", "the back end is {backend}");
    let networks = podman(host, &["network", "ls", "--format", "{{.Name}} {{.Driver}}"])?;
    ensure!(networks.lines().any(|line| line == "twill twill-cni"), "{networks}");
    Ok(())
}

/// Runs it, and answers what it says.
pub(super) fn podman(host: &Host, arguments: &[&str]) -> Result<String> {
    Ok(host.ok(["podman"].iter().chain(arguments))?.trim().to_owned())
}

/// A container that serves.
pub(super) fn run(host: &Host, name: &str, options: &[&str]) -> Result<String> {
    let named = format!("--name={name}");
    podman(host, &[&["run", "-d", "--network=twill", &named], options, &[IMAGE]].concat())?;
    address(host, name)
}

/// Where a container is, by Podman's word.
pub(super) fn address(host: &Host, name: &str) -> Result<String> {
    inspect(host, name, r#"{{(index .NetworkSettings.Networks "twill").IPAddress}}"#)
}

/// Which container it is.
pub(super) fn id(host: &Host, name: &str) -> Result<String> {
    inspect(host, name, "{{.Id}}")
}

pub(super) fn inspect(host: &Host, name: &str, what: &str) -> Result<String> {
    podman(host, &["inspect", "-f", what, name])
}

/// An address of the host's subnet that is nobody's.
fn asked(host: &Host) -> Result<String> {
    let gateway = subnet(host)?.subnet.first_host().to_string();
    let (net, _last) = gateway.rsplit_once('.').unwrap_or_default();
    Ok(format!("{net}.77"))
}

fn is_as_asked(host: &Host, wanted: &str) -> Result<()> {
    let told = inspect(host, "web", r#"{{(index .NetworkSettings.Networks "twill").MacAddress}}"#)?;
    let told = (address(host, "web")?, told);
    ensure!(told == (wanted.to_owned(), MAC.to_owned()), "Podman tells of {told:?}");
    let inside = podman(host, &["exec", "web", "ip", "address", "show", "dev", "eth0"])?;
    ensure!(inside.contains(&format!("inet {wanted}/")) && inside.contains(MAC), "{inside}");
    // As a neighbour has it.
    served("the host", (wanted, 80), |command| host.ok(command))
}
