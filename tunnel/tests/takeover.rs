//! What is done with a device that is there already.

use std::num::NonZeroUsize;
use std::process::Command;
use std::time::{Duration, Instant};

use tun_rs::{DeviceBuilder, Layer, SyncDevice};
use twill_core::ids::{Mtu, Subnet};
use twill_net::netns::Scratch;
use twill_tunnel::{Accept, Device, Endpoint, Error, Marks, Offload, Tunnel};

#[test]
fn a_device_is_taken_over_with_the_queues_that_it_was_made_for() {
    let Some(_scratch) = Scratch::enter() else { return };
    let device = open(3).expect("made");
    assert_eq!((device.queues(), device.offload()), (3, Offload::TcpAndUdp));
    assert!(matches!(open(3), Err(Error::Held { .. })), "another process could attach a queue");
    assert!(matches!(open(1), Err(Error::Held { .. })));
    drop(device);
    let device = open(1).expect("taken over");
    assert_eq!(device.queues(), 1, "one of several");
    drop(device);
    assert_eq!(open(2).expect("taken over").queues(), 2);
}

#[test]
fn a_device_of_an_earlier_version_stays_and_gets_offload() {
    let Some(_scratch) = Scratch::enter() else { return };
    let old = earlier_version();
    assert!(matches!(open(2), Err(Error::Held { .. })), "it is in use");
    let before = old.if_index().expect("a number");
    drop(old);
    let device = open(2).expect("taken over");
    assert_eq!((device.queues(), device.offload()), (1, Offload::TcpAndUdp));
    drop(device);
    // And back again, should somebody go back to the version that made it.
    assert_eq!(earlier_version().if_index().expect("a number"), before, "the very same device");
}

#[test]
fn a_name_that_is_taken_by_something_else_is_an_error() {
    let Some(_scratch) = Scratch::enter() else { return };
    let layer = DeviceBuilder::new().name("flannel0").layer(Layer::L2).build_sync();
    let _tap = layer.expect("a tap device");
    assert!(matches!(open(1), Err(Error::Open { .. })));
}

#[test]
fn its_threads_stay_where_they_are_told_to() {
    let Some(_scratch) = Scratch::enter() else { return };
    let device = open(2).unwrap().on(Some("0".parse().unwrap()));
    let endpoint = Endpoint {
        underlay: [127, 0, 0, 1].into(),
        port: 8285,
        subnet: Subnet::new([10, 5, 1, 0].into(), 24).unwrap().into(),
        mtu: Mtu::new(1472).unwrap(),
        accept: Accept::Peers,
        marks: Marks::None,
    };
    ip("link set lo up");
    let _tunnel = Tunnel::start(device, endpoint, |error| panic!("lost: {error}")).unwrap();
    let start = Instant::now();
    while threads() != [("tunnel-0".into(), "0".into()), ("tunnel-1".into(), "0".into())] {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", threads());
        std::thread::yield_now();
    }
}

/// The tunnel's threads in this process, and the processors that each may use.
fn threads() -> Vec<(String, String)> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    let status = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status")).ok();
    let mut all: Vec<_> = tasks
        .filter_map(|task| {
            let status = status(task.expect("a thread"))?;
            let value =
                |name: &str| Some(status.lines().find_map(|l| l.strip_prefix(name))?.trim());
            Some((value("Name:")?.to_owned(), value("Cpus_allowed_list:")?.to_owned()))
        })
        .filter(|(name, _cpus)| name.starts_with("tunnel-"))
        .collect();
    all.sort();
    all
}

fn open(queues: usize) -> Result<Device, Error> {
    Device::open("flannel0", NonZeroUsize::new(queues).expect("some"))
}

/// Without queues, offload or our mark.
fn earlier_version() -> SyncDevice {
    let device = DeviceBuilder::new().name("flannel0").layer(Layer::L3).inherit_enable_state();
    let device = device.build_sync().expect("a device");
    device.persist().expect("persistent");
    device
}

#[expect(clippy::disallowed_methods, reason = "the test's own hands in the kernel")]
fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).status().expect("iproute2");
    assert!(done.success(), "ip {words}");
}
