//! Traffic that runs on threads of its own while somebody else looks at the clock.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};

/// How long a socket may make no progress before that is a failure.
pub(super) const STALL: Duration = Duration::from_secs(10);

/// Running traffic.
#[derive(Debug, Default)]
pub(super) struct Load {
    tally: Arc<Tally>,
    threads: Vec<JoinHandle<Result<()>>>,
    streams: Vec<TcpStream>,
}

/// What the threads have counted so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    stop: AtomicBool,
    counting: AtomicBool,
    /// What came through: bytes, datagrams, answers, connections.
    arrived: AtomicU64,
    /// What was sent; only where some of it may be lost.
    sent: AtomicU64,
    /// How long answers took while somebody counted, in nanoseconds.
    took: Mutex<Vec<u64>>,
}

impl Load {
    /// One more thread.
    pub(super) fn spawn(&mut self, body: impl FnOnce(&Tally) -> Result<()> + Send + 'static) {
        let tally = self.tally.clone();
        self.threads.push(thread::spawn(move || body(&tally)));
    }

    /// A connection that is cut at the end, so that nobody waits in it.
    pub(super) fn cut_at_the_end(&mut self, stream: &TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STALL))?;
        stream.set_write_timeout(Some(STALL))?;
        self.streams.push(stream.try_clone()?);
        Ok(())
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Ends it. Answers how long answers took while somebody counted, sorted, in nanoseconds.
    pub(super) fn finish(self) -> Result<Vec<u64>> {
        let Self { tally, threads, streams } = self;
        tally.stop.store(true, Ordering::SeqCst);
        for stream in streams {
            // The other end may have closed it first.
            stream.shutdown(Shutdown::Both).ok();
        }
        for thread in threads {
            thread.join().map_err(|panic| anyhow!("a thread panicked: {panic:?}"))??;
        }
        let mut took =
            std::mem::take(&mut *tally.took.lock().unwrap_or_else(PoisonError::into_inner));
        took.sort_unstable();
        Ok(took)
    }
}

impl Tally {
    pub(super) fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// From now on it is noted how long answers take, or no more.
    pub(super) fn count(&self, counting: bool) {
        self.counting.store(counting, Ordering::Relaxed);
    }

    pub(super) fn is_counting(&self) -> bool {
        self.counting.load(Ordering::Relaxed)
    }

    pub(super) fn arrives(&self, count: u64) {
        self.arrived.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    pub(super) fn sends(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn took(&self, mut of_one: Vec<u64>) {
        self.took.lock().unwrap_or_else(PoisonError::into_inner).append(&mut of_one);
    }

    /// An error of a thread, which is none once everything is being cut.
    pub(super) fn unless_over(&self, result: Result<()>) -> Result<()> {
        if self.goes_on() { result } else { Ok(()) }
    }
}
