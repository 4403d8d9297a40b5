//! Ports as Docker's list of containers shows them. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use twill_core::firewall::ports::Protocol;
use twill_core::ids::Family;
use twill_endpoint::Port;

use crate::container::ports::Exposed;
use crate::container::{Address, Container, State, Status};

/// One way to a port of a container; none for one that is not published.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Way {
    port: u16,
    at: Option<SocketAddr>,
    protocol: Protocol,
}

/// Where a published port is reached: at one address of the host, or at all of each family that the
/// container has.
pub fn places<'a>(port: &'a Port, state: &'a State) -> impl Iterator<Item = SocketAddr> + 'a {
    let everywhere = |family| match family {
        Family::V4 => IpAddr::from([0; 4]),
        Family::V6 => IpAddr::from([0_u16; 8]),
    };
    let of_families = state.address.iter().flat_map(Address::all);
    let all = of_families.map(move |own| everywhere(Family::of(own.ip)));
    let all = all.filter(|_| port.host_ip.is_none());
    port.host_ip.into_iter().chain(all).map(|ip| SocketAddr::new(ip, port.host_port))
}

/// Of a container that runs; others have none.
pub fn ways(Container { record, state }: &Container) -> Vec<Way> {
    if state.status != Status::Running {
        return Vec::new();
    }
    let published = state.ports.iter().flat_map(|port| {
        let way = |at| Way { port: port.container_port, at: Some(at), protocol: port.protocol };
        places(port, state).map(way)
    });
    let mut all: Vec<Way> = published.collect();
    let closed = |exposed: &&Exposed| {
        !all.iter().any(|way| (way.port, way.protocol) == (exposed.port, exposed.protocol))
    };
    let closed: Vec<Way> = record
        .ports
        .exposed
        .iter()
        .filter(closed)
        .map(|it| Way { port: it.port, at: None, protocol: it.protocol })
        .collect();
    all.extend(closed);
    all.sort_unstable();
    all
}

/// Neighbours are joined to ranges where both ends have the same numbers; the rest follows one by one.
#[must_use]
pub fn column(ways: &[Way]) -> String {
    type Kind = (Option<IpAddr>, Protocol);
    let (mut open, mut order) = (HashMap::<Kind, (u16, u16)>::new(), Vec::new());
    let (mut ranges, mut moved) = (Vec::new(), Vec::new());
    for way in ways {
        let Way { port, at, protocol } = *way;
        if let Some(at) = at.filter(|at| at.port() != port) {
            moved.push(format!("{at}->{port}/{protocol}"));
            continue;
        }
        let kind = (at.map(|at| at.ip()), protocol);
        match open.get_mut(&kind) {
            None => {
                open.insert(kind, (port, port));
                order.push(kind);
            }
            Some((_first, last)) if last.checked_add(1) == Some(port) => *last = port,
            Some(range) => {
                ranges.push(text(kind, *range));
                *range = (port, port);
            }
        }
    }
    ranges.extend(order.into_iter().filter_map(|kind| Some(text(kind, *open.get(&kind)?))));
    ranges.extend(moved);
    ranges.join(", ")
}

fn text((at, protocol): (Option<IpAddr>, Protocol), (first, last): (u16, u16)) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    match at {
        None => format!("{range}/{protocol}"),
        Some(IpAddr::V4(ip)) => format!("{ip}:{range}->{range}/{protocol}"),
        Some(IpAddr::V6(ip)) => format!("[{ip}]:{range}->{range}/{protocol}"),
    }
}

/// Does a value of `--filter publish=` or `expose=` name one of these? A port, or a range of them.
#[must_use]
pub fn names(value: &str, mut ports: impl Iterator<Item = Exposed>) -> bool {
    let wanted: Option<crate::container::ports::ExposedRange> = value.parse().ok();
    wanted.is_some_and(|wanted| ports.any(|port| wanted.all().any(|it| it == port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(at: &str, port: u16, protocol: &str) -> Way {
        Way { port, at: at.parse().ok(), protocol: protocol.parse().unwrap() }
    }

    #[test]
    fn columns_are_dockers() {
        let check = |ways: &[Way], want: &str| {
            let mut ways = ways.to_vec();
            ways.sort_unstable();
            assert_eq!(column(&ways), want);
        };
        check(&[], "");
        check(&[way("", 80, "tcp")], "80/tcp");
        check(&[way("", 80, "tcp"), way("", 81, "tcp"), way("", 83, "tcp")], "80-81/tcp, 83/tcp");
        check(
            &[
                way("0.0.0.0:32768", 3306, "tcp"),
                way("[::]:32768", 3306, "tcp"),
                way("", 33060, "tcp"),
            ],
            "33060/tcp, 0.0.0.0:32768->3306/tcp, [::]:32768->3306/tcp",
        );
        check(
            &[way("0.0.0.0:9000", 9000, "udp"), way("0.0.0.0:9001", 9001, "udp")],
            "0.0.0.0:9000-9001->9000-9001/udp",
        );
        check(
            &[way("0.0.0.0:8080", 80, "tcp"), way("127.0.0.1:81", 81, "tcp")],
            "127.0.0.1:81->81/tcp, 0.0.0.0:8080->80/tcp",
        );
        check(&[way("[::]:80", 80, "tcp")], "[::]:80->80/tcp");
    }

    #[test]
    fn filters_name_ports_and_ranges() {
        let port = |number: u16| Exposed { port: number, protocol: Protocol::Tcp };
        for (value, want) in
            [("80", true), ("79-81/tcp", true), ("80/udp", false), ("81", false), ("x", false)]
        {
            assert_eq!(names(value, [port(80)].into_iter()), want, "{value}");
        }
    }
}
