//! etcd: revisions, leases, and transactions that compare.

use crate::world::{Claim, Etcd, LEASES, Over, Row, Sin, TTL, World, Write};

impl World {
    /// One more than every revision so far.
    pub(crate) fn next_revision(&self) -> u8 {
        let mut newest = 0;
        let mut copy = *self;
        copy.revisions(|revision| newest = newest.max(*revision));
        newest + 1
    }

    /// A new etcd lease, under a number that nobody remembers.
    pub(crate) fn grant(&mut self) -> u8 {
        let mut used = [false; LEASES];
        let mut copy = *self;
        copy.lease_ids(|id| used[usize::from(*id)] = true);
        let free = used.iter().position(|used| !used).expect("more leases than machines can name");
        self.etcd.leases[free] = Some(TTL);
        u8::try_from(free).expect("few leases")
    }

    /// The transaction of a machine arrives; tells whether it was done.
    pub(crate) fn arrive(&mut self, machine: usize, write: Write) -> bool {
        match write {
            Write::Claim(claim) => self.claim(machine, claim).is_some(),
            Write::Withdraw { slot, revision } => {
                let slot = usize::from(slot);
                let there = self.etcd.rows[slot].filter(|row| row.revision == revision);
                let Some(there) = there else { return false };
                self.judge(machine, (there, None));
                self.etcd.rows[slot] = None;
                true
            }
        }
    }

    fn claim(&mut self, machine: usize, claim: Claim) -> Option<()> {
        let slot = usize::from(claim.slot);
        let there = self.etcd.rows[slot];
        let as_read = match claim.over {
            Over::Nothing(config) => there.is_none() && self.etcd.config_revision == config,
            Over::Row(revision) => there.is_some_and(|row| row.revision == revision),
            Over::NothingAtAll => there.is_none(),
            Over::Anything => true,
        };
        let ended = claim.lease.is_some_and(|id| !self.etcd.lives(id));
        if !as_read || ended {
            return None;
        }
        let Claim { node, address, lease, .. } = claim;
        let revision = self.next_revision();
        let by = u8::try_from(machine).ok();
        let row = Row { node: Some(node), address, revision, lease, by };
        if let Some(there) = there {
            self.judge(machine, (there, Some(row)));
        }
        self.etcd.rows[slot] = Some(row);
        Some(())
    }

    /// Was it right of that machine to write this over that?
    fn judge(&mut self, machine: usize, (there, after): (Row, Option<Row>)) {
        let owner = match (there.by, there.node) {
            (Some(by), _) => usize::from(by) == machine,
            // An administrator wrote it, and named the owner.
            (None, Some(node)) => node == self.machines[machine].node,
            (None, None) => self.machines[machine].was_at(there.address),
        };
        let sin = match (there.by, after) {
            _ if !owner => Some(Sin::Theft),
            (_, None) if there.lease.is_none() => Some(Sin::ReservationEnded),
            (_, Some(after)) if there.lease.is_none() && after.lease.is_some() => {
                Some(Sin::ReservationEnded)
            }
            _ => None,
        };
        self.sin = self.sin.or(sin);
    }

    /// An etcd lease ends, and with it every key that hangs on it.
    pub(crate) fn end(&mut self, id: u8) {
        self.etcd.leases[usize::from(id)] = None;
        for row in &mut self.etcd.rows {
            *row = row.filter(|row| row.lease != Some(id));
        }
    }
}

impl Etcd {
    pub(crate) fn lives(&self, id: u8) -> bool {
        self.leases[usize::from(id)].is_some()
    }

    /// Tells whether it still lived.
    pub(crate) fn keep_alive(&mut self, id: u8) -> bool {
        let lease = &mut self.leases[usize::from(id)];
        *lease = lease.map(|_left| TTL);
        lease.is_some()
    }
}
