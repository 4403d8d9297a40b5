//! `--filter KEY=VALUE`: one of the values of a key has to fit, and each key.

use crate::error::{Error, Result};

/// What was asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filters(Vec<(String, String)>);

impl Filters {
    /// Refuses keys that the command does not know.
    pub fn parse(wishes: &[String], known: &[&str]) -> Result<Self> {
        let mut all = Vec::new();
        for wish in wishes {
            let Some((key, value)) = wish.split_once('=') else {
                let invalid = format!(
                    "invalid argument \"{wish}\" for \"-f, --filter\" flag: bad format of filter (expected name=value)"
                );
                return Err(Error::BadFlag(invalid));
            };
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().to_owned());
            if !known.contains(&key.as_str()) {
                return Err(Error::InvalidFilter(key));
            }
            all.push((key, value));
        }
        Ok(Self(all))
    }

    /// The values that were given for a key.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        let wanted = key.to_owned();
        self.0.iter().filter(move |(key, _)| *key == wanted).map(|(_, value)| value.as_str())
    }

    /// Was anything said about this key?
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.values(key).next().is_some()
    }

    /// Does one of the values of a key fit? If there are none, everything does.
    pub fn any(&self, key: &str, fits: impl FnMut(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(fits)
    }

    /// Does each of the values of a key fit?
    pub fn all(&self, key: &str, fits: impl FnMut(&str) -> bool) -> bool {
        self.values(key).all(fits)
    }

    /// Labels: each has to be there, with its value if one is given.
    pub fn labels<'a>(&self, key: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.all(key, |wanted| match wanted.split_once('=') {
            Some((name, value)) => label(name) == Some(value),
            None => label(wanted).is_some(),
        })
    }
}

/// Does a name or an id fit? Docker takes what is wanted for a regular expression.
#[must_use]
pub fn matches(wanted: &str, names: &[&str]) -> bool {
    names.contains(&wanted)
        || regex::Regex::new(wanted)
            .is_ok_and(|wanted| names.iter().any(|name| wanted.is_match(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(wishes: &[&str]) -> Result<Filters> {
        let wishes: Vec<String> = wishes.iter().map(|&wish| wish.to_owned()).collect();
        Filters::parse(&wishes, &["name", "label", "status"])
    }

    #[test]
    fn one_value_of_each_key() {
        let both = filters(&["name=a", "NAME = b", "status=x"]).unwrap();
        assert!(both.any("name", |name| name == "b"));
        assert!(!both.any("name", |name| name == "c"));
        assert!(both.any("label", |_| false), "nothing was said about it");
        assert!(both.has("status") && !both.has("label"));
        assert!(filters(&["bogus=1"]).is_err_and(|e| e.to_string() == "invalid filter 'bogus'"));
        assert!(filters(&["name"]).is_err());
    }

    #[test]
    fn labels_have_to_be_there_all() {
        let labels = |name: &str| match name {
            "tier" => Some("web"),
            "empty" => Some(""),
            _ => None,
        };
        let check = |wishes: &[&str], want: bool| {
            assert_eq!(filters(wishes).unwrap().labels("label", labels), want, "{wishes:?}");
        };
        check(&[], true);
        check(&["label=tier"], true);
        check(&["label=tier=web"], true);
        check(&["label=tier=db"], false);
        check(&["label=empty"], true);
        check(&["label=empty="], true);
        check(&["label=tier", "label=none"], false);
    }

    #[test]
    fn names_are_expressions() {
        for (wanted, want) in [
            ("web", true),
            ("we", true),
            ("^/web-1$", true),
            ("^web", true),
            ("db|web", true),
            ("^eb", false),
            ("db", false),
            ("(", false),
        ] {
            assert_eq!(matches(wanted, &["web-1", "/web-1"]), want, "{wanted}");
        }
    }
}
