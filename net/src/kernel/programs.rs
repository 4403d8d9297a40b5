//! The programs that carry packets of `udp` within the kernel: for whoever takes them away, because they
//! stay when the process ends that put them in.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::tc::{TcAttribute, TcFilterBpf, TcHandle, TcMessage};
use nix::libc;
use twill_core::shortcut::{MARK, PRIORITY};

use super::{Kernel, lifts_for};
use crate::Error;
use crate::blocking::socket::Conversation;

/// So many requests go into one batch.
const BATCH: usize = 100;

/// One of them, where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    /// The interface.
    pub interface: String,
    /// The port of its tunnel.
    pub port: u16,
    index: i32,
    place: Place,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Entrance,
    Exit,
}

impl Program {
    /// Is it where packets leave the interface?
    #[must_use]
    pub fn is_at_exit(&self) -> bool {
        self.place == Place::Exit
    }
}

impl Kernel {
    /// All of them. Filters of others that cannot be read are passed over, and ours among them.
    pub async fn programs(&self) -> Result<Vec<Program>, Error> {
        let names = self.names().await?;
        let listed = self.converse(move |kernel| {
            let mut programs = Vec::new();
            for (index, places) in with_filters(kernel)? {
                let Some(name) = names.get(&index) else { continue };
                for place in places.iter().copied() {
                    let request = Message::GetTrafficFilter(at(index, place));
                    // The interface may be gone by now.
                    let rows = kernel.dump(&request).unwrap_or_default();
                    programs.extend(rows.iter().filter_map(|row| ours(row, name, place)));
                }
            }
            Ok(programs)
        });
        listed.await.map_err(|source| Error::List { table: "programs of interfaces", source })
    }

    /// Takes one away; one that is not there any more is a success.
    pub async fn drop_program(&self, program: &Program) -> Result<(), Error> {
        let Program { index, place, port, .. } = *program;
        self.drop_each(vec![(index, place, port)]).await
    }

    /// Takes away those of a port, from everywhere but the interfaces of these names; and where a lift is looked
    /// after by one, the lift.
    pub async fn drop_programs(&self, port: u16, keep: &[&str]) -> Result<(), Error> {
        let mut names = self.names().await?;
        names.retain(|_index, name| !keep.contains(&name.as_str()));
        for program in self.programs().await? {
            let doomed = program.port == port && !keep.contains(&program.interface.as_str());
            if doomed
                && lifts_for(&program.interface).is_some()
                && self.drop_lift(&program.interface).await?
            {
                names.remove(&program.index);
            }
        }
        let filtered = self.converse(with_filters).await;
        let filtered =
            filtered.map_err(|source| Error::List { table: "queueing disciplines", source })?;
        let known = filtered.into_iter().filter(|(index, _places)| names.contains_key(index));
        // Also where a list cannot be read that has others in it.
        let each =
            known.flat_map(|(index, places)| places.iter().map(move |place| (index, *place, port)));
        self.drop_each(each.collect()).await
    }

    /// Goes on after an error: less is left then.
    async fn drop_each(&self, programs: Vec<(i32, Place, u16)>) -> Result<(), Error> {
        let dropped = self.converse(move |kernel| {
            let mut dropped = Ok(());
            for batch in programs.chunks(BATCH) {
                let requests =
                    batch.iter().map(|program| (Message::DelTrafficFilter(filter(*program)), 0));
                for answer in kernel.ask(requests)? {
                    dropped = dropped.and(absent_is_well(answer.map(drop)));
                }
            }
            dropped
        });
        dropped.await.map_err(|source| Error::DropProgram { source })
    }

    async fn names(&self) -> Result<BTreeMap<i32, String>, Error> {
        let links = self.links().await?.into_iter();
        Ok(links.map(|link| (link.index.0.cast_signed(), link.name)).collect())
    }
}

/// The interfaces that filters can be at, and where.
fn with_filters(kernel: &mut Conversation) -> io::Result<Vec<(i32, &'static [Place])>> {
    let rows = kernel.dump(&Message::GetQueueDiscipline(TcMessage::default()));
    let rows = none_is_well(rows)?;
    let places = rows.iter().filter_map(|row| match row {
        Message::NewQueueDiscipline(row) => {
            Some((row.header.index, row.attributes.iter().find_map(places)?))
        }
        _other => None,
    });
    Ok(places.collect())
}

/// A kernel that was built without traffic control (`CONFIG_NET_SCHED`) has nothing of it.
fn none_is_well(rows: io::Result<Vec<Message>>) -> io::Result<Vec<Message>> {
    match rows {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Vec::new()),
        rows => rows,
    }
}

/// Those that a queueing discipline makes. `ingress` has one, under whichever name it is asked for.
fn places(part: &TcAttribute) -> Option<&'static [Place]> {
    match part {
        TcAttribute::Kind(kind) if kind == "clsact" => Some(&[Place::Entrance, Place::Exit]),
        TcAttribute::Kind(kind) if kind == "ingress" => Some(&[Place::Entrance]),
        _other => None,
    }
}

fn at(index: i32, place: Place) -> TcMessage {
    let mut message = TcMessage::with_index(index);
    let minor = match place {
        Place::Entrance => TcHandle::MIN_INGRESS,
        Place::Exit => TcHandle::MIN_EGRESS,
    };
    message.header.parent = TcHandle { minor, ..TcHandle::CLSACT };
    message
}

/// By all that it is known by, so that nobody else's is meant.
fn filter((index, place, port): (i32, Place, u16)) -> TcMessage {
    let mut message = at(index, place);
    let every_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be();
    message.header.info = u32::from(PRIORITY) << 16 | u32::from(every_protocol);
    message.header.handle = TcHandle { major: MARK, minor: port };
    message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
    message
}

fn ours(row: &Message, interface: &str, place: Place) -> Option<Program> {
    let Message::NewTrafficFilter(row) = row else { return None };
    let is_program =
        |part: &TcAttribute| matches!(part, TcAttribute::Kind(kind) if kind == TcFilterBpf::KIND);
    let TcHandle { major, minor: port } = row.header.handle;
    let marked = major == MARK && row.header.info >> 16 == u32::from(PRIORITY);
    let index = row.header.index;
    // A row of what several interfaces share is at none of them.
    let marked = marked && index >= 0;
    (marked && row.attributes.iter().any(is_program)).then(|| Program {
        interface: interface.to_owned(),
        port,
        index,
        place,
    })
}

/// No such filter, none of that priority or kind, no place for filters, no interface; or a place that several
/// interfaces share (`ingress_block`), which takes none of ours.
fn absent_is_well(answer: io::Result<()>) -> io::Result<()> {
    match answer {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::EINVAL | libc::ENODEV | libc::EOPNOTSUPP)
            ) =>
        {
            Ok(())
        }
        answer => answer,
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            Place::Entrance => "entrance",
            Place::Exit => "exit",
        };
        write!(f, "program at the {place} of {} for port {}", self.interface, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_traffic_control_has_no_programs() {
        let failed = |errno| Err(io::Error::from_raw_os_error(errno));
        assert_eq!(none_is_well(failed(libc::EOPNOTSUPP)).unwrap(), []);
        assert!(none_is_well(failed(libc::EPERM)).is_err(), "another error says nothing");
    }

    #[test]
    fn what_takes_none_of_ours_has_none() {
        for (errno, well) in [(libc::EOPNOTSUPP, true), (libc::ENOENT, true), (libc::EPERM, false)]
        {
            let answer = absent_is_well(Err(io::Error::from_raw_os_error(errno)));
            assert_eq!(answer.is_ok(), well, "{errno}");
        }
    }
}
