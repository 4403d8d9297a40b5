//! The worlds that are explored, each to its last state.

use crate::explore::explore;
use crate::scenario::Fault::{
    Configure, Copy, Crash, Drift, Flannel, Late, Lost, Move, Reinstall, Reserve, Revoke, Rewrite,
    Time, Twin,
};
use crate::scenario::{Bounds, Scenario};
use crate::world::Power;

pub(crate) const ONE: &[Power] = &[Power::On];
pub(crate) const TWO: &[Power] = &[Power::On; 2];
pub(crate) const THREE: &[Power] = &[Power::On; 3];
pub(crate) const COPIED: &[Power] = &[Power::On, Power::Blank];

/// Two hosts, room for both.
pub(crate) const SMALL: Scenario = Scenario {
    name: "two hosts",
    subnets: &["10.5.1.0/24", "10.5.2.0/24"],
    configs: &[("10.5.1.0/24", "10.5.2.0/24")],
    machines: TWO,
    faults: &[],
    misfortunes: 2,
    slip: None,
};

/// Subnets of two lengths, so that keys differ and blocks overlap.
pub(crate) const LENGTHS: Scenario = Scenario {
    name: "the length of subnets changes",
    subnets: &["10.5.2.0/24", "10.5.3.0/24", "10.5.2.0/23", "10.5.4.0/23"],
    configs: &[("10.5.2.0/24", "10.5.3.0/24"), ("10.5.2.0/23", "10.5.4.0/23")] as &[Bounds],
    faults: &[Time, Configure],
    ..SMALL
};

fn holds(scenario: Scenario) {
    let broken = explore(scenario, None);
    for (property, events) in &broken {
        println!("broken: {property}");
        for event in events {
            println!("  {event:?}");
        }
    }
    assert!(broken.is_empty(), "{} is broken in {} steps", broken[0].0, broken[0].1.len());
}

/// Rows are worlds; each is a test of its own, so that they run side by side.
macro_rules! worlds {
    ($($(#[$attribute:meta])* $name:ident: $scenario:expr;)*) => {$(
        #[test]
        $(#[$attribute])*
        fn $name() {
            let name = stringify!($name);
            holds(Scenario { name, ..$scenario });
        }
    )*};
}

worlds! {
    three_hosts_compete_for_two_subnets_and_die_and_start_again:
        Scenario { machines: THREE, faults: &[Time, Crash], misfortunes: 1, ..SMALL };
    three_hosts_find_three_subnets: Scenario {
        subnets: &["10.5.1.0/24", "10.5.2.0/24", "10.5.3.0/24"],
        configs: &[("10.5.1.0/24", "10.5.3.0/24")],
        machines: THREE,
        faults: &[Time],
        ..SMALL
    };
    clocks_run_at_different_speeds: Scenario { faults: &[Time, Drift, Lost, Crash], ..SMALL };
    answers_are_lost_while_leases_are_written_again:
        Scenario { faults: &[Time, Lost, Crash, Rewrite], misfortunes: 1, ..SMALL };
    requests_arrive_long_after: Scenario { faults: &[Time, Late, Rewrite], misfortunes: 1, ..SMALL };
    machines_move: Scenario { faults: &[Time, Crash, Move], ..SMALL };
    machines_move_while_answers_are_lost:
        Scenario { faults: &[Time, Lost, Move], misfortunes: 1, ..SMALL };
    machines_are_installed_anew: Scenario { faults: &[Time, Crash, Reinstall], ..SMALL };
    leases_are_revoked: Scenario { faults: &[Time, Crash, Revoke], ..SMALL };
    subnets_are_reserved_and_released: Scenario { faults: &[Time, Crash, Reserve], ..SMALL };
    the_length_of_subnets_changes: Scenario { faults: &[Time, Crash, Configure], ..LENGTHS };
    a_state_directory_is_copied: Scenario { machines: COPIED, faults: &[Time, Crash, Copy], ..SMALL };
    a_state_directory_is_copied_and_machines_move:
        Scenario { machines: COPIED, faults: &[Crash, Copy, Move, Lost], misfortunes: 4, ..SMALL };
    a_copy_starts_beside_two_hosts: Scenario {
        machines: &[Power::On, Power::On, Power::Blank],
        faults: &[Crash, Copy],
        ..SMALL
    };
    a_copy_that_does_not_look_like_one_meets_a_host_that_answers:
        Scenario { machines: COPIED, faults: &[Copy, Twin], ..SMALL };
    a_flanneld_runs_on_the_same_machine: Scenario { faults: &[Time, Crash, Flannel], ..SMALL };

    #[cfg(feature = "deep-model")]
    deep_three_hosts:
        Scenario { machines: THREE, faults: &[Time, Lost, Crash], misfortunes: 3, ..SMALL };
    #[cfg(feature = "deep-model")]
    deep_clocks: Scenario { faults: &[Time, Drift, Lost, Crash, Rewrite], misfortunes: 6, ..SMALL };
    #[cfg(feature = "deep-model")]
    deep_late: Scenario { faults: &[Time, Late, Crash], misfortunes: 2, ..SMALL };
    #[cfg(feature = "deep-model")]
    deep_moves: Scenario { faults: &[Time, Lost, Crash, Move, Rewrite], misfortunes: 3, ..SMALL };
    #[cfg(feature = "deep-model")]
    deep_administrators:
        Scenario { faults: &[Time, Crash, Revoke, Reserve], misfortunes: 4, ..SMALL };
    #[cfg(feature = "deep-model")]
    deep_lengths: Scenario { faults: &[Time, Lost, Crash, Configure], ..LENGTHS };
    #[cfg(feature = "deep-model")]
    deep_copies:
        Scenario { machines: COPIED, faults: &[Time, Lost, Crash, Copy, Move], misfortunes: 3, ..SMALL };
}
