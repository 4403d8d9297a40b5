//! When to look at the kernel: at once when there is a reason, and every few seconds without one.

use std::time::Duration;

use futures::FutureExt;
use futures::future::select_all;
use tokio::sync::watch;
use tokio::time::Instant;

use super::part::Part;
use super::{Reconciler, Uprooted};
use crate::failure::Failure;
use crate::firewall::jittered;

/// From one pass to the next at least. The first reason is answered at once; somebody who undoes our
/// rows as fast as we write them gets no busy loop and no flood of log lines.
const SPACING: Duration = Duration::from_millis(100);

impl Reconciler {
    /// Passes whenever there is a reason to, until told to stop; a pass that has begun is finished.
    pub(crate) async fn run(
        mut self,
        period: Duration,
        mut stop: watch::Receiver<bool>,
    ) -> Option<Uprooted> {
        let mut wait = jittered(period);
        let mut next = Instant::now();
        loop {
            self.board.looks_within(wait);
            tokio::select! {
                _stopped = stop.wait_for(|stop| *stop) => return None,
                () = self.reason() => {}
                () = tokio::time::sleep(wait) => {}
            }
            tokio::select! {
                _stopped = stop.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep_until(next) => {}
            }
            next = Instant::now() + SPACING;
            if self.uprooted().await {
                return Some(Uprooted);
            }
            wait = self.try_pass(period).await;
        }
    }

    /// The wait until the next pass if nothing happens.
    async fn try_pass(&mut self, period: Duration) -> Duration {
        let mut pass = match self.pass().await {
            Ok(pass) => pass,
            Err(failure) => return self.tell(&failure),
        };
        let delayed = pass.unready.take().map(|failure| self.tell_delay(&failure));
        match pass.complete() {
            Ok(changes) => {
                self.board.pass(None);
                self.outrun = false;
                if changes > 0 {
                    tracing::info!(changes, "kernel brought up to date");
                }
                if self.trouble.over() {
                    tracing::info!("the kernel is as it should be again");
                }
                delayed.unwrap_or_else(|| jittered(period))
            }
            // The others' rows are looked at as often as ever.
            Err(failure) => self.tell(&failure).min(jittered(period)),
        }
    }

    fn tell(&mut self, failure: &Failure) -> Duration {
        let line = failure.line();
        // It went between the look and the write, of which the kernel tells: the next pass makes it again.
        if failure.lacks_device() && !std::mem::replace(&mut self.outrun, true) {
            tracing::debug!("a device went while its rows were written: {line}");
            return SPACING;
        }
        let (wait, new) = self.trouble.meet(&line);
        // Without its uplink no device can be made, and that has been said.
        if new && !self.parts.iter().any(|part| part.away) {
            let hint = failure.way_out();
            tracing::error!(hint, "cannot bring the kernel up to date: {line}");
        }
        self.board.pass(Some(line));
        wait
    }

    /// A new backend that cannot stand hurts nobody: all go on by the one before.
    fn tell_delay(&mut self, failure: &Failure) -> Duration {
        let line = failure.line();
        let (wait, new) = self.delay.meet(&line);
        if new {
            let hint = failure.way_out();
            tracing::error!(
                hint,
                "cannot serve the new configuration yet, going on as before: {line}"
            );
        }
        self.board.configuration_waits(line);
        wait
    }

    /// Returns when something happened that may concern us. Many things at once are one reason.
    async fn reason(&mut self) {
        loop {
            tokio::select! {
                changed = self.wires.peers.changed() => return or_never(changed).await,
                changed = self.wires.setup.changed() => return or_never(changed).await,
                () = lost(&self.parts) => return,
                // Rules of others are no reason to look at rows.
                () = self.wires.gate.changed() => self.wires.gate.look().await,
                event = self.events.next() => {
                    let mut concerns = self.concerns(event);
                    while let Some(event) = self.events.next().now_or_never() {
                        concerns |= self.concerns(event);
                    }
                    if concerns {
                        return;
                    }
                }
            }
        }
    }

    fn concerns(&self, event: Result<twill_net::kernel::Event, twill_net::Error>) -> bool {
        match event {
            Ok(event) => {
                let concerns = |part: &Part| event.concerns(&part.devices, part.uplink.index);
                self.parts.iter().any(|part| part.away || concerns(part))
            }
            Err(error) => {
                tracing::debug!(%error, "the kernel's news were cut off");
                true
            }
        }
    }
}

/// Returns when a tunnel of one of them says that its device is gone, or when commands stand or do not.
async fn lost(parts: &[Part]) {
    if parts.is_empty() {
        return std::future::pending().await;
    }
    select_all(parts.iter().map(|part| Box::pin(part.lost()))).await;
}

/// Without its sender the session ends, and stops us too.
async fn or_never(changed: Result<(), watch::error::RecvError>) {
    if changed.is_err() {
        std::future::pending::<()>().await;
    }
}
