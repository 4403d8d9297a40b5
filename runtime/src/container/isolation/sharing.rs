//! Namespaces that a container does not have for itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whose processes it sees.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pid {
    /// Its own.
    #[default]
    Own,
    /// All of the host.
    Host,
    /// Those of a container, by full id once it is written down.
    Container(String),
}

/// Whose shared memory and queues it sees.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipc {
    /// Its own.
    #[default]
    Private,
    /// Its own, and others may join.
    Shareable,
    /// Its own, without `/dev/shm`.
    None,
    /// The host's.
    Host,
    /// Those of a container, by full id once it is written down.
    Container(String),
}

/// Whose name it has.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Uts {
    /// Its own.
    #[default]
    Own,
    /// The host's.
    Host,
}

fn container(text: &str) -> Option<String> {
    let name = text.strip_prefix("container:")?;
    (!name.is_empty()).then(|| name.to_owned())
}

impl FromStr for Pid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "private" => Ok(Self::Own),
            "host" => Ok(Self::Host),
            _ => container(text).map(Self::Container).ok_or_else(|| "invalid PID mode".into()),
        }
    }
}

impl FromStr for Ipc {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "private" => Ok(Self::Private),
            "shareable" => Ok(Self::Shareable),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            _ => container(text)
                .map(Self::Container)
                .ok_or_else(|| format!("invalid IPC mode: {text}")),
        }
    }
}

impl FromStr for Uts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "private" => Ok(Self::Own),
            "host" => Ok(Self::Host),
            _ => Err("invalid UTS mode".into()),
        }
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => Ok(()),
            Self::Host => f.write_str("host"),
            Self::Container(id) => write!(f, "container:{id}"),
        }
    }
}

impl fmt::Display for Ipc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => f.write_str("private"),
            Self::Shareable => f.write_str("shareable"),
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Container(id) => write!(f, "container:{id}"),
        }
    }
}

impl fmt::Display for Uts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => Ok(()),
            Self::Host => f.write_str("host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, pid, ipc, uts) in [
            ("host", Some("host"), Some("host"), Some("host")),
            ("private", Some(""), Some("private"), Some("")),
            ("container:db", Some("container:db"), Some("container:db"), None),
            ("container:", None, None, None),
            ("shareable", None, Some("shareable"), None),
            ("none", None, Some("none"), None),
            ("bogus", None, None, None),
        ] {
            assert_eq!(text.parse::<Pid>().ok().map(|it| it.to_string()).as_deref(), pid, "{text}");
            assert_eq!(text.parse::<Ipc>().ok().map(|it| it.to_string()).as_deref(), ipc, "{text}");
            assert_eq!(text.parse::<Uts>().ok().map(|it| it.to_string()).as_deref(), uts, "{text}");
        }
    }
}
