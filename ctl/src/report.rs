//! What a command has to say when it did not fail.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};

use serde::Serialize;

/// A document for programs, a newline at its end.
pub(crate) fn json<T: Serialize>(document: &T) -> String {
    // Our documents are made of numbers, texts and lists: all of them have a JSON form.
    serde_json::to_string_pretty(document).map_or_else(|_no_json| String::new(), |text| text + "\n")
}

/// Data for stdout, words for stderr, and the exit code.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Report {
    /// What the caller asked for; may be piped into another program.
    pub(crate) data: String,
    /// What a person should know besides; each becomes one line.
    pub(crate) notes: Vec<String>,
    /// 0, unless the answer itself is a bad one.
    pub(crate) code: u8,
}

impl Report {
    /// Data alone.
    pub(crate) fn of(data: String) -> Self {
        Self { data, ..Self::default() }
    }

    /// Says it all and returns the exit code.
    pub(crate) fn print(&self) -> u8 {
        for note in &self.notes {
            say(&format_args!("twillctl: {note}"));
        }
        match std::io::stdout().write_all(self.data.as_bytes()) {
            // `twillctl lease list | head -1` is no failure.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                say(&format_args!("twillctl: cannot write to stdout: {error}"));
                1
            }
            _ => self.code,
        }
    }
}

/// One line for the person who called.
pub(crate) fn say(line: &dyn Display) {
    // Nobody is left to tell when the terminal is gone.
    _ = writeln!(std::io::stderr(), "{line}");
}
