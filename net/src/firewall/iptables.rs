//! One kind of iptables: its programs, and what they say.

use std::io;

use twill_core::firewall::iptables::{Role, Ruleset, removal, transaction};
use twill_core::firewall::{Masquerade, Policy, Ports, Variant};
use twill_core::ids::Family;

use super::DEADLINE;
use crate::Error;
use crate::process::Program;

/// The names of the tables that the old interface has in the thread's namespace.
fn legacy_tables(family: Family) -> &'static str {
    match family {
        Family::V4 => "/proc/thread-self/net/ip_tables_names",
        Family::V6 => "/proc/thread-self/net/ip6_tables_names",
    }
}

/// The first that knows `--random-fully` and lets its restore wait for the lock.
const GROWN_UP: [u32; 3] = [1, 6, 2];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Iptables {
    /// Whose packets it judges.
    pub(super) family: Family,
    /// What the names of its programs begin with.
    name: &'static str,
    version: [u32; 3],
    pub(super) variant: Variant,
}

impl Iptables {
    /// All that are installed for that family, first the one that `iptables` means, or `ip6tables`.
    pub(super) async fn all(family: Family) -> Result<Vec<Self>, Error> {
        let mut found: Vec<Self> = Vec::new();
        let [first, others @ ..] = match family {
            Family::V4 => ["iptables", "iptables-nft", "iptables-legacy"],
            Family::V6 => ["ip6tables", "ip6tables-nft", "ip6tables-legacy"],
        };
        found.extend(Self::probe(family, first).await?);
        for name in others {
            // The host does without, if it is broken.
            if let Ok(Some(iptables)) = Self::probe(family, name).await
                && !found.iter().any(|other| other.variant == iptables.variant)
            {
                found.push(iptables);
            }
        }
        Ok(found)
    }

    async fn probe(family: Family, name: &'static str) -> Result<Option<Self>, Error> {
        let program = Program { name, arguments: &["--version"], input: "", deadline: DEADLINE };
        match program.run().await {
            Err(Error::StartProgram { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
            Ok(text) => match parse_version((family, name), &text) {
                None => Err(Error::StrangeIptables { text: text.trim().to_owned() }),
                found => Ok(found),
            },
        }
    }

    /// What it is called, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self.family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        }
    }

    /// Everybody's rules, in one run. To ask the old interface for a table would make it; so it is
    /// asked only when it has one.
    pub(super) async fn list(&self) -> Result<Ruleset, Error> {
        let tables = || std::fs::read_to_string(legacy_tables(self.family)).unwrap_or_default();
        if self.variant == Variant::Legacy && tables().is_empty() {
            return Ok(Ruleset::default());
        }
        let name = &format!("{}-save", self.name);
        let program = Program { name, arguments: &[], input: "", deadline: DEADLINE };
        program.run().await.map(|text| Ruleset::parse(&text))
    }

    /// Tells whether anything had to be written.
    pub(super) async fn ensure(&self, policies: &[Policy], role: Role) -> Result<bool, Error> {
        let able = self.able_to(policies);
        self.restore(&transaction(&able, role, &self.list().await?)).await
    }

    /// What would have to be written, each line with its table.
    pub(super) async fn lacks(
        &self,
        policies: &[Policy],
        role: Role,
    ) -> Result<Vec<String>, Error> {
        let able = self.able_to(policies);
        let text = transaction(&able, role, &self.list().await?);
        let (mut table, mut lacks) = (String::new(), Vec::new());
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                name.clone_into(&mut table);
            } else if line != "COMMIT" && !line.starts_with(':') {
                lacks.push(format!("{} -t {table} {line}", self.name));
            }
        }
        Ok(lacks)
    }

    /// Is anything of ours there?
    pub(super) async fn has_ours(&self) -> Result<bool, Error> {
        Ok(!removal(&self.list().await?).is_empty())
    }

    /// Takes all of ours away.
    pub(super) async fn clear(&self) -> Result<bool, Error> {
        self.restore(&removal(&self.list().await?)).await
    }

    async fn restore(&self, input: &str) -> Result<bool, Error> {
        if input.is_empty() {
            return Ok(false);
        }
        let name = &format!("{}-restore", self.name);
        // Without --wait it fails at once when somebody else holds the lock.
        let waits = self.version >= GROWN_UP;
        let arguments: &[&str] = if waits { &["--noflush", "--wait"] } else { &["--noflush"] };
        let restore = Program { name, arguments, input, deadline: DEADLINE };
        restore.run().await.map(|_nothing| true)
    }

    /// Those of its family, as far as this version can follow them.
    fn able_to(&self, policies: &[Policy]) -> Vec<Policy> {
        let ours = policies.iter().filter(|policy| policy.family() == self.family);
        ours.map(|policy| self.able(policy)).collect()
    }

    /// What of the policy this version can do.
    fn able(&self, policy: &Policy) -> Policy {
        let plain = |masquerade| Masquerade { ports: Ports::Plain, ..masquerade };
        let mut policy = policy.clone();
        if self.version < GROWN_UP {
            policy.masquerade = policy.masquerade.map(plain);
        }
        policy
    }
}

/// Reads `iptables v1.8.9 (nf_tables)`; before 1.8 there was but one variant and no brackets.
fn parse_version((family, name): (Family, &'static str), text: &str) -> Option<Iptables> {
    let program = match family {
        Family::V4 => "iptables v",
        Family::V6 => "ip6tables v",
    };
    let words = text.trim().strip_prefix(program)?;
    let (numbers, variant) = words.split_once(' ').unwrap_or((words, ""));
    let mut version = [0; 3];
    let mut parts = numbers.split('.');
    for number in &mut version {
        *number = parts.next()?.parse().ok()?;
    }
    let variant = if variant == "(nf_tables)" { Variant::NfTables } else { Variant::Legacy };
    Some(Iptables { family, name, version, variant })
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_core::firewall::Clients;

    #[test]
    fn versions() {
        use Variant::{Legacy, NfTables};
        for (text, want) in [
            ("iptables v1.8.9 (nf_tables)\n", Some(([1, 8, 9], NfTables))),
            ("iptables v1.8.10 (legacy)", Some(([1, 8, 10], Legacy))),
            ("iptables v1.4.21", Some(([1, 4, 21], Legacy))),
            ("iptables v1.8", None),
            ("iptables vX.Y.Z (nf_tables)", None),
            ("BusyBox v1.36.1", None),
            ("", None),
        ] {
            let found =
                parse_version((Family::V4, "iptables"), text).map(|it| (it.version, it.variant));
            assert_eq!(found, want, "{text}");
        }
    }

    #[test]
    fn source_ports_are_random_where_iptables_can() {
        let masquerade = Masquerade { ports: Ports::FullyRandom, clients: Clients::Kept };
        let policy = Policy {
            network: "10.5.0.0/16".parse().unwrap(),
            subnet: "10.5.1.0/24".parse().unwrap(),
            masquerade: Some(masquerade),
            forward: true,
            entrances: Vec::new(),
            nftables: false,
        };
        for (version, want) in [
            ([1, 8, 9], Ports::FullyRandom),
            ([1, 6, 2], Ports::FullyRandom),
            ([1, 6, 1], Ports::Plain),
        ] {
            let iptables = Iptables {
                family: Family::V4,
                name: "iptables",
                version,
                variant: Variant::Legacy,
            };
            let want = Policy {
                masquerade: Some(Masquerade { ports: want, ..masquerade }),
                ..policy.clone()
            };
            assert_eq!(iptables.able(&policy), want, "{version:?}");
        }
    }
}
