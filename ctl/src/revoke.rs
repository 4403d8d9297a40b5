//! `twillctl lease revoke`: takes a subnet from its owner.

use twill_core::ids::Subnet;
use twill_core::lease::{Lease, Malformed};
use twill_core::node::NodeRecord;
use twill_store::{Revoked, Store};

use crate::args::{Output, Revoke};
use crate::failure::{Failure, Kind};
use crate::leases::{self, Ends};
use crate::names;
use crate::report::Report;
use crate::run::store_failure;

/// Deletes the lease that stands there now, and no other: if its owner, or another host, writes the
/// key between the question and the answer, nothing happens.
pub(crate) async fn revoke<S: Store>(
    store: &S,
    args: &Revoke,
    output: Output,
    ask: impl AsyncFnOnce(&str) -> Result<bool, Failure>,
) -> Result<Report, Failure> {
    let subnet = args.subnet;
    let listing = store.leases().await.map_err(|error| store_failure(&error))?;
    let nodes = store.nodes().await.map_err(|error| store_failure(&error))?.records;
    let found = listing.leases.iter().find(|lease| leases::is_at(lease.key, subnet));
    let found = found.map(Target::Lease);
    let spoilt = || listing.malformed.iter().find(|entry| leases::is_of(entry, subnet));
    let target = found.or_else(|| spoilt().map(Target::Spoilt));
    let target = target.ok_or_else(|| leases::nobody(subnet))?;
    if let Target::Lease(lease) = target
        && args.only_reserved
        && lease.lease_id.is_some()
    {
        return Err(leases::not_reserved(lease, &nodes));
    }
    let owner = target.owner(&nodes);
    if !args.yes && !ask(&format!("take {subnet} from {owner}?")).await? {
        let failure = Failure::new(Kind::Failed, format!("{subnet} stays with its owner"));
        return Err(failure);
    }
    match target.delete(store).await? {
        Revoked::Gone => Ok(Report {
            data: target.document(&nodes, output),
            notes: vec![format!("{subnet} is free; it was of {owner}")],
            code: 0,
        }),
        Revoked::Changed => Err(changed(subnet)),
    }
}

fn changed(subnet: Subnet) -> Failure {
    let message = format!("the lease of {subnet} was written anew meanwhile, and stays");
    Failure::new(Kind::Failed, message).hint("look at it again: twillctl lease list")
}

/// What holds the subnet.
enum Target<'a> {
    Lease(&'a Lease),
    Spoilt(&'a Malformed),
}

impl Target<'_> {
    fn owner(&self, nodes: &[NodeRecord]) -> String {
        match self {
            Self::Lease(lease) => names::owner(lease, nodes),
            Self::Spoilt(entry) => format!("what nobody can read ({})", entry.why),
        }
    }

    fn document(&self, nodes: &[NodeRecord], output: Output) -> String {
        match self {
            Self::Lease(lease) => leases::one(lease, nodes, &Ends::new(), output),
            Self::Spoilt(_) => String::new(),
        }
    }

    async fn delete<S: Store>(&self, store: &S) -> Result<Revoked, Failure> {
        let deleted = match self {
            Self::Lease(lease) => store.revoke(lease).await,
            Self::Spoilt(entry) => match entry.lease {
                Some(key) => store.discard(key, entry.revision).await,
                None => Ok(Revoked::Changed),
            },
        };
        deleted.map_err(|error| store_failure(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use twill_core::ids::Subnet;
    use twill_core::lease::LeaseValue;
    use twill_core::pick::Over;
    use twill_store::{Bid, Claimed, Held, Memory, Renewal, Reserve};

    use super::*;

    #[tokio::test]
    async fn a_no_leaves_the_lease_alone() {
        let (store, _held) = store().await;
        let refused = revoke(&store, &args(), Output::Table, async |_question| Ok(false)).await;
        assert_eq!(refused.unwrap_err().exit_code(), 1);
        assert_eq!(store.leases().await.unwrap().leases.len(), 1);

        let question = async |question: &str| {
            assert_eq!(question, "take 10.88.34.0/24 from 192.168.140.22 (udp)?");
            Ok(true)
        };
        revoke(&store, &args(), Output::Table, question).await.unwrap();
        assert_eq!(store.leases().await.unwrap().leases, []);
    }

    #[tokio::test]
    async fn a_lease_renewed_while_we_ask_stays() {
        let (store, held) = store().await;
        let ttl = Duration::from_mins(1);
        let renewing = async |_question: &str| {
            store.renew(Renewal { held: &held, record: None, ttl }).await.unwrap();
            Ok(true)
        };
        let failure = revoke(&store, &args(), Output::Table, renewing).await.unwrap_err();
        assert!(failure.to_string().contains("written anew meanwhile"), "{failure}");
        assert_eq!(store.leases().await.unwrap().leases.len(), 1);
    }

    #[tokio::test]
    async fn only_a_reservation_is_released() {
        let (store, held) = store().await;
        let args = Revoke { only_reserved: true, yes: true, ..args() };
        let unasked = async |_question: &str| panic!("--yes is given");
        let failure = revoke(&store, &args, Output::Table, unasked).await.unwrap_err();
        assert!(failure.to_string().contains("no reservation"), "{failure}");
        store.reserve(Reserve::Lease(&held.lease)).await.unwrap();
        let done = revoke(&store, &args, Output::Json, unasked).await.unwrap();
        assert!(done.data.contains("\"reserved\": true"), "{done:?}");
    }

    #[tokio::test]
    async fn what_nobody_can_read_is_taken_as_well() {
        let store = Memory::default();
        store.put_raw("/coreos.com/network/subnets/10.88.34.0-24", b"spoilt");
        let question = async |question: &str| {
            assert!(question.contains("from what nobody can read"), "{question}");
            Ok(true)
        };
        revoke(&store, &args(), Output::Table, question).await.unwrap();
        assert_eq!(store.leases().await.unwrap().malformed, []);
        let yes = async |_question: &str| Ok(true);
        let failure = revoke(&store, &args(), Output::Table, yes).await.unwrap_err();
        assert_eq!(failure.exit_code(), 4);
    }

    async fn store() -> (Memory, Held) {
        let store = Memory::default();
        let value = LeaseValue::parse(br#"{"PublicIP":"192.168.140.22"}"#).unwrap();
        let ttl = Duration::from_mins(1);
        let bid = Bid {
            key: subnet().into(),
            value,
            over: Over::Nothing,
            beside: None,
            config: None,
            ttl,
            record: None,
        };
        let Claimed::Ours(held) = store.claim(&bid).await.unwrap() else { panic!("it was free") };
        (store, held)
    }

    fn args() -> Revoke {
        Revoke { subnet: subnet(), yes: false, only_reserved: false }
    }

    fn subnet() -> Subnet {
        "10.88.34.0/24".parse().unwrap()
    }
}
