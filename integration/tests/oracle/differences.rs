//! What is known to differ, and why; and what does.
//!
//! ```text
//! === key: a reason, as a sentence
//!
//! == the case
//! -- key
//! $E ps --bogus
//! err - what only Docker says
//! err + what only Twill says
//! ```
//!
//! A reason counts for the lines below it, up to the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::cases::{Case, DIRECTORY};
use crate::script::Said;

/// Of one case: each line that differs, with what only one side says.
pub(crate) type Found = Vec<String>;

/// All that is known, by the name of the case.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Differences {
    known: BTreeMap<String, Found>,
}

impl Differences {
    /// Those of the file.
    pub(crate) fn known() -> Result<Self> {
        let path = format!("{DIRECTORY}/differences.txt");
        Self::parse(&fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?)
    }

    fn parse(text: &str) -> Result<Self> {
        let (mut reasons, mut used) = (BTreeSet::new(), BTreeSet::new());
        let mut known: BTreeMap<String, Found> = BTreeMap::new();
        let (mut case, mut why) = (None, None);
        for line in text.lines().map(str::trim_end) {
            if line.is_empty() || line.starts_with("# ") {
                continue;
            }
            if let Some(reason) = line.strip_prefix("=== ") {
                let (key, _sentence) = reason.split_once(": ").context("a reason has a key")?;
                ensure!(reasons.insert(key), "there are two reasons `{key}`");
            } else if let Some(name) = line.strip_prefix("== ") {
                let fresh = known.insert(name.to_owned(), Found::new()).is_none();
                ensure!(fresh, "the case `{name}` is listed twice");
                (case, why) = (Some(name), None);
            } else if let Some(key) = line.strip_prefix("-- ") {
                ensure!(reasons.contains(key), "nobody says what `{key}` means");
                used.insert(key);
                why = Some(key);
            } else {
                ensure!(why.is_some(), "nobody says why `{line}` may be");
                let found = case.and_then(|case| known.get_mut(case));
                found
                    .with_context(|| format!("`{line}` belongs to no case"))?
                    .push(line.to_owned());
            }
        }
        if let Some(reason) = reasons.difference(&used).next() {
            bail!("no difference is there for the reason `{reason}`");
        }
        Ok(Self { known })
    }

    /// What is wrong with what was found, if anything.
    pub(crate) fn judge(&self, case: &Case, found: &Found) -> Option<String> {
        let nothing = Found::new();
        let known = self.known.get(&case.name).unwrap_or(&nothing);
        if known == found {
            return None;
        }
        let mut text = format!("== {}\n", case.name);
        if !known.is_empty() {
            text += "(was listed otherwise)\n";
        }
        for line in found {
            // Writing to a string cannot fail.
            _ = writeln!(text, "{line}");
        }
        if found.is_empty() {
            text += "(no longer differs: take it off the list)\n";
        }
        Some(text)
    }

    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }
}

/// What differs between the two sides, line by line.
pub(crate) fn between(case: &Case, docker: &[Said], twill: &[Said]) -> Found {
    let mut found = Found::new();
    for (line, (docker, twill)) in case.lines.iter().zip(docker.iter().zip(twill)) {
        let mut of_line = Found::new();
        for (what, docker, twill) in [
            ("out", &docker.out, &twill.out),
            ("err", &docker.err, &twill.err),
            ("code", &docker.code, &twill.code),
        ] {
            of_line.extend(apart(what, docker, twill));
        }
        if !of_line.is_empty() {
            found.push(line.text.clone());
            found.append(&mut of_line);
        }
    }
    found
}

/// The lines that are not on the other side, in the order of both.
fn apart(what: &str, docker: &str, twill: &str) -> Found {
    let (left, right): (Vec<&str>, Vec<&str>) = (docker.lines().collect(), twill.lines().collect());
    let common = common(&left, &right);
    let (mut found, mut l, mut r) = (Found::new(), 0, 0);
    for (at_left, at_right) in common.into_iter().chain([(left.len(), right.len())]) {
        found.extend(left[l..at_left].iter().map(|line| format!("{what} - {line}")));
        found.extend(right[r..at_right].iter().map(|line| format!("{what} + {line}")));
        (l, r) = (at_left + 1, at_right + 1);
    }
    found.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// Where both have the same line: the longest way through the two lists.
fn common(left: &[&str], right: &[&str]) -> Vec<(usize, usize)> {
    let mut longest = vec![vec![0_usize; right.len() + 1]; left.len() + 1];
    for l in (0..left.len()).rev() {
        for r in (0..right.len()).rev() {
            longest[l][r] = if left[l] == right[r] {
                longest[l + 1][r + 1] + 1
            } else {
                longest[l + 1][r].max(longest[l][r + 1])
            };
        }
    }
    let (mut pairs, mut l, mut r) = (Vec::new(), 0, 0);
    while l < left.len() && r < right.len() {
        if left[l] == right[r] {
            pairs.push((l, r));
            (l, r) = (l + 1, r + 1);
        } else if longest[l + 1][r] >= longest[l][r + 1] {
            l += 1;
        } else {
            r += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    const KNOWN: &str = "=== why: so\n== one\n-- why\n$E ps\nerr - a\nerr + b\n";

    #[test]
    fn lines_of_one_side_are_told_apart() {
        assert_eq!(apart("out", "a\nb\nc\n", "a\nx\nc\nd\n"), ["out - b", "out + x", "out + d"]);
        assert_eq!(apart("out", "same\n", "same\n"), [""; 0]);
    }

    #[test]
    fn a_difference_is_known_by_its_very_words() {
        let known = Differences::parse(KNOWN).unwrap();
        let case = &cases::parse("== one\n$E ps\n").unwrap()[0];
        let said = |err: &str| vec![Said { out: String::new(), err: err.into(), code: "0".into() }];
        assert_eq!(known.judge(case, &between(case, &said("a"), &said("b"))), None);
        for (docker, twill) in [("a", "a"), ("a", "c")] {
            known.judge(case, &between(case, &said(docker), &said(twill))).unwrap();
        }
        for bad in [
            "== one\n$E ps\n",
            "== one\n-- who\n",
            "=== why: so\n",
            "=== why: so\n-- why\n$E ps\n",
            "=== why: so\n== one\n-- why\n== one\n",
        ] {
            Differences::parse(bad).unwrap_err();
        }
    }

    #[test]
    fn every_difference_is_one_of_a_case() {
        let topics = ["life", "inside", "talk", "files", "lists", "network"];
        let all = topics.iter().flat_map(|topic| cases::of(topic).unwrap());
        let mut names = BTreeSet::new();
        for case in all {
            assert!(names.insert(case.name.clone()), "there are two cases `{}`", case.name);
        }
        for name in Differences::known().unwrap().names() {
            assert!(names.contains(name), "no case is called `{name}`");
        }
        assert!(names.len() >= 150, "{} cases", names.len());
    }
}
