//! What is done with a device that is there already.

use std::num::NonZeroUsize;

use tun_rs::{DeviceBuilder, Layer, SyncDevice};
use twill_net::netns::Scratch;
use twill_tunnel::{Device, Error, Offload};

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
