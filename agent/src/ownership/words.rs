//! What administrators must hear.

use twill_core::ids::Underlay;
use twill_core::ownership::Taken;
use twill_store::Error;

use crate::trouble::Trouble;

/// Says once what is wrong, and waits for the next try.
pub(super) async fn report(trouble: &mut Trouble, error: Error, what: &'static str) {
    let error = format!("{:#}", anyhow::Error::new(error));
    let (wait, new) = trouble.meet(&error);
    if new {
        tracing::warn!(error, "{what}");
    }
    tokio::time::sleep(wait).await;
}

/// Says once and loudly that this host has to move.
pub(crate) fn tell_displaced(taken: &Taken) {
    tracing::error!(
        "ANOTHER HOST OWNS OUR SUBNET: {taken}; this host moves to a new one, and its subnet hook \
         brings the containers of `twill` there"
    );
}

/// Says once and loudly that this host was copied.
pub(crate) fn tell_doubled(at: Option<Underlay>) {
    let at = at.map_or_else(|| "another address".to_owned(), |at| at.to_string());
    tracing::error!(
        at,
        "ANOTHER HOST HAS OUR NODE ID and keeps its subnet: this host takes a new node id and a new \
         subnet"
    );
}
