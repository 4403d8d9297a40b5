//! Patience: with etcd away the start waits, and says for what, once.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;
use twill_core::ids::NetworkName;
use twill_store::Store;

use crate::bootstrap::Agent;
use crate::failure::Failure;
use crate::host::Host;
use crate::status::Board;
use crate::trouble::Trouble;
use crate::wake::heard;

/// The wait itself, the next try, and some air.
pub(crate) const MORE_TIME: NotifyState<'_> = NotifyState::ExtendTimeoutUsec(30_000_000);

/// From one try to the next at least.
const SHORTEST: Duration = Duration::from_millis(100);

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
        self.host.books.pass(self.name.as_ref());
        if self.name.is_some() {
            tell_systemd_of(&self.board);
        } else {
            tell_systemd(&[NotifyState::Status(&format!("waiting: {line}"))]);
        }
        tell_systemd(&[MORE_TIME]);
        tokio::time::sleep(wait).await;
    }

    /// Runs a future again and again until it succeeds: for the time after the first start, when giving
    /// up would only make things worse; and for one of several networks, which must not end the others.
    pub(crate) async fn insist<T, F>(&self, mut attempt: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut trouble = Trouble::default();
        let mut changes = self.host.books.changes();
        loop {
            changes.mark_unchanged();
            match attempt().await {
                Ok(done) => return done,
                Err(failure) => {
                    let here = (&*self.host, self.name.as_ref(), &self.board);
                    let wait = complain(here, &mut trouble, &failure);
                    tell_systemd(&[MORE_TIME]);
                    tokio::time::sleep(SHORTEST).await;
                    // Another network may have given up what this one needs.
                    tokio::select! {
                        () = tokio::time::sleep(wait.saturating_sub(SHORTEST)) => {}
                        () = heard(&mut changes) => {}
                    }
                }
            }
        }
    }
}

/// Says once why a network cannot be joined. Answers when it pays to try again.
pub(crate) fn complain(
    (host, name, board): (&Host, Option<&NetworkName>, &Board),
    trouble: &mut Trouble,
    failure: &Failure,
) -> Duration {
    let line = failure.line();
    let (wait, new) = trouble.meet(&line);
    host.books.pass(name);
    if new {
        let hint = failure.way_out();
        tracing::error!(hint, "cannot join the network: {line}");
        board.waiting(&line);
    }
    tell_systemd_of(board);
    wait
}

/// Tells systemd how the host is, and that others can rely on it once they can.
pub(crate) fn tell_systemd_of(board: &Board) {
    tell_systemd_how(&board.headline(), board.is_up());
}

pub(crate) fn tell_systemd_how(headline: &str, is_up: bool) {
    let mut states = vec![NotifyState::Status(headline)];
    if is_up {
        states.push(NotifyState::Ready);
    }
    tell_systemd(&states);
}

/// Speaks to systemd, if there is one.
pub(crate) fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd does not listen");
    }
}
