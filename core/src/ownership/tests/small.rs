//! Two subnets, everything that can stand there, and everything that a host can know.

use super::*;

/// Everything that matters about one key.
fn contents(n: u8) -> Vec<Option<Result<Lease, Malformed>>> {
    let mut all = vec![None];
    for revision in [10, HELD, 30] {
        // Both keys are never written in one transaction by two owners.
        let revision = revision + i64::from(n) - 1;
        all.push(Some(Err(spoilt(n, revision))));
        for owner in [None, Some(ME), Some(OTHER)] {
            for at in [HERE, EARLIER, THERE, NOWHERE] {
                let lease = lease(n, (owner, at), revision);
                all.extend([Some(Ok(lease.clone())), Some(Ok(reserved(lease)))]);
            }
        }
    }
    all
}

/// Calls `each` with every view.
fn every_view(mut each: impl FnMut(View)) -> usize {
    let mut views = 0;
    let doubts = [
        Doubt::Unasked,
        Doubt::Silent { about: Revision(25) },
        Doubt::Silent { about: Revision(40) },
        Doubt::Answered(ip(THERE)),
    ];
    let knowledge = [(None, None), (None, Some(subnet(1).into())), (Some(mine()), None)];
    for (first, second) in contents(1)
        .iter()
        .flat_map(|first| contents(2).into_iter().map(move |second| (first.clone(), second)))
    {
        let mut listing = Listing::default();
        for there in [first, second].into_iter().flatten() {
            match there {
                Ok(lease) => listing.leases.push(lease),
                Err(spoilt) => listing.malformed.push(spoilt),
            }
        }
        for doubt in doubts {
            for anchored in [true, false] {
                for (holding, previous) in knowledge.clone() {
                    let (node, config) = (ME, config(1, 2));
                    let listing = listing.clone();
                    views += 1;
                    each(View { node, listing, config, holding, previous, doubt, anchored });
                }
            }
        }
    }
    views
}

/// Is it written by this host, or for it, as far as anybody can know?
fn is_own(view: &View, lease: &Lease) -> bool {
    let known = [ip(HERE), ip(EARLIER)].contains(&lease.value.public_ip);
    let here = lease.value.public_ip == ip(HERE);
    match lease.value.node {
        None => here || known && view.holding.is_some(),
        Some(owner) if owner != node(ME) => false,
        Some(_) if here || lease.value.public_ip == ip(NOWHERE) => true,
        Some(_) if view.holding.as_ref().is_some_and(|held| held.key == lease.key) => {
            known || lease.revision <= Revision(HELD)
        }
        Some(_) => {
            let silent = matches!(view.doubt, Doubt::Silent { about } if lease.revision <= about);
            silent && view.anchored
        }
    }
}

#[test]
fn no_step_takes_what_is_anothers() {
    let views = every_view(|view| judge(&view));
    assert_eq!(views, 76 * 76 * 4 * 2 * 3);
}

fn judge(view: &View) {
    let first = view.listing.leases.iter().find(|lease| lease.subnet() == subnet(1));
    let held = view.holding.as_ref();
    match view.decide() {
        Ok(Step::Claim(choice)) => judge_claim(view, &choice),
        Ok(Step::Withdraw(lease)) => {
            assert!(is_own(view, &lease) && lease.lease_id.is_some(), "{view:?}");
            assert_ne!(Some(lease.key), held.map(|held| held.key), "{view:?}");
        }
        Ok(Step::Adopt(lease)) => {
            assert_eq!(Some(&lease.value), held.map(|held| &held.value), "{view:?}");
        }
        Ok(Step::StepBack(_)) => {
            assert!(!first.is_some_and(|lease| is_own(view, lease)), "{view:?}");
        }
        Ok(Step::BecomeAnother(_)) => {
            let copied = !view.anchored && held.is_none();
            let answered = matches!(view.doubt, Doubt::Answered(_));
            let taken = held.is_some() && first.is_some_and(|lease| !is_own(view, lease));
            assert!(answered || copied || taken, "{view:?}");
        }
        Ok(Step::Ask(lease)) => assert_eq!(lease.value.node, Some(node(ME)), "{view:?}"),
        Ok(Step::Rest) => assert_eq!(first, held, "{view:?}"),
        Err(_full) => assert!(held.is_none(), "{view:?}"),
    }
}

fn judge_claim(view: &View, choice: &Choice) {
    let Choice { key, over, ref withdraw, .. } = *choice;
    let ends = |lease: &Lease| lease.lease_id.is_some();
    assert!(withdraw.iter().all(|lease| is_own(view, lease) && ends(lease)), "{view:?}");
    let there = view.listing.leases.iter().find(|lease| lease.key == key);
    let spoilt = view.listing.malformed.iter().find(|spoilt| spoilt.lease == Some(key));
    match (there, spoilt) {
        (None, None) => assert_eq!(over, Over::Nothing, "{view:?}"),
        (Some(lease), _) => {
            assert!(is_own(view, lease), "{view:?}");
            let as_read = match lease.lease_id {
                Some(id) => Over::Lease(lease.revision, id),
                None => Over::Reservation(lease.revision),
            };
            assert_eq!(over, as_read, "{view:?}");
        }
        (None, Some(spoilt)) => {
            let held = view.holding.as_ref().expect("nobody else knows whose that was");
            assert_eq!(held.key, key, "{view:?}");
            assert!(held.lease_id.is_some(), "it ended");
            assert_eq!(over, Over::Unreadable(spoilt.revision, held.lease_id), "{view:?}");
        }
    }
}

#[test]
fn a_host_that_nobody_disturbs_comes_to_rest() {
    every_view(|mut view| {
        let started = view.clone();
        for revision in 50.. {
            assert!(revision < 60, "does not end: {started:?}");
            match view.decide() {
                Ok(Step::Rest) => break,
                Ok(step) => take(&mut view, step, revision),
                Err(_full) => {
                    let taken = view.listing.leases.len() + view.listing.malformed.len();
                    assert_eq!(taken, 2, "{started:?}");
                    break;
                }
            }
        }
    });
}

/// What comes of a step when nobody else does anything, and nobody answers.
fn take(view: &mut View, step: Step, revision: i64) {
    let listing = &mut view.listing;
    match step {
        Step::Claim(choice) => {
            let key = choice.key;
            let lease_id = match choice.over {
                Over::Nothing => Some(LeaseId(revision)),
                Over::Lease(_, id) => Some(id),
                Over::Reservation(_) => None,
                Over::Unreadable(_, id) => id,
            };
            let revision = Revision(revision);
            let lease = Lease { key, value: value(Some(view.node), HERE), revision, lease_id };
            listing.malformed.retain(|spoilt| spoilt.lease != Some(key));
            listing.leases.retain(|other| other.key != key && !choice.withdraw.contains(other));
            listing.leases.push(lease.clone());
            view.holding = Some(lease);
        }
        Step::Adopt(lease) => view.holding = Some(lease),
        Step::Ask(lease) => view.doubt = Doubt::Silent { about: lease.revision },
        Step::Withdraw(lease) => listing.leases.retain(|other| *other != lease),
        Step::StepBack(_) => (view.holding, view.previous) = (None, None),
        Step::BecomeAnother(_) => {
            (view.holding, view.previous) = (None, None);
            (view.node, view.anchored, view.doubt) = (OTHER + 1, true, Doubt::Unasked);
        }
        Step::Rest => {}
    }
}
