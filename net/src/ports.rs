//! The rules of published ports: nftables by netlink, iptables by the host's own programs.
//!
//! For programs that do one thing and end, and for the agent beside its own rules: nothing here is
//! asynchronous. All rules are written at once, in one transaction for each engine and family.

mod flows;
mod iptables;
mod nftables;
mod program;

use std::cell::OnceCell;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use twill_core::firewall::choose::{self, Host, Missing, Wish};
use twill_core::firewall::iptables::Role;
use twill_core::firewall::ports::{Publication, TABLE};
use twill_core::firewall::{Engine, Variant};
use twill_core::ids::Family;

use crate::Error;
use iptables::Iptables;
use nftables::Line;

pub use flows::Change;

/// What this host can write rules with.
///
/// To drop one that has taken rules of nftables away waits some milliseconds until the kernel is done with them: whoever has
/// something to do meanwhile keeps it.
#[derive(Debug)]
pub struct Writer {
    families: Vec<Family>,
    /// Whoever has it open holds the lock under which rules are written.
    lock: Option<File>,
    /// None in a kernel without nftables.
    nftables: Option<Line>,
    /// Programs are started to find them, so that nobody looks for what is not needed.
    iptables: OnceCell<Vec<Iptables>>,
}

/// How rules were left.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Left {
    /// Had anything to be written?
    pub changed: bool,
    /// How the kernel shows our table of nftables, in a few letters; empty if there is none.
    pub printed: String,
    /// Was there nothing of ours to be in iptables beside that table? Then there is not, as long as nobody changes
    /// iptables' rules.
    pub apart: bool,
    /// The number of nftables' last transaction.
    pub generation: u32,
}

impl Writer {
    /// For rules of these families.
    #[must_use]
    pub fn new(families: &[Family]) -> Self {
        let (families, nftables) = (families.to_vec(), Line::open());
        Self { families, lock: None, nftables, iptables: OnceCell::new() }
    }

    /// The same for rules that are written under a lock, a file's: a program that goes on when we are killed
    /// keeps it until it ends.
    pub fn under(lock: &File, families: &[Family]) -> Result<Self, Error> {
        let lock = lock.try_clone().map_err(|source| Error::WriteRules { source })?;
        Ok(Self { lock: Some(lock), ..Self::new(families) })
    }

    /// This one for whoever has written everything: somebody else may write, while what was taken away is still
    /// going.
    #[must_use]
    pub fn unlocked(self) -> Self {
        Self { lock: None, ..self }
    }

    /// What these are best written with: nftables, where the kernel takes them, as no program has to be started for
    /// that and it stands beside every iptables; else the iptables that the host uses.
    pub fn choose(&self, publications: &[Publication]) -> Result<Engine, Error> {
        if self.nftables.as_ref().is_some_and(|line| line.could(publications)) {
            return Ok(Engine::Nftables);
        }
        let mut host = Host::default();
        let ipv4 = self.iptables()?.iter().filter(|it| it.family == Family::V4);
        // A host that has IPv6 alone.
        let any = if ipv4.clone().next().is_some() { Family::V4 } else { Family::V6 };
        for iptables in self.iptables()?.iter().filter(|it| it.family == any) {
            host.iptables.push((iptables.variant, iptables.list()?.others()));
        }
        let chosen = choose::choose(Wish::Auto, false, &host);
        chosen.map_err(|source| Error::NoFirewall { source })
    }

    /// Brings the rules to what is `wanted`, sorted, with that engine; rules of ours that were written with another one
    /// go. `before` is how they were left, for those publications.
    pub fn ensure(
        &self,
        engine: Engine,
        wanted: &[Publication],
        before: (&Left, &[Publication]),
    ) -> Result<Left, Error> {
        if let Engine::Iptables(variant) = engine {
            self.check(variant, wanted)?;
        }
        // Asked before anything of ours changes it.
        let apart = engine == Engine::Nftables && before.0.apart && self.is_apart(before.0);
        let nft = if engine == Engine::Nftables { wanted } else { &[] };
        let mut left = self.write_table(nft, before)?;
        left.apart = apart;
        if !apart {
            // Before the look: what somebody changes meanwhile is looked at again.
            left.generation = self.generation().unwrap_or_default();
            left.apart = self.ensure_iptables(engine, wanted, &mut left.changed)?;
        }
        Ok(left)
    }

    fn write_table(
        &self,
        wanted: &[Publication],
        (before, had): (&Left, &[Publication]),
    ) -> Result<Left, Error> {
        let Some(line) = &self.nftables else {
            return match wanted {
                [] => Ok(Left::default()),
                _some => Err(Error::WriteRules { source: ErrorKind::Unsupported.into() }),
            };
        };
        let seen = line.seen()?;
        let intact = !seen.is_empty() && seen == before.printed;
        if wanted.is_empty() && seen.is_empty() || intact && wanted == had {
            let generation = self.generation().unwrap_or_default();
            return Ok(Left { changed: false, printed: seen, generation, apart: false });
        }
        let (printed, generation) = line.write(wanted, (&seen, intact.then_some(had)))?;
        Ok(Left { changed: true, printed, generation, apart: false })
    }

    fn generation(&self) -> Option<u32> {
        self.nftables.as_ref()?.generation().ok()
    }

    /// Tells whether there is nothing of ours to be.
    fn ensure_iptables(
        &self,
        engine: Engine,
        publications: &[Publication],
        changed: &mut bool,
    ) -> Result<bool, Error> {
        let mut apart = engine == Engine::Nftables;
        for iptables in self.iptables()? {
            let role = role(engine, iptables);
            let found = iptables.list()?;
            apart &= !found.may_drop("FORWARD");
            if let Some(text) = iptables.lacks(publications, role, &found) {
                iptables.write(&text, self.lock.as_ref())?;
                *changed = true;
            }
        }
        Ok(apart)
    }

    /// Can it still be that iptables stops no packet of ours? The old interface has no table, and in the new one
    /// nobody changed a rule, or there is none.
    fn is_apart(&self, before: &Left) -> bool {
        let unchanged = || self.generation() == Some(before.generation);
        let line = self.nftables.as_ref();
        let open = || line.is_some_and(|line| line.lets_pass(&self.families).unwrap_or(false));
        self.families.iter().all(|family| iptables::is_idle(*family)) && (unchanged() || open())
    }

    /// Are the rules as they were left, for these publications? Nothing is written.
    pub fn stand(
        &self,
        engine: Engine,
        publications: &[Publication],
        left: &Left,
    ) -> Result<bool, Error> {
        let seen = self.nftables.as_ref().map(Line::seen).transpose()?;
        if engine == Engine::Nftables && seen.as_ref() != Some(&left.printed) {
            return Ok(false);
        }
        if engine == Engine::Nftables && left.apart && self.is_apart(left) {
            return Ok(true);
        }
        for iptables in self.iptables()? {
            let found = iptables.list()?;
            if iptables.lacks(publications, role(engine, iptables), &found).is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What there is of ours, in words.
    pub fn leftovers(&self) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for iptables in self.iptables()? {
            if iptables.lacks(&[], Role::Nothing, &iptables.list()?).is_some() {
                let Iptables { family, variant, .. } = iptables;
                found.push(format!(
                    "chains of published ports for {family} in iptables ({variant})"
                ));
            }
        }
        if is_table_there() {
            found.push(format!("nftables table inet {TABLE}"));
        }
        Ok(found)
    }

    /// Takes all of that away.
    pub fn clear(&self) -> Result<(), Error> {
        self.ensure(Engine::None, &[], (&Left::default(), &[]))?;
        // A table without a chain in it shows nothing of itself.
        match &self.nftables {
            Some(line) if is_table_there() => line.write(&[], (&String::new(), None)).map(drop),
            _none => Ok(()),
        }
    }

    /// Rules of the other kind would be no substitute.
    fn check(&self, variant: Variant, publications: &[Publication]) -> Result<(), Error> {
        let iptables = self.iptables()?;
        let missing = |family| {
            publications.iter().any(|it| it.family() == family)
                && !iptables.iter().any(|it| (it.family, it.variant) == (family, variant))
        };
        if missing(Family::V4) {
            return Err(Error::NoFirewall { source: Missing::Iptables });
        }
        if missing(Family::V6) {
            return Err(Error::NoIp6tables { variant });
        }
        Ok(())
    }

    fn iptables(&self) -> Result<&[Iptables], Error> {
        if let Some(found) = self.iptables.get() {
            return Ok(found);
        }
        let mut found = Vec::new();
        for family in &self.families {
            found.extend(Iptables::all(*family)?);
        }
        Ok(self.iptables.get_or_init(|| found))
    }
}

fn role(engine: Engine, iptables: &Iptables) -> Role {
    match engine {
        Engine::Iptables(variant) if variant == iptables.variant => Role::Whole,
        Engine::Iptables(_) | Engine::Nftables => Role::Opening,
        Engine::None => Role::Nothing,
    }
}

/// Is our table of nftables there? To ask that costs a message, and no program.
#[must_use]
pub fn is_table_there() -> bool {
    nftables::is_table_there()
}

/// Has the kernel IPv6 at all?
#[must_use]
pub fn is_ipv6_there() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}
