//! The form of a file of cases.
//!
//! ```text
//! # a comment
//! == a case, as a sentence
//! $E run --rm $N bb true
//! keys: $E inspect web
//! ```
//!
//! `$E` is the program, `$N` is `--network none`. The lines of a case run in one shell and one directory,
//! one after the other, whatever their exit codes. `keys:` compares the names in the JSON that a line
//! prints, and the kinds of its values, instead of the text. Names have a letter that is no hexadecimal digit: what begins the id
//! of a network, which is random, is that network to Docker's `inspect` where no container has the name.

use std::fs;

use anyhow::{Context, Result, ensure};

/// Where the cases and the differences are.
pub(crate) const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle");

/// One case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Case {
    /// Its sentence.
    pub(crate) name: String,
    /// Its lines.
    pub(crate) lines: Vec<Line>,
}

/// One line of shell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Line {
    /// As the shell gets it.
    pub(crate) text: String,
    /// What of its output counts.
    pub(crate) view: View,
}

/// What of a line's standard output counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum View {
    /// The text.
    Text,
    /// The names in the JSON that it is.
    Keys,
}

/// All cases of the file of that name.
pub(crate) fn of(topic: &str) -> Result<Vec<Case>> {
    let path = format!("{DIRECTORY}/cases/{topic}.txt");
    parse(&fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?)
}

/// All cases of a text.
pub(crate) fn parse(text: &str) -> Result<Vec<Case>> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            ensure!(cases.iter().all(|case| case.name != name), "there are two cases `{name}`");
            cases.push(Case { name: name.to_owned(), lines: Vec::new() });
            continue;
        }
        let case = cases.last_mut().with_context(|| format!("`{line}` belongs to no case"))?;
        let (text, view) = match line.strip_prefix("keys: ") {
            Some(text) => (text, View::Keys),
            None => (line, View::Text),
        };
        case.lines.push(Line { text: text.to_owned(), view });
    }
    for case in &cases {
        ensure!(!case.lines.is_empty(), "the case `{}` does nothing", case.name);
    }
    Ok(cases)
}

#[test]
fn a_file_is_cases_and_cases_are_lines() {
    let cases = parse("# c\n== one\n$E ps\n\nkeys: $E inspect x\n== two\ntrue\n").unwrap();
    let lines = cases[0].lines.iter().map(|line| (line.text.as_str(), line.view));
    assert_eq!(lines.collect::<Vec<_>>(), [("$E ps", View::Text), ("$E inspect x", View::Keys)]);
    assert_eq!((cases[1].name.as_str(), cases.len()), ("two", 2));
    for bad in ["true\n", "== one\n", "== one\ntrue\n== one\ntrue\n"] {
        parse(bad).unwrap_err();
    }
}
