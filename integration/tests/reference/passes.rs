//! Traffic of all sizes and in bulk.

use anyhow::{Context, Result, ensure};
use twill_integration::fabric::Backend;
use twill_integration::{flow, may_build_labs};

use crate::peer::MTU;
use crate::world::World;

const MIB: u64 = 1 << 20;

#[test]
fn pings_and_streams_pass_between_us_and_a_reference_peer() -> Result<()> {
    all_sizes_pass(Backend::Udp)
}

#[test]
fn pings_and_streams_pass_between_us_and_a_reference_peer_by_the_shortcut() -> Result<()> {
    all_sizes_pass(Backend::UdpShortcut)
}

fn all_sizes_pass(backend: Backend) -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let world = World::new(backend)?;
    let (ours, theirs) = (&world.ours, &world.theirs);
    for size in [28, 29, 600, MTU - 1, MTU] {
        ours.ping_whole(theirs.address, size).with_context(|| format!("{size} bytes there"))?;
        theirs.ping_whole(ours.address, size).with_context(|| format!("{size} bytes back"))?;
    }
    flow::transfer(ours, theirs, 64 * MIB).context("from us")?;
    flow::transfer(theirs, ours, 64 * MIB).context("to us")?;
    // Both ways at once, and more than one stream.
    std::thread::scope(|scope| {
        let ways = [(ours, theirs), (theirs, ours), (ours, theirs), (theirs, ours)];
        let running = ways.map(|(from, to)| scope.spawn(|| flow::transfer(from, to, 8 * MIB)));
        running.into_iter().try_for_each(|one| one.join().expect("a transfer").map(drop))
    })?;
    let seen = world.finish()?;
    ensure!(seen.longest == MTU, "the longest datagram had {} bytes", seen.longest);
    // More than half of what went both ways came to the peer, and no datagram holds more than one packet.
    ensure!(seen.count > 80 * MIB / MTU as u64, "{} datagrams came", seen.count);
    Ok(())
}
