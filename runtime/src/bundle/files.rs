//! The three files of a container that its host writes: hosts, hostname, resolv.conf.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use twill_core::ids::Family;
use twill_endpoint::{HostEntry, RESOLVED_RESOLV_CONF, ResolverOptions};

use crate::container::{Address, Network, Record};
use crate::error::{FileContext as _, Result};

/// Where the container sees them.
pub const MOUNTED: [&str; 3] = ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"];

/// What the container will meet on its network.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// It will have addresses of these families; which ones is not known yet, see [`write_hosts`].
    pub families: Vec<Family>,
    /// Its gateways, in the same order.
    pub gateways: Vec<IpAddr>,
    /// Where the agent answers questions for names.
    pub resolvers: Vec<IpAddr>,
}

impl Surroundings {
    /// The gateway at which the agent answers.
    fn resolver(&self) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|gateway| self.resolvers.contains(gateway))
    }
}

/// Writes all three.
pub fn write(directory: &Path, record: &Record, around: &Surroundings) -> Result<()> {
    let gateway = around.gateways.first().copied();
    let hosts = match record.network {
        Network::Host => read_or_empty("/etc/hosts") + &lines(&extra(record, gateway)),
        Network::Bridge | Network::None | Network::Container => {
            twill_endpoint::hosts(&extra(record, gateway))
        }
    };
    put(&directory.join("hosts"), &hosts)?;
    put(&directory.join("hostname"), &format!("{}\n", record.hostname))?;
    put(&directory.join("resolv.conf"), &resolv_conf(record, around))
}

fn resolv_conf(record: &Record, around: &Surroundings) -> String {
    let wiring = &record.wiring;
    let wanted = ResolverOptions {
        servers: wiring.dns.clone(),
        search: wiring.dns_search.clone(),
        options: wiring.dns_options.clone(),
    };
    if record.network == Network::Host {
        let host = host_resolv_conf();
        if wanted == ResolverOptions::default() {
            return host;
        }
        return twill_endpoint::resolv_conf(&host, &wanted, &[Family::V4, Family::V6]);
    }
    let text = twill_endpoint::resolv_conf(&host_resolv_conf(), &wanted, &around.families);
    let Some(resolver) = around.resolver() else { return text };
    // A name of one word is a container's: nobody else is asked for it first.
    let mut options = text.lines().filter(|line| line.starts_with("options "));
    let said = options.any(|line| line.contains(" ndots:"));
    let dots = if said { "" } else { "options ndots:0\n" };
    format!("nameserver {resolver}\n{text}{dots}")
}

/// Names the container's addresses in its hosts file, and what it is linked to, in place: the file is mounted by
/// now.
pub fn write_hosts(
    directory: &Path,
    (record, links): (&Record, &[HostEntry]),
    address: &Address,
) -> Result<()> {
    let mut entries = extra(record, Some(address.first.gateway));
    entries.extend_from_slice(links);
    let names = own_names(&record.hostname, &record.isolation.domainname);
    entries.extend(address.all().map(|ip| HostEntry { address: ip.ip, names: names.clone() }));
    put(&directory.join("hosts"), &twill_endpoint::hosts(&entries))
}

/// The agent answers at a gateway, which is another one in another subnet; what else the container has written
/// there stays.
pub fn move_resolver(directory: &Path, before: &Address, after: &Address) -> Result<()> {
    let path = directory.join("resolv.conf");
    let text = read_or_empty(&path);
    let mut moved = text.clone();
    for (before, after) in before.all().zip(after.all()) {
        let line = |ip: IpAddr| format!("nameserver {ip}\n");
        moved = moved.replace(&line(before.gateway), &line(after.gateway));
    }
    if moved == text { Ok(()) } else { put(&path, &moved) }
}

/// `web.example` is known as `web` as well.
fn own_names(hostname: &str, domain: &str) -> Vec<String> {
    if !domain.is_empty() {
        return vec![format!("{hostname}.{domain}"), hostname.to_owned()];
    }
    let short = hostname.split_once('.').map(|(short, _domain)| short.to_owned());
    [hostname.to_owned()].into_iter().chain(short).collect()
}

fn extra(record: &Record, gateway: Option<IpAddr>) -> Vec<HostEntry> {
    // What shares the host's network, or has none, sees it there.
    let host = gateway.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let entry = |it: &crate::container::wiring::ExtraHost| HostEntry {
        address: it.address.unwrap_or(host),
        names: vec![it.name.clone()],
    };
    record.wiring.hosts.iter().map(entry).collect()
}

fn lines(entries: &[HostEntry]) -> String {
    let line = |it: &HostEntry| format!("{}\t{}\n", it.address, it.names.join(" "));
    entries.iter().map(line).collect::<Vec<_>>().concat()
}

fn host_resolv_conf() -> String {
    let text = read_or_empty("/etc/resolv.conf");
    if twill_endpoint::is_resolved_stub(&text) { read_or_empty(RESOLVED_RESOLV_CONF) } else { text }
}

/// A host without the file is one without anything in it.
fn read_or_empty(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Readable for every user of the container. A restart finds the file mounted nowhere and replaces its text.
fn put(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).file("write", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::record::sample;
    use crate::container::wiring::Wiring;

    #[test]
    fn the_agent_is_asked_first_where_it_answers() {
        let wiring = Wiring { dns: vec!["192.0.2.53".parse().unwrap()], ..Wiring::default() };
        let record = Record { wiring, ..sample() };
        let gateway: IpAddr = "10.5.2.1".parse().unwrap();
        let silent = Surroundings {
            families: vec![Family::V4],
            gateways: vec![gateway],
            resolvers: vec!["10.5.9.1".parse().unwrap()],
        };
        assert!(!resolv_conf(&record, &silent).contains("10.5."));
        let answers = Surroundings { resolvers: vec![gateway], ..silent };
        let text = resolv_conf(&record, &answers);
        assert!(text.starts_with("nameserver 10.5.2.1\nnameserver 192.0.2.53\n"), "{text}");
        let record = Record { network: Network::Host, ..record };
        assert!(!resolv_conf(&record, &answers).contains("10.5."));
    }

    #[test]
    fn a_host_name_with_a_domain_has_two_names() {
        assert_eq!(own_names("web", ""), ["web"]);
        assert_eq!(own_names("web.example", ""), ["web.example", "web"]);
        assert_eq!(own_names("web", "example"), ["web.example", "web"]);
    }
}
