//! The rules that stand, and how they follow.

use std::collections::BTreeMap;
use std::fs::File;

use twill_core::firewall::Engine;
use twill_core::firewall::ports::Publication;
use twill_core::ids::Family;
use twill_net::ports::{Change, Left, Writer, is_ipv6_there, is_table_there};
use twill_net::sysctl;

use super::Kept;
use super::note::Note;
use crate::boot::boot_id;
use crate::error::Error;
use crate::host::Host;
use crate::pool::Record;
use crate::renumber::of_owner;
use crate::request::Owner;

impl Host {
    /// Brings the rules to what the records say; if they are there already, and nobody was cut short, nothing
    /// is even looked at.
    pub fn sync_ports(&self) -> Result<(), Error> {
        self.sync_ports_without(&[]).map(drop)
    }

    /// The same as if these owners had none. What has been taken away is still going as long as the answer is kept.
    pub(crate) fn sync_ports_without(&self, leaving: &[Owner]) -> Result<Option<Writer>, Error> {
        let note = self.note()?;
        if nothing_stands(note.as_ref()) && self.left_by(leaving, note.as_ref())?.is_empty() {
            return Ok(None);
        }
        let lock = self.lock_ports()?;
        let note = self.note()?;
        let wanted = self.left_by(leaving, note.as_ref())?;
        if note.as_ref().is_some_and(|it| it.settled && it.publications == wanted) {
            return Ok(None);
        }
        let (writer, _changed) = self.write_ports(&lock, note.as_ref(), (wanted, None))?;
        // Whoever keeps it goes on to wait for others' turns, and they for this lock.
        Ok(Some(writer.unlocked()))
    }

    /// What is published without these owners. Where somebody's record cannot be read nobody joins, but whoever leaves
    /// leaves: then that is what is known to stand but for what is theirs.
    fn left_by(&self, leaving: &[Owner], note: Option<&Note>) -> Result<Vec<Publication>, Error> {
        let error = match self.publications(leaving) {
            Err(error) if !leaving.is_empty() => error,
            known => return known,
        };
        tracing::warn!(%error, "a record of published ports cannot be read, the others' rules stay as they are");
        let mut theirs = Vec::new();
        for owner in leaving {
            for record in of_owner(&self.pool(), owner)? {
                theirs.extend(record.publications());
            }
        }
        let mut stays = note.map(|note| note.publications.clone()).unwrap_or_default();
        stays.retain(|it| !theirs.contains(it));
        Ok(stays)
    }

    /// The same, looking at the rules themselves: somebody may have taken them away. Without an engine the
    /// one that is in use goes on, or what suits the host is chosen.
    pub fn keep_ports(&self, engine: Option<Engine>) -> Result<Kept, Error> {
        // That nothing is written for networks says nothing about ports.
        let engine = engine.filter(|engine| *engine != Engine::None);
        let nothing = self.note()?.is_none() && !is_table_there();
        if nothing && self.publications(&[])?.is_empty() {
            return Ok(Kept::Right);
        }
        let lock = self.lock_ports()?;
        let (note, wanted) = (self.note()?, self.publications(&[])?);
        let same = note.as_ref().is_some_and(|it| {
            it.settled
                && it.publications == wanted
                && engine.is_none_or(|engine| engine == it.engine)
        });
        let (_writer, changed) = self.write_ports(&lock, note.as_ref(), (wanted, engine))?;
        Ok(match changed {
            false => Kept::Right,
            true if same => Kept::Healed,
            true => Kept::Followed,
        })
    }

    /// Whoever has lost all notes and records may have left rules.
    pub(crate) fn sweep_ports(&self) -> Result<(), Error> {
        if self.note()?.is_some() {
            return self.sync_ports();
        }
        let lock = self.lock_ports()?;
        let wanted = self.publications(&[])?;
        match self.note()? {
            None => self.write_ports(&lock, None, (wanted, None)).map(drop),
            Some(_written_meanwhile) => Ok(()),
        }
    }

    /// What is missing of the rules for that container, in words.
    pub(crate) fn lacks_ports(&self, record: &Record) -> Result<Option<&'static str>, Error> {
        const MISSING: &str = "rules for its published ports are not there";
        if record.ports.is_empty() {
            return Ok(None);
        }
        let lock = self.lock_ports()?;
        let Some(note) = self.note()?.filter(|note| note.settled) else { return Ok(Some(MISSING)) };
        let key = |it: &Publication| (it.protocol, it.at, it.port, it.family());
        let there =
            |wanted: &Publication| note.publications.iter().any(|it| key(it) == key(wanted));
        if !record.publications().all(|it| there(&it)) {
            return Ok(Some(MISSING));
        }
        let writer = writer(&lock, &note.publications, Some(&note))?;
        let stand = writer.stand(note.engine, &note.publications, &note.left())?;
        Ok((!stand).then_some(MISSING))
    }

    fn write_ports(
        &self,
        lock: &File,
        note: Option<&Note>,
        (wanted, engine): (Vec<Publication>, Option<Engine>),
    ) -> Result<(Writer, bool), Error> {
        let had = note.map(|note| note.publications.as_slice()).unwrap_or_default();
        let of_both = both(had, &wanted);
        let writer = writer(lock, &of_both, note)?;
        let stays = note.map(|note| note.engine);
        let engine = match engine.or(stays.filter(|it| goes_on(*it, had, &wanted))) {
            Some(engine) => engine,
            None => match writer.choose(&wanted) {
                Err(_none) if wanted.is_empty() => Engine::None,
                chosen => chosen?,
            },
        };
        let bridges = self.switched(note, &wanted)?;
        let before = note.map(Note::left).unwrap_or_default();
        let about = Note {
            boot_id: boot_id()?,
            engine,
            settled: false,
            publications: of_both,
            printed: before.printed.clone(),
            apart: before.apart,
            generation: before.generation,
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
        // Of rules that were about to change, or of another engine, nothing is known.
        let known = stays == Some(engine) && note.is_some_and(|it| it.settled);
        let left = if known { before.clone() } else { Left::default() };
        let left = writer.ensure(engine, &wanted, (&left, had))?;
        for (bridge, on) in bridges.iter().filter(|(_bridge, on)| **on) {
            sysctl::ensure_loopback_routed(bridge, *on)?;
        }
        redirect(note, &wanted, left.changed);
        if same && before == (Left { changed: false, ..left.clone() }) {
            return Ok((writer, left.changed));
        }
        let Left { printed, apart, generation, changed } = left;
        self.put_note(&Note {
            settled: true,
            publications: wanted,
            printed,
            apart,
            generation,
            ..about
        })?;
        Ok((writer, changed))
    }

    /// The bridges with containers of IPv4 that have ports, or had: is there one with ports now?
    fn switched(
        &self,
        note: Option<&Note>,
        wanted: &[Publication],
    ) -> Result<BTreeMap<String, bool>, Error> {
        let mut bridges = BTreeMap::new();
        match note {
            Some(note) => bridges.extend(bridges_of(&note.publications).map(|it| (it, false))),
            // Nobody knows which ones were switched.
            None => bridges.extend(self.bridges()?.into_iter().map(|it| (it, false))),
        }
        bridges.extend(bridges_of(wanted).map(|it| (it, true)));
        Ok(bridges)
    }

    /// The same for whoever joins or leaves: only owners with ports of their `own` have to fail, what is
    /// due to the others' is done by the next one, or by the agent.
    pub(crate) fn follow_ports(&self, own: bool) -> Result<(), Error> {
        let follow = || {
            // Where nothing stands nothing has to go, and who has no ports brings none.
            if !own && nothing_stands(self.note()?.as_ref()) {
                return Ok(());
            }
            self.sync_ports()
        };
        match follow() {
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
}

/// Nothing was written since the host came up, or nothing is left of it.
fn nothing_stands(note: Option<&Note>) -> bool {
    match note {
        Some(note) => note.settled && note.publications.is_empty(),
        None => !is_table_there(),
    }
}

/// Is that one still the best? Who is the first to publish asks the host again, which may have something better than
/// iptables by now.
fn goes_on(engine: Engine, had: &[Publication], wanted: &[Publication]) -> bool {
    engine == Engine::Nftables || !had.is_empty() || wanted.is_empty()
}

/// For the families of these, and of what may be left of IPv6.
fn writer(lock: &File, of: &[Publication], note: Option<&Note>) -> Result<Writer, Error> {
    let mut families = vec![Family::V4];
    let ipv6 = of.iter().any(|it| it.family() == Family::V6);
    if is_ipv6_there() && (ipv6 || note.is_none_or(|it| !it.settled)) {
        families.push(Family::V6);
    }
    Ok(Writer::under(lock, &families)?)
}

/// Of containers of IPv4.
fn bridges_of(publications: &[Publication]) -> impl Iterator<Item = String> {
    let ipv4 = publications.iter().filter(|it| it.family() == Family::V4);
    ipv4.map(|it| it.bridge.clone())
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

#[cfg(test)]
mod tests {
    use twill_core::firewall::ports::Protocol;

    use super::*;

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
