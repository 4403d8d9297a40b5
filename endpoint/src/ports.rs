//! Published ports: what belongs to containers is in the pool's records, and the host's rules follow.
//!
//! The record comes before the rules, and goes before them. Beside the records lies a note of what rules
//! were written: it says that they are about to change before they do, so that whoever comes after a
//! crash sees that there is something left to do, and without one nobody has to look. The rules
//! are always made from all records, under a lock: the last writer has seen the newest.

mod hold;
mod note;
mod occupant;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use twill_core::firewall::Engine;
use twill_core::firewall::ports::{Protocol, Publication, sort};
use twill_core::ids::Family;
use twill_net::blocking::Kernel;
use twill_net::ports::{Change, Left, Writer, is_ipv6_there};
use twill_net::sysctl;

use crate::error::Error;
use crate::host::Host;
use crate::pool::Record;
use crate::renumber::of_owner;
use crate::request::Owner;
use crate::reserve::{boot_id, is_dead};
use note::Note;

pub use hold::Hold;
pub use occupant::occupant;

/// A port of a container that the host passes on.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The container's port.
    pub container_port: u16,
    /// Of both.
    pub protocol: Protocol,
    /// The host's address; all of them if not given, in each family that the container has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
}

impl Port {
    /// Can only one of the two be there?
    #[must_use]
    pub fn clashes(&self, other: &Self) -> bool {
        let met = |family: Family| {
            let [one, other] = [self, other].map(|port| port.at(family));
            let everywhere = |at: Option<IpAddr>| at.is_some_and(|ip| ip.is_unspecified());
            one.is_some()
                && other.is_some()
                && (everywhere(one) || everywhere(other) || one == other)
        };
        (self.protocol, self.host_port) == (other.protocol, other.host_port)
            && [Family::V4, Family::V6].into_iter().any(met)
    }

    /// Its address of that family, if it has one: `0.0.0.0` is all of IPv4, and none given all of both.
    fn at(&self, family: Family) -> Option<IpAddr> {
        let everywhere = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Some(self.host_ip.unwrap_or(everywhere)).filter(|ip| Family::of(*ip) == family)
    }

    /// Where it is reached, in Docker's words: `0.0.0.0:80`.
    #[must_use]
    pub fn place(&self) -> String {
        let ip = self.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        std::net::SocketAddr::new(ip, self.host_port).to_string()
    }
}

/// How the agent left the rules.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kept {
    /// There was nothing to do.
    Right,
    /// Containers had come or gone.
    Followed,
    /// Somebody else had changed them.
    Healed,
}

impl Host {
    /// Whose ports are published.
    pub fn published(&self) -> Result<Vec<(Owner, Port)>, Error> {
        let records = self.publishing()?.into_iter();
        let all = records.flat_map(|Record { owner, ports, .. }| {
            ports.into_iter().map(move |port| (owner.clone(), port))
        });
        Ok(all.collect())
    }

    /// Brings the rules to what the records say; if they are there already, and nobody was cut short, nothing
    /// is even looked at.
    pub fn sync_ports(&self) -> Result<(), Error> {
        self.sync(None)
    }

    /// The same as if that owner had none.
    pub(crate) fn sync_ports_without(&self, owner: &Owner) -> Result<(), Error> {
        self.sync(Some(owner))
    }

    fn sync(&self, without: Option<&Owner>) -> Result<(), Error> {
        let wanted = || self.publications_without(without);
        let note = self.note()?;
        let idle = |note: &Note| note.settled && note.publications.is_empty();
        if note.as_ref().is_none_or(idle) && wanted()?.is_empty() {
            return Ok(());
        }
        let _lock = self.lock_ports()?;
        let (note, wanted) = (self.note()?, wanted()?);
        if note.as_ref().is_some_and(|it| it.settled && it.publications == wanted) {
            return Ok(());
        }
        self.write_ports(note.as_ref(), wanted, None).map(drop)
    }

    /// The same, looking at the rules themselves: somebody may have taken them away. Without an engine the
    /// one that is in use goes on, or what the host uses is chosen.
    pub fn keep_ports(&self, engine: Option<Engine>) -> Result<Kept, Error> {
        // That nothing is written for networks says nothing about ports.
        let engine = engine.filter(|engine| *engine != Engine::None);
        if self.note()?.is_none() && self.publications()?.is_empty() {
            return Ok(Kept::Right);
        }
        let _lock = self.lock_ports()?;
        let (note, wanted) = (self.note()?, self.publications()?);
        let same = note.as_ref().is_some_and(|it| {
            it.settled
                && it.publications == wanted
                && engine.is_none_or(|engine| engine == it.engine)
        });
        Ok(match self.write_ports(note.as_ref(), wanted, engine)? {
            false => Kept::Right,
            true if same => Kept::Healed,
            true => Kept::Followed,
        })
    }

    fn write_ports(
        &self,
        note: Option<&Note>,
        wanted: Vec<Publication>,
        engine: Option<Engine>,
    ) -> Result<bool, Error> {
        let had = note.map(|note| note.publications.as_slice()).unwrap_or_default();
        let of = |family| had.iter().chain(&wanted).any(|it| it.family() == family);
        let mut families = vec![Family::V4];
        if is_ipv6_there() && (of(Family::V6) || note.is_none_or(|it| !it.settled)) {
            families.push(Family::V6);
        }
        let writer = Writer::probe(&families)?;
        let stays = note.map(|note| note.engine);
        let engine = match engine.or(stays) {
            Some(engine) => engine,
            None => writer.choose()?,
        };
        let bridges = bridges(had, &wanted);
        let printed = note.map(|note| note.printed.clone()).unwrap_or_default();
        let about = Note {
            boot_id: boot_id()?,
            engine,
            settled: false,
            publications: both(had, &wanted),
            printed,
        };
        let same =
            note.is_some_and(|it| it.settled && it.publications == wanted && it.engine == engine);
        if !same {
            self.put_note(&about)?;
        }
        // Who is kept out by the rules is let in by the switch: the rules come first and go last.
        for (bridge, on) in bridges.iter().filter(|(_bridge, on)| !**on) {
            sysctl::ensure_loopback_routed(bridge, *on)?;
        }
        // What was printed is of the rules of then.
        let printed = if same { about.printed.clone() } else { String::new() };
        let before = Left { changed: false, printed };
        let left = writer.ensure(engine, &wanted, &before)?;
        for (bridge, on) in bridges.iter().filter(|(_bridge, on)| **on) {
            sysctl::ensure_loopback_routed(bridge, *on)?;
        }
        let changed = left.changed;
        redirect(note, &wanted, changed);
        if same && left.printed == about.printed {
            return Ok(changed);
        }
        self.put_note(&Note {
            settled: true,
            publications: wanted,
            printed: left.printed,
            ..about
        })?;
        Ok(changed)
    }

    /// The same for whoever joins or leaves: only owners with ports of their `own` have to fail, what is
    /// due to the others' is done by the next one, or by the agent.
    pub(crate) fn follow_ports(&self, own: bool) -> Result<(), Error> {
        match self.sync_ports() {
            Err(error) if !own => {
                tracing::warn!(%error, "cannot bring the rules of published ports up to date");
                Ok(())
            }
            synced => synced,
        }
    }

    /// Has that owner ports, as far as can be read?
    pub(crate) fn has_ports(&self, owner: &Owner) -> bool {
        let records = of_owner(&self.pool(), owner).unwrap_or_default();
        records.iter().any(|record| !record.ports.is_empty())
    }

    /// The records with ports of those who can still be reached. A container whose monitor was killed
    /// keeps its record until somebody sweeps, and nobody may follow it to its address meanwhile.
    fn publishing(&self) -> Result<Vec<Record>, Error> {
        let boot_id = boot_id()?;
        let mut records = self.records()?;
        records.retain(|record| !record.ports.is_empty() && record.boot_id == boot_id);
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

    /// All that is published, as rules have to come. While a container moves to another subnet it has two
    /// records: the one of the host's blocks of now counts.
    fn publications(&self) -> Result<Vec<Publication>, Error> {
        self.publications_without(None)
    }

    fn publications_without(&self, owner: Option<&Owner>) -> Result<Vec<Publication>, Error> {
        let mut records = self.publishing()?;
        records.retain(|record| Some(&record.owner) != owner);
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let env = self.read_env().ok();
        let here = |record: &Record| {
            let mut blocks = env.iter().flat_map(twill_core::subnet_env::SubnetEnv::blocks);
            blocks.any(|blocks| blocks.subnet == record.subnet)
        };
        records.sort_by_key(here);
        let mut found = BTreeMap::new();
        for record in &records {
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

/// Those with containers of IPv4: is there one with ports now?
fn bridges<'a>(had: &'a [Publication], wanted: &'a [Publication]) -> BTreeMap<&'a str, bool> {
    let mut bridges = BTreeMap::new();
    for (all, on) in [(had, false), (wanted, true)] {
        let ipv4 = all.iter().filter(|it| it.family() == Family::V4);
        bridges.extend(ipv4.map(|it| (it.bridge.as_str(), on)));
    }
    bridges
}

/// Leads flows that were on their way by the rules of now. Where it is not certain what the rules were, all
/// are looked at.
fn redirect(note: Option<&Note>, wanted: &[Publication], changed: bool) {
    let had = note.map(|note| note.publications.as_slice()).unwrap_or_default();
    let all = changed || !note.is_some_and(|it| it.settled);
    let change = Change {
        new: wanted.iter().filter(|it| all || !had.contains(it)).collect(),
        gone: had.iter().filter(|it| !wanted.contains(it)).collect(),
    };
    if let Err(error) = change.redirect() {
        // The rules stand; who waits long enough is led by them.
        tracing::warn!(%error, "flows of UDP may go on to where they were led before");
    }
}

/// Each once, however often nothing could be written.
fn both(had: &[Publication], wanted: &[Publication]) -> Vec<Publication> {
    let new = wanted.iter().filter(|it| !had.contains(it));
    had.iter().chain(new).cloned().collect()
}

impl Record {
    /// One for each family that the container and the host's address have.
    fn publications(&self) -> impl Iterator<Item = Publication> + use<'_> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clashes() {
        let port = |protocol: &str, ip: &str, host_port| Port {
            container_port: 80,
            protocol: protocol.parse().unwrap(),
            host_ip: ip.parse().ok(),
            host_port,
        };
        let wide = port("tcp", "", 80);
        for (name, other, want) in [
            ("itself", wide.clone(), true),
            ("another protocol", port("udp", "", 80), false),
            ("another port", port("tcp", "", 81), false),
            ("one address of all", port("tcp", "192.0.2.1", 80), true),
            ("all, spelt out", port("tcp", "0.0.0.0", 80), true),
            ("all of IPv6", port("tcp", "::", 80), true),
            ("one of IPv6", port("tcp", "2001:db8::1", 80), true),
        ] {
            assert_eq!(wide.clashes(&other), want, "{name}");
            assert_eq!(other.clashes(&wide), want, "{name}, the other way round");
        }
        for (one, other, want) in [
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("0.0.0.0", "192.0.2.1", true),
            ("0.0.0.0", "2001:db8::1", false),
            ("0.0.0.0", "::", false),
            ("::", "192.0.2.1", false),
            ("::", "2001:db8::1", true),
        ] {
            let [a, b] = [one, other].map(|ip| port("tcp", ip, 80));
            assert_eq!((a.clashes(&b), b.clashes(&a)), (want, want), "{one} and {other}");
        }
        assert_eq!(wide.place(), "0.0.0.0:80");
        assert_eq!(port("tcp", "::1", 80).place(), "[::1]:80");
    }

    #[test]
    fn what_is_noted_does_not_grow_while_nothing_can_be_written() {
        let one = |port: u16| Publication {
            protocol: Protocol::Tcp,
            at: None,
            port,
            to: ([10, 5, 1, 2], port).into(),
            bridge: "twill0".to_owned(),
            subnet: "10.5.1.0/24".parse().unwrap(),
        };
        let (had, wanted) = ([one(1), one(2)], [one(2), one(3)]);
        let noted = both(&had, &wanted);
        assert_eq!(noted, [one(1), one(2), one(3)]);
        assert_eq!(both(&noted, &wanted), noted);
    }
}
