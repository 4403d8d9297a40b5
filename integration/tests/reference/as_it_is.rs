//! Single packets, which may not be changed on the way but for their hops.

use std::time::Duration;

use anyhow::{Context, Result};
use twill_integration::fabric::Backend;
use twill_integration::{may_build_labs, wait_until};

use crate::capture::{Capture, raw_socket};
use crate::cases::cases;
use crate::packet::one_hop_less;
use crate::world::World;

/// A packet between two namespaces of one machine is there at once; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn what_a_peer_sends_arrives_as_it_is() -> Result<()> {
    from_a_peer(Backend::Udp)
}

#[test]
fn what_a_peer_sends_arrives_as_it_is_by_the_shortcut() -> Result<()> {
    from_a_peer(Backend::UdpShortcut)
}

fn from_a_peer(backend: Backend) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let world = World::new(backend)?;
    let cases = cases(world.theirs.ipv4()?.octets(), world.ours.ipv4()?.octets());
    let capture = world.ours.within(Capture::start)?;
    // The host of the container is the one hop.
    let older = |packet: &Vec<u8>| older(packet, 1);
    for (name, packets) in &cases {
        packets.iter().try_for_each(|packet| world.peer.send(packet))?;
        let wanted = packets.iter().map(older).collect();
        capture.until_all(wanted, LIMIT).with_context(|| format!("to us: {name}"))?;
    }
    // And in one train, in which nothing may be merged with anything.
    let all = || cases.iter().flat_map(|(_name, packets)| packets);
    all().try_for_each(|packet| world.peer.send(packet))?;
    capture.until_all(all().map(older).collect(), LIMIT).context("to us, in one train")?;
    world.finish().map(drop)
}

#[test]
fn what_a_container_sends_arrives_at_a_peer_as_it_is() -> Result<()> {
    to_a_peer(Backend::Udp)
}

#[test]
fn what_a_container_sends_arrives_at_a_peer_as_it_is_by_the_shortcut() -> Result<()> {
    to_a_peer(Backend::UdpShortcut)
}

fn to_a_peer(backend: Backend) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let world = World::new(backend)?;
    let cases = cases(world.ours.ipv4()?.octets(), world.theirs.ipv4()?.octets());
    let socket = world.ours.within(raw_socket)?;
    let to = (world.theirs.address, 0);
    // The host, and the tunnel.
    let came = |packet: &Vec<u8>| world.peer.has_seen(&older(packet, 2));
    let arrive = |packets: &[&Vec<u8>], what: &str| {
        for packet in packets {
            socket.send_to(packet, to).with_context(|| format!("cannot send {what}"))?;
        }
        wait_until(&format!("{what} comes to the peer"), LIMIT, || packets.iter().all(|p| came(p)))
    };
    for (name, packets) in &cases {
        arrive(&packets.iter().collect::<Vec<_>>(), name)?;
    }
    let all: Vec<_> = cases.iter().flat_map(|(_name, packets)| packets).collect();
    arrive(&all, "a train of everything")?;
    world.finish().map(drop)
}

/// The same, so many hops on its way.
pub(crate) fn older(packet: &[u8], hops: u8) -> Vec<u8> {
    let mut packet = packet.to_vec();
    for _hop in 0..hops {
        assert!(one_hop_less(&mut packet), "no hop is left");
    }
    packet
}
