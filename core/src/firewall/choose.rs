//! Which engine a host's rules are written with.
//!
//! Rules of two engines do not see each other's verdicts: an accept of one is no answer to a drop of
//! the other. So ours belong where the others' are.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the administrator asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// What the host uses.
    Auto,
    /// iptables, in the variant that the host uses.
    Iptables,
    /// nftables, with a table of our own.
    Nftables,
    /// No rules at all: somebody else looks after them.
    None,
}

/// What rules are written with.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// iptables.
    Iptables(Variant),
    /// nftables, with a table of our own.
    Nftables,
    /// Nothing: there are no rules of ours.
    None,
}

/// The two kinds of iptables, whose rules do not see each other.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// On the kernel's nftables.
    NfTables,
    /// The kernel's old interface.
    Legacy,
}

/// What a host has, and what is in use.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Host {
    /// The kinds of iptables that are installed, with how many rules of others each has; first the
    /// one that `iptables` means.
    pub iptables: Vec<(Variant, usize)>,
    /// If the program `nft` is installed: how many tables of others there are that iptables did not
    /// make.
    pub nft: Option<usize>,
}

/// The wish cannot be met: that program is not installed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Missing {
    /// It was asked for.
    #[error("iptables is not installed")]
    Iptables,
    /// It was asked for.
    #[error("nft is not installed")]
    Nft,
    /// Either would do.
    #[error("neither iptables nor nft is installed")]
    Both,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NfTables => "nf_tables",
            Self::Legacy => "legacy",
        })
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iptables(variant) => write!(f, "iptables ({variant})"),
            Self::Nftables => f.write_str("nftables"),
            Self::None => f.write_str("none"),
        }
    }
}

/// The engine for this host. `nftables` is what the network's configuration asks for; the
/// administrator of the host knows better.
pub fn choose(wish: Wish, nftables: bool, host: &Host) -> Result<Engine, Missing> {
    let iptables = busiest(host).map(Engine::Iptables);
    match wish {
        Wish::None => Ok(Engine::None),
        Wish::Iptables => iptables.ok_or(Missing::Iptables),
        Wish::Nftables => host.nft.map(|_nft| Engine::Nftables).ok_or(Missing::Nft),
        Wish::Auto => {
            let idle = host.iptables.iter().all(|(_variant, rules)| *rules == 0);
            match (host.nft, iptables) {
                (None, None) => Err(Missing::Both),
                (None, Some(iptables)) => Ok(iptables),
                (Some(_tables), None) => Ok(Engine::Nftables),
                (Some(tables), Some(_)) if nftables || (tables > 0 && idle) => Ok(Engine::Nftables),
                (Some(_tables), Some(iptables)) => Ok(iptables),
            }
        }
    }
}

/// The kind of iptables with the most rules of others; of equals, what `iptables` means.
fn busiest(host: &Host) -> Option<Variant> {
    let mut kinds = host.iptables.iter();
    let mut best = kinds.next()?;
    for kind in kinds {
        if kind.1 > best.1 {
            best = kind;
        }
    }
    Some(best.0)
}

#[cfg(test)]
mod tests {
    use super::Variant::{Legacy, NfTables};
    use super::*;

    const NONE: Option<usize> = None;
    const IDLE: Option<usize> = Some(0);
    const OTHERS: Option<usize> = Some(2);

    #[test]
    fn what_the_host_uses() {
        let compat = Ok(Engine::Iptables(NfTables));
        let legacy = Ok(Engine::Iptables(Legacy));
        let nftables = Ok(Engine::Nftables);
        for (name, iptables, nft, want) in [
            ("nothing installed", &[][..], NONE, Err(Missing::Both)),
            ("iptables alone", &[(NfTables, 0)], NONE, compat),
            ("old iptables alone", &[(Legacy, 3)], NONE, legacy),
            ("nft alone", &[], IDLE, nftables),
            ("nft alone, with rules", &[], OTHERS, nftables),
            ("both, and nobody has rules: as flannel", &[(NfTables, 0)], IDLE, compat),
            ("both, and Docker came with iptables", &[(NfTables, 9)], IDLE, compat),
            ("both, and the host's rules are nftables'", &[(NfTables, 0)], OTHERS, nftables),
            ("both in use: where Docker and its drops are", &[(NfTables, 9)], OTHERS, compat),
            ("both kinds of iptables, idle", &[(NfTables, 0), (Legacy, 0)], IDLE, compat),
            ("both kinds, rules in the old one", &[(NfTables, 1), (Legacy, 7)], IDLE, legacy),
            ("both kinds, the old one by name", &[(Legacy, 0), (NfTables, 0)], IDLE, legacy),
            ("both kinds, as many rules in each", &[(Legacy, 2), (NfTables, 2)], IDLE, legacy),
        ] {
            let host = Host { iptables: iptables.to_vec(), nft };
            assert_eq!(choose(Wish::Auto, false, &host), want, "{name}");
        }
    }

    #[test]
    fn what_was_asked_for() {
        let both = Host { iptables: vec![(NfTables, 9)], nft: IDLE };
        let bare = Host::default();
        let old = Host { iptables: vec![(Legacy, 9)], nft: NONE };
        let nftables = Ok(Engine::Nftables);
        for (name, wish, config, host, want) in [
            ("nftables on a host with iptables", Wish::Nftables, false, &both, nftables),
            ("by the network's configuration", Wish::Auto, true, &both, nftables),
            (
                "the host's word before it",
                Wish::Iptables,
                true,
                &both,
                Ok(Engine::Iptables(NfTables)),
            ),
            (
                "the configuration asks for more than there is",
                Wish::Auto,
                true,
                &old,
                Ok(Engine::Iptables(Legacy)),
            ),
            ("no rules", Wish::None, true, &both, Ok(Engine::None)),
            ("no rules needs no program", Wish::None, false, &bare, Ok(Engine::None)),
            ("no iptables", Wish::Iptables, false, &bare, Err(Missing::Iptables)),
            ("no nft", Wish::Nftables, false, &old, Err(Missing::Nft)),
        ] {
            assert_eq!(choose(wish, config, host), want, "{name}");
        }
    }
}
