//! Stops a future as SIGSTOP stops a process: while the gate is shut it is not polled, so its
//! timers pass unheard, and it goes on as if nothing had been.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

/// The handle; clones mean the same gate.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    shut: AtomicBool,
    behind: AtomicWaker,
}

/// A future behind a gate.
#[derive(Debug)]
pub(super) struct Gated<F> {
    gate: Gate,
    // Boxed, so that it can be polled wherever it lies.
    future: Pin<Box<F>>,
}

impl Gate {
    pub(super) fn shut(&self) {
        self.inner.shut.store(true, Ordering::SeqCst);
    }

    pub(super) fn open(&self) {
        self.inner.shut.store(false, Ordering::SeqCst);
        self.inner.behind.wake();
    }

    /// Puts a future behind the gate.
    pub(super) fn guard<F: Future>(&self, future: F) -> Gated<F> {
        Gated { gate: self.clone(), future: Box::pin(future) }
    }
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // First the waker, then the look: a gate that opens in between is not missed.
        self.gate.inner.behind.register(context.waker());
        if self.gate.inner.shut.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        self.future.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_future_behind_a_shut_gate_hears_nothing_until_it_opens() {
        let second = Duration::from_secs(1);
        let (gate, start) = (Gate::default(), Instant::now());
        let mut gated = gate.guard(async {
            sleep(second).await;
            start.elapsed()
        });
        assert!(timeout(Duration::ZERO, &mut gated).await.is_err(), "it has begun to wait");
        gate.shut();
        assert!(timeout(5 * second, &mut gated).await.is_err(), "its timer rang behind the gate");
        let opener = async {
            sleep(second).await;
            gate.open();
        };
        let (woke, ()) = tokio::join!(gated, opener);
        assert_eq!(woke, 6 * second, "it woke when the gate opened");
    }
}
