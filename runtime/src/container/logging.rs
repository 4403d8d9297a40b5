//! `--log-opt`: how much of a container's output is kept, and what is noted beside each line. Pure.

use std::collections::BTreeMap;

use super::Record;
use crate::error::{Error, Result};

const KNOWN: [&str; 5] = ["compress", "env", "labels", "max-file", "max-size"];

/// How much is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rotation {
    /// Bytes in one file; `None` for any number.
    pub size: Option<u64>,
    /// Files, the one that is being written among them.
    pub files: u32,
    /// Are the others compressed?
    pub compresses: bool,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { size: None, files: 1, compresses: false }
    }
}

/// Refuses what no log can do, in Docker's words.
pub fn check(options: &BTreeMap<String, String>) -> Result<()> {
    if let Some(unknown) = options.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(Error::Usage(format!("unknown log opt '{unknown}' for json-file log driver")));
    }
    if let Some(text) = options.get("compress").filter(|text| is_true(text).is_none()) {
        return Err(Error::Usage(format!(
            "invalid value for 'compress': {text:?} is neither true nor false"
        )));
    }
    rotation(options).map(drop)
}

/// How much of a container's output is kept.
pub fn rotation(options: &BTreeMap<String, String>) -> Result<Rotation> {
    let size = match options.get("max-size").map(String::as_str) {
        None | Some("-1") => None,
        Some(text) => Some(bytes(text).ok_or_else(|| {
            Error::Usage(format!("invalid value for 'max-size': invalid size: '{text}'"))
        })?),
    };
    let text = options.get("max-file").map_or("1", String::as_str);
    let files = text.parse().map_err(|_not_a_number| {
        Error::Usage(format!("invalid value for 'max-file': {text:?} is no number"))
    })?;
    let compresses = options.get("compress").is_some_and(|text| is_true(text) == Some(true));
    match (files, size) {
        (0, _) => Err(Error::Usage("max-file cannot be less than 1".into())),
        (2.., None) => Err(Error::Usage("max-file can only be used with max-size".into())),
        (1, _) if compresses => Err(Error::Usage(
            "compress cannot be true when max-file is less than 2 or max-size is not set".into(),
        )),
        _ => Ok(Rotation { size, files, compresses }),
    }
}

/// As Go's `ParseBool`.
fn is_true(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What is noted beside each line: labels and variables that were asked for by name.
#[must_use]
pub fn details(record: &Record) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let names = |option: &str| {
        let names = record.log_options.get(option).map_or("", String::as_str).split(',');
        names.map(str::trim).filter(|name| !name.is_empty())
    };
    for name in names("labels") {
        all.extend(
            record.labels.get_key_value(name).map(|(name, value)| (name.clone(), value.clone())),
        );
    }
    for name in names("env") {
        let value =
            record.env.iter().rev().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        all.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    all
}

/// `10m`: Docker counts in thousands here.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match lower[digits.len()..].trim_end_matches('b') {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(power).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::super::record::sample;
    use super::*;

    fn options(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn how_much_is_kept() {
        let check = |all: &[(&str, &str)], want: Result<(Option<u64>, u32), &str>| {
            let got = rotation(&options(all)).map(|it| (it.size, it.files));
            assert_eq!(
                got.map_err(|error| error.to_string()),
                want.map_err(str::to_owned),
                "{all:?}"
            );
        };
        check(&[], Ok((None, 1)));
        check(&[("max-size", "10m")], Ok((Some(10_000_000), 1)));
        check(&[("max-size", "5kb"), ("max-file", "3")], Ok((Some(5_000), 3)));
        check(&[("max-size", "-1")], Ok((None, 1)));
        check(&[("max-size", "0")], Err("invalid value for 'max-size': invalid size: '0'"));
        check(&[("max-size", "x")], Err("invalid value for 'max-size': invalid size: 'x'"));
        check(&[("max-file", "3")], Err("max-file can only be used with max-size"));
        check(&[("max-file", "0"), ("max-size", "1k")], Err("max-file cannot be less than 1"));
        check(&[("max-file", "x")], Err("invalid value for 'max-file': \"x\" is no number"));
        check(&[("max-file", "2"), ("max-size", "1k"), ("compress", "0")], Ok((Some(1_000), 2)));
        let both = "compress cannot be true when max-file is less than 2 or max-size is not set";
        check(&[("compress", "true"), ("max-size", "1k")], Err(both));
        check(&[("compress", "true")], Err(both));
        let all = options(&[("max-file", "2"), ("max-size", "1k"), ("compress", "T")]);
        assert!(rotation(&all).unwrap().compresses);
        let neither = super::check(&options(&[("compress", "yes")])).unwrap_err().to_string();
        assert_eq!(neither, "invalid value for 'compress': \"yes\" is neither true nor false");
        let unknown = super::check(&options(&[("bogus", "")])).unwrap_err().to_string();
        assert_eq!(unknown, "unknown log opt 'bogus' for json-file log driver");
    }

    #[test]
    fn what_is_noted_beside_each_line() {
        let record = Record {
            log_options: options(&[("labels", "tier, none"), ("env", "A,NONE")]),
            labels: options(&[("tier", "front"), ("other", "x")]),
            ..sample()
        };
        assert_eq!(details(&record), options(&[("A", "1"), ("tier", "front")]));
    }
}
