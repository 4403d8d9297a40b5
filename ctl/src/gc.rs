//! `twillctl lease gc`: frees the subnets of hosts that were not seen for some time.

mod seen;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use twill_core::ids::{LeaseId, Subnet};
use twill_core::lease::{Lease, Listing};
use twill_core::node::NodeRecord;
use twill_store::{Revoked, Times};

use crate::args::{Gc, Output};
use crate::failure::{Failure, Kind};
use crate::leases;
use crate::report::Report;
use crate::run::store_failure;
use seen::{Clock, Seen, Verdict};
use table::{Outcome, Row};

/// One lease with what is known of its holder.
#[derive(Clone, Debug)]
struct Holder {
    lease: Lease,
    seen: Seen,
    verdict: Verdict,
}

/// What was found.
#[derive(Debug)]
struct Finding {
    holders: Vec<Holder>,
    nodes: Vec<NodeRecord>,
}

/// Shows, asks, looks again, and frees what still is as it was shown.
///
/// etcd can compare when a key was written, and not when its lease was made to live on. So the time
/// is read once more after the answer; a host that comes back in the moment after that claims its
/// subnet again.
pub(crate) async fn gc<S: Times>(
    store: &S,
    args: &Gc,
    output: Output,
    ask: impl AsyncFnOnce(&str) -> Result<bool, Failure>,
) -> Result<Report, Failure> {
    let found = find(store, args).await?;
    let mut notes = remarks(&found, args);
    let doomed: Vec<&Holder> = found.with(Verdict::Free).collect();
    if doomed.is_empty() {
        notes.push("there is nothing to free".to_owned());
    }
    let shown = |outcome: &dyn Fn(&Holder) -> Outcome| -> Vec<Row> {
        doomed.iter().map(|holder| Row::new(holder, outcome(holder), &found.nodes)).collect()
    };
    if args.dry_run || doomed.is_empty() {
        let data = table::render(&shown(&|_| Outcome::WouldFree), output);
        return Ok(Report { data, notes, code: 0 });
    }
    let question = || {
        let table = table::render(&shown(&|_| Outcome::WouldFree), Output::Table);
        let what = if doomed.len() == 1 { "this subnet" } else { "these subnets" };
        format!("{table}free {what}?")
    };
    if !args.yes && !ask(&question()).await? {
        return Err(Failure::new(Kind::Failed, "nothing is freed"));
    }
    let outcomes = free(store, args, &doomed).await?;
    let outcome = |holder: &Holder| {
        outcomes.get(&holder.lease.subnet()).copied().unwrap_or(Outcome::WrittenAnew)
    };
    let rows = shown(&outcome);
    notes.extend(rows.iter().filter_map(Row::stays));
    Ok(Report { data: table::render(&rows, output), notes, code: 0 })
}

async fn find<S: Times>(store: &S, args: &Gc) -> Result<Finding, Failure> {
    let (listing, nodes) = leases::read(store).await?;
    let presences = store.presences().await.map_err(|error| store_failure(&error))?;
    let own = listing.leases.iter().filter_map(|lease| lease.lease_id);
    let ids: BTreeSet<LeaseId> = own.chain(presences.values().filter_map(|id| *id)).collect();
    let ids: Vec<LeaseId> = ids.into_iter().collect();
    let lives = store.lives(&ids).await.map_err(|error| store_failure(&error))?;
    let clock = Clock { presences: &presences, lives: &lives };
    Ok(Finding { holders: judge(&listing, &clock, args)?, nodes: nodes.records })
}

/// The leases in question by subnet, each with its verdict.
fn judge(listing: &Listing, clock: &Clock<'_>, args: &Gc) -> Result<Vec<Holder>, Failure> {
    for subnet in &args.subnets {
        leases::find(listing, *subnet)?;
    }
    let named = |lease: &Lease| lease.key.blocks().any(|block| args.subnets.contains(&block));
    let asked = listing.leases.iter().filter(|lease| args.subnets.is_empty() || named(lease));
    let mut holders: Vec<Holder> = asked
        .map(|lease| {
            let seen = clock.seen(lease);
            let verdict = seen.judge(args.unseen, args.include_unknown || named(lease));
            Holder { lease: lease.clone(), seen, verdict }
        })
        .collect();
    holders.sort_by_key(|holder| holder.lease.key);
    Ok(holders)
}

/// What stays although somebody may have expected otherwise.
fn remarks(found: &Finding, args: &Gc) -> Vec<String> {
    let names = |verdict| {
        let subnets = found.with(verdict).map(|holder| holder.lease.subnet().to_string());
        subnets.collect::<Vec<_>>().join(", ")
    };
    let mut notes = Vec::new();
    for (verdict, words) in [
        (Verdict::Unknown, "nobody knows when these were seen: name them, or --include-unknown"),
        (Verdict::TooEarly, "these show themselves less often than the time asked for, and stay"),
    ] {
        let subnets = names(verdict);
        if !subnets.is_empty() {
            notes.push(format!("{words}: {subnets}"));
        }
    }
    if !args.subnets.is_empty() && !names(Verdict::Seen).is_empty() {
        notes.push(format!("these were seen since, and stay: {}", names(Verdict::Seen)));
    }
    notes
}

/// Frees each that is the same and still unseen.
async fn free<S: Times>(
    store: &S,
    args: &Gc,
    doomed: &[&Holder],
) -> Result<BTreeMap<Subnet, Outcome>, Failure> {
    // What is named must be there, and may be gone by now.
    let all = Gc { subnets: Vec::new(), include_unknown: true, ..args.clone() };
    let now = find(store, &all).await?;
    let mut outcomes = BTreeMap::new();
    for holder in doomed {
        let subnet = holder.lease.subnet();
        let outcome = match still(&now, holder) {
            Some(outcome) => outcome,
            None => match store.revoke(&holder.lease).await {
                Ok(Revoked::Gone) => Outcome::Freed,
                Ok(Revoked::Changed) => Outcome::WrittenAnew,
                Err(error) => return Err(broke_off(&error, &outcomes)),
            },
        };
        outcomes.insert(subnet, outcome);
    }
    Ok(outcomes)
}

/// Why it must not be freed any more, or need not.
fn still(now: &Finding, shown: &Holder) -> Option<Outcome> {
    let same = |holder: &&Holder| holder.lease.key == shown.lease.key;
    match now.holders.iter().find(same) {
        None => Some(Outcome::Ended),
        Some(holder) if holder.lease.revision != shown.lease.revision => Some(Outcome::WrittenAnew),
        Some(holder) if holder.verdict != Verdict::Free => Some(Outcome::SeenAgain),
        Some(_) => None,
    }
}

fn broke_off(error: &twill_store::Error, outcomes: &BTreeMap<Subnet, Outcome>) -> Failure {
    let freed = outcomes.iter().filter(|(_subnet, outcome)| **outcome == Outcome::Freed);
    let freed: Vec<String> = freed.map(|(subnet, _outcome)| subnet.to_string()).collect();
    if freed.is_empty() {
        return store_failure(error);
    }
    store_failure(error).after(&format!("freed {}, then", freed.join(", ")))
}

impl Finding {
    fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Holder> {
        self.holders.iter().filter(move |holder| holder.verdict == verdict)
    }
}

#[cfg(test)]
mod tests;
