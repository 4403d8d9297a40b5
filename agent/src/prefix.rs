//! Follows the networks that lie side by side under a prefix in etcd, and has this host be in those that are
//! there.
//!
//! What to do about them is decided in [`twill_core::networks::catalogue`]. While etcd does not tell, the
//! host is in those that it was in.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use tokio::time::Instant;
use twill_core::ids::{NetworkName, NodeId, Revision};
use twill_core::networks::Networks;
use twill_core::networks::catalogue::{Catalogue, Home, Known, Verdict};
use twill_core::picture::Picture;
use twill_store::{Directory as _, Etcd, Past, Sight, Survey};

use crate::access;
use crate::failure::Failure;
use crate::flags::Flags;
use crate::memory;
use crate::metrics::Counted;
use crate::patience::{MORE_TIME, tell_systemd, tell_systemd_how};
use crate::shelf::Shelf;
use crate::status::Boards;
use crate::stay::Order;
use crate::trouble::Trouble;
use crate::visit::Asked;
use crate::visits::Visits;
use crate::wake::until;

/// How long etcd may take to tell a host that can do without.
const PATIENCE: Duration = Duration::from_secs(1);

/// The prefix, and what this host makes of it.
#[derive(Debug)]
pub(crate) struct Prefix {
    survey: Survey<Asked>,
    store: Asked,
    /// The only ones that the administrator wants; all, if there are none.
    only: Networks,
    /// As etcd told it last.
    told: Option<Catalogue>,
    home: Home,
    /// Networks that are missing in etcd, of which it is known that they were deleted.
    proven: BTreeSet<NetworkName>,
    /// When etcd is asked of the past again, because it did not answer.
    asks: Option<Instant>,
    /// When to go by what was here before, unless etcd has told.
    patience: Option<Instant>,
    away: Option<Failure>,
    trouble: Trouble,
    refused: Vec<String>,
    doubted: BTreeSet<NetworkName>,
    /// Were rules looked for that an earlier run left?
    swept: bool,
}

impl Prefix {
    /// `None` if the administrator names the networks. Nothing is asked yet.
    pub(crate) fn open(
        flags: &Flags,
        boards: &Boards,
        node: NodeId,
    ) -> Result<Option<Self>, Failure> {
        if !flags.etcd.watch_networks {
            return Ok(None);
        }
        let store = Etcd::new(&access::options(&flags.etcd, access::credentials().as_deref())?)?;
        let store = Counted::new(store, boards.meters());
        let survey = Survey::new(store.clone());
        let home = home(flags, node);
        let patience = (!home.is_empty()).then(|| Instant::now() + PATIENCE);
        let only = flags.etcd.networks.clone();
        Ok(Some(Self {
            survey,
            store,
            only,
            told: None,
            home,
            proven: BTreeSet::new(),
            asks: None,
            patience,
            away: None,
            trouble: Trouble::default(),
            refused: Vec::new(),
            doubted: BTreeSet::new(),
            swept: false,
        }))
    }

    /// Returns when something is to be judged anew. Nothing is lost if it is dropped and asked again.
    pub(crate) async fn news(&mut self) {
        let missing = self.missing();
        tokio::select! {
            sight = self.survey.next() => match sight {
                Sight::All(catalogue, deleted) => {
                    let deleted = deleted.iter().filter_map(|name| name.parse().ok());
                    self.proven.extend(deleted.filter(|name| self.home.contains_key(name)));
                    // What is there again was not deleted after all.
                    self.proven.retain(|name| !catalogue.has(name));
                    if self.trouble.over() {
                        tracing::info!("the networks in etcd are followed again");
                    }
                    (self.told, self.away, self.patience) = (Some(catalogue), None, None);
                }
                Sight::Away(error) => self.away = Some(error.into()),
            },
            (name, past) = past(&self.store, missing, self.asks) => self.learn(name, past),
            () = until(self.patience) => self.patience = None,
        }
    }

    /// A network that etcd has no more, of which nobody knows yet whether it was deleted, and when it was
    /// there.
    fn missing(&self) -> Option<(NetworkName, Revision)> {
        let gone = self.told.as_ref()?.judge(&self.only, &self.home).gone;
        let name = gone.into_iter().find(|name| !self.proven.contains(name))?;
        match self.home.get(&name)? {
            Known::At(seen) => Some((name, *seen)),
            Known::Doubted => None,
        }
    }

    fn learn(&mut self, name: NetworkName, past: Result<Past, twill_store::Error>) {
        self.asks = None;
        match past {
            Ok(Past::Same) => _ = self.proven.insert(name),
            // Who forgot may never have known: an etcd put back from a copy can be told to forget.
            Ok(Past::Other | Past::Forgotten) => _ = self.home.insert(name, Known::Doubted),
            // The watch will break as well, or nobody would notice.
            Err(error) => {
                tracing::debug!("{:#}", anyhow::Error::new(error));
                self.asks = Some(Instant::now() + PATIENCE);
            }
        }
    }

    /// Has this host be where it is to be, as far as that is known.
    pub(crate) async fn judge(&mut self, visits: &mut Visits) {
        let boards = visits.boards().clone();
        match &self.told {
            Some(told) => {
                let verdict = told.judge(&self.only, &self.home);
                self.follow(&verdict, visits);
            }
            None if self.patience.is_none() && !self.home.is_empty() => self.remember(visits),
            None => {}
        }
        if let Some(failure) = &self.away {
            let line = failure.line();
            if self.trouble.meet(&line).1 {
                let hint = failure.way_out();
                tracing::warn!(hint, "networks that come or go are not noticed: {line}");
            }
            boards.follows(|following| following.away(line));
            tell_systemd(&[MORE_TIME]);
        }
        // What an earlier run wrote for networks that are gone, when there is nobody to write anew.
        if self.told.is_some() && visits.names().is_empty() && !self.swept {
            match visits.host().wall.bring().await {
                Ok(_repaired) => self.swept = true,
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    tracing::warn!(error, "rules of networks that are gone may be left");
                }
            }
        }
        tell_systemd_how(&boards.headline(), boards.is_up());
    }

    fn follow(&mut self, verdict: &Verdict, visits: &mut Visits) {
        let mut home = verdict.home.clone();
        for name in &verdict.gone {
            if self.proven.remove(name) {
                visits.leave(name);
            } else {
                home.extend(
                    self.home.get_key_value(name).map(|(name, known)| (name.clone(), *known)),
                );
            }
        }
        // Who leaves keeps what it has until it is gone, and comes for the first time then.
        let staying = |name: &&NetworkName| visits.order(name) != Some(Order::Leave);
        visits.host().books.arrange(verdict.order.iter().filter(staying).cloned().collect());
        for name in &verdict.order {
            if let Err(failure) = visits.serve(name) {
                tracing::error!(network = %name, hint = failure.way_out(), "{}", failure.line());
            }
        }
        self.tell_doubts(verdict, visits);
        let refused: Vec<String> = verdict.unfit.iter().map(ToString::to_string).collect();
        for why in refused.iter().filter(|why| !self.refused.contains(why)) {
            tracing::warn!(
                hint = "move its keys under another name, or delete them",
                "a network is left out: {why}"
            );
        }
        if self.away.is_none() {
            visits.boards().follows(|following| following.listed(refused.clone()));
        }
        self.refused = refused;
        self.home = home;
    }

    /// An etcd that does not know of a network need not be the one that this host knew.
    fn tell_doubts(&mut self, verdict: &Verdict, visits: &Visits) {
        let doubted = verdict.doubted();
        for name in doubted.difference(&self.doubted) {
            tracing::warn!(
                network = %name,
                hint = "write its configuration again; if it is to be left, delete it then",
                "{MISSING}"
            );
        }
        for (names, error) in [(&doubted, Some(MISSING)), (&self.doubted, None)] {
            for name in names.iter().filter(|name| error.is_some() || !doubted.contains(*name)) {
                if let Some(board) = visits.board(name) {
                    board.configuration(error.map(str::to_owned));
                }
            }
        }
        self.doubted = doubted;
    }

    /// etcd is silent: this host goes on by what it had.
    fn remember(&self, visits: &mut Visits) {
        let mut order: Vec<NetworkName> = self.home.keys().cloned().collect();
        order.sort_by_key(|name| self.only.place(name));
        visits.host().books.arrange(order.clone());
        for name in &order {
            if let Err(failure) = visits.serve(name) {
                tracing::error!(network = %name, hint = failure.way_out(), "{}", failure.line());
            }
        }
        visits.boards().follows(crate::status::Following::remembers);
    }
}

/// What etcd knows of the time at which that network was there; never, if none is named. Without a moment
/// at which it was there this host has nothing to lose.
async fn past(
    store: &Asked,
    missing: Option<(NetworkName, Revision)>,
    asks: Option<Instant>,
) -> (NetworkName, Result<Past, twill_store::Error>) {
    let Some((name, seen)) = missing else { return std::future::pending().await };
    if let Some(moment) = asks {
        tokio::time::sleep_until(moment).await;
    }
    let past = if seen == Revision(0) { Ok(Past::Same) } else { store.past(&name, seen).await };
    (name, past)
}

/// Why a host stays in a network that etcd does not know of.
const MISSING: &str = "the network is missing in an etcd that is not as this host knew it, as if it had been \
                       put back from a copy: this host stays in it";

/// What this host has something of, and when each was known to be in etcd.
fn home(flags: &Flags, node: NodeId) -> Home {
    let known = flags.known_networks().into_iter();
    let of = |name: NetworkName| {
        let flags = flags.of(&name);
        let bytes = fs::read(flags.files.state_dir.join(memory::FILE)).unwrap_or_default();
        let picture = Picture::parse(&bytes).ok();
        let picture = picture.filter(|picture| picture.is_of(&flags.etcd.prefix, node).is_ok());
        let served = || Shelf::new(&flags.files.state_dir).serving();
        // What was served was in a configuration as well. Without either there is nothing to lose.
        let written = picture.map(|picture| picture.written);
        let written = written.or_else(|| Some(served()?.current().since));
        (name, Known::At(written.unwrap_or_default()))
    };
    known.map(of).collect()
}
