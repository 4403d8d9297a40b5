//! What a task waits for.

use std::future::pending;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// There is something else to hear. A channel without its sender says nothing any more.
pub(crate) async fn heard<T>(channel: &mut watch::Receiver<T>) {
    if channel.changed().await.is_err() {
        pending::<()>().await;
    }
}

/// Never, without a moment.
pub(crate) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}
