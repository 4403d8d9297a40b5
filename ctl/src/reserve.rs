//! `twillctl lease reserve` and `lease release`: keys that never end, and get an end again.

mod plan;

use std::time::Duration;

use twill_core::config::NetworkConfig;
use twill_core::ids::{Subnet, Underlay};
use twill_core::lease::{Lease, Listing};
use twill_core::node::NodeRecord;
use twill_store::{Reserve, Rewritten, Store};

use crate::args::{self, Output};
use crate::failure::{Failure, Kind};
use crate::leases::{self, Ends, no_network};
use crate::names;
use crate::report::Report;
use crate::run::store_failure;
use plan::{Holder, Plan};

/// A host that writes its lease anew each time we looked at it is out of order.
const TRIES: usize = 5;

/// Makes the key, or takes the end away from the one that is there.
///
/// A lost race is decided again on what is there then: the owner may have renewed its lease, or
/// another host may have come first.
pub(crate) async fn reserve<S: Store>(
    store: &S,
    args: &args::Reserve,
    output: Output,
) -> Result<Report, Failure> {
    let subnet = args.subnet;
    for _ in 0..TRIES {
        // Before the leases: whatever was claimed under an older configuration is among them.
        let found = store.config().await.map_err(|error| store_failure(&error))?;
        let found = found.ok_or_else(no_network)?;
        let config = NetworkConfig::parse(&found.text)
            .map_err(|error| Failure::from_error(Kind::Failed, &error).hint(error.hint()))?;
        let listing = store.leases().await.map_err(|error| store_failure(&error))?;
        let nodes = store.nodes().await.map_err(|error| store_failure(&error))?.records;
        let holder = holder(args, &nodes, &listing)?;
        let plan = plan::plan(
            subnet,
            holder,
            &plan::World { config: &config, listing: &listing, nodes: &nodes },
        )?;
        let wish = match &plan {
            Plan::Already(lease) => {
                let note =
                    format!("{subnet} is reserved for {} already", names::owner(lease, &nodes));
                return Ok(report(lease, &nodes, vec![note], output));
            }
            Plan::Keep(lease) => Reserve::Lease(lease),
            Plan::New(key, value) => Reserve::New { key: *key, value, config: found.revision },
        };
        match store.reserve(wish).await.map_err(|error| store_failure(&error))? {
            Rewritten::Done(lease) => {
                return Ok(report(&lease, &nodes, words(&plan, &lease, &nodes), output));
            }
            Rewritten::Changed | Rewritten::Outdated => {}
        }
    }
    Err(restless(subnet))
}

/// Gives the reservation an end. The host that has it sees that and renews it from then on.
pub(crate) async fn release<S: Store>(
    store: &S,
    (subnet, ttl): (Subnet, Duration),
    output: Output,
) -> Result<Report, Failure> {
    for _ in 0..TRIES {
        let (listing, nodes) = leases::read(store).await?;
        let lease = leases::find(&listing, subnet)?;
        if lease.lease_id.is_some() {
            return Err(leases::not_reserved(lease, &nodes.records));
        }
        match store.release(lease, ttl).await.map_err(|error| store_failure(&error))? {
            Rewritten::Done(released) => {
                let time = crate::table::span(ttl.as_secs());
                let owner = names::owner(lease, &nodes.records);
                let note = format!(
                    "{subnet} is no longer reserved: it ends in {time} unless its host renews it; it \
                     was of {owner}"
                );
                let ends = released.lease_id.map(|id| (id, ttl.as_secs()));
                let data = leases::one(&released, &nodes.records, &Ends::from_iter(ends), output);
                return Ok(Report { data, notes: vec![note], code: 0 });
            }
            Rewritten::Changed | Rewritten::Outdated => {}
        }
    }
    Err(restless(subnet))
}

fn restless(subnet: Subnet) -> Failure {
    let message =
        format!("{subnet} was written anew each time we looked at it, and stays as it is");
    Failure::new(Kind::Failed, message).hint("see who writes it: twillctl lease watch")
}

fn holder(
    args: &args::Reserve,
    nodes: &[NodeRecord],
    listing: &Listing,
) -> Result<Holder, Failure> {
    match (&args.node, args.public_ip) {
        (Some(text), _) => names::resolve(text, nodes, &listing.leases).map(Holder::Node),
        (None, Some(address)) => Ok(Holder::Address(Underlay(address.into()))),
        // clap asks for one of the two.
        (None, None) => {
            let failure = Failure::new(Kind::Usage, "nobody is named to reserve the subnet for");
            Err(failure.hint("add --node ID or --public-ip IP"))
        }
    }
}

fn report(lease: &Lease, nodes: &[NodeRecord], words: Vec<String>, output: Output) -> Report {
    Report { data: leases::one(lease, nodes, &Ends::new(), output), notes: words, code: 0 }
}

/// What a person should know about what was done.
fn words(plan: &Plan, lease: &Lease, nodes: &[NodeRecord]) -> Vec<String> {
    let (subnet, owner) = (lease.subnet(), names::owner(lease, nodes));
    match plan {
        Plan::New(_key, value) => {
            let whom = match value.node {
                Some(id) => format!("the host {}", names::known_as(id, nodes).escape_debug()),
                None => format!("the host at {}", value.public_ip),
            };
            vec![format!("{subnet} is reserved for {whom}, which takes it when it starts")]
        }
        Plan::Already(_) | Plan::Keep(_) => {
            let mut words = vec![format!("{subnet} is reserved: it stays with {owner}")];
            if lease.value.node.is_none() {
                // flannel knows no reservations.
                words.push(
                    "warning: its host has no node id; flanneld makes a lease that ends of it again"
                        .to_owned(),
                );
            }
            words
        }
    }
}

#[cfg(test)]
mod tests;
