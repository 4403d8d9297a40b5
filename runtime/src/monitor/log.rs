//! The container's log: Docker's json-file, one object per line of output.
//!
//! `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}`. A line longer than
//! [`MAX_LINE`] is split; only the last piece ends in `\n`.
//!
//! A file that has become too large makes way ([`crate::logs::files`]), and the oldest one is gone. Where there
//! is to be one file only, it begins anew.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use jiff::Timestamp;
use serde_json::json;

use crate::container::Record;
use crate::container::logging::{self, Rotation};
use crate::error::{FileContext as _, Result};
use crate::logs::files;

/// Bytes of one stream that are kept until their line ends.
pub(super) const MAX_LINE: usize = 16 * 1024;

/// Which of the two outputs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stream {
    /// Standard output, or all of a terminal.
    Output,
    /// Standard error.
    Error,
}

/// How much is kept, and with what.
#[derive(Debug, Default)]
pub(super) struct Style {
    rotation: Rotation,
    /// Noted beside each line.
    details: BTreeMap<String, String>,
}

impl Style {
    /// As it was asked for.
    pub(super) fn of(record: &Record) -> Result<Self> {
        let rotation = logging::rotation(&record.log_options)?;
        Ok(Self { rotation, details: logging::details(record) })
    }
}

/// Appends to a log file. Its memory is bounded, and a full disk costs lines, never the container.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    style: Style,
    /// Where the last whole entry ends.
    length: u64,
    partial: [Vec<u8>; 2],
    /// Entries that the disk did not take since it last took one.
    lost: u64,
    compressor: Compressor,
}

impl Log {
    /// Goes on with a log, or begins one.
    pub(super) fn open(path: &Path, style: Style) -> Result<Self> {
        let file = append_to(path).file("open", path)?;
        let length = file.metadata().file("look at", path)?.len();
        let (path, partial) = (path.to_owned(), [Vec::new(), Vec::new()]);
        let compressor = Compressor::default();
        Ok(Self { path, file, style, length, partial, lost: 0, compressor })
    }

    /// Takes a piece of output as it came from the pipe.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) {
        let mut entries = String::new();
        let partial = &mut self.partial[stream as usize];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for chunk in piece.chunks(MAX_LINE) {
                let room = MAX_LINE - partial.len();
                let (head, tail) = chunk.split_at(room.min(chunk.len()));
                partial.extend_from_slice(head);
                if partial.len() == MAX_LINE || partial.ends_with(b"\n") {
                    entries.push_str(&self.style.entry(stream, partial, now));
                    partial.clear();
                    partial.extend_from_slice(tail);
                }
                if partial.ends_with(b"\n") {
                    entries.push_str(&self.style.entry(stream, partial, now));
                    partial.clear();
                }
            }
        }
        self.append(&entries, now);
    }

    /// Writes what never got its line end. Then all is on its way to the disk, and no thread of ours is left; what is not
    /// compressed by then is left to the next run, as somebody waits for the end of this one.
    pub(super) fn finish(&mut self, now: Timestamp) {
        for stream in [Stream::Output, Stream::Error] {
            let partial = std::mem::take(&mut self.partial[stream as usize]);
            if !partial.is_empty() {
                let entry = self.style.entry(stream, &partial, now);
                self.append(&entry, now);
            }
        }
        self.compressor.stop();
    }

    fn append(&mut self, entries: &str, now: Timestamp) {
        if entries.is_empty() {
            return;
        }
        if self.lost > 0 {
            let text = format!("twill: {} lines of the log were lost\n", self.lost);
            let entry = self.style.entry(Stream::Error, text.as_bytes(), now);
            if self.put(&entry) {
                self.lost = 0;
            }
        }
        for entries in self.portions(entries) {
            if !self.put(entries) {
                self.lost += entries.lines().count() as u64;
            }
        }
    }

    /// Where files are bounded, each entry by itself: a few bytes of output may be many entries.
    fn portions<'a>(&self, entries: &'a str) -> Vec<&'a str> {
        match self.style.rotation.size {
            None => vec![entries],
            Some(_) => entries.split_inclusive('\n').collect(),
        }
    }

    fn put(&mut self, entries: &str) -> bool {
        if self.style.rotation.size.is_some_and(|size| self.length >= size) {
            // What cannot be moved goes on growing: output is worth more than its bounds.
            drop(self.rotate());
        }
        if self.file.write_all(entries.as_bytes()).is_ok() {
            self.length += entries.len() as u64;
            return true;
        }
        // Half an entry would spoil the next one. There is nobody to tell if this fails, too.
        drop(self.file.set_len(self.length));
        false
    }
}

impl Log {
    fn rotate(&mut self) -> io::Result<()> {
        let older = u64::from(self.style.rotation.files.saturating_sub(1));
        if older == 0 {
            self.file.set_len(0)?;
            self.length = 0;
            return Ok(());
        }
        let numbers = files::numbers(&self.path)?;
        let next = numbers.last().map_or(1, |last| last.max(&0) + 1);
        let (beside, numbered) =
            (self.path.with_extension("next"), files::numbered(&self.path, next));
        // First what may fail: whoever has moved the file and has no other would write to it for ever.
        let file = append_to(&beside)?;
        fs::rename(&self.path, &numbered)?;
        if let Err(error) = fs::rename(&beside, &self.path) {
            fs::rename(&numbered, &self.path)?;
            return Err(error);
        }
        (self.file, self.length) = (file, 0);
        let keeps = usize::try_from(older).unwrap_or(usize::MAX);
        let surplus = (numbers.len() + 1).saturating_sub(keeps);
        for number in numbers.into_iter().take(surplus) {
            files::remove(&self.path, number)?;
        }
        if self.style.rotation.compresses {
            self.compressor.begin(&self.path)?;
        }
        Ok(())
    }
}

/// Compresses what made way, beside all else. What it fails at stays as it is, which is read as well.
#[derive(Debug, Default)]
struct Compressor {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    work: Arc<Mutex<Work>>,
}

/// Where a compressor is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Work {
    #[default]
    Done,
    Begun,
    /// And more has come since.
    More,
}

impl Compressor {
    fn begin(&mut self, path: &Path) -> io::Result<()> {
        let mut work = lock(&self.work);
        if *work != Work::Done {
            *work = Work::More;
            return Ok(());
        }
        *work = Work::Begun;
        drop(work);
        self.wait();
        let (path, stop, work) = (path.to_owned(), Arc::clone(&self.stop), Arc::clone(&self.work));
        let compress = move || {
            loop {
                drop(files::compress_all(&path, &stop));
                let mut work = lock(&work);
                if *work != Work::More || stop.load(Ordering::Relaxed) {
                    *work = Work::Done;
                    return;
                }
                *work = Work::Begun;
            }
        };
        match Builder::new().name("twill-log".into()).spawn(compress) {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => {
                *lock(&self.work) = Work::Done;
                return Err(error);
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wait();
        self.stop.store(false, Ordering::Relaxed);
    }

    fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn lock(work: &Mutex<Work>) -> MutexGuard<'_, Work> {
    // Whoever panicked did not in the middle of a change.
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

impl Style {
    fn entry(&self, stream: Stream, bytes: &[u8], now: Timestamp) -> String {
        let stream = match stream {
            Stream::Output => "stdout",
            Stream::Error => "stderr",
        };
        let log = String::from_utf8_lossy(bytes);
        let mut object = json!({"log": log, "stream": stream, "time": format!("{now:.9}")});
        if !self.details.is_empty() {
            object["attrs"] = json!(self.details);
        }
        format!("{object}\n")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn output_becomes_entries() {
        check("a line", &[b"out\n"], &["out\n"]);
        check("two lines in one piece", &[b"a\nb\n"], &["a\n", "b\n"]);
        check("a line in two pieces", &[b"a", b"b\n"], &["ab\n"]);
        check("a last line without its end", &[b"a\nb"], &["a\n", "b"]);
        check("empty lines", &[b"\n\n"], &["\n", "\n"]);
        check("nothing", &[b""], &[]);
        check("bytes that are not text", &[b"\xff\n"], &["\u{fffd}\n"]);
        check("quotes and controls", &[b"\"\\\x1b[0m\r\n"], &["\"\\\x1b[0m\r\n"]);
        let long = vec![b'x'; MAX_LINE];
        let text = String::from_utf8(long.clone()).unwrap();
        check("a line that fills the buffer", &[&long, b"\n"], &[&text, "\n"]);
        check("a line beyond it", &[&long, b"y\n"], &[&text, "y\n"]);
        check(
            "one beyond it after a piece",
            &[b"y", &long, b"\n"],
            &[&format!("y{}", &text[1..]), "x\n"],
        );
    }

    #[track_caller]
    fn check(name: &str, pieces: &[&[u8]], want: &[&str]) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.json");
        let mut log = Log::open(&path, Style::default()).unwrap();
        let now: Timestamp = "2026-01-02T03:04:05.678901234Z".parse().unwrap();
        for piece in pieces {
            log.write(Stream::Output, piece, now);
        }
        log.finish(now);
        let text = fs::read_to_string(&path).unwrap();
        let got: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|entry| entry["log"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(got, want, "{name}");
        if let Some(first) = text.lines().next() {
            assert!(
                first.ends_with(r#""stream":"stdout","time":"2026-01-02T03:04:05.678901234Z"}"#)
            );
        }
    }

    #[test]
    fn files_that_are_full_make_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.json");
        let of = |files| Style {
            rotation: Rotation { size: Some(100), files, compresses: false },
            ..Style::default()
        };
        let mut log = Log::open(&path, of(3)).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        for number in 0..20 {
            log.write(Stream::Output, format!("{number}\n").as_bytes(), now);
        }
        let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
        assert_eq!(files::numbers(&path).unwrap().into_iter().collect::<Vec<_>>(), [8, 9]);
        let of_number = |number| lines(&files::numbered(&path, number));
        assert_eq!([lines(&path), of_number(9), of_number(8)], [2, 2, 2]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
        let mut log = Log::open(&path, of(1)).unwrap();
        log.write(Stream::Output, b"alone\n", now);
        assert_eq!(lines(&path), 1);
    }

    #[test]
    fn a_full_disk_loses_lines_and_says_so_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.json");
        let mut log = Log::open(&path, Style::default()).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        log.write(Stream::Output, b"before\n", now);
        let good = std::mem::replace(
            &mut log.file,
            File::options().write(true).open("/dev/full").unwrap(),
        );
        log.write(Stream::Output, b"lost\nlost\n", now);
        log.file = good;
        log.write(Stream::Output, b"after\n", now);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].contains("2 lines of the log were lost"));
        assert!(lines[2].contains("after"));
    }
}
