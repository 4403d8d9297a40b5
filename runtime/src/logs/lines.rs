//! The lines of a log that lies in several files, of which the youngest is being written.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek as _};
use std::ops::Bound;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use super::Entry;
use super::files::{compressed, numbered, numbers};

/// As one file, oldest line first, whatever makes way meanwhile.
pub(super) struct Lines {
    path: PathBuf,
    file: Source,
    /// Its number: of the one that is being written, that which it will get.
    number: i64,
    /// What comes after it, oldest first; the last one is being written.
    younger: VecDeque<Part>,
    partial: Vec<u8>,
}

/// One file, not yet read.
struct Part {
    number: i64,
    file: File,
    is_compressed: bool,
}

enum Source {
    /// It may grow, or begin anew.
    Plain(BufReader<File>),
    Compressed(Box<BufReader<GzDecoder<BufReader<File>>>>),
}

impl Lines {
    /// `None` if there is no log.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let mut all = open_all(path, i64::MIN)?;
        let Some(first) = all.pop_front() else { return Ok(None) };
        let (path, number) = (path.to_owned(), first.number);
        let (file, partial) = (first.into(), Vec::new());
        Ok(Some(Self { path, file, number, younger: all, partial }))
    }

    /// The next whole entry; `None` if there is none yet.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        loop {
            match &mut self.file {
                Source::Plain(file) => file.read_until(b'\n', &mut self.partial)?,
                Source::Compressed(file) => file.read_until(b'\n', &mut self.partial)?,
            };
            if !self.partial.ends_with(b"\n") {
                if self.go_on()? {
                    continue;
                }
                return Ok(None);
            }
            let entry = serde_json::from_slice(&self.partial).ok();
            self.partial.clear();
            if entry.is_some() {
                return Ok(entry);
            }
        }
    }

    /// To the next file, or to the beginning of this one, if it began anew.
    fn go_on(&mut self) -> io::Result<bool> {
        if self.younger.is_empty() {
            if let Source::Plain(file) = &mut self.file
                && let metadata = file.get_ref().metadata()?
                && is(&self.path, &metadata)
            {
                if metadata.len() >= file.stream_position()? {
                    return Ok(false);
                }
                file.rewind()?;
                self.partial.clear();
                return Ok(true);
            }
            self.younger = open_all(&self.path, self.number)?;
        }
        if self.younger.is_empty() {
            return Ok(false);
        }
        if let Source::Plain(file) = &mut self.file
            && file.stream_position()? < file.get_ref().metadata()?.len()
        {
            // It made way after our last look at it: there may be more in it, also of an entry that was half there.
            return Ok(true);
        }
        let Some(next) = self.younger.pop_front() else { return Ok(false) };
        self.number = next.number;
        self.file = next.into();
        // What a dying monitor left of its last line.
        self.partial.clear();
        Ok(true)
    }
}

impl From<Part> for Source {
    fn from(part: Part) -> Self {
        let file = BufReader::new(part.file);
        if part.is_compressed {
            Self::Compressed(Box::new(BufReader::new(GzDecoder::new(file))))
        } else {
            Self::Plain(file)
        }
    }
}

/// All files of a log after this number, oldest first.
fn open_all(path: &Path, after: i64) -> io::Result<VecDeque<Part>> {
    loop {
        let before = numbers(path)?;
        let mut all = VecDeque::new();
        for number in before.range((Bound::Excluded(after), Bound::Unbounded)) {
            all.extend(open_one(path, *number)?);
        }
        let last = before.last().copied().unwrap_or(0).max(0);
        let youngest = open(path)?;
        // If none made way meanwhile, the one that is being written will get the next number.
        if numbers(path)?.last().copied().unwrap_or(0).max(0) == last {
            all.extend(youngest.map(|file| Part { number: last + 1, file, is_compressed: false }));
            return Ok(all);
        }
    }
}

/// `None` if it was given up meanwhile. It is compressed before the other one goes.
fn open_one(path: &Path, number: i64) -> io::Result<Option<Part>> {
    if let Some(file) = open(&numbered(path, number))? {
        return Ok(Some(Part { number, file, is_compressed: false }));
    }
    let file = open(&compressed(path, number))?;
    Ok(file.map(|file| Part { number, file, is_compressed: true }))
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

fn is(path: &Path, metadata: &fs::Metadata) -> bool {
    fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::super::files::{self, remove};
    use super::*;

    fn entry(log: &str) -> String {
        format!(r#"{{"log":"{log}","stream":"stdout","time":"t"}}"#)
    }

    fn append(path: &Path, text: &str) {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }

    fn compress_all(path: &Path) -> io::Result<()> {
        files::compress_all(path, &AtomicBool::new(false))
    }

    fn rest(lines: &mut Lines) -> String {
        std::iter::from_fn(|| lines.next().unwrap()).map(|entry| entry.log).collect()
    }

    #[test]
    fn entries_are_whole_and_rubbish_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.json");
        assert!(Lines::open(&path).unwrap().is_none());
        append(&path, &format!("{}\nrubbish\n\n{}\n{}", entry("a"), entry("b"), &entry("c")[..9]));
        let mut lines = Lines::open(&path).unwrap().unwrap();
        assert_eq!(rest(&mut lines), "ab");
        append(&path, &format!("{}\n", &entry("c")[9..]));
        assert_eq!(rest(&mut lines), "c");
    }

    fn put(path: &Path, log: &str) {
        append(path, &format!("{}\n", entry(log)));
    }

    /// The one that is being written gets a number.
    fn turn(path: &Path) {
        let number = numbers(path).unwrap().last().map_or(1, |last| last.max(&0) + 1);
        fs::rename(path, numbered(path, number)).unwrap();
    }

    #[test]
    fn a_reader_goes_from_file_to_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.json");
        put(&numbered(&path, 8), "a");
        put(&numbered(&path, 11), "b");
        put(&path, "c");
        let mut lines = Lines::open(&path).unwrap().unwrap();
        assert_eq!(rest(&mut lines), "abc");
        put(&path, "d");
        turn(&path);
        put(&path, "e");
        assert_eq!(rest(&mut lines), "de");
        for log in ["f", "g"] {
            turn(&path);
            put(&path, log);
        }
        assert_eq!(rest(&mut lines), "fg", "two turns at once");
        let whole = format!("{}\n", entry("i"));
        append(&path, &whole[..9]);
        assert_eq!(rest(&mut lines), "", "half an entry");
        append(&path, &whole[9..]);
        turn(&path);
        put(&path, "j");
        assert_eq!(rest(&mut lines), "ij", "it became whole before its file made way");
        File::create(&path).unwrap();
        assert_eq!(rest(&mut lines), "");
        put(&path, "h");
        assert_eq!(rest(&mut lines), "h", "a file that began anew");
    }

    #[test]
    fn what_an_earlier_release_left_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.json");
        for (number, log) in [(-2, "a"), (-1, "b"), (1, "c")] {
            put(&numbered(&path, number), log);
        }
        put(&path, "d");
        assert_eq!(rest(&mut Lines::open(&path).unwrap().unwrap()), "abcd");
    }

    #[test]
    fn what_is_compressed_meanwhile_is_neither_lost_nor_read_twice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.json");
        let all = || rest(&mut Lines::open(&path).unwrap().unwrap());
        put(&path, "a");
        let mut lines = Lines::open(&path).unwrap().unwrap();
        assert_eq!(rest(&mut lines), "a");
        for log in ["b", "c", "d"] {
            turn(&path);
            put(&path, log);
        }
        compress_all(&path).unwrap();
        assert_eq!((rest(&mut lines).as_str(), all().as_str()), ("bcd", "abcd"));
        // All that was open before is compressed, or gone, when it is read.
        turn(&path);
        put(&path, "e");
        let mut early = Lines::open(&path).unwrap().unwrap();
        compress_all(&path).unwrap();
        remove(&path, 1).unwrap();
        assert_eq!((rest(&mut early).as_str(), all().as_str()), ("abcde", "bcde"));
        // Somebody died over it: half of it is there, then all of it twice, then nobody writes any more.
        let number = 5;
        turn(&path);
        put(&path, "f");
        fs::write(directory.path().join("log.json.half"), "x").unwrap();
        assert_eq!((rest(&mut lines).as_str(), all().as_str()), ("ef", "bcdef"));
        let plain = fs::read(numbered(&path, number)).unwrap();
        compress_all(&path).unwrap();
        fs::write(numbered(&path, number), plain).unwrap();
        assert_eq!((rest(&mut lines).as_str(), all().as_str()), ("", "bcdef"));
        turn(&path);
        assert_eq!((rest(&mut lines).as_str(), all().as_str()), ("", "bcdef"));
        put(&path, "g");
        assert_eq!((rest(&mut lines).as_str(), all().as_str()), ("g", "bcdefg"));
    }
}
