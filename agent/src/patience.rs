//! Patience: with etcd away the start waits, and says for what, once.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;
use twill_store::Store;

use crate::bootstrap::Agent;
use crate::failure::Failure;
use crate::status::Board;
use crate::trouble::Trouble;

impl<S: Store> Agent<S> {
    /// Says what is waited for, once, and waits for the next try.
    pub(crate) async fn wait(&self, trouble: &mut Trouble, failure: &Failure) {
        let line = failure.line();
        let (wait, new) = trouble.meet(&line);
        if new {
            let hint = failure.way_out();
            tracing::warn!(hint, "waiting: {line}");
            self.board.waiting(&line);
        }
        tell_systemd(&[
            NotifyState::Status(&format!("waiting: {line}")),
            // The wait itself, the next try, and some air.
            NotifyState::ExtendTimeoutUsec(30_000_000),
        ]);
        tokio::time::sleep(wait).await;
    }
}

/// Speaks to systemd, if there is one.
pub(crate) fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd does not listen");
    }
}

/// Runs a future again and again until it succeeds: for the time after the first start, when giving
/// up would only make things worse.
pub(crate) async fn insist<T, F>(board: &Board, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut trouble = Trouble::default();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(failure) => {
                let line = failure.line();
                let (wait, new) = trouble.meet(&line);
                if new {
                    let hint = failure.way_out();
                    tracing::error!(hint, "cannot join the network again: {line}");
                    board.waiting(&line);
                }
                tokio::time::sleep(wait.max(Duration::from_millis(100))).await;
            }
        }
    }
}
