//! All that can happen next.

use crate::scenario::{Explored, Fault};
use crate::world::{MACHINES, Power, World};

/// One thing that happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// A host reads etcd and decides; the second number chooses among free subnets.
    Look(usize, u8),
    /// What a host decided to write arrives, and the answer comes back.
    Write(usize),
    /// It never arrives.
    LoseRequest(usize),
    /// It arrives, and the answer never does.
    LoseAnswer(usize),
    /// Its host gives up waiting, and it is still on its way.
    GiveUp(usize),
    /// What was given up arrives after all.
    ArriveLate(usize),
    /// What was given up never arrives.
    Vanish(usize),
    KeepAlive(usize),
    /// The answer never comes back.
    KeepAliveUnheard(usize),
    Rewrite(usize),
    /// A host revokes an earlier lease of its own.
    Errand(usize),
    /// A holder answers the question of another host with its node id.
    Answer(usize),
    Hear(usize),
    /// Nobody answered in time.
    Despair(usize),
    /// The question under that node id ends.
    QuestionEnds(usize),
    /// A tick passes; the clocks of the hosts in the mask miss it.
    Tick(u8),
    LeaseEnds(u8),
    Crash(usize),
    /// The agent starts and goes on with the lease that is on its disk.
    Resume(usize),
    /// The agent starts and has to find its lease in etcd.
    Restart(usize),
    Reinstall(usize),
    /// The machine gets that address.
    Move(usize, u8),
    /// The machine starts with a copy of the first one's disk.
    Copy(usize),
    Revoke(u8),
    ReserveFor(u8, usize),
    ReserveForAddress(u8, usize),
    /// A lease becomes a reservation.
    Pin(u8),
    /// A reservation becomes a lease.
    Release(u8),
    Configure(u8),
    /// flanneld starts on that machine; the slot is the one that it allocates if it has to.
    Flannel(usize, u8),
}

impl Event {
    /// Is it one of those that are counted?
    pub(crate) fn is_misfortune(self) -> bool {
        match self {
            Self::Look(..)
            | Self::Write(_)
            | Self::LoseRequest(_)
            | Self::LoseAnswer(_)
            | Self::ArriveLate(_)
            | Self::Vanish(_)
            | Self::KeepAlive(_)
            | Self::KeepAliveUnheard(_)
            | Self::Rewrite(_)
            | Self::Errand(_)
            | Self::Answer(_)
            | Self::Hear(_)
            | Self::Despair(_)
            | Self::QuestionEnds(_)
            | Self::Tick(_)
            | Self::LeaseEnds(_)
            | Self::Resume(_)
            | Self::Restart(_)
            | Self::Copy(_) => false,
            Self::GiveUp(_)
            | Self::Crash(_)
            | Self::Reinstall(_)
            | Self::Move(..)
            | Self::Revoke(_)
            | Self::ReserveFor(..)
            | Self::ReserveForAddress(..)
            | Self::Pin(_)
            | Self::Release(_)
            | Self::Configure(_)
            | Self::Flannel(..) => true,
        }
    }
}

/// Addresses beside those that the machines have at the beginning.
const SPARE_ADDRESSES: std::ops::Range<u8> = 3..4;

impl Explored {
    /// What the hosts do if nothing befalls them any more.
    pub(crate) fn calm(&self, world: &World, events: &mut Vec<Event>) {
        for host in world.hosts() {
            let machine = &world.machines[host];
            if machine.intent.is_some() {
                events.push(Event::Write(host));
            } else if machine.asked.is_some() {
                let waits = world.hear(host).is_none() && world.is_heard(host);
                events.push(Event::Hear(host));
                if !waits {
                    events.push(Event::Despair(host));
                }
            } else {
                let choices = u8::try_from(self.subnets.len()).expect("few subnets");
                events.extend((0..choices).map(|random| Event::Look(host, random)));
            }
            events.push(Event::Errand(host));
            events.push(Event::Answer(host));
        }
        for host in 0..MACHINES {
            if world.machines[host].stray.is_some() {
                events.extend([Event::ArriveLate(host), Event::Vanish(host)]);
            }
        }
        for (node, question) in world.etcd.questions.iter().enumerate() {
            let waits = |asker: u8| {
                world.machines.iter().any(|machine| {
                    machine.is_on() && machine.asked.is_some() && machine.address == asker
                })
            };
            if question.is_some_and(|question| !waits(question.asker)) {
                events.push(Event::QuestionEnds(node));
            }
        }
    }

    /// What may befall them.
    pub(crate) fn faults(&self, world: &World, events: &mut Vec<Event>) {
        let has = |fault| self.scenario.has(fault);
        for host in 0..MACHINES {
            self.befalling(world, host, events);
        }
        if has(Fault::Time) {
            let may_miss = (0..MACHINES).filter(|host| {
                let mut machine = world.machines[*host];
                let hopes = machine.hopes().any(|term| term.may_miss());
                machine.belief.may_miss() || hopes
            });
            let able = may_miss.fold(0_u8, |mask, host| mask | 1 << host);
            let drift =
                |mask: &u8| if has(Fault::Drift) { mask & !able == 0 } else { *mask == able };
            events.extend((0..1 << MACHINES).filter(drift).map(Event::Tick));
            let ended = (0..).zip(world.etcd.leases).filter(|(_, left)| *left == Some(0));
            events.extend(ended.map(|(id, _)| Event::LeaseEnds(id)));
        }
        if !has(Fault::Twin) {
            events.extend((0..world.etcd.questions.len()).map(Event::QuestionEnds));
        }
        let slots = 0..u8::try_from(self.subnets.len()).expect("few subnets");
        if has(Fault::Revoke) {
            events.extend(slots.clone().map(Event::Revoke));
        }
        if has(Fault::Reserve) {
            events.extend(slots.clone().flat_map(|slot| [Event::Pin(slot), Event::Release(slot)]));
            events.extend(slots.clone().flat_map(|slot| {
                world.hosts().flat_map(move |host| {
                    [Event::ReserveFor(slot, host), Event::ReserveForAddress(slot, host)]
                })
            }));
        }
        if has(Fault::Configure) {
            let configs = 0..u8::try_from(self.configs.len()).expect("few configurations");
            events.extend(configs.map(Event::Configure));
        }
        if has(Fault::Flannel) {
            events.extend(slots.map(|slot| Event::Flannel(0, slot)));
        }
    }

    fn befalling(&self, world: &World, host: usize, events: &mut Vec<Event>) {
        let has = |fault| self.scenario.has(fault);
        let machine = &world.machines[host];
        if machine.is_on() {
            // A holder may be slow to answer, or cut off. Nobody could bear that of a twin.
            if !has(Fault::Twin) {
                events.push(Event::Despair(host));
            }
            if has(Fault::Time) {
                events.extend([Event::KeepAlive(host)]);
            }
            if has(Fault::Time) && has(Fault::Lost) {
                events.push(Event::KeepAliveUnheard(host));
            }
            if has(Fault::Lost) {
                events.extend([Event::LoseRequest(host), Event::LoseAnswer(host)]);
            }
            if has(Fault::Late) && machine.stray.is_none() {
                events.push(Event::GiveUp(host));
            }
            if has(Fault::Rewrite) && machine.intent.is_none() {
                events.push(Event::Rewrite(host));
            }
            if has(Fault::Crash) && machine.intent.is_none() {
                events.push(Event::Crash(host));
            }
        }
        if machine.power == Power::Off {
            events.extend([Event::Resume(host), Event::Restart(host)]);
            if has(Fault::Reinstall) {
                events.push(Event::Reinstall(host));
            }
        }
        if has(Fault::Move) && machine.power >= Power::Off && machine.intent.is_none() {
            let own = u8::try_from(host).expect("few machines");
            let others = world.machines.iter().filter(|other| other.power > Power::Absent);
            let free = |to: &u8| others.clone().all(|other| other.address != *to);
            let places = SPARE_ADDRESSES.chain([own]).filter(free);
            events.extend(places.map(|address| Event::Move(host, address)));
        }
        if machine.power == Power::Blank {
            events.push(Event::Copy(host));
        }
    }
}
