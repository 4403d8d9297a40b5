//! Reads etcd's history as it is written, from whichever member answers.
//!
//! Everything is watched and not only the leases: every revision writes at least one key, so one
//! that is missing is noticed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etcd_client::{
    Client, ConnectOptions, Event, EventType, GetOptions, KeyValue, WatchOptions, WatchResponse,
    WatchStream,
};
use tokio::time::{sleep, timeout};
use twill_core::ids::Revision;

use super::Shared;
use super::ledger::Write;

/// What a member may take to answer; one that is cut off has to be left soon.
const DEADLINE: Duration = Duration::from_secs(2);

/// A member that is gone is not asked in a busy loop.
const PAUSE: Duration = Duration::from_millis(100);

/// For as long as the future is polled; `prefix` is the part of the keys that the ledger leaves
/// out.
pub(super) async fn follow(endpoints: &[String], prefix: &str, shared: &Shared) {
    for endpoint in endpoints.iter().cycle() {
        // It only ever ends with an error, and the next member goes on where this one stopped.
        if let Err(error) = read(endpoint, prefix, shared).await {
            shared.trouble(format!("{endpoint}: {error:#}"));
        }
        sleep(PAUSE).await;
    }
}

async fn read(endpoint: &str, prefix: &str, shared: &Shared) -> Result<()> {
    let options = ConnectOptions::new()
        .with_connect_timeout(DEADLINE)
        .with_keep_alive(Duration::from_secs(6), DEADLINE)
        .with_require_leader(true);
    let mut client = timeout(DEADLINE, Client::connect([endpoint], Some(options))).await??;
    // A member without a leader does not answer this, and so is not believed.
    let asked = timeout(DEADLINE, client.get(prefix, None)).await??;
    let header = asked.header().context("no header")?;
    let (cluster, now) = (header.cluster_id(), Revision(header.revision()));
    let known = shared.cluster();
    let is_another = known.is_some_and(|known| known != cluster);
    let after = if is_another { Revision(0) } else { shared.at().revision };
    let (mut watch, first) = stand(&mut client, (after, now)).await?;
    let compacted = first.as_ref().map_or(0, WatchResponse::compact_revision);
    if is_another {
        let oldest = Revision(compacted.max(1));
        begin_again(&mut client, prefix, (oldest, cluster), shared).await?;
        (watch, _) = stand(&mut client, (oldest, oldest)).await?;
    } else {
        ensure!(compacted == 0, "revisions up to {compacted} are compacted, and were not read");
        shared.follows(cluster);
        if let Some(first) = first {
            take(&first, prefix, shared);
        }
    }
    loop {
        let answer = watch.message().await?.context("the watch ended")?;
        ensure!(!answer.canceled(), "the watch ended: {}", answer.cancel_reason());
        take(&answer, prefix, shared);
    }
}

// Stands when this returns. Where etcd has written more than what is known, the first answer that
// tells of it comes along, or the one that says that it is forgotten.
async fn stand(
    client: &mut Client,
    (after, now): (Revision, Revision),
) -> Result<(WatchStream, Option<WatchResponse>)> {
    let options = WatchOptions::new().with_all_keys().with_start_revision(after.0 + 1);
    let start = async {
        let mut watch = client.watch("", Some(options)).await?;
        let created = watch.message().await?.context("the watch ended at once")?;
        ensure!(created.created(), "the watch was refused: {}", created.cancel_reason());
        let first = if after < now { watch.message().await? } else { None };
        Ok((watch, first))
    };
    timeout(DEADLINE, start).await?
}

// The rows as they stood when the new history begins, which is as far back as etcd remembers.
async fn begin_again(
    client: &mut Client,
    prefix: &str,
    (revision, cluster): (Revision, u64),
    shared: &Shared,
) -> Result<()> {
    let options = GetOptions::new().with_prefix().with_revision(revision.0);
    let answer = timeout(DEADLINE, client.get(prefix, Some(options))).await??;
    let rows = answer.kvs().iter().map(|row| (name(row.key(), prefix), row.value()));
    let rows = rows.filter_map(|(name, value)| Some((name?, value)));
    shared.ledger().begin_again(revision, rows);
    shared.follows(cluster);
    Ok(())
}

// All events of one revision come in one answer; only fragments, which are not asked for, would
// part them.
fn take(answer: &WatchResponse, prefix: &str, shared: &Shared) {
    let mut ledger = shared.ledger();
    let revision = |event: &Event| event.kv().map_or(0, KeyValue::mod_revision);
    for same in answer.events().chunk_by(|one, other| revision(one) == revision(other)) {
        let writes = same.iter().filter_map(|event| {
            let row = event.kv()?;
            let write = match event.event_type() {
                EventType::Put => Write::Put(row.value()),
                EventType::Delete => Write::Gone,
            };
            Some((name(row.key(), prefix)?, write))
        });
        ledger.write(Revision(revision(&same[0])), writes);
    }
}

fn name<'a>(key: &'a [u8], prefix: &str) -> Option<&'a str> {
    std::str::from_utf8(key.strip_prefix(prefix.as_bytes())?).ok()
}
