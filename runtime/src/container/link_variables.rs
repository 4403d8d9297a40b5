//! What a container is told of another one that it links to: Docker's variables.

use std::net::{IpAddr, SocketAddr};

use super::links::Link;
use super::ports::Exposed;
use super::record::Record;
use super::state::Address;
use super::store::{Container, Store};

/// Those about all that a container links to, as they are now.
#[must_use]
pub fn of(store: &Store<'_>, record: &Record) -> Vec<String> {
    let told = record.wiring.links.iter().filter_map(|link| {
        let Container { record: other, state } = store.read(&link.id).ok()?;
        let address = state.address.as_ref().and_then(|address| Address::all(address).next())?;
        Some(about((link, &record.name), &other, address.ip))
    });
    told.flatten().collect()
}

fn about((link, name): (&Link, &str), other: &Record, at: IpAddr) -> Vec<String> {
    let alias = link.alias.to_uppercase().replace('-', "_");
    let mut ports = other.ports.exposed.clone();
    // Of one number, TCP comes first.
    ports.sort_by_key(|port| (port.port, port.protocol.to_string()));
    let mut all = Vec::new();
    let whole = |port: &Exposed| format!("{}://{}", port.protocol, SocketAddr::new(at, port.port));
    let prefix = |port: &Exposed| {
        format!("{alias}_PORT_{}_{}", port.port, port.protocol.to_string().to_uppercase())
    };
    if let Some(first) = ports.first() {
        all.push(format!("{alias}_PORT={}", whole(first)));
    }
    for run in runs(&ports) {
        let [first, .., last] = run else { continue };
        all.push(format!("{}_START={}", prefix(first), whole(first)));
        all.push(format!("{}_ADDR={at}", prefix(first)));
        all.push(format!("{}_PROTO={}", prefix(first), first.protocol));
        all.push(format!("{}_PORT_START={}", prefix(first), first.port));
        all.push(format!("{}_END={}", prefix(last), whole(last)));
        all.push(format!("{}_PORT_END={}", prefix(last), last.port));
    }
    for port in &ports {
        all.push(format!("{}={}", prefix(port), whole(port)));
        all.push(format!("{}_ADDR={at}", prefix(port)));
        all.push(format!("{}_PORT={}", prefix(port), port.port));
        all.push(format!("{}_PROTO={}", prefix(port), port.protocol));
    }
    all.push(format!("{alias}_NAME=/{name}/{}", link.alias));
    let of_it = other.env.iter().filter_map(|entry| entry.split_once('='));
    let told = of_it.filter(|(name, _)| !["HOME", "PATH"].contains(name));
    all.extend(told.map(|(name, value)| format!("{alias}_ENV_{name}={value}")));
    all
}

/// Three and more whose numbers follow each other.
fn runs(ports: &[Exposed]) -> impl Iterator<Item = &[Exposed]> {
    let follows = |one: &Exposed, next: &Exposed| next.port.checked_sub(one.port) == Some(1);
    ports.chunk_by(follows).filter(|run| run.len() > 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::ports::Ports;
    use crate::container::record::sample;

    #[test]
    fn variables_are_dockers() {
        let link = Link { id: "b".repeat(64), alias: "my-db".into() };
        let told = |exposed: &[&str]| {
            let exposed: Vec<String> = exposed.iter().map(|it| (*it).to_owned()).collect();
            let env = ["PATH=/bin", "HOME=/x", "A=1=2", "MARK"].map(str::to_owned).to_vec();
            let other = Record { ports: Ports::new(vec![], &exposed), env, ..sample() };
            about((&link, "web"), &other, "10.5.2.9".parse().unwrap())
        };
        let last = ["MY_DB_NAME=/web/my-db", "MY_DB_ENV_A=1=2"];
        assert_eq!(told(&[]), last);
        let two = told(&["3306/udp", "3306/tcp"]);
        let want = "MY_DB_PORT=tcp://10.5.2.9:3306
MY_DB_PORT_3306_TCP=tcp://10.5.2.9:3306
MY_DB_PORT_3306_TCP_ADDR=10.5.2.9
MY_DB_PORT_3306_TCP_PORT=3306
MY_DB_PORT_3306_TCP_PROTO=tcp
MY_DB_PORT_3306_UDP=udp://10.5.2.9:3306
MY_DB_PORT_3306_UDP_ADDR=10.5.2.9
MY_DB_PORT_3306_UDP_PORT=3306
MY_DB_PORT_3306_UDP_PROTO=udp";
        assert_eq!(two[..two.len() - 2].join("\n"), want);
        let many = told(&["8000-8002"]);
        let want = "MY_DB_PORT=tcp://10.5.2.9:8000
MY_DB_PORT_8000_TCP_START=tcp://10.5.2.9:8000
MY_DB_PORT_8000_TCP_ADDR=10.5.2.9
MY_DB_PORT_8000_TCP_PROTO=tcp
MY_DB_PORT_8000_TCP_PORT_START=8000
MY_DB_PORT_8002_TCP_END=tcp://10.5.2.9:8002
MY_DB_PORT_8002_TCP_PORT_END=8002";
        assert_eq!(many[..7].join("\n"), want);
    }
}
