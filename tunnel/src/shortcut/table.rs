//! The peers as the programs look them up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, Map, MapData, MapError};
use twill_core::ids::Subnet;

use super::{Cause, Refused};

/// `struct owner` of the programs.
type Owner = [u8; 8];
/// `struct host` of the programs, which they alone write.
type Host = [u8; 24];
/// The length and the base of a block.
type Block = (u8, Ipv4Addr);

/// Blocks with their owners, and the owners.
pub(crate) struct Table {
    owners: LpmTrie<MapData, [u8; 4], Owner>,
    hosts: HashMap<MapData, [u8; 4], Host>,
    known: Rows,
}

/// What is in it, or is to be.
#[derive(Debug, Default)]
struct Rows {
    owners: BTreeMap<Block, Owner>,
    hosts: BTreeSet<Ipv4Addr>,
}

impl Table {
    pub(crate) fn of(programs: &mut Ebpf) -> Result<Self, Refused> {
        Ok(Self {
            owners: map(programs, "owners")?,
            hosts: map(programs, "hosts")?,
            known: Rows::default(),
        })
    }

    /// See `Shortcut::follow`.
    pub(crate) fn follow(
        &mut self,
        blocks: &[(Subnet, IpAddr)],
        able: &BTreeSet<IpAddr>,
        swap: impl FnOnce(),
    ) -> Result<(), Refused> {
        let wanted = Rows::of(blocks, able);
        let dropped = self.drop_all_but(&wanted);
        swap();
        dropped?;
        self.put(&wanted)?;
        self.known = wanted;
        Ok(())
    }

    fn drop_all_but(&mut self, wanted: &Rows) -> Result<(), Refused> {
        for block in self.known.lost(wanted) {
            self.owners.remove(&key(block)).map_err(|error| refused("owners", error))?;
        }
        for host in self.known.hosts.difference(&wanted.hosts) {
            self.hosts.remove(&host.octets()).map_err(|error| refused("hosts", error))?;
        }
        Ok(())
    }

    fn put(&mut self, wanted: &Rows) -> Result<(), Refused> {
        for host in wanted.hosts.difference(&self.known.hosts) {
            let never = Host::default();
            self.hosts.insert(host.octets(), never, 0).map_err(|error| refused("hosts", error))?;
        }
        for (block, owner) in &wanted.owners {
            if self.known.owners.get(block) != Some(owner) {
                self.owners
                    .insert(&key(*block), owner, 0)
                    .map_err(|error| refused("owners", error))?;
            }
        }
        Ok(())
    }
}

impl Rows {
    fn of(blocks: &[(Subnet, IpAddr)], able: &BTreeSet<IpAddr>) -> Self {
        let mut rows = Self::default();
        for (block, host) in blocks {
            let (IpAddr::V4(base), IpAddr::V4(host)) = (block.base(), *host) else { continue };
            let takes_unfinished = u32::from(able.contains(&host.into()));
            let mut owner = Owner::default();
            owner[..4].copy_from_slice(&host.octets());
            owner[4..].copy_from_slice(&takes_unfinished.to_ne_bytes());
            rows.owners.insert((block.len(), base), owner);
            rows.hosts.insert(host);
        }
        rows
    }

    /// Blocks that their owners lose, be it to others.
    fn lost<'a>(&'a self, wanted: &'a Self) -> impl Iterator<Item = Block> + 'a {
        let stays = |block: &Block, owner: &Owner| wanted.owners.get(block) == Some(owner);
        let lost = self.owners.iter().filter(move |(block, owner)| !stays(block, owner));
        lost.map(|(block, _owner)| *block)
    }
}

fn key((len, base): Block) -> Key<[u8; 4]> {
    Key::new(len.into(), base.octets())
}

pub(super) fn map<M: TryFrom<Map, Error = MapError>>(
    programs: &mut Ebpf,
    name: &'static str,
) -> Result<M, Refused> {
    let map = programs
        .take_map(name)
        .ok_or_else(|| Refused::Table { name, source: Cause::from("it is not there") })?;
    map.try_into().map_err(|error| refused(name, error))
}

fn refused(name: &'static str, error: MapError) -> Refused {
    Refused::Table { name, source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_its_owner_is_lost_first() {
        let block = |n: u8| Subnet::new([10, 5, n, 0].into(), 24).unwrap();
        let host = |n: u8| IpAddr::from([192, 0, 2, n]);
        let rows = |blocks: &[(u8, u8)], able: &[u8]| {
            let blocks: Vec<_> = blocks.iter().map(|(n, of)| (block(*n), host(*of))).collect();
            Rows::of(&blocks, &able.iter().map(|n| host(*n)).collect())
        };
        let lost = |before: &Rows, wanted: &Rows| -> Vec<u8> {
            before.lost(wanted).map(|(_len, base)| base.octets()[2]).collect()
        };
        let before = rows(&[(1, 1), (2, 2), (3, 3)], &[1, 3]);
        assert_eq!(lost(&before, &before), [0; 0]);
        assert_eq!(lost(&before, &rows(&[(1, 1), (2, 3), (4, 4)], &[1])), [2, 3]);
        assert_eq!(lost(&before, &rows(&[(1, 1), (2, 2), (3, 3)], &[1])), [3], "it takes less now");
        assert_eq!(lost(&Rows::default(), &before), [0; 0]);
    }
}
