//! The device that the shortcut of `udp` lifts super-packets through: it takes the marks of a tunnel off
//! them, and does nothing else. Anybody can send to its port, so that it is up only while a program looks at
//! what comes in; its settings let nothing pass without one.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;

use rtnetlink::{LinkMessageBuilder, LinkVxlan};

use super::super::link::{Kind, Link};
use super::super::{Kernel, reason};
use crate::{Error, sysctl};

/// Behind the name of the device that it belongs to.
const SUFFIX: &str = "-lift";
/// No interface has a longer name (`IFNAMSIZ`).
const LONGEST_NAME: usize = 15;
/// So many ports are tried before there is none.
const ATTEMPTS: u16 = 64;
/// The first that is nobody's by custom.
const FIRST: u16 = 1024;
/// Those of tunnels, which may come later: VXLAN by its number, Linux's VXLAN, flannel's `udp`.
const CUSTOMARY: [u16; 3] = [4789, 8472, 8285];

/// The name of the lift of a tunnel device, if that leaves room for one.
#[must_use]
pub fn lift_of(device: &str) -> Option<String> {
    let name = format!("{device}{SUFFIX}");
    (name.len() <= LONGEST_NAME).then_some(name)
}

/// The device that an interface would be the lift of.
#[must_use]
pub fn lifts_for(name: &str) -> Option<&str> {
    name.strip_suffix(SUFFIX)
}

impl Kernel {
    /// Makes the lift, or takes the one that is there, and returns its port: one that nobody gets who asks for
    /// any, and none of a tunnel's or of those that are `served`. A new one is down, until somebody looks at what
    /// it takes.
    pub async fn ensure_lift(&self, name: &str, served: &BTreeSet<u16>) -> Result<u16, Error> {
        let ports = Ports { given: sysctl::local_ports()?, served };
        let port = match self.link(name).await? {
            Some(link) => match port_of(&link) {
                Some(port) if ports.has(port) => port,
                Some(_taken) => {
                    self.delete(&link).await?;
                    self.create_lift(name, &ports).await?
                }
                None => return Err(Error::ForeignInterface { name: link.name, wanted: "a lift" }),
            },
            None => self.create_lift(name, &ports).await?,
        };
        sysctl::ensure_shut(name)?;
        Ok(port)
    }

    /// Lets packets in by it.
    pub async fn raise_lift(&self, name: &str) -> Result<(), Error> {
        match self.link(name).await? {
            Some(link) => self.ensure_up(&link).await,
            None => Err(Error::NoInterface { name: name.to_owned() }),
        }
    }

    /// Takes the lift away, if there is one; tells whether there was. Another device of that name is somebody
    /// else's.
    pub async fn drop_lift(&self, name: &str) -> Result<bool, Error> {
        match self.link(name).await? {
            Some(link) if port_of(&link).is_some() => self.delete(&link).await.map(|()| true),
            _none => Ok(false),
        }
    }

    /// Has the interface Ethernet's addresses? One that is not there has none.
    pub async fn is_ethernet(&self, name: &str) -> Result<bool, Error> {
        Ok(self.link(name).await?.is_some_and(|link| link.mac.is_some()))
    }

    async fn create_lift(&self, name: &str, ports: &Ports<'_>) -> Result<u16, Error> {
        self.mended.devices.fetch_add(1, Relaxed);
        let cannot = |source| Error::CreateInterface { name: name.to_owned(), source };
        let port = ports.free().ok_or_else(|| cannot(std::io::ErrorKind::AddrInUse.into()))?;
        let message = LinkMessageBuilder::<LinkVxlan>::new(name);
        let message = message.collect_metadata(true).learning(false).port(port).gpe();
        let created = self.handle.link().add(message.build()).execute().await;
        created.map_err(reason).map_err(cannot)?;
        Ok(port)
    }
}

/// The port of a lift, if it is one.
fn port_of(link: &Link) -> Option<u16> {
    match &link.kind {
        Kind::Vxlan(shape) if shape.gpe && shape.metadata => Some(shape.port),
        _other => None,
    }
}

/// Those that a lift may have.
#[derive(Debug)]
struct Ports<'a> {
    /// The kernel gives these to whoever asks for any.
    given: RangeInclusive<u16>,
    served: &'a BTreeSet<u16>,
}

impl Ports<'_> {
    fn has(&self, port: u16) -> bool {
        !(self.given.contains(&port) || CUSTOMARY.contains(&port) || self.served.contains(&port))
    }

    /// Some of them, the same for the same number.
    fn from(&self, number: u16) -> impl Iterator<Item = u16> {
        let near =
            (0..ATTEMPTS).filter_map(move |step| outside(&self.given, number.wrapping_add(step)));
        near.filter(|port| self.has(*port))
    }

    fn free(&self) -> Option<u16> {
        let mut free = self
            .from(rand::random())
            .filter(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok());
        free.next()
    }
}

/// One of the ports that are not given away, the same for the same number. Above those there are no customs.
fn outside(given: &RangeInclusive<u16>, number: u16) -> Option<u16> {
    let above = given.end().checked_add(1).map(|first| first..=u16::MAX);
    let below = given.start().checked_sub(1).map(|last| FIRST..=last);
    let ports = above.into_iter().chain(below).find(|ports| !ports.is_empty())?;
    // As a count it would not fit if there were all of them.
    let last = ports.end() - ports.start();
    Some(ports.start() + last.checked_add(1).map_or(number, |count| number % count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_that_is_not_given_away() {
        for (given, number, port) in [
            (32768..=60999, 0, Some(61000)),
            (32768..=60999, 4535, Some(65535)),
            (32768..=60999, 4536, Some(61000)),
            (32768..=65535, 1, Some(1025)),
            (1025..=65535, 7, Some(1024)),
            (1024..=65535, 7, None),
            (1..=65535, 7, None),
        ] {
            assert_eq!(outside(&given, number), port, "{given:?} {number}");
        }
    }

    #[test]
    fn a_tunnels_port_is_no_lifts() {
        let served = [8471].into();
        let ports = Ports { given: 8473..=65535, served: &served };
        let below = 8470 - FIRST;
        let some: Vec<u16> = ports.from(below).take(2).collect();
        assert_eq!(some, [8470, 1024], "not 8471, which is served, nor Linux's 8472");
        for (port, may_be) in [(4789, false), (8285, false), (8473, false), (8286, true)] {
            assert_eq!(ports.has(port), may_be, "{port}");
        }
    }

    #[test]
    fn a_lift_has_the_name_of_its_device() {
        assert_eq!(lift_of("flannel0").as_deref(), Some("flannel0-lift"));
        assert_eq!(lifts_for("flannel0-lift"), Some("flannel0"));
        assert_eq!(lift_of("flannel65535").as_deref(), None, "too long");
        assert_eq!(lifts_for("flannel0"), None);
    }
}
