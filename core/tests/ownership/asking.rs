//! Puts the question of a machine in the model to the real [`decide`], and reads its answer.

use twill_core::ids::{LeaseId, NodeId, Revision, Subnet, Underlay};
use twill_core::lease::{Key, Lease, LeaseBackend, LeaseValue, Listing};
use twill_core::ownership::{self, Question, Standing, Step, decide};
use twill_core::pick::{self, Situation};

use crate::scenario::{Explored, Slip};
use crate::world::{Doubt, Held, Machine, NOWHERE, Row, World};

impl Explored {
    /// What the host does about what is in etcd now.
    pub(crate) fn decide(
        &self,
        world: &World,
        host: usize,
        random: u8,
    ) -> Result<Step, pick::Error> {
        let machine = &world.machines[host];
        let listing = self.listing(world);
        let standing = machine.standing().map(|held| self.lease(held));
        let value = value(Some(machine.node), machine.address);
        let addresses: Vec<Underlay> =
            (0..8).filter(|bit| machine.addresses >> bit & 1 == 1).map(underlay).collect();
        decide(&Question {
            situation: Situation {
                config: &self.configs[usize::from(world.etcd.config)],
                node: node(machine.node),
                public_ip: value.public_ip,
                listing: &listing,
                previous: machine.previous.map(|slot| self.subnets[usize::from(slot)].into()),
                local_routes: &[],
            },
            value: &value,
            standing: standing.as_ref().map_or(Standing::Without, Standing::Holding),
            addresses: &addresses,
            doubt: doubt(machine),
            anchored: machine.anchored || self.trusts_its_address(world, host),
            random: u64::from(random),
        })
    }

    fn trusts_its_address(&self, world: &World, host: usize) -> bool {
        let machine = &world.machines[host];
        let mut rows = world.etcd.rows.iter().flatten();
        let here = |row: &Row| (row.node, row.address) == (Some(machine.node), machine.address);
        self.scenario.slips(Slip::TrustsAddress) && rows.any(here)
    }

    fn listing(&self, world: &World) -> Listing {
        let rows = (0..).zip(world.etcd.rows);
        let held = rows.filter_map(|(slot, row)| row.map(|row| Held { slot, row }));
        Listing { leases: held.map(|held| self.lease(held)).collect(), ..Listing::default() }
    }

    fn lease(&self, Held { slot, row }: Held) -> Lease {
        Lease {
            key: Key::from(self.subnets[usize::from(slot)]),
            value: value(row.node, row.address),
            revision: revision(row.revision),
            lease_id: row.lease.map(|id| LeaseId(id.into())),
        }
    }

    pub(crate) fn slot(&self, subnet: Subnet) -> u8 {
        let found = self.subnets.iter().position(|known| *known == subnet);
        let slot = found.unwrap_or_else(|| panic!("the scenario has no key for {subnet}"));
        u8::try_from(slot).expect("few subnets")
    }

    pub(crate) fn overlap(&self, one: u8, other: u8) -> bool {
        self.subnets[usize::from(one)].overlaps(self.subnets[usize::from(other)])
    }
}

/// The number of a revision in the model.
pub(crate) fn number(revision: Revision) -> u8 {
    u8::try_from(revision.0).expect("few revisions")
}

fn doubt(machine: &Machine) -> ownership::Doubt {
    match machine.doubt {
        Doubt::Unasked => ownership::Doubt::Unasked,
        Doubt::Silent(about) => ownership::Doubt::Silent { about: revision(about) },
        Doubt::Answered(address) => ownership::Doubt::Answered(underlay(address)),
    }
}

fn value(owner: Option<u8>, address: u8) -> LeaseValue {
    LeaseValue {
        public_ip: underlay(address),
        ipv6: None,
        backend: LeaseBackend::Unnamed,
        node: owner.map(node),
    }
}

fn revision(number: u8) -> Revision {
    Revision(number.into())
}

fn node(number: u8) -> NodeId {
    NodeId::from_random([number; 16])
}

fn underlay(number: u8) -> Underlay {
    let named = [192, 0, 2, number];
    Underlay(if number == NOWHERE { [0; 4] } else { named }.into())
}
