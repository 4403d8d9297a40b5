//! One kind of iptables.

use std::fs::{self, File};
use std::io;

use twill_core::firewall::Variant;
use twill_core::firewall::iptables::{Role, Ruleset, published};
use twill_core::firewall::ports::Publication;
use twill_core::ids::Family;

use super::program::{run, run_under};
use crate::Error;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Iptables {
    pub(super) family: Family,
    pub(super) variant: Variant,
    /// What the names of its programs begin with.
    name: String,
}

impl Iptables {
    /// First the one that `iptables` means, or `ip6tables`. The old kind may be idle and be wanted all the
    /// same, as its sibling of the other family is in use.
    pub(super) fn all(family: Family) -> Result<Vec<Self>, Error> {
        let name = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        let of = |variant, name: String| Self { family, variant, name };
        let mut found = Vec::new();
        match run(name, &["--version"], "") {
            Ok(text) if text.contains("(nf_tables)") => {
                found.push(of(Variant::NfTables, name.to_owned()));
            }
            Ok(_older) => found.push(of(Variant::Legacy, name.to_owned())),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
        for (variant, suffix) in [(Variant::NfTables, "nft"), (Variant::Legacy, "legacy")] {
            let other = of(variant, format!("{name}-{suffix}"));
            let known = found.iter().any(|it| it.variant == variant);
            if !known && run(&other.name, &["--version"], "").is_ok() {
                found.push(other);
            }
        }
        Ok(found)
    }

    /// Everybody's rules.
    pub(super) fn list(&self) -> Result<Ruleset, Error> {
        if self.variant == Variant::Legacy && is_idle(self.family) {
            return Ok(Ruleset::default());
        }
        run(&format!("{}-save", self.name), &[], "").map(|text| Ruleset::parse(&text))
    }

    /// What has to be written, if anything.
    pub(super) fn lacks(
        &self,
        publications: &[Publication],
        role: Role,
        found: &Ruleset,
    ) -> Option<String> {
        let text = published::transaction((publications, self.family), role, found);
        Some(text).filter(|text| !text.is_empty())
    }

    /// Writes what [`Self::lacks`] says.
    pub(super) fn write(&self, text: &str, lock: Option<&File>) -> Result<(), Error> {
        // Without --wait it fails at once when somebody else holds the lock of iptables.
        let wait = ["--noflush", "--wait=10"];
        run_under(lock, &format!("{}-restore", self.name), (&wait, text)).map(drop)
    }
}

/// Has the old interface no table at all? To ask it for one would make it.
pub(super) fn is_idle(family: Family) -> bool {
    let names = match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    fs::read_to_string(names).unwrap_or_default().is_empty()
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::StartProgram { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
