//! What comes of an event.

use crate::events::Event;
use crate::scenario::{Explored, Fault, Slip};
use crate::world::{Held, NOWHERE, Power, Row, World};

impl Explored {
    /// What comes of it; `None` when it changes nothing, or cannot happen.
    pub(crate) fn after(&self, before: &World, event: Event) -> Option<World> {
        let mut world = *before;
        match event {
            Event::Look(host, random) => world = self.look(before, host, random)?,
            Event::Write(host) => world = self.write(before, host)?,
            Event::LoseRequest(host) => drop(self.give_up(&mut world, host)?),
            Event::LoseAnswer(host) => {
                let write = world.machines[host].intent?;
                let mut arrived = *before;
                arrived.arrive(host, write);
                world = arrived;
                self.give_up(&mut world, host)?;
            }
            Event::GiveUp(host) => {
                let write = self.give_up(&mut world, host)?;
                world.machines[host].stray = Some(write);
            }
            Event::ArriveLate(host) => {
                let write = world.machines[host].stray.take()?;
                world.arrive(host, write);
            }
            Event::Vanish(host) => drop(world.machines[host].stray.take()?),
            Event::KeepAlive(host) => world = self.keep_alive(before, host, true)?,
            Event::KeepAliveUnheard(host) => world = self.keep_alive(before, host, false)?,
            Event::Rewrite(host) => world = self.rewrite(before, host)?,
            Event::Errand(host) => world = before.errand(host)?,
            Event::Answer(host) => world = before.answer(host)?,
            Event::Hear(host) => world = before.hear(host)?,
            Event::Despair(host) => world = before.despair(host)?,
            Event::QuestionEnds(node) => drop(world.etcd.questions[node].take()?),
            Event::Tick(missed) => world.tick(missed),
            Event::LeaseEnds(id) => world.end(id),
            Event::Crash(host)
            | Event::Resume(host)
            | Event::Restart(host)
            | Event::Reinstall(host) => self.power(&mut world, host, event)?,
            Event::Move(host, address) => {
                world.machines[host].address = address;
                world.machines[host].asked = None;
            }
            Event::Copy(host) => self.copy(&mut world, host)?,
            _ => self.administer(&mut world, event)?,
        }
        if event.is_misfortune() {
            world.left = before.left.checked_sub(1)?;
        }
        (world != *before).then_some(world)
    }

    fn power(&self, world: &mut World, host: usize, event: Event) -> Option<()> {
        let unused = world.unused_node();
        let machine = &mut world.machines[host];
        match event {
            Event::Crash(_) => {
                machine.forget();
                machine.power = Power::Off;
                if self.scenario.slips(Slip::ForgetsAddresses) {
                    machine.addresses = 0;
                }
            }
            Event::Resume(_) => {
                // A copy must not come up on the subnet of the host that it was copied from.
                machine.valid().filter(|_| machine.held.is_some() && machine.anchored)?;
                machine.holding = true;
                machine.power = Power::On;
            }
            Event::Restart(_) => {
                machine.previous = machine.held.map(|held| held.slot);
                machine.power = Power::On;
            }
            Event::Reinstall(_) => {
                machine.let_go();
                machine.forget();
                machine.node = unused;
                machine.power = Power::On;
            }
            _ => return None,
        }
        Some(())
    }

    fn copy(&self, world: &mut World, host: usize) -> Option<()> {
        let Held { slot, .. } = world.machines[0].held?;
        let source = world.machines[0];
        let copy = &mut world.machines[host];
        copy.power = Power::On;
        (copy.node, copy.held, copy.addresses) = (source.node, source.held, source.addresses);
        copy.previous = Some(slot);
        copy.anchored = self.scenario.has(Fault::Twin) || self.scenario.slips(Slip::TrustsCopies);
        Some(())
    }

    fn administer(&self, world: &mut World, event: Event) -> Option<()> {
        match event {
            Event::Revoke(slot) => {
                world.etcd.rows[usize::from(slot)].take()?;
                world.excuse(slot);
            }
            Event::ReserveFor(slot, host) => {
                self.is_free(world, slot).then_some(())?;
                let node = Some(world.machines[host].node);
                world.reserve(slot, (node, NOWHERE));
            }
            Event::ReserveForAddress(slot, host) => {
                self.is_free(world, slot).then_some(())?;
                world.reserve(slot, (None, world.machines[host].address));
            }
            Event::Pin(slot) => {
                let revision = world.next_revision();
                let row = world.etcd.rows[usize::from(slot)].as_mut()?;
                row.lease.take()?;
                row.revision = revision;
            }
            Event::Release(slot) => {
                let row = world.etcd.rows[usize::from(slot)].filter(|row| row.lease.is_none())?;
                let (revision, lease) = (world.next_revision(), Some(world.grant()));
                world.etcd.rows[usize::from(slot)] = Some(Row { revision, lease, ..row });
            }
            Event::Configure(config) => {
                if config == world.etcd.config {
                    return None;
                }
                world.etcd.config_revision = world.next_revision();
                world.etcd.config = config;
            }
            Event::Flannel(host, slot) => self.flannel(world, host, slot)?,
            _ => return None,
        }
        Some(())
    }

    /// May a host take that subnet now?
    pub(crate) fn is_free(&self, world: &World, slot: u8) -> bool {
        let config = &self.configs[usize::from(world.etcd.config)];
        let mut rows = (0..).zip(world.etcd.rows);
        config.admits(self.subnets[usize::from(slot)].into())
            && rows.all(|(other, row)| row.is_none() || !self.overlap(slot, other))
    }

    /// flanneld finds the first lease with its address, and writes over it or deletes it, whatever
    /// it is. Without one it takes a free subnet.
    fn flannel(&self, world: &mut World, host: usize, slot: u8) -> Option<()> {
        let address = world.machines[host].address;
        let own = |row: &Option<Row>| row.is_some_and(|row| row.address == address);
        let config = &self.configs[usize::from(world.etcd.config)];
        let at = match world.etcd.rows.iter().position(own) {
            Some(found) if config.admits(self.subnets[found].into()) => found,
            Some(found) => {
                world.etcd.rows[found] = None;
                world.excuse(u8::try_from(found).expect("few subnets"));
                return Some(());
            }
            None => {
                self.is_free(world, slot).then_some(())?;
                usize::from(slot)
            }
        };
        let (revision, lease) = (world.next_revision(), Some(world.grant()));
        let by = u8::try_from(host).ok();
        world.etcd.rows[at] = Some(Row { node: None, address, revision, lease, by });
        Some(())
    }
}

impl World {
    fn tick(&mut self, missed: u8) {
        for left in self.etcd.leases.iter_mut().flatten() {
            *left = left.saturating_sub(1);
        }
        for (host, machine) in self.machines.iter_mut().enumerate() {
            let missed = missed >> host & 1 == 1;
            machine.belief.pass(missed);
            machine.hopes().for_each(|hope| hope.pass(missed));
        }
    }

    /// The subnet was taken from whoever uses it, by somebody who knows what that means.
    fn excuse(&mut self, slot: u8) {
        for machine in &mut self.machines {
            machine.excused |= machine.uses == Some(slot);
        }
    }

    fn reserve(&mut self, slot: u8, (node, address): (Option<u8>, u8)) {
        let revision = self.next_revision();
        let row = Row { node, address, revision, lease: None, by: None };
        self.etcd.rows[usize::from(slot)] = Some(row);
    }
}
