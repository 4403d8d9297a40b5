//! The forward and masquerade rules, kept by the host's own iptables.
//!
//! What there is gets read rule by rule; what differs gets written in one transaction, so that no
//! packet ever meets half a chain. The rules themselves are `twill_core::firewall`'s.

mod watch;

use std::process::Output;
use std::time::Duration;

use iptables::IPTables;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use twill_core::firewall::{Actual, CHAINS, Masquerade, Policy, Table, in_place, transaction};

use crate::Error;
use crate::process::Program;

pub use watch::Watch;

/// How long one run of iptables may take. It waits for others that hold its lock.
const DEADLINE: Duration = Duration::from_secs(10);

/// What rules are written with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Variant {
    /// The kernel's old interface.
    Legacy,
    /// The old rules on the kernel's nftables.
    NfTables,
}

impl std::fmt::Display for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Legacy => "legacy",
            Self::NfTables => "nf_tables",
        })
    }
}

/// The host's iptables.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Firewall {
    version: [u32; 3],
    variant: Variant,
}

impl Firewall {
    /// Asks the program for its version, once.
    ///
    /// # Errors
    ///
    /// When there is no iptables; the hint names the package.
    pub async fn probe() -> Result<Self, Error> {
        let program =
            Program { name: "iptables", arguments: &["--version"], input: "", deadline: DEADLINE };
        let text = program.run().await?;
        parse_version(&text).ok_or_else(|| Error::StrangeIptables { text: text.trim().to_owned() })
    }

    /// Which of the kernel's two interfaces it writes to.
    #[must_use]
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// The best way to choose source ports that it knows: at random since 1.6.2.
    #[must_use]
    pub fn masquerade(&self) -> Masquerade {
        if self.version >= [1, 6, 2] { Masquerade::FullyRandom } else { Masquerade::Plain }
    }

    /// Begins to listen for changes of anybody's rules, in the calling thread's namespace. `None`
    /// if the kernel tells nobody, which is so of the old interface: there is only the timer then.
    pub fn watch(&self) -> Result<Option<Watch>, Error> {
        match self.variant {
            Variant::NfTables => Watch::open().map(Some),
            Variant::Legacy => Ok(None),
        }
    }

    /// Brings our chains, and the jumps into them, to what `policy` wants; other people's rules are
    /// not touched. Tells whether anything had to be written.
    pub async fn ensure(&self, policy: &Policy) -> Result<bool, Error> {
        let actual = self.actual().await?;
        if in_place(policy, &actual) {
            return Ok(false);
        }
        // Before 1.6.2 the restore takes no --wait, and fails at once when the lock is held.
        let waits = self.version >= [1, 6, 2];
        let arguments: &[&str] = if waits { &["--noflush", "--wait"] } else { &["--noflush"] };
        let input = &transaction(policy, &actual);
        let restore = Program { name: "iptables-restore", arguments, input, deadline: DEADLINE };
        restore.run().await.map(|_nothing| true)
    }

    async fn actual(&self) -> Result<Actual, Error> {
        let (filter, nat) = tokio::join!(self.list(Table::Filter), self.list(Table::Nat));
        let mut actual = Actual::default();
        gather(Table::Filter, &filter?, &mut actual);
        gather(Table::Nat, &nat?, &mut actual);
        Ok(actual)
    }

    /// All rules of a table, as `iptables -S` prints them.
    async fn list(&self, table: Table) -> Result<String, Error> {
        let program = format!("iptables -t {} -S", table.name());
        let reader = self.reader();
        let run = spawn_blocking(move || {
            reader.execute(table.name(), "-S").map_err(|error| error.to_string())
        });
        let Ok(output) = timeout(DEADLINE, run).await else {
            return Err(Error::Deadline { program, deadline: DEADLINE });
        };
        let failed = |status: String, complaint: String| Error::ProgramFailed {
            program: program.clone(),
            status,
            complaint,
        };
        let output: Output = output
            .map_err(|error| failed("cannot wait for it".to_owned(), error.to_string()))?
            .map_err(|error| failed("cannot be started".to_owned(), error))?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(failed(output.status.to_string(), complaint));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    // The crate's own constructor would run the program once more to learn what we know.
    fn reader(self) -> IPTables {
        IPTables {
            cmd: "iptables",
            has_check: self.version >= [1, 4, 11],
            has_wait: self.version >= [1, 4, 20],
            is_numeric: true,
        }
    }
}

/// Reads `iptables v1.8.9 (nf_tables)`; before 1.8 there was but one variant and no brackets.
fn parse_version(text: &str) -> Option<Firewall> {
    let words = text.trim().strip_prefix("iptables v")?;
    let (numbers, variant) = words.split_once(' ').unwrap_or((words, ""));
    let mut version = [0; 3];
    let mut parts = numbers.split('.');
    for number in &mut version {
        *number = parts.next()?.parse().ok()?;
    }
    let variant = if variant == "(nf_tables)" { Variant::NfTables } else { Variant::Legacy };
    Some(Firewall { version, variant })
}

/// Picks what concerns us out of the rules of one table.
fn gather(table: Table, listing: &str, actual: &mut Actual) {
    for chain in CHAINS.into_iter().filter(|chain| chain.table == table) {
        let name = chain.name;
        if listing.lines().any(|line| line.strip_prefix("-N ") == Some(name)) {
            let prefix = format!("-A {name} ");
            let rules = listing.lines().filter_map(|line| line.strip_prefix(&prefix));
            actual.chains.push((chain, rules.map(str::to_owned).collect()));
        }
        let jump = chain.jump();
        let jump = format!("-A {} {}", jump.chain, jump.words);
        actual.jumps.push((chain, listing.lines().filter(|line| *line == jump).count()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_core::firewall::{FWD, POSTRTG};

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
            let want = want.map(|(version, variant)| Firewall { version, variant });
            assert_eq!(parse_version(text), want, "{text}");
        }
    }

    #[test]
    fn source_ports_are_random_where_iptables_can() {
        for (version, want) in [
            ([1, 8, 9], Masquerade::FullyRandom),
            ([1, 6, 2], Masquerade::FullyRandom),
            ([1, 6, 1], Masquerade::Plain),
        ] {
            let firewall = Firewall { version, variant: Variant::Legacy };
            assert_eq!(firewall.masquerade(), want, "{version:?}");
        }
    }

    #[test]
    fn only_what_is_ours_is_gathered() {
        let listing = "-P FORWARD ACCEPT\n-N DOCKER\n-N FLANNEL-FWD\n-N FLANNEL-FWD-NOT\n\
            -A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\n\
            -A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\n\
            -A FORWARD -j FLANNEL-FWD\n\
            -A FLANNEL-FWD -s 10.5.0.0/16 -j ACCEPT\n-A FLANNEL-FWD-NOT -j DROP\n";
        let mut actual = Actual::default();
        gather(Table::Filter, listing, &mut actual);
        gather(Table::Nat, "-P POSTROUTING ACCEPT\n", &mut actual);
        let rules = vec!["-s 10.5.0.0/16 -j ACCEPT".to_owned()];
        assert_eq!(actual.chains, [(FWD, rules)]);
        assert_eq!(actual.jumps, [(FWD, 2), (POSTRTG, 0)]);
    }
}
