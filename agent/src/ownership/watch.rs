//! What the watch sees of this host.

use tokio::sync::watch;
use twill_core::ids::NodeId;
use twill_core::lease::{Key, Lease};
use twill_core::peers::Known;
use twill_store::{Follow, Question, Store, Update};

use super::Mine;

/// What of all that is known is about this host.
pub(crate) fn mine(known: &Known, (node, key): (NodeId, Key), question: Option<Question>) -> Mine {
    let ours = |lease: &&Lease| lease.value.node == Some(node) && lease.key != key;
    let others = known.leases().filter(ours).cloned().collect();
    Mine { own: known.lease(key).cloned(), others, question }
}

/// Tells a keeper what happens to its lease, for ever; for hosts that have no peers to send to.
/// `known` is what `follow` goes on from.
pub async fn watch_own<S: Store>(
    (mut follow, mut known): (Follow<S>, Known),
    (node, key): (NodeId, Key),
    tell: watch::Sender<Mine>,
) {
    let mut question = None;
    loop {
        match follow.next().await {
            Update::Event(event) => known.fold(event),
            Update::Question(asked) => question = asked,
            Update::Config(_) | Update::Away(_) | Update::Back => continue,
        }
        let now = mine(&known, (node, key), question.clone());
        tell.send_if_modified(|last| {
            let differs = *last != now;
            *last = now;
            differs
        });
    }
}
