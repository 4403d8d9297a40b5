//! Follows the leases in etcd: who our peers are, and what stands under our own key.

use std::collections::{HashMap, HashSet};

use futures::FutureExt;
use sd_notify::NotifyState;
use tokio::sync::watch;
use twill_core::lease::Event;
use twill_core::peers::{Known, Own, View};
use twill_core::status::{EtcdState, Ignored};
use twill_store::{ConfigText, Follow, Store, Update};

use crate::ownership::{Belief, Mine, mine};
use crate::patience::tell_systemd;
use crate::status::Board;
use crate::trouble::Trouble;

/// Where the news goes; each is a `watch`, because only the newest counts.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) view: watch::Sender<View>,
    /// All that is known of the leases.
    pub(crate) known: watch::Sender<Known>,
    /// What stands in etcd of this host.
    pub(crate) mine: watch::Sender<Mine>,
    /// The newest configuration; `None` until one was seen.
    pub(crate) config: watch::Sender<Option<Told>>,
    /// The lease as the keeper holds it.
    pub(crate) held: watch::Sender<Option<Belief>>,
}

/// A configuration that was seen; `None` when it was deleted.
pub(crate) type Told = Option<ConfigText>;

impl News {
    pub(crate) fn new(view: watch::Sender<View>, mine: Mine, told: Option<Told>) -> Self {
        let (mine, config) = (watch::Sender::new(mine), watch::Sender::new(told));
        let known = watch::Sender::default();
        Self { view, known, mine, config, held: watch::Sender::new(None) }
    }
}

/// Folds what happens into `known`, for ever.
pub(crate) async fn follow<S: Store>(
    mut follow: Follow<S>,
    (mut own, known): (watch::Receiver<Own>, Known),
    (news, board): (News, Board),
) where
    S::Watch: std::fmt::Debug,
{
    let mut trouble = Trouble::default();
    let mut question = None;
    news.known.send_replace(known);
    loop {
        let mut folded = false;
        let mut update = tokio::select! {
            update = follow.next() => Some(update),
            () = another(&mut own) => {
                folded = true;
                None
            }
        };
        // All that came with it is one change: a view of everybody costs more than a fold.
        while let Some(step) = update {
            match step {
                Update::Event(event) => {
                    // A listing proves as much as a watch that stands.
                    if matches!(event, Event::Snapshot(_)) {
                        board.meters().listed();
                        back(&mut trouble, &board);
                    }
                    news.known.send_modify(|known| known.fold(event));
                    folded = true;
                }
                Update::Config(config) => {
                    news.config.send_if_modified(|last| replace(last, Some(config)));
                }
                Update::Question(asked) => {
                    question = asked;
                    folded = true;
                }
                Update::Back => back(&mut trouble, &board),
                Update::Away(error) => away(&mut trouble, error, &board),
            }
            update = follow.next().now_or_never();
        }
        if folded {
            let own = own.borrow_and_update().clone();
            let view = news.known.borrow().view(&own);
            tell(&view, &news, &board);
            let mine = mine(&news.known.borrow(), (own.node, own.key()), question.clone());
            news.mine.send_if_modified(|last| replace(last, mine));
        }
    }
}

/// This host serves other backends now.
async fn another(own: &mut watch::Receiver<Own>) {
    if own.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn away(trouble: &mut Trouble, error: twill_store::Error, board: &Board) {
    let error = format!("{:#}", anyhow::Error::new(error));
    if trouble.meet(&error).1 {
        tracing::warn!(error, "etcd is away, going on with what is known");
    }
    board.etcd(EtcdState::Away);
    tell_systemd(&[NotifyState::Status(&board.headline())]);
}

fn back(trouble: &mut Trouble, board: &Board) {
    board.etcd(EtcdState::Connected);
    if trouble.over() {
        board.meters().reconnected();
        tell_systemd(&[NotifyState::Status(&board.headline())]);
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
            tracing::info!(subnet = %peer.subnet, at = %peer.underlay, by = %peer.by, "peer");
        }
        let here: HashSet<_> = view.peers.iter().map(|peer| peer.subnet).collect();
        for gone in last.peers.iter().filter(|old| !here.contains(&old.subnet)) {
            tracing::info!(subnet = %gone.subnet, at = %gone.underlay, "peer gone");
        }
        replace(last, view.clone())
    });
    if changed {
        board.changed();
    }
    board.view(view);
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
