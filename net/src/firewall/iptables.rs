//! One kind of iptables: its programs, and what they say.

use std::io;

use twill_core::firewall::iptables::{Role, Ruleset, removal, transaction};
use twill_core::firewall::{Masquerade, Policy, Ports, Variant};

use super::DEADLINE;
use crate::Error;
use crate::process::Program;

/// The names of the tables that the old interface has in the thread's namespace.
const LEGACY_TABLES: &str = "/proc/thread-self/net/ip_tables_names";

/// The first that knows `--random-fully` and lets its restore wait for the lock.
const GROWN_UP: [u32; 3] = [1, 6, 2];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Iptables {
    /// What the names of its programs begin with.
    name: &'static str,
    version: [u32; 3],
    pub(super) variant: Variant,
}

impl Iptables {
    /// All that are installed, first the one that `iptables` means.
    pub(super) async fn all() -> Result<Vec<Self>, Error> {
        let mut found: Vec<Self> = Vec::new();
        found.extend(Self::probe("iptables").await?);
        for name in ["iptables-nft", "iptables-legacy"] {
            // The host does without, if it is broken.
            if let Ok(Some(iptables)) = Self::probe(name).await
                && !found.iter().any(|other| other.variant == iptables.variant)
            {
                found.push(iptables);
            }
        }
        Ok(found)
    }

    async fn probe(name: &'static str) -> Result<Option<Self>, Error> {
        let program = Program { name, arguments: &["--version"], input: "", deadline: DEADLINE };
        match program.run().await {
            Err(Error::StartProgram { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
            Ok(text) => match parse_version(name, &text) {
                None => Err(Error::StrangeIptables { text: text.trim().to_owned() }),
                found => Ok(found),
            },
        }
    }

    /// Everybody's rules, in one run. To ask the old interface for a table would make it; so it is
    /// asked only when it has one.
    pub(super) async fn list(&self) -> Result<Ruleset, Error> {
        let unused = || std::fs::read_to_string(LEGACY_TABLES).unwrap_or_default().is_empty();
        if self.variant == Variant::Legacy && unused() {
            return Ok(Ruleset::default());
        }
        let name = &format!("{}-save", self.name);
        let program = Program { name, arguments: &[], input: "", deadline: DEADLINE };
        program.run().await.map(|text| Ruleset::parse(&text))
    }

    /// Tells whether anything had to be written.
    pub(super) async fn ensure(&self, policies: &[Policy], role: Role) -> Result<bool, Error> {
        let able: Vec<Policy> = policies.iter().map(|policy| self.able(policy)).collect();
        self.restore(&transaction(&able, role, &self.list().await?)).await
    }

    /// What would have to be written, each line with its table.
    pub(super) async fn lacks(
        &self,
        policies: &[Policy],
        role: Role,
    ) -> Result<Vec<String>, Error> {
        let able: Vec<Policy> = policies.iter().map(|policy| self.able(policy)).collect();
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
fn parse_version(name: &'static str, text: &str) -> Option<Iptables> {
    let words = text.trim().strip_prefix("iptables v")?;
    let (numbers, variant) = words.split_once(' ').unwrap_or((words, ""));
    let mut version = [0; 3];
    let mut parts = numbers.split('.');
    for number in &mut version {
        *number = parts.next()?.parse().ok()?;
    }
    let variant = if variant == "(nf_tables)" { Variant::NfTables } else { Variant::Legacy };
    Some(Iptables { name, version, variant })
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
            let found = parse_version("iptables", text).map(|it| (it.version, it.variant));
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
            let iptables = Iptables { name: "iptables", version, variant: Variant::Legacy };
            let want = Policy {
                masquerade: Some(Masquerade { ports: want, ..masquerade }),
                ..policy.clone()
            };
            assert_eq!(iptables.able(&policy), want, "{version:?}");
        }
    }
}
