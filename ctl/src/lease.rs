//! `twillctl lease`: runs one command.

use std::time::Duration;

use twill_core::ids::LeaseId;
use twill_store::{Etcd, Times as _};

use crate::args::{Lease, Output, Release, Revoke};
use crate::ask::ask;
use crate::failure::Failure;
use crate::report::Report;
use crate::run::{store_failure, within};
use crate::{gc, leases, reserve, revoke, show, watch};

/// Runs it; `timeout` is for commands that ask nobody and end by themselves.
pub(crate) async fn run(
    etcd: &Etcd,
    command: Lease,
    output: Output,
    timeout: Duration,
) -> Result<Report, Failure> {
    match command {
        Lease::List => within(timeout, "etcd", list(etcd, output)).await,
        Lease::Show(args) => within(timeout, "etcd", show::show(etcd, args.subnet, output)).await,
        Lease::Watch => watch::watch(etcd, output).await,
        Lease::Reserve(args) => {
            within(timeout, "etcd", reserve::reserve(etcd, &args, output)).await
        }
        Lease::Release(Release { subnet, now: true, yes, .. }) => {
            let args = Revoke { subnet, yes, only_reserved: true };
            revoke::revoke(etcd, &args, output, ask).await
        }
        Lease::Release(Release { subnet, ttl, .. }) => {
            within(timeout, "etcd", reserve::release(etcd, (subnet, ttl), output)).await
        }
        // A person may think longer than etcd may.
        Lease::Revoke(args) => revoke::revoke(etcd, &args, output, ask).await,
        Lease::Gc(args) => gc::gc(etcd, &args, output, ask).await,
    }
}

async fn list(etcd: &Etcd, output: Output) -> Result<Report, Failure> {
    let (listing, nodes) = leases::read(etcd).await?;
    let ids: Vec<LeaseId> = listing.leases.iter().filter_map(|lease| lease.lease_id).collect();
    let lives = etcd.lives(&ids).await.map_err(|error| store_failure(&error))?;
    let ends = lives.into_iter().map(|(id, life)| (id, life.remaining)).collect();
    Ok(leases::report(&listing, &nodes, &ends, output))
}
