//! The host's firewall, kept by the host's own programs.
//!
//! What there is gets listed at once; what differs gets written in one transaction, so that no packet
//! ever meets half a chain. The rules themselves, and which engine they are for, are
//! `twill_core::firewall`'s.

mod counters;
mod gate;
mod generation;
mod iptables;
mod nft;
mod watch;

use std::path::Path;
use std::time::Duration;

use twill_core::firewall::choose::{self, Host, Missing, Wish};
use twill_core::firewall::gate::Table;
use twill_core::firewall::iptables::Role;
use twill_core::firewall::{Engine, Policy, Variant, nftables};
use twill_core::ids::Family;

use crate::Error;
use iptables::Iptables;
use nft::Nft;

pub use counters::refused;
pub use gate::{Gatekeeper, Outcome};
pub use watch::Watch;

/// How long one run of a program may take. It waits for others that hold its lock.
const DEADLINE: Duration = Duration::from_secs(10);

/// What this host can write rules with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Programs {
    /// First the one that `iptables` means.
    iptables: Vec<Iptables>,
    /// The same for IPv6.
    ip6tables: Vec<Iptables>,
    nft: bool,
}

impl Programs {
    /// Asks each program for its version, once.
    ///
    /// # Errors
    ///
    /// When a program answers something else, or nothing. One that is not there is no error yet.
    pub async fn probe() -> Result<Self, Error> {
        let [ipv4, ipv6] = [Family::V4, Family::V6].map(Iptables::all);
        Ok(Self { iptables: ipv4.await?, ip6tables: ipv6.await?, nft: nft::is_installed().await })
    }

    /// Refuses a wish that cannot be met here, before anything depends on it.
    pub fn check(&self, wish: Wish) -> Result<(), Error> {
        let idle = |iptables: &Iptables| (iptables.variant, 0);
        let host =
            Host { iptables: self.iptables.iter().map(idle).collect(), nft: self.nft.then_some(0) };
        choose::choose(wish, false, &host).map(drop).map_err(no_program)
    }

    /// Looks at what the host uses, and chooses. `nftables` is what the network's configuration asks
    /// for.
    pub async fn choose(&self, wish: Wish, nftables: bool) -> Result<Engine, Error> {
        let mut host = Host::default();
        if wish != Wish::None {
            for iptables in &self.iptables {
                host.iptables.push((iptables.variant, iptables.list().await?.others()));
            }
        }
        if self.nft {
            let tables = if wish == Wish::Auto { nft::tables().await? } else { String::new() };
            host.nft = Some(nftables::others(&tables).len());
        }
        choose::choose(wish, nftables, &host).map_err(no_program)
    }

    /// With what rules of ours are written that are there; `None` if there are none.
    pub async fn present(&self) -> Result<Option<Engine>, Error> {
        if self.nft && nft::has_ours().await? {
            return Ok(Some(Engine::Nftables));
        }
        for iptables in self.all() {
            if iptables.has_ours().await? {
                return Ok(Some(Engine::Iptables(iptables.variant)));
            }
        }
        Ok(None)
    }

    /// What there is of ours, in words.
    pub async fn leftovers(&self) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for iptables in self.all() {
            if iptables.has_ours().await? {
                found.push(format!("chains in {} ({})", iptables.kind(), iptables.variant));
            }
        }
        if self.nft && nft::has_ours().await? {
            found.push(format!("nftables table inet {}", nftables::TABLE));
        }
        for table in self.gates().await? {
            found.push(format!("nftables table {} {table}", table.family()));
        }
        Ok(found)
    }

    /// Takes all of ours away, whatever it was written with, and the tables of peers.
    pub async fn clear(&self) -> Result<(), Error> {
        self.clear_rules().await?;
        for table in self.gates().await? {
            Gatekeeper::new(&table).ensure(&[]).await?;
        }
        Ok(())
    }

    /// Takes our rules away, whatever they were written with. Tables of peers stay: each is a network's own.
    pub async fn clear_rules(&self) -> Result<(), Error> {
        for iptables in self.all() {
            iptables.clear().await?;
        }
        if self.nft {
            Nft::default().ensure("").await?;
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Iptables> {
        self.iptables.iter().chain(&self.ip6tables)
    }

    /// Who looks after that table of peers; `None` without the program for it.
    #[must_use]
    pub fn gatekeeper(&self, table: &Table) -> Option<Gatekeeper> {
        self.nft.then(|| Gatekeeper::new(table))
    }

    /// The tables of peers that are there, of all networks.
    async fn gates(&self) -> Result<Vec<Table>, Error> {
        let tables = if self.nft { nft::tables().await? } else { String::new() };
        Ok(Table::all_in(&tables))
    }

    /// Begins to listen for changes of anybody's rules, in the calling thread's namespace. `None`
    /// if the kernel tells nobody, which is so of the old interface: there is only the timer then.
    pub fn watch(&self) -> Result<Option<Watch>, Error> {
        let modern = |iptables: &Iptables| iptables.variant == Variant::NfTables;
        if self.nft || self.iptables.iter().any(modern) {
            return Watch::open().map(Some);
        }
        Ok(None)
    }
}

fn no_program(source: Missing) -> Error {
    Error::NoFirewall { source }
}

/// The rules of one host, written with one engine.
#[derive(Debug)]
pub struct Firewall {
    programs: Programs,
    engine: Engine,
    table: Nft,
    /// Is nothing left of other engines?
    settled: bool,
    /// Can there be rules of ours in ip6tables?
    ipv6: bool,
}

impl Firewall {
    /// Nothing is written yet.
    #[must_use]
    pub fn new(programs: Programs, engine: Engine) -> Self {
        // There may be rules of an earlier run, but for a host that was started without IPv6.
        let ipv6 = Path::new(IPV6).exists();
        Self { programs, engine, table: Nft::default(), settled: false, ipv6 }
    }

    /// What the rules are written with.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// In what our rules are not as the networks' `policies` want them, in words; writes nothing.
    pub async fn lacks(&self, policies: &[Policy]) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        if self.engine == Engine::Nftables {
            found.extend(self.table.lacks(&nftables::table(policies)).await?);
        }
        for iptables in self.concerned(policies) {
            let role = match self.engine {
                Engine::None => continue,
                Engine::Iptables(variant) if variant == iptables.variant => Role::Whole,
                Engine::Iptables(_) | Engine::Nftables => Role::Opening,
            };
            found.extend(iptables.lacks(policies, role).await?);
        }
        Ok(found)
    }

    /// Brings our rules to what the networks' `policies` want; other people's are not touched. Tells whether
    /// anything had to be written.
    ///
    /// What an earlier run wrote with another engine goes when the rules of this one stand. Where
    /// others have rules that may drop packets of the overlay, the way is kept open whatever the
    /// engine.
    pub async fn ensure(&mut self, policies: &[Policy]) -> Result<bool, Error> {
        let mut written = false;
        if self.engine == Engine::Nftables {
            written |= self.table.ensure(&nftables::table(policies)).await?;
        }
        let whole = |iptables: &Iptables| self.engine == Engine::Iptables(iptables.variant);
        let (first, then): (Vec<&Iptables>, Vec<&Iptables>) =
            self.concerned(policies).partition(|it| whole(it));
        if let Engine::Iptables(variant) = self.engine
            && wants_ipv6(policies)
            && !first.iter().any(|iptables| iptables.family == Family::V6)
        {
            return Err(Error::NoIp6tables { variant });
        }
        for iptables in first.into_iter().chain(then) {
            let role = match self.engine {
                Engine::None if self.settled => continue,
                Engine::None => Role::Nothing,
                Engine::Iptables(_) if whole(iptables) => Role::Whole,
                Engine::Iptables(_) | Engine::Nftables => Role::Opening,
            };
            written |= iptables.ensure(policies, role).await?;
        }
        if !self.settled && self.programs.nft {
            if self.engine != Engine::Nftables {
                written |= self.table.ensure("").await?;
            }
            written |= nft::drop_flannelds().await?;
        }
        self.settled = true;
        self.ipv6 = wants_ipv6(policies);
        Ok(written)
    }

    /// Nobody is asked about IPv6 where there is none of ours.
    fn concerned(&self, policies: &[Policy]) -> impl Iterator<Item = &Iptables> {
        let ipv6 = self.ipv6 || wants_ipv6(policies);
        self.programs.all().filter(move |iptables| ipv6 || iptables.family == Family::V4)
    }
}

/// What the kernel has of IPv6.
const IPV6: &str = "/proc/sys/net/ipv6";

fn wants_ipv6(policies: &[Policy]) -> bool {
    policies.iter().any(|policy| policy.family() == Family::V6)
}
