//! Takes the host's ports for a container, for as long as its monitor lives.
//!
//! A port is held by a socket that is bound and does nothing else: no other process gets the port, no
//! other container either, whoever comes first, and the kernel lets it go with the monitor, however that
//! ends. Rules lead what comes there to the container before it would meet the socket.

use std::fs;

use twill_core::ids::Family;
use twill_endpoint::{Error as Refused, Hold, Owner, Port, occupant};

use crate::Paths;
use crate::container::ports::Binding;
use crate::container::{Network, Record, reap};
use crate::error::{Error, Result};

/// The ports of one container, once they are taken.
#[derive(Debug, Default)]
pub(super) struct Held {
    places: Option<Vec<Place>>,
}

/// One of them.
#[derive(Debug)]
struct Place {
    /// By which it was chosen.
    binding: Binding,
    port: Port,
    _hold: Hold,
}

impl Held {
    /// What is published, from the first start on the same. The container has these families.
    pub(super) fn take(
        &mut self,
        paths: &Paths,
        record: &Record,
        families: &[Family],
    ) -> Result<()> {
        if self.places.is_none() {
            let wanted =
                if record.network == Network::Bridge { record.ports.wanted() } else { Vec::new() };
            let mut places = Vec::new();
            if !wanted.is_empty() {
                let taken = Taken::now(paths, record)?;
                for binding in wanted {
                    let range = binding.host_ports.unwrap_or_else(any_port);
                    places.push(Place::find(binding, range, (&taken, families))?);
                }
            }
            self.places = Some(places);
        }
        Ok(())
    }

    /// Somebody whom the kernel does not know has taken a port since it was found free: the next one is held
    /// instead. False if there is none to choose.
    pub(super) fn give_way(
        &mut self,
        clash: &Port,
        (paths, record): (&Paths, &Record),
        families: &[Family],
    ) -> Result<bool> {
        let mut places = self.places.iter_mut().flatten();
        let Some(place) = places.find(|place| place.port == *clash) else { return Ok(false) };
        let (_, last) = place.binding.host_ports.unwrap_or_else(any_port);
        if clash.host_port >= last {
            return Ok(false);
        }
        // What lies before was taken when this one was.
        let rest = (clash.host_port + 1, last);
        match Place::find(place.binding.clone(), rest, (&Taken::now(paths, record)?, families)) {
            Ok(next) => *place = next,
            Err(Error::PortTaken { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// In order.
    pub(super) fn ports(&self) -> Vec<Port> {
        let mut ports: Vec<Port> =
            self.places.iter().flatten().map(|place| place.port.clone()).collect();
        ports.sort();
        ports
    }
}

impl Place {
    fn find(
        binding: Binding,
        (first, last): (u16, u16),
        (taken, families): (&Taken<'_>, &[Family]),
    ) -> Result<Self> {
        let mut refused = None;
        for host_port in first..=last {
            let port = Port {
                container_port: binding.port.port,
                protocol: binding.port.protocol,
                host_ip: binding.host_ip,
                host_port,
            };
            if let Some(owner) = taken.owner(&port) {
                refused.get_or_insert((port, Some(owner)));
                continue;
            }
            match Hold::take(&port, families) {
                Ok(hold) => return Ok(Self { binding, port, _hold: hold }),
                Err(Refused::PortOccupied { .. }) => {
                    refused.get_or_insert((port, None));
                }
                Err(Refused::PortNotThere { source, .. }) => {
                    return Err(Error::PortNotThere { place: port.place(), source });
                }
                Err(other) => return Err(Error::Usage(other.to_string())),
            }
        }
        let Some((port, owner)) = refused else { return Err(Error::Lost) };
        let owner = owner.unwrap_or_else(|| occupant(&port));
        let place = port.place();
        Err(Error::PortTaken { place, owner })
    }
}

/// What others have, as far as the kernel does not know: containers of other runtimes hold no sockets.
struct Taken<'a> {
    paths: &'a Paths,
    record: &'a Record,
    published: Vec<(Owner, Port)>,
}

impl<'a> Taken<'a> {
    fn now(paths: &'a Paths, record: &'a Record) -> Result<Self> {
        let published = reap::host(paths).published();
        let published = published.map_err(|source| Error::Network { operation: "join", source })?;
        Ok(Self { paths, record, published })
    }

    /// By the name of the container, if it is one of ours.
    fn owner(&self, port: &Port) -> Option<String> {
        let of_others = |(owner, other): &&(Owner, Port)| {
            owner.container != self.record.id && other.clashes(port)
        };
        let (owner, _port) = self.published.iter().find(of_others)?;
        let store = crate::container::Store::new(self.paths);
        Some(match store.read(&owner.container) {
            Ok(found) => format!("container {} has it", found.record.name),
            Err(_) => format!("{owner} has it"),
        })
    }
}

/// From where the kernel takes ports for whoever wants any.
fn any_port() -> (u16, u16) {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    numbers.next().zip(numbers.next()).unwrap_or((32768, 60999))
}
