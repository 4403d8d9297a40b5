//! The watch on everything that a host must know.

use std::collections::VecDeque;

use etcd_client::{
    Event, EventType, KeyValue, WatchClient, WatchOptions, WatchResponse, WatchStream,
};
use twill_core::ids::{LeaseId, Revision};
use twill_core::networks::catalogue::{Entry, Turn};
use twill_core::ownership::Challenge;

use super::call::{Endpoints, LARGEST_ANSWER};
use super::picture::config_text;
use crate::layout::{Layout, Row};
use crate::{Cause, Error, Operation, Place, Question, Scope, Seen, Watch};

/// The watch of a real etcd: one stream, with a watcher for each kind of key.
#[derive(Debug)]
pub struct EtcdWatch {
    stream: WatchStream,
    keys: Keys,
    place: Place,
    waiting: VecDeque<Seen>,
}

/// What is watched.
#[derive(Clone, Debug)]
enum Keys {
    /// The last two are for the agent alone.
    Network { leases: String, config: Option<String>, double: Option<String> },
    /// All that lies under the prefix: etcd has no other way to tell of names that nobody knows yet.
    Networks(Layout),
}

impl EtcdWatch {
    pub(super) async fn start(
        endpoints: &Endpoints,
        (after, scope): (Revision, Scope),
    ) -> Result<Self, Error> {
        let keys = Keys::new(&endpoints.layout, scope);
        let (operation, key) = keys.place();
        let (stream, first) = endpoints
            .call((operation, key), |client| {
                let client = client.watch_client().max_decoding_message_size(LARGEST_ANSWER);
                open(client, (keys.clone(), after))
            })
            .await?;
        let endpoint = endpoints.current_url();
        let place = Place { operation, key: key.to_owned(), endpoint };
        let mut watch = Self { stream, keys, place, waiting: VecDeque::new() };
        let mut first = first.ok_or_else(|| watch.closed("the stream ended".to_owned()))?;
        // A store that is younger than what we know was put back from a copy: it would let us wait
        // for revisions that are years away.
        if first.iter().filter_map(WatchResponse::header).any(|head| head.revision() < after.0) {
            watch.waiting.push_back(Seen::Compacted);
        }
        first.drain(..).try_for_each(|answer| watch.take_in(&answer))?;
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
        let seen = answer.events().iter().filter_map(|event| self.keys.seen(event));
        self.waiting.extend(seen);
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

/// Returns when every watcher stands, with what etcd said until then; `None` if it hung up.
async fn open(
    mut client: WatchClient,
    (keys, after): (Keys, Revision),
) -> Result<(WatchStream, Option<Vec<WatchResponse>>), Cause> {
    let options = || WatchOptions::new().with_start_revision(after.0.saturating_add(1));
    let (_operation, all) = keys.place();
    let mut stream = client.watch(all, Some(options().with_prefix())).await?;
    let mut missing = 1;
    for key in keys.single() {
        stream.watch(key, Some(options())).await?;
        missing += 1;
    }
    let mut said = Vec::new();
    while missing > 0 {
        let Some(answer) = stream.message().await? else { return Ok((stream, None)) };
        // One that is refused is created and cancelled at once, as is one for which the login ended:
        // the client sees no error in that, and would not log in again.
        if answer.canceled() && answer.compact_revision() == 0 {
            return Err(Cause::Closed(answer.cancel_reason().to_owned()));
        }
        missing -= usize::from(answer.created());
        said.push(answer);
    }
    Ok((stream, Some(said)))
}

impl Keys {
    fn new(layout: &Layout, scope: Scope) -> Self {
        let leases = layout.leases();
        match scope {
            Scope::Leases => Self::Network { leases, config: None, double: None },
            Scope::Host(node) => {
                let (config, double) = (Some(layout.config()), Some(layout.double(node)));
                Self::Network { leases, config, double }
            }
            Scope::Networks => Self::Networks(layout.clone()),
        }
    }

    /// What begins all keys that are many, and what they are watched for.
    fn place(&self) -> (Operation, &str) {
        match self {
            Self::Network { leases, .. } => (Operation::Watch, leases),
            Self::Networks(layout) => (Operation::WatchNetworks, layout.root()),
        }
    }

    /// The other ones.
    fn single(&self) -> impl Iterator<Item = &str> {
        let (config, double) = match self {
            Self::Network { config, double, .. } => (config.as_deref(), double.as_deref()),
            Self::Networks(_) => (None, None),
        };
        config.into_iter().chain(double)
    }

    fn seen(&self, event: &Event) -> Option<Seen> {
        let found = event.kv()?;
        let revision = Revision(found.mod_revision());
        let put = event.event_type() == EventType::Put;
        let (leases, config, double) = match self {
            Self::Network { leases, config, double } => (leases, config, double),
            Self::Networks(layout) => {
                let key = String::from_utf8_lossy(found.key());
                let name = layout.network_of(&key)?.to_owned();
                let turn =
                    if put { Turn::Put(name, entry(found)) } else { Turn::Gone(name, revision) };
                return Some(Seen::Network(turn));
            }
        };
        let is =
            |key: &Option<String>| key.as_ref().is_some_and(|key| key.as_bytes() == found.key());
        if is(config) {
            return Some(Seen::Config(put.then(|| config_text(found)), revision));
        }
        if is(double) {
            return Some(Seen::Question(Some(found).filter(|_| put).and_then(question), revision));
        }
        let row = row(leases, found);
        Some(Seen::Event(if put { row.put() } else { row.gone() }))
    }
}

/// When a configuration was written, whatever it says.
pub(super) fn entry(row: &KeyValue) -> Entry {
    Entry { created: Revision(row.create_revision()), written: Revision(row.mod_revision()) }
}

/// `None` if somebody else wrote something else there.
pub(super) fn question(row: &KeyValue) -> Option<Question> {
    let challenge = Challenge::parse(row.value()).ok()?;
    Some(Question { challenge, revision: Revision(row.mod_revision()) })
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
