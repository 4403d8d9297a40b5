//! `--ulimit nofile=1024:2048`.

use std::fmt;
use std::str::FromStr;

use nix::sys::resource::Resource;
use serde::{Deserialize, Serialize};

/// Docker's names and the kernel's.
const NAMES: [(&str, Resource); 15] = [
    ("core", Resource::RLIMIT_CORE),
    ("cpu", Resource::RLIMIT_CPU),
    ("data", Resource::RLIMIT_DATA),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("locks", Resource::RLIMIT_LOCKS),
    ("memlock", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE),
    ("nice", Resource::RLIMIT_NICE),
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
    ("rss", Resource::RLIMIT_RSS),
    ("rtprio", Resource::RLIMIT_RTPRIO),
    ("rttime", Resource::RLIMIT_RTTIME),
    ("sigpending", Resource::RLIMIT_SIGPENDING),
    ("stack", Resource::RLIMIT_STACK),
];

/// How much of something one process may have.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ulimit {
    /// Of what.
    pub name: String,
    /// What holds; -1 for no limit.
    pub soft: i64,
    /// How far a process may raise that; -1 for no limit.
    pub hard: i64,
}

impl Ulimit {
    /// The kernel's name.
    #[must_use]
    pub fn kernel(&self) -> Resource {
        let known = NAMES.iter().find(|(name, _)| *name == self.name);
        // The name was read by us, or came through a file that was written by us.
        known.map_or(Resource::RLIMIT_CORE, |(_, resource)| *resource)
    }

    /// As the kernel takes it.
    #[must_use]
    pub fn values(&self) -> (u64, u64) {
        let value = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
        (value(self.soft), value(self.hard))
    }
}

impl FromStr for Ulimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid ulimit argument: {text}");
        let (name, limits) = text.split_once('=').ok_or_else(invalid)?;
        if !NAMES.iter().any(|(known, _)| *known == name) {
            return Err(format!("invalid ulimit type: {name}"));
        }
        let number = |text: &str| match text.parse() {
            Ok(number @ -1..) => Ok(number),
            _ => Err(invalid()),
        };
        let (soft, hard) = match limits.split_once(':') {
            Some((_, hard)) if hard.contains(':') => {
                return Err(format!(
                    "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
                ));
            }
            Some((soft, hard)) => (number(soft)?, number(hard)?),
            None => (number(limits)?, number(limits)?),
        };
        let beyond = "ulimit soft limit must be less than or equal to hard limit";
        match (soft, hard) {
            (_, -1) => {}
            (-1, hard) => return Err(format!("{beyond}: soft: -1 (unlimited), hard: {hard}")),
            (soft, hard) if soft > hard => return Err(format!("{beyond}: {soft} > {hard}")),
            _ => {}
        }
        Ok(Self { name: name.to_owned(), soft, hard })
    }
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.name, self.soft, self.hard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        for (text, want) in [
            ("nofile=1024:2048", Ok("nofile=1024:2048")),
            ("nofile=1024", Ok("nofile=1024:1024")),
            ("core=-1", Ok("core=-1:-1")),
            ("stack=5:-1", Ok("stack=5:-1")),
            ("nofile", Err("invalid ulimit argument: nofile")),
            ("nofile=", Err("invalid ulimit argument: nofile=")),
            ("nofile=-2", Err("invalid ulimit argument: nofile=-2")),
            ("bogus=1", Err("invalid ulimit type: bogus")),
            (
                "nofile=3:2",
                Err("ulimit soft limit must be less than or equal to hard limit: 3 > 2"),
            ),
            (
                "nofile=-1:2",
                Err(
                    "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: 2",
                ),
            ),
            (
                "nofile=1:2:3",
                Err(
                    "too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`",
                ),
            ),
        ] {
            let got = text.parse::<Ulimit>().map(|limit| limit.to_string());
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
        let all: Ulimit = "core=-1".parse().unwrap();
        assert_eq!((all.kernel(), all.values()), (Resource::RLIMIT_CORE, (u64::MAX, u64::MAX)));
    }
}
