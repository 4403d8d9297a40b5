//! The worlds as a model that stateright explores.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::events::Event;
use crate::scenario::{Explored, Scenario};
use crate::world::{Sin, World};

impl Model for Explored {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![self.normal(self.scenario.world())]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        // What must not have happened has; nothing after it is of interest.
        if world.sin.is_none() {
            self.calm(world, events);
            self.faults(world, events);
        }
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        self.after(world, event).map(|next| self.normal(next)).filter(|next| next != world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_OWNER, Self::has_one_owner_each),
            Property::always(NO_THEFT, |_, world: &World| world.sin != Some(Sin::Theft)),
            Property::always(RESERVED, |_, world: &World| world.sin != Some(Sin::ReservationEnded)),
            Property::always(KEPT, |_, world: &World| world.sin != Some(Sin::GivenUp)),
            Property::always(ORIGINAL, |_, world: &World| world.sin != Some(Sin::OriginalYielded)),
            Property::always(SETTLES, |explored: &Self, world: &World| {
                world.sin.is_some() || explored.settles(world)
            }),
        ]
    }
}

pub(crate) const ONE_OWNER: &str = "no two hosts whose leases are valid own overlapping subnets";
pub(crate) const NO_THEFT: &str = "no write destroys another owner's key";
pub(crate) const RESERVED: &str = "a reservation gains an end only by a release";
pub(crate) const KEPT: &str = "a host gives up only what is another's";
pub(crate) const ORIGINAL: &str = "of a host and its copy, it is the copy that becomes another";
pub(crate) const SETTLES: &str =
    "every host that stays connected ends with a subnet while one is free";

impl Explored {
    /// By every host's own clock, and by what etcd says.
    fn has_one_owner_each(&self, world: &World) -> bool {
        (0..).zip(&world.machines).all(|(host, machine)| {
            let Some(slot) = machine.valid().filter(|_| !machine.excused) else { return true };
            let beside = (host + 1..).zip(&world.machines[usize::from(host) + 1..]);
            let mut valid =
                beside.filter_map(|(_, other)| other.valid().filter(|_| !other.excused));
            let mut rows = (0..).zip(world.etcd.rows);
            valid.all(|other| !self.overlap(slot, other))
                && rows.all(|(other, row)| {
                    let others = row.is_some_and(|row| row.by.is_some_and(|by| by != host));
                    !others || !self.overlap(slot, other)
                })
        })
    }
}

/// A property, and the events that break it.
pub(crate) type Broken = (&'static str, Vec<Event>);

/// Visits every reachable state, or stops at the first that breaks a property, or the one that is
/// looked for.
pub(crate) fn explore(scenario: Scenario, wanted: Option<&'static str>) -> Vec<Broken> {
    let began = Instant::now();
    let until = wanted
        .map_or(HasDiscoveries::AnyFailures, |property| HasDiscoveries::AnyOf([property].into()));
    let checker = scenario.read().checker().finish_when(until);
    let checker = checker.spawn_bfs().join();
    let broken: Vec<_> = checker
        .discoveries()
        .into_iter()
        .map(|(property, path)| (property, path.into_actions()))
        .collect();
    let states = checker.unique_state_count();
    println!(
        "{}: {states} states, {} transitions, {} steps deep, {:.1?}",
        scenario.name,
        checker.state_count(),
        checker.max_depth(),
        began.elapsed(),
    );
    broken
}
