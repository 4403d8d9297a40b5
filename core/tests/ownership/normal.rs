//! One form for worlds that differ in nothing that matters: names of revisions, of etcd leases and of
//! node ids. Revisions are only ever compared, so their ranks say as much; the others only told apart.

//!
//! Machines that nothing tells apart may change places, with their addresses, and so may subnets: of
//! all worlds that come of that, the least stands for all.

use crate::scenario::{Explored, Fault};
use crate::world::{Claim, Doubt, LEASES, MACHINES, NODES, Over, Power, SLOTS, Term, World, Write};

const UNNAMED: u8 = u8::MAX;

/// Who changes places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shuffle {
    /// Where each machine goes, by number.
    machines: [u8; MACHINES],
    /// Where each subnet goes.
    slots: [u8; SLOTS],
}

impl Explored {
    /// The world in that form.
    pub(crate) fn normal(&self, mut world: World) -> World {
        world.forget_the_past();
        world.rank_revisions();
        let all = self.shuffles.iter().map(|shuffle| {
            let mut other = world.shuffled(*shuffle);
            other.name_leases();
            other.name_nodes();
            other
        });
        all.min().expect("at least everything in its place")
    }

    /// Every way to change places under which nothing in the scenario changes.
    pub(crate) fn find_shuffles(&mut self) {
        let scenario = &self.scenario;
        // The first machine has a copy, or a flanneld; and people read what goes wrong after a slip.
        let special = scenario.slip.is_some()
            || scenario.has(Fault::Flannel)
            || scenario.machines.contains(&Power::Blank);
        // Among more than two, a host that has several to revoke takes them in order.
        let alike = self.subnets.len() == 2 && self.configs.len() == 1 && !special;
        let count = if special { 1 } else { scenario.machines.len() };
        let swapped = [1, 0, 2, 3];
        let slots: &[[u8; SLOTS]] = if alike { &[IN_PLACE, swapped] } else { &[IN_PLACE] };
        let orders =
            ORDERS.iter().filter(|order| (0..).zip(*order).skip(count).all(|(at, to)| at == *to));
        self.shuffles = orders
            .flat_map(|machines| {
                slots.iter().map(|slots| Shuffle { machines: *machines, slots: *slots })
            })
            .collect();
    }
}

const IN_PLACE: [u8; SLOTS] = [0, 1, 2, 3];
const ORDERS: [[u8; MACHINES]; 6] =
    [[0, 1, 2], [1, 0, 2], [0, 2, 1], [2, 1, 0], [1, 2, 0], [2, 0, 1]];

impl Shuffle {
    fn address(self, address: &mut u8) {
        if let Some(to) = self.machines.get(usize::from(*address)) {
            *address = *to;
        }
    }

    fn slot(self, slot: &mut u8) {
        *slot = self.slots[usize::from(*slot)];
    }

    fn row(self, row: &mut crate::world::Row) {
        self.address(&mut row.address);
        row.by.iter_mut().for_each(|by| self.address(by));
    }

    fn by_slot<T: Copy>(self, before: &[T; SLOTS]) -> [T; SLOTS] {
        let mut after = *before;
        for (value, to) in before.iter().zip(self.slots) {
            after[usize::from(to)] = *value;
        }
        after
    }

    fn write(self, write: &mut Write) {
        match write {
            Write::Claim(claim) => {
                self.slot(&mut claim.slot);
                self.address(&mut claim.address);
                claim.withdraw = self.by_slot(&claim.withdraw);
            }
            Write::Withdraw { slot, .. } => self.slot(slot),
        }
    }

    fn machine(self, machine: &mut crate::world::Machine) {
        self.address(&mut machine.address);
        if let Some(held) = &mut machine.held {
            self.slot(&mut held.slot);
            self.row(&mut held.row);
        }
        let bits = (0..8_u8).filter(|bit| machine.addresses >> bit & 1 == 1);
        machine.addresses = bits.fold(0, |set, mut bit| {
            self.address(&mut bit);
            set | 1 << bit
        });
        let slots = machine.previous.iter_mut().chain(&mut machine.uses);
        slots.for_each(|slot| self.slot(slot));
        if let Doubt::Answered(address) = &mut machine.doubt {
            self.address(address);
        }
        machine.errands = self.by_slot(&machine.errands);
        machine.writes().for_each(|write| self.write(write));
    }
}

impl World {
    fn shuffled(&self, shuffle: Shuffle) -> Self {
        let mut world = *self;
        for (machine, to) in self.machines.iter().zip(shuffle.machines) {
            let mut machine = *machine;
            shuffle.machine(&mut machine);
            world.machines[usize::from(to)] = machine;
        }
        world.etcd.rows = shuffle.by_slot(&self.etcd.rows);
        world.etcd.rows.iter_mut().flatten().for_each(|row| shuffle.row(row));
        for question in world.etcd.questions.iter_mut().flatten() {
            shuffle.address(&mut question.asker);
            question.answer.iter_mut().for_each(|answer| shuffle.address(answer));
        }
        world
    }

    fn forget_the_past(&mut self) {
        for machine in &mut self.machines {
            if machine.belief.left == 0 {
                machine.belief = Term::OVER;
                machine.uses = None;
            }
            machine.excused &= machine.uses.is_some();
        }
    }

    fn rank_revisions(&mut self) {
        let mut known = [0_u64; 4];
        self.revisions(|revision| known[usize::from(*revision / 64)] |= 1 << (*revision % 64));
        let mut ranks = [0_u8; 256];
        let mut rank = 0;
        for revision in 0..=u8::MAX {
            if known[usize::from(revision / 64)] >> (revision % 64) & 1 == 1 {
                rank += 1;
                ranks[usize::from(revision)] = rank;
            }
        }
        self.revisions(|revision| *revision = ranks[usize::from(*revision)]);
    }

    fn name_leases(&mut self) {
        let mut names = [UNNAMED; LEASES];
        let mut next = 0;
        self.lease_ids(|id| rename(&mut names, &mut next, id));
        let mut leases = [None; LEASES];
        for (name, left) in names.into_iter().zip(self.etcd.leases) {
            if name != UNNAMED {
                leases[usize::from(name)] = left;
            }
        }
        self.etcd.leases = leases;
    }

    fn name_nodes(&mut self) {
        let mut names = [UNNAMED; NODES];
        let mut next = 0;
        self.nodes(|node| rename(&mut names, &mut next, node));
        let mut questions = [None; NODES];
        for (name, question) in names.into_iter().zip(self.etcd.questions) {
            // Nobody will look for the others.
            if name != UNNAMED {
                questions[usize::from(name)] = question;
            }
        }
        self.etcd.questions = questions;
    }
}

impl World {
    /// Every revision that anybody remembers.
    pub(crate) fn revisions(&mut self, mut each: impl FnMut(&mut u8)) {
        each(&mut self.etcd.config_revision);
        self.etcd.rows.iter_mut().flatten().for_each(|row| each(&mut row.revision));
        for machine in &mut self.machines {
            if let Some(held) = &mut machine.held {
                each(&mut held.row.revision);
            }
            if let Doubt::Silent(about) = &mut machine.doubt {
                each(about);
            }
            machine.asked.iter_mut().for_each(&mut each);
            machine.errands.iter_mut().filter(|errand| **errand > 0).for_each(&mut each);
            for write in machine.writes() {
                match write {
                    Write::Claim(claim) => {
                        match &mut claim.over {
                            Over::Nothing(revision) | Over::Row(revision) => each(revision),
                            Over::NothingAtAll | Over::Anything => {}
                        }
                        claim.withdraw.iter_mut().filter(|one| **one > 0).for_each(&mut each);
                    }
                    Write::Withdraw { revision, .. } => each(revision),
                }
            }
        }
    }

    /// Every etcd lease that anybody names.
    pub(crate) fn lease_ids(&mut self, mut each: impl FnMut(&mut u8)) {
        let rows = self.etcd.rows.iter_mut().flatten();
        rows.filter_map(|row| row.lease.as_mut()).for_each(&mut each);
        for machine in &mut self.machines {
            let held = machine.held.as_mut().and_then(|held| held.row.lease.as_mut());
            held.into_iter().for_each(&mut each);
            for write in machine.writes() {
                if let Write::Claim(Claim { lease: Some(id), .. }) = write {
                    each(id);
                }
            }
        }
    }

    /// Every node id that anybody knows.
    pub(crate) fn nodes(&mut self, mut each: impl FnMut(&mut u8)) {
        for machine in &mut self.machines {
            if machine.power >= Power::Off {
                each(&mut machine.node);
            }
            if let Some(held) = &mut machine.held {
                held.row.node.iter_mut().for_each(&mut each);
            }
            for write in machine.writes() {
                if let Write::Claim(claim) = write {
                    each(&mut claim.node);
                }
            }
        }
        let rows = self.etcd.rows.iter_mut().flatten();
        rows.filter_map(|row| row.node.as_mut()).for_each(&mut each);
    }
}

/// Names in the order in which they are met.
fn rename(names: &mut [u8], next: &mut u8, old: &mut u8) {
    let name = &mut names[usize::from(*old)];
    if *name == UNNAMED {
        *name = *next;
        *next += 1;
    }
    *old = *name;
}
