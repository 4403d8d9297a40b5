//! Twenty hosts and an etcd of three members, to which everything happens that happens to etcd in
//! ten years.
//!
//! ```text
//!  node1  node2  node3   node4 … node20   node21 …
//!   etcd   etcd   etcd                     one that joins at each step
//!   twilld twilld twilld  twilld   twilld  twilld
//!    pod════pod    pod═════pod     pod═pod              TCP all the time
//! ```
#![expect(clippy::print_stdout, reason = "what was measured is part of what a test says")]

mod story;
mod world;

use anyhow::Result;
use twill_integration::may_build_labs;
use world::World;

#[test]
fn twenty_hosts_live_through_all_that_befalls_their_etcd() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let mut world = World::start()?;
    world.etcd_is_copied()?;
    world.subnets_change_hands()?;
    world.a_member_dies_and_comes_back()?;
    world.the_leader_is_cut_off()?;
    world.history_is_forgotten()?;
    world.etcd_is_put_back()?;
    world.finish()
}
