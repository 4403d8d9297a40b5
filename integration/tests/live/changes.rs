//! Every change, a host that sleeps through one, and configurations that are no use.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use twill_core::status::Status;
use twill_core::subnet_env::SubnetEnv;
use twill_integration::fabric::{Backend, Fabric};
use twill_integration::{may_build_labs, wait_until};

use crate::LIMIT;
use crate::traffic::Traffic;

const UDP: &str = r#"{"Type":"udp"}"#;
const VXLAN: &str = r#"{"Type":"vxlan"}"#;
const HOST_GW: &str = r#"{"Type":"host-gw"}"#;

/// The change, what it is to, the interface that most packets leave by then and what it says of
/// itself, and what containers may send.
type Step = (&'static str, &'static str, &'static str, &'static str, u32);

const STEPS: [Step; 12] = [
    ("udp to vxlan", VXLAN, "flannel.1", "vxlan id 1", 1450),
    ("MTU", r#"{"Type":"vxlan","MTU":1400}"#, "flannel.1", "mtu 1350", 1350),
    ("Port", r#"{"Type":"vxlan","Port":4789}"#, "twill1.1", "dstport 4789", 1450),
    ("VNI", r#"{"Type":"vxlan","Port":4789,"VNI":7}"#, "flannel.7", "vxlan id 7", 1450),
    ("GBP", r#"{"Type":"vxlan","Port":4789,"VNI":7,"GBP":true}"#, "flannel.7", " gbp", 1450),
    (
        "Learning",
        r#"{"Type":"vxlan","Port":4789,"VNI":7,"GBP":true,"Learning":true}"#,
        "flannel.7",
        "dstport 4789 ttl",
        1450,
    ),
    ("vxlan to host-gw", HOST_GW, "eth0", "mtu 1500", 1500),
    ("host-gw to udp", UDP, "flannel0", "tun", 1472),
    ("Port of udp", r#"{"Type":"udp","Port":7000}"#, "flannel1", "tun", 1472),
    ("udp to host-gw", HOST_GW, "eth0", "mtu 1500", 1500),
    ("host-gw to vxlan", VXLAN, "flannel.1", "vxlan id 1", 1450),
    ("vxlan to udp", UDP, "flannel0", "tun", 1472),
];

#[test]
fn flows_go_on_through_every_change_of_the_configuration() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let fabric = Fabric::start(3, Backend::Udp)?;
    let traffic = Traffic::start(&fabric)?;
    for (name, backend, device, shows, mtu) in STEPS {
        configure(&fabric, backend)?;
        for number in 1..=3 {
            wait_until(&format!("{name}: node{number} has it"), LIMIT, || {
                let link = ["ip", "-d", "link", "show", device];
                let link = fabric.node(number).ok(link).unwrap_or_default();
                link.contains(shows)
                    && status(&fabric, number).is_ok_and(|status| {
                        status.device == device
                            && status.mtu.bytes() == mtu
                            && status.pending.is_empty()
                    })
            })?;
            ensure!(
                fabric.subnet(number)?.mtu.bytes() == mtu,
                "{name}: subnet.env of node{number}"
            );
        }
        traffic.goes_on(name)?;
    }
    for number in 1..=3 {
        wait_until("the earlier backends are gone", LIMIT, || {
            status(&fabric, number).is_ok_and(|status| status.earlier.is_empty())
                && only_device(&fabric, number, "flannel0")
        })?;
    }
    traffic.goes_on("the end of the earlier ones")?;
    traffic.finish()?;
    fabric.finish()
}

/// One agent sleeps and one dies while the others move; both are reached all the time, and move when
/// they are back.
#[test]
fn hosts_that_sleep_or_die_through_a_change_stay_reached() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::start(3, Backend::Vxlan)?;
    let traffic = Traffic::start(&fabric)?;
    fabric.agent(2)?.signal(Signal::SIGSTOP)?;
    fabric.stop_agent(3, Signal::SIGKILL)?;
    configure(&fabric, HOST_GW)?;
    wait_until("node1 has moved and serves the others", LIMIT, || {
        status(&fabric, 1).is_ok_and(|status| {
            status.backend == "host-gw" && status.earlier == ["vxlan 1 on port 8472"]
        })
    })?;
    traffic.goes_on("one sleeps, one is dead, one has moved")?;
    fabric.agent(2)?.signal(Signal::SIGCONT)?;
    wait_until("node2 has moved", LIMIT, || {
        status(&fabric, 2).is_ok_and(|status| status.backend == "host-gw")
    })?;
    traffic.goes_on("it wakes")?;
    fabric.start_agent(3)?;
    for number in 1..=3 {
        wait_until("all have moved", LIMIT, || {
            status(&fabric, number).is_ok_and(|status| {
                status.backend == "host-gw" && status.peers.len() == 2 && status.pending.is_empty()
            })
        })?;
    }
    traffic.goes_on("the dead one is back")?;
    for number in 1..=3 {
        wait_until("vxlan is gone", LIMIT, || only_device(&fabric, number, "eth0"))?;
    }
    traffic.goes_on("the end of vxlan")?;
    traffic.finish()?;
    fabric.finish()
}

#[test]
fn a_configuration_that_is_no_use_changes_nothing() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut fabric = Fabric::start(3, Backend::Vxlan)?;
    let traffic = Traffic::start(&fabric)?;
    let before = subnets(&fabric)?;
    let rows =
        [("not json", "JSON"), (r#"{"Network":"10.88.0.0/16","SubnetLen":31}"#, "SubnetLen")];
    for (text, words) in rows {
        put(&fabric, text)?;
        for number in 1..=3 {
            wait_until(text, LIMIT, || {
                status(&fabric, number)
                    .is_ok_and(|status| status.config_error.is_some_and(|e| e.contains(words)))
            })?;
        }
        traffic.goes_on(text)?;
    }
    // Nor is it a reason not to start again.
    for number in 1..=3 {
        fabric.stop_agent(number, Signal::SIGKILL)?;
        fabric.start_agent(number)?;
        let Status { config_error, standing, .. } = status(&fabric, number)?;
        println!("node{number}: {config_error:?}, degraded: {:?}", standing.degraded);
    }
    for number in 1..=3 {
        wait_until("it says so, and has everybody", LIMIT, || {
            status(&fabric, number).is_ok_and(|status| {
                status.config_error.is_some_and(|error| error.contains("SubnetLen"))
                    && status.standing.degraded.len() == 1
                    && status.pending.is_empty()
                    && status.peers.len() == 2
            })
        })?;
    }
    traffic.goes_on("all were started again")?;
    ensure!(subnets(&fabric)? == before, "something else was published");
    configure(&fabric, VXLAN)?;
    for number in 1..=3 {
        wait_until("all is well again", LIMIT, || {
            status(&fabric, number).is_ok_and(|status| status.config_error.is_none())
        })?;
    }
    traffic.finish()?;
    fabric.finish()
}

fn subnets(fabric: &Fabric) -> Result<Vec<SubnetEnv>> {
    (1..=3).map(|number| fabric.subnet(number)).collect()
}

fn configure(fabric: &Fabric, backend: &str) -> Result<()> {
    put(fabric, &format!(r#"{{"Network":"10.88.0.0/16","Backend":{backend}}}"#))
}

fn put(fabric: &Fabric, text: &str) -> Result<()> {
    let key = "/coreos.com/network/config";
    fabric.node(1).ok(["env", "ETCDCTL_API=3", "etcdctl", "put", key, text]).map(drop)
}

fn status(fabric: &Fabric, number: usize) -> Result<Status> {
    let outcome = fabric.node(number).run(["twillctl", "status", "-o", "json"])?;
    serde_json::from_str(&outcome.stdout).context("no status")
}

/// Is there no other tunnel device? The uplink is none.
fn only_device(fabric: &Fabric, number: usize, device: &str) -> bool {
    let links = fabric.node(number).ok(["ip", "-o", "link", "show"]).unwrap_or_default();
    let names = links.lines().filter_map(|line| line.split(": ").nth(1));
    let mut tunnels = names.filter(|name| twill_core::serving::is_tunnel(name));
    tunnels.all(|name| name == device)
}
