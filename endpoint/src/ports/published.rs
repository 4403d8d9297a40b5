//! Who publishes, in all pools of the host.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;

use twill_core::firewall::ports::{Publication, sort};
use twill_core::ids::Family;
use twill_core::subnet_env::SubnetEnv;
use twill_net::blocking::Kernel;

use super::Port;
use crate::boot::boot_id;
use crate::error::Error;
use crate::host::Host;
use crate::pool::{Pool, Record};
use crate::request::{Interface, Keeper, Owner};
use crate::reserve::is_dead;

impl Host {
    /// Whose ports are published.
    pub fn published(&self) -> Result<Vec<(Owner, Port)>, Error> {
        Ok(ports(self.publishing()?))
    }

    /// The same of the pools beside this one.
    pub(crate) fn published_beside(&self) -> Result<Vec<(Owner, Port)>, Error> {
        Ok(ports(living(self.records_beside()?)?))
    }

    /// The pools beside this one: those of the host's other networks lie in the same directory. One is known by its files.
    pub(crate) fn pools_beside(&self) -> Vec<Pool> {
        let own = self.state.file_name();
        let entries = fs::read_dir(self.shared()).into_iter().flatten().flatten();
        let others = entries.filter(|entry| Some(entry.file_name().as_os_str()) != own);
        let paths = others.map(|entry| entry.path());
        let is_pool =
            |path: &std::path::PathBuf| ["boot", "lock"].iter().all(|it| path.join(it).exists());
        paths.filter(is_pool).map(|path| Pool::new(&path)).collect()
    }

    /// The records with ports of those who can still be reached. A container whose monitor was killed
    /// keeps its record until somebody sweeps, and nobody may follow it to its address meanwhile.
    fn publishing(&self) -> Result<Vec<Record>, Error> {
        let mut records = self.records()?;
        records.extend(self.records_beside()?);
        living(records)
    }

    /// Those of this boot. One that cannot be read is an error: to go on without it would close its owner's ports.
    fn records_beside(&self) -> Result<Vec<Record>, Error> {
        let boot_id = boot_id()?;
        let mut records = Vec::new();
        for pool in self.pools_beside().into_iter().filter(|pool| pool.is_of(&boot_id)) {
            for entry in pool.entries()? {
                records.extend(pool.read(&entry)?.filter(|record| record.boot_id == boot_id));
            }
        }
        Ok(records)
    }

    /// The bridges that containers of any pool have joined, and the usual one.
    pub(super) fn bridges(&self) -> Result<Vec<String>, Error> {
        let mut records = self.records()?;
        records.extend(self.records_beside()?);
        let mut names = vec![Interface::usual().to_string()];
        names.extend(records.into_iter().map(|record| record.bridge.to_string()));
        Ok(names)
    }

    /// All that is published, as rules have to come, but for those who are `leaving`. While a container moves to another
    /// subnet it has two records: the one of the host's blocks of now counts. Of one in several networks, the
    /// network that it joined first.
    pub(super) fn publications(&self, leaving: &[Owner]) -> Result<Vec<Publication>, Error> {
        let mut records = self.publishing()?;
        records.retain(|record| !leaving.contains(&record.owner));
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let env = self.read_env().ok();
        let here = |record: &Record| {
            let mut blocks = env.iter().flat_map(SubnetEnv::blocks);
            blocks.any(|blocks| blocks.subnet == record.subnet)
        };
        let moves = |record: &Record| {
            records.iter().filter(|other| other.owner == record.owner).count() > 1
        };
        // The last one counts.
        let mut ranked: Vec<_> = records
            .iter()
            .map(|record| ((!moves(record) || here(record)), Reverse(record.made_at), record))
            .collect();
        ranked.sort_by(|one, other| {
            (one.0, one.1, &other.2.owner).cmp(&(other.0, other.1, &one.2.owner))
        });
        let mut found = BTreeMap::new();
        for (_here, _made_at, record) in ranked {
            for publication in record.publications() {
                let Publication { protocol, at, port, .. } = publication;
                found.insert((protocol, at, port, publication.family()), publication);
            }
        }
        let mut all: Vec<Publication> = found.into_values().collect();
        sort(&mut all);
        Ok(all)
    }
}

fn living(mut records: Vec<Record>) -> Result<Vec<Record>, Error> {
    records.retain(|record| !record.ports.is_empty());
    if records.is_empty() {
        return Ok(records);
    }
    let mut host = Kernel::here()?;
    let mut living = Vec::new();
    for record in records {
        if !is_dead(&mut host, &record)? {
            living.push(record);
        }
    }
    Ok(living)
}

fn ports(records: Vec<Record>) -> Vec<(Owner, Port)> {
    let of = |Record { owner, ports, .. }: Record| {
        ports.into_iter().map(move |port| (owner.clone(), port))
    };
    records.into_iter().flat_map(of).collect()
}

/// Are these interfaces of one container? A runtime asks for its ports in each network that it joins, and one
/// of them leads to it.
pub(crate) fn are_one(one: &Owner, other: &Owner) -> bool {
    let same = match (&one.keeper, &other.keeper) {
        (Keeper::Cni(_), Keeper::Cni(_)) => true,
        (one, other) => one == other,
    };
    same && one.container == other.container
}

impl Record {
    /// One for each family that the container and the host's address have.
    pub(super) fn publications(&self) -> impl Iterator<Item = Publication> + use<'_> {
        self.places().flat_map(move |place| {
            let fits =
                move |port: &&Port| port.host_ip.is_none_or(|ip| Family::of(ip) == place.family());
            self.ports.iter().filter(fits).map(move |port| Publication {
                protocol: port.protocol,
                at: port.host_ip.filter(|ip| !ip.is_unspecified()),
                port: port.host_port,
                to: (place.address, port.container_port).into(),
                bridge: self.bridge.to_string(),
                subnet: place.subnet,
            })
        })
    }
}
