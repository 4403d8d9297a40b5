//! The only door to standard output and standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use serde::Serialize as _;

/// One line of data. A reader that left early (`twill ps | head -1`) is no failure.
pub fn line(text: impl Display) {
    ignore_closed(writeln!(io::stdout().lock(), "{text}"));
}

/// JSON for people: four blanks for each level, as Docker has it.
pub fn pretty(value: &serde_json::Value) {
    let style = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut bytes = Vec::new();
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, style));
    bytes.push(b'\n');
    if written.is_ok() {
        raw(&bytes);
    }
}

/// Data as it is, without a line end of ours.
pub fn raw(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    ignore_closed(stdout.write_all(bytes).and_then(|()| stdout.flush()));
}

/// One line for the person, never for a program.
pub fn note(text: impl Display) {
    ignore_closed(writeln!(io::stderr().lock(), "{text}"));
}

// There is nobody left to tell.
fn ignore_closed(written: io::Result<()>) {
    drop(written);
}
