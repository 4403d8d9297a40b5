//! A host for one test: a fresh network namespace, an uplink, and the commands a person would type.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use twill_core::device::{DeviceSpec, IfIndex, Vxlan};
use twill_core::ids::{Family, Gateway, Mac, Mtu, Subnet, Underlay, Vni};
use twill_core::plan::{Change, Tables};
use twill_net::Kernel;
use twill_net::kernel::Ground;
use twill_net::netns::Scratch;

pub(crate) const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// Runs `test` on a host of its own, which has the interface `eth0` with 192.168.140.22/24.
pub(crate) fn on_a_host<F: Future<Output = ()>>(test: impl FnOnce(Scratch) -> F) {
    let Some(scratch) = Scratch::enter() else { return };
    run("ip link add eth0 type veth peer name far0");
    run("ip link set far0 up");
    run("ip link set eth0 up");
    run("ip address add 192.168.140.22/24 dev eth0");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test(scratch));
}

/// Types a command; returns what it prints.
#[track_caller]
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a program");
    let output = Command::new(program).args(words).output().expect(command);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {complaint}");
    String::from_utf8(output.stdout).expect(command)
}

/// Types a command that reads `input`.
#[track_caller]
pub(crate) fn feed(command: &str, input: &str) {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a program");
    let mut child = Command::new(program).args(words).stdin(Stdio::piped()).spawn().expect(command);
    child.stdin.take().expect(command).write_all(input.as_bytes()).expect(command);
    assert!(child.wait().expect(command).success(), "{command}");
}

/// The device that the host should have, on top of `uplink`.
pub(crate) async fn spec(kernel: &Kernel) -> Vxlan {
    let uplink = kernel.uplink(&named("eth0")).await.expect("eth0");
    Vxlan {
        name: "flannel.1".to_owned(),
        vni: Vni::new(1).unwrap(),
        mac: OWN,
        mtu: Mtu::new(1450).unwrap(),
        port: None,
        local: uplink.address,
        uplink: uplink.index,
        gbp: false,
        learning: false,
        address: subnet(1).gateway(),
    }
}

/// The device itself, made.
pub(crate) async fn device(kernel: &Kernel) -> IfIndex {
    let spec = spec(kernel).await;
    kernel.ensure_device(&DeviceSpec::Vxlan(spec)).await.expect("the device")
}

/// Writes and drops rows in one go; an error is what became of the first that could not be.
pub(crate) async fn apply(
    kernel: &Kernel,
    changes: impl IntoIterator<Item = Change>,
) -> Result<(), twill_net::Error> {
    let changes: Vec<Change> = changes.into_iter().collect();
    let mut refused = kernel.apply(&changes).await?;
    let first = changes.iter().find_map(|change| refused.remove(change));
    first.map_or(Ok(()), Err)
}

/// Our rows on that device and on the uplink.
pub(crate) async fn dump(kernel: &Kernel, device: IfIndex) -> Result<Tables, twill_net::Error> {
    let uplink = kernel.uplink(&named("eth0")).await?.index;
    let network = Subnet::new(IpAddr::from([10, 5, 0, 0]), 16).unwrap();
    let ground = Ground { devices: &[device], keyed: &[], uplink, networks: &[network] };
    Ok(kernel.dump(ground).await?.tables)
}

/// Is 192.168.140.`n` on the link of the uplink?
pub(crate) async fn on_link(kernel: &Kernel, n: u8) -> bool {
    let uplink = kernel.uplink(&named("eth0")).await.expect("eth0").index;
    let dump = kernel.dump(Ground { devices: &[], keyed: &[], uplink, networks: &[] }).await;
    dump.expect("rows").link.holds(host(n))
}

pub(crate) fn named(name: &str) -> twill_net::kernel::Choice {
    twill_net::kernel::Choice {
        interfaces: vec![name.to_owned()],
        ..twill_net::kernel::Choice::any(Family::V4)
    }
}

pub(crate) fn subnet(n: u8) -> Subnet {
    Subnet::new(IpAddr::from([10, 5, n, 0]), 24).unwrap()
}

pub(crate) fn gateway(n: u8) -> Gateway {
    subnet(n).gateway()
}

pub(crate) fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 1, last])
}

pub(crate) fn host(n: u8) -> Underlay {
    Underlay(IpAddr::from([192, 168, 140, n]))
}
