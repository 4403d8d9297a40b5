//! What pods could leave on a host.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use twill_integration::{Host, Snapshot, wait_until};

use super::world::PORT;

/// The kernel takes its time with interfaces of namespaces that have ended.
const SOON: Duration = Duration::from_secs(10);

/// Files of the pool, and the results that callers keep. Which addresses rest is known for two minutes, and a record in
/// the making is worthless.
const FILES: &str = "find /var/lib/twill/endpoint /var/lib/twill/ports /var/lib/cni \
                     ! -name freed ! -name .new 2>/dev/null || :";

/// A host without pods. What the first one brings, the bridge and files with locks, is there already.
pub(super) struct Before {
    network: Snapshot,
    files: BTreeSet<String>,
}

impl Before {
    pub(super) fn of(host: &Host) -> Result<Self> {
        Ok(Self { network: Snapshot::of_network(host)?, files: files(host)? })
    }

    /// Nothing has come since, and nothing has gone.
    pub(super) fn is_as_now(&self, host: &Host) -> Result<()> {
        let changes = || -> Result<Vec<String>> {
            let mut changes = self.network.changes(&Snapshot::of_network(host)?);
            let now = files(host)?;
            changes.extend(now.difference(&self.files).map(|file| format!("+ file {file}")));
            changes.extend(self.files.difference(&now).map(|file| format!("- file {file}")));
            // iptables makes its tables when it is asked for them.
            changes.retain(|change| !change.contains("rule *"));
            Ok(changes)
        };
        drop(wait_until("all is as before", SOON, || changes().is_ok_and(|it| it.is_empty())));
        let changes = changes()?;
        ensure!(changes.is_empty(), "{} has changed:\n{}", host.name(), changes.join("\n"));
        Ok(())
    }
}

fn files(host: &Host) -> Result<BTreeSet<String>> {
    Ok(host.sh(FILES)?.lines().map(str::to_owned).collect())
}

/// Callers have taken all network namespaces away that they made.
pub(super) fn no_namespace(host: &Host) -> Result<()> {
    let left = host.sh("ls /run/netns 2>/dev/null || :")?;
    ensure!(left.is_empty(), "namespaces: {left}");
    Ok(())
}

/// How many pods a host has, by three who should agree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Count {
    pub(super) records: usize,
    pub(super) pairs: usize,
    /// Is the port published?
    pub(super) rules: bool,
}

impl Count {
    pub(super) fn of(host: &Host) -> Result<Self> {
        let number = |script: &str| -> Result<usize> { Ok(host.sh(script)?.trim().parse()?) };
        Ok(Self {
            records: number("ls /var/lib/twill/endpoint | grep -c json || :")?,
            pairs: number("ip -o link show type veth | grep -c ': tw' || :")?,
            rules: host.sh("nft list ruleset; iptables-save")?.contains(&format!("dport {PORT}")),
        })
    }

    /// Waits until there are so many.
    pub(super) fn is(self, host: &Host) -> Result<()> {
        drop(wait_until("as many pods", SOON, || Self::of(host).is_ok_and(|it| it == self)));
        let now = Self::of(host)?;
        ensure!(now == self, "{} has {now:?} where {self:?} should be", host.name());
        Ok(())
    }
}
