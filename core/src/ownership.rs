//! Decides what a host does about its lease, out of what it holds and what stands in etcd.
//!
//! Pure on purpose, and one function: [`decide`] is asked again after everything that happens, and
//! answers with one step. Every step that writes is a transaction on what was read, so that a step
//! decided on an old picture does nothing but bring the next question. `docs/leases.md` has the
//! pictures; `core/tests/ownership` explores every order of events of a small world.

mod double;
mod schedule;
mod words;

use crate::ids::{Revision, Underlay};
use crate::lease::{Key, Lease, LeaseValue, Malformed};
use crate::pick::{self, Choice, Over, Reason, Situation, pick};

pub use double::{Challenge, ChallengeError};
pub use schedule::{RELEASED, Schedule};

/// All that the answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The host, the network, and what is in etcd now.
    pub situation: Situation<'a>,
    /// What the host has to say about itself, and where peers shall send to.
    pub value: &'a LeaseValue,
    /// What it holds by its own knowledge.
    pub standing: Standing<'a>,
    /// Every address that it has published or tried to publish since it holds the lease.
    pub addresses: &'a [Underlay],
    /// What it found out about hosts with its node id.
    pub doubt: Doubt,
    /// Does this machine look like the one that the state directory was made on? If not, the
    /// directory is a copy, and the host that it was copied from may live.
    pub anchored: bool,
    /// Any number; decides among free subnets.
    pub random: u64,
}

/// What a host holds by its own knowledge.
#[derive(Clone, Copy, Debug)]
pub enum Standing<'a> {
    /// No subnet; it wants one.
    Without,
    /// This lease, as it was when the host wrote or adopted it last.
    Holding(&'a Lease),
}

/// What a host found out about a lease that carries its node id and comes from another address.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Doubt {
    /// It has not asked.
    #[default]
    Unasked,
    /// It asked about the lease that was written at that revision, and nobody answered in time.
    Silent {
        /// The lease that it asked about.
        about: Revision,
    },
    /// A host lives at that address and carries our node id: one of the two is a copy.
    Answered(Underlay),
}

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Everything is as it should be.
    Rest,
    /// Write our value there, if what must be under the key still is.
    Claim(Choice),
    /// Somebody wrote our lease and it still is ours: hold it as it stands now. A reservation was
    /// made of it, or undone, or etcd was put back from a copy.
    Adopt(Lease),
    /// Ask whether the host that wrote this lease lives: it carries our node id.
    Ask(Lease),
    /// An earlier lease of this very host: revoke it.
    Withdraw(Lease),
    /// The subnet is another's: stop using it, and begin again without one.
    StepBack(Taken),
    /// The node id is another host's, the one at that address if one is known, which keeps its
    /// subnet: take a new node id and begin again without a subnet.
    BecomeAnother(Option<Underlay>),
}

/// Who has the subnet that was ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Taken {
    /// The host that wrote this lease, which is ours or overlaps it.
    By(Lease),
    /// Nobody, but the network's configuration does not admit it any more.
    Outgrown(Key),
    /// A key in the way that cannot be read.
    Unreadable(String),
}

/// The next step. An error means that no subnet is to be had; the host asks again when the leases
/// change.
pub fn decide(question: &Question<'_>) -> Result<Step, pick::Error> {
    match question.standing {
        Standing::Without => question.join(),
        Standing::Holding(held) => Ok(question.keep(held)),
    }
}

impl Question<'_> {
    fn join(&self) -> Result<Step, pick::Error> {
        if let Doubt::Answered(other) = self.doubt {
            return Ok(Step::BecomeAnother(Some(other)));
        }
        let double = self.newest_double(None);
        // The host that the state directory came from may be cut off from etcd, use its subnet, and
        // come back, so neither its lease nor its node id is ours: not even at the address that the
        // lease names, for the original may have moved on without having told etcd.
        if !self.anchored {
            return Ok(Step::BecomeAnother(double.map(|double| double.value.public_ip)));
        }
        if let Some(double) = double
            && !self.was_silent_about(double)
        {
            return Ok(Step::Ask(double.clone()));
        }
        pick(&self.situation, self.random).map(Step::Claim)
    }

    fn keep(&self, held: &Lease) -> Step {
        if let Doubt::Answered(other) = self.doubt {
            return Step::BecomeAnother(Some(other));
        }
        let listing = self.situation.listing;
        let Some(now) = listing.leases.iter().find(|lease| lease.key == held.key) else {
            return self.take_back(held);
        };
        if now.value != held.value {
            return self.dispute(held, now);
        }
        if (now.revision, now.lease_id) != (held.revision, held.lease_id) {
            return Step::Adopt(now.clone());
        }
        if held.value != *self.value {
            return Step::Claim(write_over(now, Reason::Own));
        }
        self.beside(held)
    }

    /// The key is gone, or holds nothing that can be read.
    fn take_back(&self, held: &Lease) -> Step {
        let Situation { config, listing, .. } = self.situation;
        let key = held.key;
        // What was written over our lease names no owner, so it still is ours to put right.
        if let Some(spoilt) = listing.malformed.iter().find(|spoilt| spoilt.lease == Some(key)) {
            let over = Over::Unreadable(spoilt.revision, held.lease_id);
            return Step::Claim(Choice { key, over, reason: Reason::Own, withdraw: Vec::new() });
        }
        let in_the_way = |lease: &&Lease| lease.key.overlaps(&key);
        if let Some(other) = listing.leases.iter().find(in_the_way) {
            return Step::StepBack(Taken::By(other.clone()));
        }
        let blocks = |spoilt: &&Malformed| spoilt.lease.is_some_and(|taken| taken.overlaps(&key));
        if let Some(spoilt) = listing.malformed.iter().find(blocks) {
            return Step::StepBack(Taken::Unreadable(spoilt.key.clone()));
        }
        if !config.admits(key) {
            return Step::StepBack(Taken::Outgrown(key));
        }
        let over = Over::Nothing;
        Step::Claim(Choice { key, over, reason: Reason::Previous, withdraw: Vec::new() })
    }

    /// Another value stands under our key.
    fn dispute(&self, held: &Lease, now: &Lease) -> Step {
        let now_at = now.value.public_ip;
        let same_address = now_at == self.value.public_ip || self.addresses.contains(&now_at);
        // An administrator who names the owner need not know where it is.
        let nowhere = now_at.0.is_unspecified();
        match now.value.node {
            Some(node) if node == self.situation.node => {
                // Older than what we wrote: etcd was put back from a copy.
                if same_address || nowhere || now.revision <= held.revision {
                    Step::Claim(write_over(now, Reason::Own))
                } else {
                    Step::BecomeAnother(Some(now_at))
                }
            }
            // A flanneld of this host, or an administrator who reserves it for this address.
            None if same_address => Step::Claim(write_over(now, Reason::SameAddress)),
            Some(_) | None => Step::StepBack(Taken::By(now.clone())),
        }
    }

    /// Our lease stands; others may carry our node id.
    fn beside(&self, held: &Lease) -> Step {
        // A silent one ends by itself, or its host comes back and asks us.
        if let Some(double) = self.newest_double(Some(held.key))
            && !self.was_silent_about(double)
        {
            return Step::Ask(double.clone());
        }
        let earlier = self.situation.listing.leases.iter().find(|lease| {
            lease.key != held.key
                && lease.lease_id.is_some()
                && lease.value.node == Some(self.situation.node)
                && lease.value.public_ip == self.value.public_ip
        });
        earlier.map_or(Step::Rest, |lease| Step::Withdraw(lease.clone()))
    }

    /// The newest lease with our node id and another address. A reservation without an address was
    /// made by an administrator.
    fn newest_double(&self, except: Option<Key>) -> Option<&Lease> {
        let Situation { listing, node, public_ip, .. } = self.situation;
        let doubles = listing.leases.iter().filter(|lease| {
            Some(lease.key) != except
                && lease.value.node == Some(node)
                && lease.value.public_ip != public_ip
                && !lease.value.public_ip.0.is_unspecified()
        });
        doubles.max_by_key(|lease| lease.revision)
    }

    /// Did we ask in vain whether its host lives? Whoever wrote it since then does, and will answer.
    fn was_silent_about(&self, double: &Lease) -> bool {
        matches!(self.doubt, Doubt::Silent { about } if double.revision <= about)
    }
}

/// A lease that ends stays one that ends, and a reservation a reservation.
fn write_over(now: &Lease, reason: Reason) -> Choice {
    let over = match now.lease_id {
        Some(id) => Over::Lease(now.revision, id),
        None => Over::Reservation(now.revision),
    };
    Choice { key: now.key, over, reason, withdraw: Vec::new() }
}

#[cfg(test)]
mod tests;
