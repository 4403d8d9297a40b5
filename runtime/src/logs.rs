//! Reading a container's log while its monitor may be writing it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::str::FromStr;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use serde::Deserialize;

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
}

/// What is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// From where.
    pub tail: Tail,
    /// Until the container ends, or until now?
    pub follow: bool,
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
    let watch = wishes.follow.then(|| Watch::new(paths, id, &path)).transpose()?.flatten();
    let file = match File::open(&path) {
        // Never started.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.file("open", &path)?,
    };
    let mut lines = Lines { file: BufReader::new(file), partial: Vec::new() };
    let limit = match wishes.tail {
        Tail::All => None,
        Tail::Last(number) => Some(number),
    };
    let mut last = VecDeque::new();
    while let Some(entry) = lines.next().file("read", &path)? {
        match limit {
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
        let ended = watch.wait()?;
        while let Some(entry) = lines.next().file("read", &path)? {
            show(&entry)?;
        }
        if ended {
            return Ok(());
        }
    }
}

struct Lines {
    file: BufReader<File>,
    partial: Vec<u8>,
}

impl Lines {
    /// The next whole entry; `None` if there is none yet.
    fn next(&mut self) -> io::Result<Option<Entry>> {
        loop {
            self.file.read_until(b'\n', &mut self.partial)?;
            if !self.partial.ends_with(b"\n") {
                return Ok(None);
            }
            let entry = serde_json::from_slice(&self.partial).ok();
            self.partial.clear();
            if entry.is_some() {
                return Ok(entry);
            }
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
    fn new(paths: &Paths, id: &str, path: &Path) -> Result<Option<Self>> {
        let Some(monitor) = liveness::monitor(paths, id)?.and_then(Process::open) else {
            return Ok(None);
        };
        let changes =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).system("watch the log")?;
        match inotify::add_watch(&changes, path, WatchFlags::MODIFY) {
            // It ended and vanished just now.
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            watched => watched.file("watch", path)?,
        };
        Ok(Some(Self { changes, monitor }))
    }

    /// True if the monitor has ended.
    fn wait(&self) -> Result<bool> {
        let mut set = [
            PollFd::new(self.monitor.fd().as_fd(), PollFlags::POLLIN),
            PollFd::new(self.changes.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut set, PollTimeout::NONE) {
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
    use std::fs;

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

    #[test]
    fn entries_are_whole_and_rubbish_is_left_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let entry = |log: &str| format!(r#"{{"log":"{log}","stream":"stdout","time":"t"}}"#);
        fs::write(
            file.path(),
            format!("{}\nrubbish\n\n{}\n{}", entry("a"), entry("b"), &entry("c")[..9]),
        )
        .unwrap();
        let open = BufReader::new(File::open(file.path()).unwrap());
        let mut lines = Lines { file: open, partial: Vec::new() };
        let mut next = || lines.next().unwrap().map(|entry| entry.log);
        assert_eq!([next(), next(), next()], [Some("a".into()), Some("b".into()), None]);
        let mut rest = fs::OpenOptions::new().append(true).open(file.path()).unwrap();
        io::Write::write_all(&mut rest, format!("{}\n", &entry("c")[9..]).as_bytes()).unwrap();
        assert_eq!([next(), next()], [Some("c".into()), None]);
    }
}
