//! The journal: two files of JSON lines, the younger of which is written to.
//!
//! ```text
//! <root>/events/journal      one event a line, at most a mebibyte
//!               journal.old  what was in it before
//!               lock         held while a line is appended
//! ```

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::Event;
use crate::durable::{self, Sharing};
use crate::error::{FileContext as _, Result, SystemContext as _};

/// As much as each of the two files may hold: some thousand events.
const LIMIT: u64 = 1 << 20;

/// Appends an event; makes the journal when there is none.
pub(super) fn append(directory: &Path, event: &Event) -> io::Result<()> {
    append_within(directory, event, LIMIT)
}

fn append_within(directory: &Path, event: &Event, limit: u64) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let _lock = durable::lock(&directory.join("lock"), Sharing::Exclusive)?;
    let path = directory.join("journal");
    let mut options = File::options();
    options.read(true).append(true).create(true).mode(0o600);
    let mut file = options.open(&path)?;
    let mut length = file.metadata()?.len();
    if length >= limit {
        fs::rename(&path, directory.join("journal.old"))?;
        file = options.open(&path)?;
        length = 0;
    }
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    if !ends_whole(&mut file, length)? {
        // Somebody died over the last one; it must not spoil this one.
        line.insert(0, b'\n');
    }
    let written = file.write_all(&line);
    if written.is_err() {
        // A full disk: half a line is of no use to anybody.
        file.set_len(length)?;
    }
    written
}

fn ends_whole(file: &mut File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.seek(SeekFrom::Start(last))?;
    file.read_exact(&mut byte)?;
    Ok(byte == *b"\n")
}

/// All that is in the journal, oldest first. What is no event is left out.
pub fn read(directory: &Path) -> Result<Vec<Event>> {
    Follower::new(directory)?.news()
}

/// Reads a journal while others write to it.
#[derive(Debug)]
pub struct Follower {
    directory: PathBuf,
    changes: OwnedFd,
    open: Option<Open>,
    started: bool,
}

#[derive(Debug)]
struct Open {
    file: BufReader<File>,
    partial: Vec<u8>,
}

impl Follower {
    /// From the oldest event on.
    pub fn new(directory: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .file("create", directory)?;
        // Before the first look, so that whatever comes later is noticed.
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let changes = inotify::init(flags).system("watch the journal")?;
        let watched = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&changes, directory, watched).file("watch", directory)?;
        Ok(Self { directory: directory.to_owned(), changes, open: None, started: false })
    }

    /// What has been appended since it was asked last.
    pub fn news(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        if !std::mem::replace(&mut self.started, true) {
            self.start()?;
        }
        loop {
            let path = self.directory.join("journal");
            if let Some(open) = &mut self.open {
                open.read(&mut events).file("read", &path)?;
                if !open.has_been_moved(&path) {
                    return Ok(events);
                }
                // The rest of it was written before it was moved.
                open.read(&mut events).file("read", &path)?;
                // Whoever slept over two moves has one more to read.
                let old = self.directory.join("journal.old");
                if open.has_been_moved(&old)
                    && let Some(old) = Open::new(&old)?
                {
                    self.open = Some(old);
                    continue;
                }
            }
            self.open = Open::new(&path)?;
            if self.open.is_none() {
                return Ok(events);
            }
        }
    }

    /// The older file first, if there is one: the loop goes on to the younger.
    fn start(&mut self) -> Result<()> {
        self.open = Open::new(&self.directory.join("journal.old"))?;
        Ok(())
    }

    /// Waits until something may have been appended, or for so long. False if time is up, or
    /// nobody listens to us any more.
    pub fn wait(&self, limit: Option<Duration>) -> Result<bool> {
        let stdout = io::stdout();
        let mut set = [
            PollFd::new(self.changes.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdout.as_fd(), PollFlags::empty()),
        ];
        let timeout = limit.map_or(PollTimeout::NONE, |limit| {
            PollTimeout::try_from(limit.as_millis() + 1).unwrap_or(PollTimeout::MAX)
        });
        let ready = match poll(&mut set, timeout) {
            Ok(ready) => ready,
            Err(nix::Error::EINTR) => return Ok(true),
            Err(error) => return Err(error).system("wait for events"),
        };
        let left = set[1].revents().is_some_and(|got| got.contains(PollFlags::POLLERR));
        let mut events = [0; 4096];
        while rustix::io::read(&self.changes, &mut events).is_ok_and(|length| length > 0) {}
        Ok(ready > 0 && !left)
    }
}

impl Open {
    fn new(path: &Path) -> Result<Option<Self>> {
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => {
                Ok(Some(Self { file: BufReader::new(file.file("open", path)?), partial: vec![] }))
            }
        }
    }

    fn read(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        loop {
            self.file.read_until(b'\n', &mut self.partial)?;
            if !self.partial.ends_with(b"\n") {
                return Ok(());
            }
            events.extend(serde_json::from_slice::<Event>(&self.partial));
            self.partial.clear();
        }
    }

    fn has_been_moved(&self, path: &Path) -> bool {
        let same = |now: fs::Metadata| {
            let own = self.file.get_ref().metadata();
            own.is_ok_and(|own| (own.dev(), own.ino()) == (now.dev(), now.ino()))
        };
        !fs::metadata(path).is_ok_and(same)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::events::Kind;

    fn event(number: usize) -> Event {
        Event {
            time: Timestamp::UNIX_EPOCH,
            kind: Kind::Container,
            action: number.to_string(),
            id: "a".repeat(64),
            attributes: [("name".to_owned(), "web".to_owned())].into(),
        }
    }

    fn actions(events: &[Event]) -> Vec<usize> {
        events.iter().map(|event| event.action.parse().unwrap()).collect()
    }

    #[test]
    fn the_journal_is_bounded_and_a_follower_misses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        let mut follower = Follower::new(&path).unwrap();
        let mut seen = Vec::new();
        for number in 0..100 {
            append_within(&path, &event(number), 1000).unwrap();
            if number % 3 == 0 {
                seen.extend(follower.news().unwrap());
            }
        }
        seen.extend(follower.news().unwrap());
        assert_eq!(actions(&seen), (0..100).collect::<Vec<_>>());
        let kept = actions(&read(&path).unwrap());
        assert!(kept.len() < 20 && kept.ends_with(&[97, 98, 99]), "{kept:?}");
        let sizes =
            ["journal", "journal.old"].map(|name| path.join(name).metadata().unwrap().len());
        assert!(sizes.iter().all(|size| *size < 1300), "{sizes:?}");
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let directory = tempfile::tempdir().unwrap();
        append(directory.path(), &event(1)).unwrap();
        let journal = directory.path().join("journal");
        let whole = fs::read(&journal).unwrap();
        for torn in [&whole[..20], b"rubbish\n", b"{}\n"] {
            let mut file = File::options().append(true).open(&journal).unwrap();
            file.write_all(torn).unwrap();
            append(directory.path(), &event(2)).unwrap();
        }
        assert_eq!(actions(&read(directory.path()).unwrap()), [1, 2, 2, 2]);
    }

    #[test]
    fn many_write_at_once() {
        let directory = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let directory = directory.path();
                scope.spawn(move || {
                    for number in 0..25 {
                        append_within(directory, &event(writer * 25 + number), 1 << 20).unwrap();
                    }
                });
            }
        });
        let mut all = actions(&read(directory.path()).unwrap());
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
    }
}
