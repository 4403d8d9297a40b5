//! What a host does, by the rules of the agent: it looks, decides, and writes what it has decided.

use twill_core::ids::LeaseId;
use twill_core::lease::Lease;
use twill_core::ownership::Step;
use twill_core::pick::{Choice, Over as Compared};

use crate::asking::number;
use crate::scenario::{Explored, Fault, Slip};
use crate::world::{
    Claim, Doubt, Held, MARGIN, NODES, Over, Power, Question, Row, SLOTS, Sin, TTL, Term, World,
    Write,
};

impl Explored {
    /// The host reads a picture of etcd and takes the next step. `None` when nothing changes.
    pub(crate) fn look(&self, before: &World, host: usize, random: u8) -> Option<World> {
        let mut world = *before;
        let machine = &mut world.machines[host];
        // What it reads is what it knows now: a subnet whose key is not its own is not valid.
        machine.excused = false;
        let key = machine.uses.and_then(|slot| before.etcd.rows[usize::from(slot)]);
        if key.and_then(|row| row.by).map(usize::from) != Some(host) {
            machine.belief = Term::OVER;
        }
        // A reservation is believed as long as a lease would be, because it may be given an end.
        if let Some(Held { slot, row }) = machine.standing()
            && row.lease.is_none()
            && before.etcd.rows[usize::from(slot)] == Some(row)
        {
            machine.uses = Some(slot);
            machine.belief = self.full();
        }
        match self.decide(before, host, random) {
            Ok(Step::Rest) | Err(_) => {}
            Ok(Step::Claim(choice)) => self.intend(&mut world, host, &choice),
            Ok(Step::Adopt(lease)) => {
                let held = world.find(self.slot(lease.subnet()));
                world.machines[host].held = held;
            }
            Ok(Step::Ask(lease)) => ask(&mut world, host, &lease),
            Ok(Step::Withdraw(lease)) => {
                let (slot, revision) = (self.slot(lease.subnet()), number(lease.revision));
                machine.intent = Some(Write::Withdraw { slot, revision });
            }
            Ok(Step::StepBack(_taken)) => {
                machine.let_go();
                world.sin = world.sin.or(self.needless(before, host).then_some(Sin::GivenUp));
            }
            Ok(Step::BecomeAnother(_other)) => {
                if machine.anchored && !self.scenario.has(Fault::Twin) {
                    let copied = self.scenario.has(Fault::Copy);
                    let sin = if copied { Sin::OriginalYielded } else { Sin::GivenUp };
                    world.sin = world.sin.or(Some(sin));
                }
                let machine = &mut world.machines[host];
                machine.let_go();
                machine.forget();
                machine.anchored = true;
                machine.node = before.unused_node();
            }
        }
        (world != *before).then_some(world)
    }

    /// Grants an etcd lease, or keeps the one alive that is there, and makes the claim ready.
    fn intend(&self, world: &mut World, host: usize, choice: &Choice) {
        let (over, lease) = match choice.over {
            Compared::Nothing => (Over::Nothing(world.etcd.config_revision), Some(world.grant())),
            Compared::Lease(revision, LeaseId(id)) => {
                let id = u8::try_from(id).expect("few leases");
                world.etcd.keep_alive(id);
                (Over::Row(number(revision)), Some(id))
            }
            Compared::Reservation(revision) => (Over::Row(number(revision)), None),
            Compared::Unreadable(..) => unreachable!("nobody spoils a value in these worlds"),
        };
        let over = match over {
            Over::Nothing(_) if self.scenario.slips(Slip::IgnoresConfig) => Over::NothingAtAll,
            over => over,
        };
        let mut withdraw = [0; SLOTS];
        for lease in &choice.withdraw {
            withdraw[usize::from(self.slot(lease.subnet()))] = number(lease.revision);
        }
        let slot = self.slot(choice.key.subnet);
        let hope = self.full();
        let machine = &mut world.machines[host];
        // On disk before anybody can read it.
        machine.addresses |= 1 << machine.address;
        let (node, address) = (machine.node, machine.address);
        let claim = Claim { slot, over, node, address, lease, hope, withdraw };
        machine.intent = Some(Write::Claim(claim));
    }

    /// The host writes its unchanged lease again.
    pub(crate) fn rewrite(&self, before: &World, host: usize) -> Option<World> {
        let mut world = *before;
        let Held { slot, row } = world.machines[host].standing()?;
        let blindly = self.scenario.slips(Slip::RenewsBlindly);
        let lease = match row.lease {
            // flannel grants a new one each time.
            Some(_) if blindly => Some(world.grant()),
            Some(id) if world.etcd.keep_alive(id) => Some(id),
            // Told at once that it ended.
            Some(_) => return None,
            None => None,
        };
        let over = if blindly { Over::Anything } else { Over::Row(row.revision) };
        let (hope, withdraw) = (self.full(), [0; SLOTS]);
        let machine = &mut world.machines[host];
        let (node, address) = (row.node?, row.address);
        let claim = Claim { slot, over, node, address, lease, hope, withdraw };
        machine.intent = Some(Write::Claim(claim));
        Some(world)
    }

    /// The host's transaction arrives, and the answer comes back.
    pub(crate) fn write(&self, before: &World, host: usize) -> Option<World> {
        let mut world = *before;
        let write = world.machines[host].intent.take()?;
        let done = world.arrive(host, write);
        if let (true, Write::Claim(claim)) = (done, write) {
            let machine = &mut world.machines[host];
            machine.held = row_at(&world.etcd.rows, claim.slot);
            machine.holding = true;
            machine.uses = Some(claim.slot);
            machine.excused = false;
            let counts_late = self.scenario.slips(Slip::CountsFromAnswer);
            machine.belief = if counts_late { self.full() } else { claim.hope };
            for (errand, revision) in machine.errands.iter_mut().zip(claim.withdraw) {
                *errand = (*errand).max(revision);
            }
        }
        Some(world)
    }

    /// The host gives up waiting for an answer, and will look again.
    pub(crate) fn give_up(&self, world: &mut World, host: usize) -> Option<Write> {
        let write = world.machines[host].intent.take()?;
        if self.scenario.slips(Slip::TakesSilenceForNo) && world.machines[host].holding {
            let needless = self.needless(world, host);
            world.sin = world.sin.or(needless.then_some(Sin::GivenUp));
            world.machines[host].let_go();
        }
        Some(write)
    }

    /// The host keeps its etcd lease alive; `heard` if it gets the answer.
    pub(crate) fn keep_alive(&self, before: &World, host: usize, heard: bool) -> Option<World> {
        let mut world = *before;
        let Held { slot, row } = world.machines[host].standing()?;
        let alive = world.etcd.keep_alive(row.lease?);
        // That the etcd lease lives does not say that the key still hangs on it.
        let ours = world.etcd.rows[usize::from(slot)] == Some(row)
            || self.scenario.slips(Slip::BelievesKeepAlive);
        if alive && heard && ours {
            world.machines[host].uses = Some(slot);
            world.machines[host].belief = self.full();
        }
        (world != *before).then_some(world)
    }

    /// For how long a host believes in a lease that it asks for now.
    fn full(&self) -> Term {
        let margin = if self.scenario.slips(Slip::NoMargin) { 0 } else { MARGIN };
        Term::of(TTL - margin)
    }

    /// Is the subnet that the host holds nobody else's?
    fn needless(&self, world: &World, host: usize) -> bool {
        let Some(Held { slot, .. }) = world.machines[host].standing() else { return false };
        let anothers = |row: Row| row.by.map(usize::from) != Some(host);
        let taken = (0..)
            .zip(world.etcd.rows)
            .any(|(other, row)| row.is_some_and(anothers) && self.overlap(slot, other));
        let config = &self.configs[usize::from(world.etcd.config)];
        let gone = world.etcd.rows[usize::from(slot)].is_none();
        let outgrown = gone && !config.admits(self.subnets[usize::from(slot)].into());
        !taken && !outgrown
    }
}

fn row_at(rows: &[Option<Row>; SLOTS], slot: u8) -> Option<Held> {
    rows[usize::from(slot)].map(|row| Held { slot, row })
}

impl World {
    fn find(&self, slot: u8) -> Option<Held> {
        row_at(&self.etcd.rows, slot)
    }

    /// The host revokes an earlier lease of its own.
    pub(crate) fn errand(&self, host: usize) -> Option<Self> {
        let mut world = *self;
        let errands = &mut world.machines[host].errands;
        let slot = errands.iter().position(|errand| *errand > 0)?;
        let revision = std::mem::take(&mut errands[slot]);
        let slot = u8::try_from(slot).expect("few subnets");
        world.arrive(host, Write::Withdraw { slot, revision });
        Some(world)
    }

    /// A host that holds a lease answers the question of another that has its node id.
    pub(crate) fn answer(&self, host: usize) -> Option<Self> {
        let mut world = *self;
        let machine = &world.machines[host];
        machine.standing()?;
        let question = world.etcd.questions[usize::from(machine.node)].as_mut()?;
        if question.asker == machine.address || question.answer.is_some() {
            return None;
        }
        question.answer = Some(machine.address);
        Some(world)
    }

    /// The answer reaches the host that asked.
    pub(crate) fn hear(&self, host: usize) -> Option<Self> {
        let mut world = *self;
        let machine = &mut world.machines[host];
        machine.asked?;
        let question = world.etcd.questions[usize::from(machine.node)]?;
        if question.asker != machine.address {
            return None;
        }
        machine.doubt = Doubt::Answered(question.answer?);
        machine.asked = None;
        Some(world)
    }

    /// The host has waited long enough for an answer.
    pub(crate) fn despair(&self, host: usize) -> Option<Self> {
        if self.hear(host).is_some() {
            return None;
        }
        let mut world = *self;
        let machine = &mut world.machines[host];
        machine.doubt = Doubt::Silent(machine.asked.take()?);
        Some(world)
    }

    /// Does the question of that host stand, and will somebody answer it?
    pub(crate) fn is_heard(&self, host: usize) -> bool {
        let asker = &self.machines[host];
        let question = self.etcd.questions[usize::from(asker.node)];
        let stands = question.is_some_and(|question| question.asker == asker.address);
        stands
            && self.machines.iter().any(|other| {
                let same = other.node == asker.node && other.address != asker.address;
                same && other.is_on() && other.holding
            })
    }

    /// A node id that nobody knows.
    pub(crate) fn unused_node(&self) -> u8 {
        let mut used = [false; NODES];
        let mut copy = *self;
        copy.nodes(|node| used[usize::from(*node)] = true);
        for (used, question) in used.iter_mut().zip(self.etcd.questions) {
            *used |= question.is_some();
        }
        let free = used.iter().position(|used| !used).expect("more node ids than can be in use");
        u8::try_from(free).expect("few nodes")
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = usize> {
        let on = self.machines.map(|machine| machine.power == Power::On);
        (0..on.len()).filter(move |host| on[*host])
    }
}

/// Places the question, unless another's stands there: then it waits until that is gone.
fn ask(world: &mut World, host: usize, about: &Lease) {
    let machine = &mut world.machines[host];
    let place = &mut world.etcd.questions[usize::from(machine.node)];
    match *place {
        Some(other) if other.asker != machine.address => {}
        Some(_) | None => {
            *place = Some(Question { asker: machine.address, answer: None });
            machine.asked = Some(number(about.revision));
        }
    }
}
