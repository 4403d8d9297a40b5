//! The watch on `subnets/`.

use std::collections::VecDeque;

use etcd_client::{EventType, KeyValue, WatchOptions, WatchResponse, WatchStream};
use twill_core::ids::{LeaseId, Revision};

use super::call::{Endpoints, LARGEST_ANSWER};
use crate::layout::Row;
use crate::{Cause, Error, Operation, Place, Seen, Watch};

/// The watch on `subnets/` of a real etcd.
#[derive(Debug)]
pub struct EtcdWatch {
    stream: WatchStream,
    prefix: String,
    place: Place,
    waiting: VecDeque<Seen>,
}

impl EtcdWatch {
    pub(super) async fn start(endpoints: &Endpoints, after: Revision) -> Result<Self, Error> {
        let prefix = endpoints.layout.leases();
        let call = (Operation::Watch, prefix.as_str());
        let (stream, first) = endpoints
            .call(call, |client| {
                let mut client = client.watch_client().max_decoding_message_size(LARGEST_ANSWER);
                let options = WatchOptions::new()
                    .with_prefix()
                    .with_start_revision(after.0.saturating_add(1));
                let prefix = prefix.clone();
                async move {
                    let mut stream = client.watch(prefix, Some(options)).await?;
                    let first = stream.message().await?;
                    Ok((stream, first))
                }
            })
            .await?;
        let endpoint = endpoints.current_url().to_owned();
        let place = Place { operation: Operation::Watch, key: prefix.clone(), endpoint };
        let mut watch = Self { stream, prefix, place, waiting: VecDeque::new() };
        let first = first.ok_or_else(|| watch.closed("the stream ended".to_owned()))?;
        // A store that is younger than what we know was put back from a copy: it would let us wait
        // for revisions that are years away.
        if first.header().is_some_and(|header| header.revision() < after.0) {
            watch.waiting.push_back(Seen::Compacted);
        }
        watch.take_in(&first)?;
        Ok(watch)
    }

    fn take_in(&mut self, answer: &WatchResponse) -> Result<(), Error> {
        if answer.compact_revision() > 0 {
            self.waiting.push_back(Seen::Compacted);
            return Ok(());
        }
        if answer.canceled() {
            return Err(self.closed(answer.cancel_reason().to_owned()));
        }
        let prefix = &self.prefix;
        let events = answer.events().iter().filter_map(|event| {
            let row = event.kv()?;
            let row = self::row(prefix, row);
            Some(Seen::Event(match event.event_type() {
                EventType::Put => row.put(),
                EventType::Delete => row.gone(),
            }))
        });
        self.waiting.extend(events);
        Ok(())
    }

    fn closed(&self, reason: String) -> Error {
        Error::new(self.place.clone(), Cause::Closed(reason))
    }
}

impl Watch for EtcdWatch {
    async fn next(&mut self) -> Result<Seen, Error> {
        loop {
            if let Some(seen) = self.waiting.pop_front() {
                return Ok(seen);
            }
            match self.stream.message().await {
                Ok(Some(answer)) => self.take_in(&answer)?,
                Ok(None) => return Err(self.closed("the stream ended".to_owned())),
                Err(error) => return Err(Error::new(self.place.clone(), Cause::Client(error))),
            }
        }
    }
}

/// A key and value of etcd, without the prefix of their kind.
pub(super) fn row<'a>(prefix: &str, row: &'a KeyValue) -> Row<'a> {
    let key = row.key().strip_prefix(prefix.as_bytes()).unwrap_or(row.key());
    Row {
        key: String::from_utf8_lossy(key),
        value: row.value(),
        revision: Revision(row.mod_revision()),
        lease_id: (row.lease() != 0).then_some(LeaseId(row.lease())),
    }
}
