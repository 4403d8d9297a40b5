//! The rules of published ports, written by the host's own programs.
//!
//! For programs that do one thing and end, and for the agent beside its own rules: nothing here is
//! asynchronous. All rules are written at once, in one transaction for each engine and family.

mod flows;
mod iptables;
mod program;

use std::path::Path;

use twill_core::firewall::choose::{self, Host, Missing, Wish};
use twill_core::firewall::iptables::Role;
use twill_core::firewall::ports::{Publication, TABLE, table, transaction};
use twill_core::firewall::{Engine, Variant, nftables};
use twill_core::ids::Family;

use crate::Error;
use iptables::Iptables;
use program::run;

pub use flows::Change;

/// What this host can write rules with.
#[derive(Debug)]
pub struct Writer {
    iptables: Vec<Iptables>,
    nft: bool,
}

/// How rules were left.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Left {
    /// Had anything to be written?
    pub changed: bool,
    /// How this version of nft prints our table; empty if there is none.
    pub printed: String,
}

impl Writer {
    /// Looks for the programs for rules of these families.
    pub fn probe(families: &[Family]) -> Result<Self, Error> {
        let mut iptables = Vec::new();
        for family in families {
            iptables.extend(Iptables::all(*family)?);
        }
        // One that cannot say its version is of no use either.
        let nft = run("nft", &["--version"], "").is_ok();
        Ok(Self { iptables, nft })
    }

    /// What the host uses.
    pub fn choose(&self) -> Result<Engine, Error> {
        let mut host = Host::default();
        let ipv4 = self.iptables.iter().filter(|it| it.family == Family::V4);
        // A host that has IPv6 alone.
        let any = if ipv4.clone().next().is_some() { Family::V4 } else { Family::V6 };
        for iptables in self.iptables.iter().filter(|it| it.family == any) {
            host.iptables.push((iptables.variant, iptables.list()?.others()));
        }
        if self.nft {
            host.nft = Some(nftables::others(&run("nft", &["list", "tables"], "")?).len());
        }
        let chosen = choose::choose(Wish::Auto, false, &host);
        chosen.map_err(|source| Error::NoFirewall { source })
    }

    /// Brings the rules to what `publications` want, which are sorted, with that engine; rules of ours that were
    /// written with another one go. `before` is how our table was left.
    pub fn ensure(
        &self,
        engine: Engine,
        publications: &[Publication],
        before: &Left,
    ) -> Result<Left, Error> {
        if let Engine::Iptables(variant) = engine {
            self.check(variant, publications)?;
        }
        let nft = if engine == Engine::Nftables { table(publications) } else { String::new() };
        let mut left = if self.nft { write_table(&nft, before)? } else { Left::default() };
        for iptables in &self.iptables {
            let role = match engine {
                Engine::Iptables(variant) if variant == iptables.variant => Role::Whole,
                Engine::Iptables(_) | Engine::Nftables => Role::Opening,
                Engine::None => Role::Nothing,
            };
            left.changed |= iptables.ensure(publications, role)?;
        }
        Ok(left)
    }

    /// What there is of ours, in words.
    pub fn leftovers(&self) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for iptables in &self.iptables {
            if iptables.lacks(&[], Role::Nothing)?.is_some() {
                let Iptables { family, variant, .. } = iptables;
                found.push(format!(
                    "chains of published ports for {family} in iptables ({variant})"
                ));
            }
        }
        if self.nft && !list()?.is_empty() {
            found.push(format!("nftables table inet {TABLE}"));
        }
        Ok(found)
    }

    /// Takes all of that away.
    pub fn clear(&self) -> Result<(), Error> {
        self.ensure(Engine::None, &[], &Left::default()).map(drop)
    }

    /// Rules of the other kind would be no substitute.
    fn check(&self, variant: Variant, publications: &[Publication]) -> Result<(), Error> {
        let missing = |family| {
            publications.iter().any(|it| it.family() == family)
                && !self.iptables.iter().any(|it| (it.family, it.variant) == (family, variant))
        };
        if missing(Family::V4) {
            return Err(Error::NoFirewall { source: Missing::Iptables });
        }
        if missing(Family::V6) {
            return Err(Error::NoIp6tables { variant });
        }
        Ok(())
    }
}

fn write_table(wanted: &str, before: &Left) -> Result<Left, Error> {
    let found = list()?;
    // Another nft may print the same rules in other words: what it printed right after they were written is
    // as good.
    if nftables::is_same(&found, wanted) || (!found.is_empty() && found == before.printed) {
        return Ok(Left { changed: false, printed: found });
    }
    run("nft", &["-f", "-"], &transaction(wanted))?;
    Ok(Left { changed: true, printed: list()? })
}

/// Our table; empty if it is not there.
fn list() -> Result<String, Error> {
    match run("nft", &["-sn", "list", "table", "inet", TABLE], "") {
        Err(Error::ProgramFailed { complaint, .. })
            if complaint.contains("No such file or directory") =>
        {
            Ok(String::new())
        }
        other => other,
    }
}

/// Has the kernel IPv6 at all?
#[must_use]
pub fn is_ipv6_there() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}
