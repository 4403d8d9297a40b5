//! The lines of a log that lies in several files, of which the youngest is being written.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Entry;
use crate::monitor::numbered;

/// As one file, oldest line first, whatever makes way meanwhile.
pub(super) struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    /// What comes after it, oldest first; the last one is being written.
    younger: VecDeque<File>,
    partial: Vec<u8>,
}

impl Lines {
    /// `None` if there is no log.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let mut all = open_all(path, None)?;
        let Some(first) = all.pop_front() else { return Ok(None) };
        let (path, file) = (path.to_owned(), BufReader::new(first));
        Ok(Some(Self { path, file, younger: all, partial: Vec::new() }))
    }

    /// The next whole entry; `None` if there is none yet.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        loop {
            self.file.read_until(b'\n', &mut self.partial)?;
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
        let file = self.file.get_ref();
        let metadata = file.metadata()?;
        if self.younger.is_empty() && is(&self.path, &metadata) {
            let position = self.file.stream_position()?;
            if metadata.len() >= position {
                return Ok(false);
            }
            self.file.rewind()?;
            self.partial.clear();
            return Ok(true);
        }
        if self.younger.is_empty() {
            self.younger = open_all(&self.path, Some(&metadata))?;
        }
        let Some(next) = self.younger.pop_front() else { return Ok(false) };
        // It made way after our last look at it: there may be more in it, also of an entry that was half there.
        if self.file.stream_position()? < self.file.get_ref().metadata()?.len() {
            self.younger.push_front(next);
            return Ok(true);
        }
        self.file = BufReader::new(next);
        // What a dying monitor left of its last line.
        self.partial.clear();
        Ok(true)
    }
}

/// All files of a log that are younger than one, oldest first. The youngest is opened first: while we
/// look, files only become older, and one that is met twice is the same.
fn open_all(path: &Path, than: Option<&fs::Metadata>) -> io::Result<VecDeque<File>> {
    let mut all: VecDeque<File> = VecDeque::new();
    let mut seen = Vec::new();
    for number in 0.. {
        let name = if number == 0 { path.to_owned() } else { numbered(path, number) };
        let file = match File::open(&name) {
            // Between two names of a file that is making way.
            Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            file => file?,
        };
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        if than.is_some_and(|than| (than.dev(), than.ino()) == identity) {
            break;
        }
        if !seen.contains(&identity) {
            seen.push(identity);
            all.push_front(file);
        }
    }
    Ok(all)
}

fn is(path: &Path, metadata: &fs::Metadata) -> bool {
    fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(log: &str) -> String {
        format!(r#"{{"log":"{log}","stream":"stdout","time":"t"}}"#)
    }

    fn append(path: &Path, text: &str) {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
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

    #[test]
    fn a_reader_goes_from_file_to_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.json");
        let put = |path: &Path, log: &str| append(path, &format!("{}\n", entry(log)));
        put(&numbered(&path, 2), "a");
        put(&numbered(&path, 1), "b");
        put(&path, "c");
        let mut lines = Lines::open(&path).unwrap().unwrap();
        assert_eq!(rest(&mut lines), "abc");
        let turn = || {
            fs::rename(numbered(&path, 1), numbered(&path, 2)).unwrap();
            fs::rename(&path, numbered(&path, 1)).unwrap();
        };
        put(&path, "d");
        turn();
        put(&path, "e");
        assert_eq!(rest(&mut lines), "de");
        for log in ["f", "g"] {
            turn();
            put(&path, log);
        }
        assert_eq!(rest(&mut lines), "fg", "two turns at once");
        let whole = format!("{}\n", entry("i"));
        append(&path, &whole[..9]);
        assert_eq!(rest(&mut lines), "", "half an entry");
        append(&path, &whole[9..]);
        turn();
        put(&path, "j");
        assert_eq!(rest(&mut lines), "ij", "it became whole before its file made way");
        File::create(&path).unwrap();
        assert_eq!(rest(&mut lines), "");
        put(&path, "h");
        assert_eq!(rest(&mut lines), "h", "a file that began anew");
    }
}
