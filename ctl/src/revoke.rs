//! `twillctl lease revoke`: takes a subnet from its owner.

use std::io::{IsTerminal as _, Write as _};

use twill_core::lease::Lease;
use twill_store::{Revoked, Store};

use crate::args::Revoke;
use crate::failure::{Failure, Kind};
use crate::leases;
use crate::report::Report;
use crate::run::store_failure;

/// Deletes the lease that stands there now, and no other: if its owner, or another host, writes the
/// key between the question and the answer, nothing happens.
pub(crate) async fn revoke<S: Store>(
    store: &S,
    args: &Revoke,
    ask: impl AsyncFnOnce(&str) -> Result<bool, Failure>,
) -> Result<Report, Failure> {
    let subnet = args.subnet;
    let listing = store.leases().await.map_err(|error| store_failure(&error))?;
    let Some(lease) = listing.leases.iter().find(|lease| lease.subnet() == subnet) else {
        let failure = Failure::new(Kind::NotFound, format!("nobody has a lease of {subnet}"));
        return Err(failure.hint("twillctl lease list"));
    };
    let question = format!("take {subnet} from {}?", owner(lease));
    if !args.yes && !ask(&question).await? {
        let failure = Failure::new(Kind::Failed, format!("{subnet} stays with its owner"));
        return Err(failure);
    }
    match store.revoke(lease).await.map_err(|error| store_failure(&error))? {
        Revoked::Gone => Ok(Report {
            notes: vec![format!("{subnet} is free; it was of {}", owner(lease))],
            ..Report::default()
        }),
        Revoked::Changed => {
            let message = format!("the lease of {subnet} was written anew meanwhile, and stays");
            Err(Failure::new(Kind::Failed, message).hint("look at it again: twillctl lease list"))
        }
    }
}

fn owner(lease: &Lease) -> String {
    let address = lease.value.public_ip;
    let backend = leases::backend(&lease.value.backend);
    let reserved = if lease.lease_id.is_none() { ", reserved" } else { "" };
    format!("{address} ({backend}{reserved})")
}

/// Asks the person at the terminal.
pub(crate) async fn ask(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        let failure =
            Failure::new(Kind::Failed, "nobody is there to be asked, and --yes is not given");
        return Err(failure.hint("add --yes"));
    }
    let question = question.to_owned();
    // Away from the thread that keeps the connection to etcd alive.
    let answer = tokio::task::spawn_blocking(move || {
        let mut stderr = std::io::stderr();
        write!(stderr, "{question} [y/N] ")?;
        stderr.flush()?;
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        Ok::<_, std::io::Error>(matches!(line.trim(), "y" | "Y" | "yes"))
    });
    let answer = answer.await.map_err(|error| Failure::from_error(Kind::Internal, &error))?;
    answer.map_err(|error| Failure::from_error(Kind::Failed, &error).hint("add --yes"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use twill_core::ids::Subnet;
    use twill_core::lease::LeaseValue;
    use twill_core::pick::Over;
    use twill_store::{Bid, Claimed, Held, Memory};

    use super::*;

    #[tokio::test]
    async fn a_no_leaves_the_lease_alone() {
        let (store, _held) = store().await;
        let refused = revoke(&store, &args(), async |_question| Ok(false)).await;
        assert_eq!(refused.unwrap_err().exit_code(), 1);
        assert_eq!(store.leases().await.unwrap().leases.len(), 1);

        let question = async |question: &str| {
            assert_eq!(question, "take 10.88.34.0/24 from 192.168.140.22 (udp)?");
            Ok(true)
        };
        revoke(&store, &args(), question).await.unwrap();
        assert_eq!(store.leases().await.unwrap().leases, []);
    }

    #[tokio::test]
    async fn a_lease_renewed_while_we_ask_stays() {
        let (store, held) = store().await;
        let renewing = async |_question: &str| {
            store.renew(&held).await.unwrap();
            Ok(true)
        };
        let failure = revoke(&store, &args(), renewing).await.unwrap_err();
        assert!(failure.to_string().contains("written anew meanwhile"), "{failure}");
        assert_eq!(store.leases().await.unwrap().leases.len(), 1);
    }

    async fn store() -> (Memory, Held) {
        let store = Memory::default();
        let value = LeaseValue::parse(br#"{"PublicIP":"192.168.140.22"}"#).unwrap();
        let ttl = Duration::from_mins(1);
        let bid = Bid { subnet: subnet(), value, over: Over::Nothing, config: None, ttl };
        let Claimed::Ours(held) = store.claim(&bid).await.unwrap() else { panic!("it was free") };
        (store, held)
    }

    fn args() -> Revoke {
        Revoke { subnet: subnet(), yes: false }
    }

    fn subnet() -> Subnet {
        "10.88.34.0/24".parse().unwrap()
    }
}
