//! Does a world settle, once nothing befalls it any more, whatever the order in which its hosts act?

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::scenario::Explored;
use crate::world::{Held, World};

impl Explored {
    /// Every order of the hosts' own steps ends, and ends well.
    pub(crate) fn settles(&self, world: &World) -> bool {
        self.walk(world, &mut HashSet::new())
    }

    fn walk(&self, world: &World, open: &mut HashSet<u64>) -> bool {
        let name = fingerprint(world);
        if let Some(known) = self.settling.lock().expect("nobody panicked").get(&name) {
            return *known;
        }
        // Back where it was: it may go on for ever.
        if !open.insert(name) {
            return false;
        }
        let mut events = Vec::new();
        self.calm(world, &mut events);
        let mut at_rest = true;
        let mut well = true;
        for event in events {
            if let Some(next) = self.after(world, event) {
                let next = self.normal(next);
                if next != *world {
                    at_rest = false;
                    well &= self.walk(&next, open);
                }
            }
        }
        open.remove(&name);
        well &= !at_rest || self.is_settled(world);
        self.settling.lock().expect("nobody panicked").insert(name, well);
        well
    }

    /// Every host that runs has a subnet of its own and an identity of its own, or there is none left.
    pub(crate) fn is_settled(&self, world: &World) -> bool {
        world.hosts().all(|host| {
            let machine = &world.machines[host];
            let alone = world
                .hosts()
                .all(|other| other == host || world.machines[other].node != machine.node);
            alone
                && match machine.standing() {
                    Some(Held { slot, row }) => {
                        world.etcd.rows[usize::from(slot)] == Some(row)
                            && row.node == Some(machine.node)
                            && row.address == machine.address
                    }
                    None => !self.has_room(world),
                }
        })
    }

    fn has_room(&self, world: &World) -> bool {
        let slots = 0..u8::try_from(self.subnets.len()).expect("few subnets");
        slots.into_iter().any(|slot| self.is_free(world, slot))
    }
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}
