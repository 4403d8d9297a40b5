//! Blocking until a file is ready or the owner says stop.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

/// How long a thread looks for the next packet before it sleeps: about as long as it takes to be woken,
/// so that at worst it costs twice what sleeping at once would have.
const SPIN: Duration = Duration::from_micros(50);
/// After so many looks in vain it sleeps at once, until packets follow each other closely again.
const MISSES: u8 = 4;
/// So often it sleeps before it looks again, once it found that others want the core: a thread that gives
/// way gets it back later than one that sleeps and is woken.
const CROWDED: u8 = 200;

/// What to wait for.
pub(crate) enum Ready<'a, F> {
    /// There is something to read, or an error to collect.
    ToRead(&'a F),
    /// There is room to write, or an error to collect.
    ToWrite(&'a F),
}

/// Returns when the file is ready, or when `stop` was written to; which of them, the caller sees by
/// trying. `stop` is never read, so it wakes every thread, for ever.
pub(crate) fn wait<F: AsFd>(stop: &EventFd, ready: &Ready<'_, F>) -> io::Result<()> {
    let (file, flags) = match ready {
        Ready::ToRead(file) => (file, PollFlags::POLLIN),
        Ready::ToWrite(file) => (file, PollFlags::POLLOUT),
    };
    let mut files =
        [PollFd::new(file.as_fd(), flags), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
    match poll(&mut files, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Returns after ten milliseconds, or at once when told to stop: after an error that nobody expects,
/// so that it cannot become a busy loop.
pub(crate) fn pause(stop: &EventFd) {
    let mut files = [PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
    if let Err(errno) = poll(&mut files, PollTimeout::from(10_u8)) {
        tracing::debug!(%errno, "a pause was cut short");
    }
}

/// Rests between packets: it looks a little longer while traffic flows and the core is its own, and sleeps
/// when not.
#[derive(Debug)]
pub(crate) struct Rest {
    /// Since when nothing came.
    since: Option<Instant>,
    habit: Habit,
}

/// Whether looking is worth it, from how it went before. Pure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Habit {
    misses: u8,
    crowded: u8,
}

impl Rest {
    pub(crate) fn new() -> Self {
        Self { since: None, habit: Habit { misses: MISSES, crowded: 0 } }
    }

    /// Something came.
    pub(crate) fn over(&mut self) {
        if let Some(since) = self.since.take() {
            self.habit.found(since.elapsed());
        }
    }

    /// Nothing came: returns when it is worth looking again.
    pub(crate) fn wait<F: AsFd>(&mut self, stop: &EventFd, file: &F) -> io::Result<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.habit.looks(since.elapsed()) {
            // Whoever else wants the core has it first.
            std::thread::yield_now();
            return Ok(());
        }
        wait(stop, &Ready::ToRead(file))?;
        self.habit.slept(since.elapsed());
        self.since = None;
        Ok(())
    }
}

impl Habit {
    /// Nothing came for so long: look on?
    fn looks(&mut self, elapsed: Duration) -> bool {
        if self.misses >= MISSES || self.crowded > 0 {
            return false;
        }
        if elapsed < SPIN {
            return true;
        }
        self.misses += 1;
        self.notice(elapsed);
        false
    }

    /// Something was found by looking.
    fn found(&mut self, elapsed: Duration) {
        self.misses = 0;
        self.notice(elapsed);
    }

    /// Something came, or it was told to stop, after so long without.
    fn slept(&mut self, elapsed: Duration) {
        self.crowded = self.crowded.saturating_sub(1);
        if elapsed < SPIN * 2 {
            self.misses = 0;
        }
    }

    /// One look takes a microsecond or two: who looked for much longer than wanted was not alone.
    fn notice(&mut self, elapsed: Duration) {
        if elapsed > SPIN * 2 {
            self.crowded = CROWDED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSE: Duration = Duration::from_micros(20);
    const LATE: Duration = Duration::from_micros(60);
    const FAR: Duration = Duration::from_millis(5);

    fn idle() -> Habit {
        Rest::new().habit
    }

    #[test]
    fn it_looks_only_while_packets_follow_each_other_closely() {
        let mut habit = idle();
        assert!(!habit.looks(Duration::ZERO), "nothing came yet");
        habit.slept(FAR);
        assert!(!habit.looks(Duration::ZERO), "packets far apart");
        habit.slept(CLOSE);
        assert!(habit.looks(Duration::ZERO) && habit.looks(CLOSE), "packets close together");
        habit.found(CLOSE);
        for _time in 0..MISSES {
            assert!(habit.looks(CLOSE));
            assert!(!habit.looks(LATE), "long enough");
            habit.slept(FAR);
        }
        assert!(!habit.looks(Duration::ZERO), "in vain too often");
    }

    #[test]
    fn it_does_not_look_where_others_want_the_core() {
        let mut habit = idle();
        habit.slept(CLOSE);
        assert!(habit.looks(CLOSE));
        habit.found(FAR);
        for _time in 0..CROWDED {
            assert!(!habit.looks(Duration::ZERO));
            habit.slept(CLOSE);
        }
        assert!(habit.looks(Duration::ZERO), "it tries again");
    }
}
