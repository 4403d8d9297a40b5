//! Containers that know others by names of their own: `--link NAME:ALIAS`.
//!
//! A link is a line of the hosts file. Whoever starts, or moves to another subnet, renews it in the files of
//! all that link to it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use twill_endpoint::HostEntry;

use super::id;
use super::record::Record;
use super::state::Status;
use super::store::{Attempt, Container, Store};
use crate::bundle::files;
use crate::error::{Error, Result};

/// What `--link` takes: a container, and what it is called.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wish {
    /// Its name or id.
    pub container: String,
    /// What it is called.
    pub alias: String,
}

impl FromStr for Wish {
    type Err = String;

    /// Docker's messages.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let (container, alias) = match parts.as_slice() {
            [""] => return Err("empty string specified for links".to_owned()),
            [one] => (*one, one.rsplit('/').next().unwrap_or_default()),
            [container, alias] => (*container, alias.rsplit('/').next().unwrap_or_default()),
            _more => return Err(format!("bad format for links: {text}")),
        };
        let alias = alias.to_ascii_lowercase();
        if container.is_empty() || !is_name(&alias) {
            return Err(format!("bad format for links: {text}"));
        }
        Ok(Self { container: container.to_owned(), alias })
    }
}

/// Can it stand in a hosts file, and in a question for a name?
#[must_use]
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=253).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with(['-', '.'])
}

/// A link as it is written down.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Link {
    /// The other container, whatever it is called later.
    pub id: String,
    /// What it is called.
    pub alias: String,
}

/// The lines for the hosts file: of those that have an address now.
#[must_use]
pub fn entries(store: &Store<'_>, record: &Record) -> Vec<HostEntry> {
    let mut entries = Vec::new();
    for link in &record.wiring.links {
        let Ok(Container { record: other, state }) = store.read(&link.id) else { continue };
        let mut names = vec![link.alias.clone(), other.hostname];
        if other.name != link.alias {
            names.push(other.name);
        }
        let addresses = state.address.iter().flat_map(super::state::Address::all);
        entries.extend(addresses.map(|ip| HostEntry { address: ip.ip, names: names.clone() }));
    }
    entries
}

/// Refuses to start a container whose other side does not run.
pub fn check(store: &Store<'_>, record: &Record) -> Result<()> {
    for link in &record.wiring.links {
        let other = store.read(&link.id).ok();
        if !other.as_ref().is_some_and(|it| it.state.status.is_alive()) {
            let name = other.map_or_else(|| id::short(&link.id).to_owned(), |it| it.record.name);
            let alias = format!("/{}/{}", record.name, link.alias);
            return Err(Error::LinkToResting { name, alias });
        }
    }
    Ok(())
}

/// Tells all that link to a container where it is now. One that cannot be told keeps none from being told.
pub fn renew(store: &Store<'_>, id: &str) {
    let all = store.list().unwrap_or_default();
    let links = |one: &&Container| one.record.wiring.links.iter().any(|link| link.id == id);
    for Container { record, .. } in all.iter().filter(links) {
        // Whoever moves it right now writes the same file. To wait for somebody who copies would be long.
        let _lock = match store.try_lock_container(&record.id) {
            Ok(Attempt::Locked(lock)) => Some(lock),
            _held => None,
        };
        let Ok(Container { record, state }) = store.read(&record.id) else { continue };
        let directory = store.paths().container(&record.id);
        if let (Status::Running, Some(address)) = (state.status, &state.address) {
            // Its next start writes it as well.
            drop(files::write_hosts(&directory, (&record, &entries(store, &record)), address));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes() {
        for (text, want) in [
            ("db", Ok(("db", "db"))),
            ("db:MySQL", Ok(("db", "mysql"))),
            ("db:/web/mysql", Ok(("db", "mysql"))),
            ("", Err("empty string specified for links")),
            ("a:b:c", Err("bad format for links: a:b:c")),
            (":x", Err("bad format for links: :x")),
            ("a:", Err("bad format for links: a:")),
            ("a:b c", Err("bad format for links: a:b c")),
        ] {
            let got = text.parse::<Wish>();
            let got = got.as_ref().map(|it| (it.container.as_str(), it.alias.as_str()));
            assert_eq!(got.map_err(String::as_str), want, "{text}");
        }
    }
}
