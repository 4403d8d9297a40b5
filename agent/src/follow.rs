//! Follows the leases in etcd: who our peers are, and what stands under our own key.

use std::collections::{HashMap, HashSet};

use futures::FutureExt;
use tokio::sync::watch;
use twill_core::lease::{Event, Lease};
use twill_core::peers::{Known, Own, View};
use twill_core::status::{EtcdState, Ignored};
use twill_store::{Follow, Store, Update};

use crate::status::Board;
use crate::trouble::Trouble;

/// Where the news goes; each is a `watch`, because only the newest counts.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) view: watch::Sender<View>,
    /// The lease under our own key, as etcd last told it.
    pub(crate) own: watch::Sender<Option<Lease>>,
}

/// Folds what happens into `known`, for ever.
pub(crate) async fn follow<S: Store>(
    mut follow: Follow<S>,
    (own, mut known): (Own, Known),
    (news, board): (News, Board),
) where
    S::Watch: std::fmt::Debug,
{
    let mut trouble = Trouble::default();
    loop {
        let mut update = Some(follow.next().await);
        let mut folded = false;
        // All that came with it is one change: a view of everybody costs more than a fold.
        while let Some(step) = update {
            match step {
                Update::Event(event) => {
                    // A listing proves as much as a watch that stands.
                    if matches!(event, Event::Snapshot(_)) {
                        back(&mut trouble, &board);
                    }
                    known.fold(event);
                    folded = true;
                }
                Update::Back => back(&mut trouble, &board),
                Update::Away(error) => away(&mut trouble, error, &board),
            }
            update = follow.next().now_or_never();
        }
        if folded {
            tell(&known.view(&own), &news, &board);
            news.own.send_if_modified(|last| replace(last, known.lease(own.subnet).cloned()));
        }
    }
}

fn away(trouble: &mut Trouble, error: twill_store::Error, board: &Board) {
    let error = format!("{:#}", anyhow::Error::new(error));
    if trouble.meet(&error).1 {
        tracing::warn!(error, "etcd is away, going on with what is known");
    }
    board.etcd(EtcdState::Away);
}

fn back(trouble: &mut Trouble, board: &Board) {
    board.etcd(EtcdState::Connected);
    if trouble.over() {
        tracing::info!("etcd is back");
    }
}

fn tell(view: &View, news: &News, board: &Board) {
    let changed = news.view.send_if_modified(|last| {
        // Every event brings the whole view: looking each entry up in a list would make a thousand
        // peers a million comparisons.
        let known: HashSet<_> = last.ignored.iter().map(|old| (&old.key, &old.why)).collect();
        for new in view.ignored.iter().filter(|new| !known.contains(&(&new.key, &new.why))) {
            warn_of(new);
        }
        let known: HashMap<_, _> = last.peers.iter().map(|old| (old.subnet, old)).collect();
        for peer in view.peers.iter().filter(|new| known.get(&new.subnet) != Some(new)) {
            tracing::info!(subnet = %peer.subnet, at = %peer.underlay, "peer");
        }
        let here: HashSet<_> = view.peers.iter().map(|peer| peer.subnet).collect();
        for gone in last.peers.iter().filter(|old| !here.contains(&old.subnet)) {
            tracing::info!(subnet = %gone.subnet, at = %gone.underlay, "peer gone");
        }
        replace(last, view.clone())
    });
    board.view(view);
    if changed {
        board.changed();
    }
}

/// Says that a lease is left out.
pub(crate) fn warn_of(ignored: &Ignored) {
    tracing::warn!(key = ignored.key, why = ignored.why, "a lease is not used");
}

fn replace<T: PartialEq>(last: &mut T, new: T) -> bool {
    let differs = *last != new;
    *last = new;
    differs
}
