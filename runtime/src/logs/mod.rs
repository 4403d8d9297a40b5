//! Reading a container's log while its monitor may be writing it.

pub(crate) mod files;
mod lines;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd as _, OwnedFd};
use std::str::FromStr;

use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use serde::Deserialize;

use self::lines::Lines;

use crate::Paths;
use crate::container::{Container, liveness};
use crate::error::{FileContext as _, Result, SystemContext as _};
use crate::process::{Handle, Process};

/// How much of a log is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tail {
    /// From the first line.
    All,
    /// At most so many lines from the end.
    Last(usize),
}

impl FromStr for Tail {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            // Docker takes a negative number for all, too.
            "all" | "-1" => Ok(Self::All),
            number => number
                .parse()
                .map(Self::Last)
                .map_err(|_not_a_number| format!("`{text}` is neither a number nor `all`")),
        }
    }
}

/// One line of output, or a piece of a very long one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Entry {
    /// With its line end, if it has one.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// RFC 3339, nanoseconds, UTC.
    pub time: String,
    /// What was to be noted beside it.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
}

/// What is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// From where.
    pub tail: Tail,
    /// Until the container ends, or until now?
    pub follow: bool,
    /// The first moment.
    pub since: Option<Timestamp>,
    /// The last moment.
    pub until: Option<Timestamp>,
}

impl Wishes {
    fn fits(&self, entry: &Entry) -> bool {
        let Ok(time) = entry.time.parse::<Timestamp>() else { return true };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }
}

/// Hands the entries over, oldest first. Lines that are not entries are left out.
pub fn read(
    paths: &Paths,
    container: &Container,
    wishes: Wishes,
    mut show: impl FnMut(&Entry) -> Result<()>,
) -> Result<()> {
    let id = &container.record.id;
    let path = paths.container(id).join("log.json");
    // Both before the first look at the file: whatever comes later is noticed.
    let watch = wishes.follow.then(|| Watch::new(paths, id)).transpose()?.flatten();
    let Some(mut lines) = Lines::open(&path).file("open", &path)? else {
        // Never started.
        return Ok(());
    };
    let limit = match wishes.tail {
        Tail::All => None,
        Tail::Last(number) => Some(number),
    };
    let mut last = VecDeque::new();
    while let Some(entry) = lines.next().file("read", &path)? {
        match limit {
            _ if !wishes.fits(&entry) => {}
            None => show(&entry)?,
            Some(limit) => {
                last.push_back(entry);
                if last.len() > limit {
                    last.pop_front();
                }
            }
        }
    }
    last.iter().try_for_each(&mut show)?;
    let Some(watch) = watch else { return Ok(()) };
    loop {
        let ended = watch.wait(wishes.until)?;
        while let Some(entry) = lines.next().file("read", &path)? {
            if wishes.fits(&entry) {
                show(&entry)?;
            }
        }
        if ended || wishes.until.is_some_and(|until| Timestamp::now() > until) {
            return Ok(());
        }
    }
}

/// Tells when a log has grown, and when it will grow no more.
struct Watch {
    changes: OwnedFd,
    monitor: Handle,
}

impl Watch {
    /// `None` if nobody writes any more.
    fn new(paths: &Paths, id: &str) -> Result<Option<Self>> {
        let Some(monitor) = liveness::monitor(paths, id)?.and_then(Process::open) else {
            return Ok(None);
        };
        let changes =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).system("watch the log")?;
        // The directory: the file may make way for another.
        let directory = paths.container(id);
        let wanted = WatchFlags::MODIFY | WatchFlags::CREATE;
        match inotify::add_watch(&changes, &directory, wanted) {
            // It ended and vanished just now.
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            watched => watched.file("watch", &directory)?,
        };
        Ok(Some(Self { changes, monitor }))
    }

    /// True if the monitor has ended.
    fn wait(&self, until: Option<Timestamp>) -> Result<bool> {
        let mut set = [
            PollFd::new(self.monitor.fd().as_fd(), PollFlags::POLLIN),
            PollFd::new(self.changes.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = until.map_or(PollTimeout::NONE, |until| {
            let left = until.duration_since(Timestamp::now()).as_millis().max(0);
            PollTimeout::try_from(left + 1).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut set, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error).system("watch the log"),
        }
        let ended = set[0].any().unwrap_or(false);
        // What changed is seen by looking at the file; the events only wake us.
        let mut events = [0; 4096];
        while rustix::io::read(&self.changes, &mut events).is_ok_and(|length| length > 0) {}
        Ok(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails() {
        for (text, want) in [
            ("all", Some(Tail::All)),
            ("-1", Some(Tail::All)),
            ("0", Some(Tail::Last(0))),
            ("10", Some(Tail::Last(10))),
            ("-2", None),
            ("ten", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), want, "{text:?}");
        }
    }
}
