//! Rules broken on purpose: each is found out, and how is printed.

use crate::explore::{KEPT, NO_THEFT, ONE_OWNER, explore};
use crate::scenario::Fault::{Copy, Crash, Lost, Move, Reserve, Rewrite, Time};
use crate::scenario::{Scenario, Slip};
use crate::worlds::{COPIED, LENGTHS, ONE, SMALL};

fn is_found_out(scenario: Scenario, slip: Slip, property: &'static str) {
    let name = &format!("{slip:?}").leak()[..];
    let broken = explore(Scenario { name, slip: Some(slip), ..scenario }, Some(property));
    let found = broken.into_iter().find(|(broken, _)| *broken == property);
    let (_, events) = found.unwrap_or_else(|| panic!("{slip:?} breaks nothing"));
    println!("{slip:?} breaks \"{property}\" in {} steps:", events.len());
    for event in events {
        println!("  {event:?}");
    }
}

/// Rows are slips; each is a test of its own.
macro_rules! slips {
    ($($name:ident: $scenario:expr, $slip:ident => $property:ident;)*) => {$(
        #[test]
        fn $name() {
            is_found_out($scenario, Slip::$slip, $property);
        }
    )*};
}

slips! {
    a_renewal_that_compares_nothing_makes_two_owners:
        Scenario { faults: &[Time, Rewrite], ..SMALL }, RenewsBlindly => ONE_OWNER;
    a_renewal_that_compares_nothing_destroys_anothers_key:
        Scenario { faults: &[Time, Rewrite], ..SMALL }, RenewsBlindly => NO_THEFT;
    a_claim_that_does_not_compare_the_configuration_overlaps: LENGTHS, IgnoresConfig => ONE_OWNER;
    a_copy_that_takes_itself_for_the_original_makes_two_owners:
        Scenario { machines: COPIED, faults: &[Time, Copy], ..SMALL }, TrustsCopies => ONE_OWNER;
    an_answer_that_is_lost_and_counts_as_no_costs_a_subnet:
        Scenario { faults: &[Lost, Rewrite], ..SMALL }, TakesSilenceForNo => KEPT;
    a_belief_without_margin_outlives_the_lease:
        Scenario { faults: &[Time], ..SMALL }, NoMargin => ONE_OWNER;
    a_belief_that_counts_from_the_answer_outlives_the_lease:
        Scenario { faults: &[Time], ..SMALL }, CountsFromAnswer => ONE_OWNER;
    a_lease_kept_alive_without_a_look_at_its_key_is_nobodys:
        Scenario { faults: &[Time, Reserve], ..SMALL }, BelievesKeepAlive => ONE_OWNER;
    addresses_forgotten_with_the_process_cost_a_subnet:
        Scenario { machines: ONE, faults: &[Time, Lost, Crash, Move], misfortunes: 4, ..SMALL },
        ForgetsAddresses => KEPT;
    a_copy_that_trusts_its_address_takes_what_the_original_left:
        Scenario { machines: COPIED, faults: &[Copy, Move], misfortunes: 4, ..SMALL },
        TrustsAddress => NO_THEFT;
}
