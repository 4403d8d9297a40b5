//! The two ends of the way: from what people call a container to its address, and from an address to
//! whoever has it on this host.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use twill_core::device::Seen;
use twill_core::ids::Family;
use twill_core::trace::{Container, Holder, Inside, Port};
use twill_endpoint::{Host, Keeper, Record};
use twill_net::blocking;
use twill_net::netns::{self, Netns};

/// Where the runtime keeps its containers.
const ROOT: &str = "/var/lib/twill";

/// The containers of this host.
#[derive(Clone, Debug)]
pub(crate) struct Containers {
    root: PathBuf,
    pool: Host,
}

/// What a word means here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Named {
    /// An address, of whomever, or those of a container, IPv4 first.
    Addresses(Vec<IpAddr>),
    /// A container that does not run: its name, and what is known of its end.
    Stopped(String, String),
    /// A container that is not on the network: its name.
    Elsewhere(String),
    /// Nothing.
    Unknown,
}

/// What the runtime writes of a container, as far as it matters here.
#[derive(Deserialize)]
struct State {
    status: String,
    #[serde(default)]
    exit_code: u8,
    #[serde(default)]
    error: String,
    address: Option<Joined>,
}

#[derive(Deserialize)]
struct Joined {
    ip: IpAddr,
    /// Of IPv6 beside IPv4.
    ipv6: Option<Beside>,
}

#[derive(Deserialize)]
struct Beside {
    ip: IpAddr,
}

impl Default for Containers {
    fn default() -> Self {
        Self { root: ROOT.into(), pool: Host::default() }
    }
}

impl Containers {
    /// What that word means: an address, a name, an id or the beginning of one.
    pub(crate) fn find(&self, word: &str) -> Named {
        if let Ok(address) = word.parse() {
            return Named::Addresses(vec![address]);
        }
        let Some(id) = self.by_name(word).or_else(|| self.by_id(word)) else {
            return Named::Unknown;
        };
        let state = fs::read(self.root.join("containers").join(&id).join("state.json")).ok();
        let state: Option<State> = state.and_then(|text| serde_json::from_slice(&text).ok());
        let name = word.to_owned();
        match state {
            None => Named::Unknown,
            Some(State { address: Some(Joined { ip, ipv6 }), .. }) => {
                Named::Addresses([ip].into_iter().chain(ipv6.map(|beside| beside.ip)).collect())
            }
            Some(State { status, .. }) if status == "running" => Named::Elsewhere(name),
            Some(State { status, .. }) if status == "created" => {
                Named::Stopped(name, "it was never started".to_owned())
            }
            Some(State { exit_code, error, .. }) if error.is_empty() => {
                Named::Stopped(name, format!("it has ended with {exit_code}"))
            }
            Some(State { error, .. }) => Named::Stopped(name, error),
        }
    }

    /// Who has that address, with what the host and the container itself show of it.
    pub(crate) fn holder(&self, address: IpAddr, interfaces: &[Seen]) -> (Holder, Option<Netns>) {
        let records = self.pool.records().unwrap_or_default();
        let has = |record: &Record| record.places().any(|place| place.address == address);
        let Some(record) = records.into_iter().find(has) else {
            return (Holder::Nobody, None);
        };
        let name_of = |index| {
            interfaces.iter().find(|seen| seen.index == index).map(|seen| seen.name.clone())
        };
        let port = interfaces.iter().find(|seen| seen.name == record.host_interface);
        let port = port.map(|seen| Port {
            up: seen.up,
            carrier: seen.carrier,
            bridge: seen.bridge.and_then(name_of),
        });
        let (inside, netns) = inside(&record, address);
        let container = Container {
            name: self.name(&record),
            bridge: record.bridge.to_string(),
            interface: record.host_interface,
            port,
            inside,
        };
        (Holder::Container(container), netns)
    }

    fn by_name(&self, word: &str) -> Option<String> {
        // A name is one part of a path: it has no slash in it.
        let target = (!word.contains('/')).then(|| self.root.join("names").join(word))?;
        fs::read_link(target).ok()?.into_os_string().into_string().ok()
    }

    /// The beginning of one id alone.
    fn by_id(&self, word: &str) -> Option<String> {
        let hexadecimal = word.len() >= 2 && word.bytes().all(|digit| digit.is_ascii_hexdigit());
        let directory = hexadecimal.then(|| fs::read_dir(self.root.join("containers")).ok())??;
        let names = directory.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut fitting = names.filter(|name| name.starts_with(word));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first)
    }

    /// What people call it.
    fn name(&self, record: &Record) -> String {
        let id = &record.owner.container;
        let short = id.get(..12).unwrap_or(id);
        match record.owner.keeper {
            Keeper::Twill => self.name_of(id).unwrap_or_else(|| short.to_owned()),
            Keeper::Cni(_) => format!("pod {short}"),
        }
    }

    fn name_of(&self, id: &str) -> Option<String> {
        let names = fs::read_dir(self.root.join("names")).ok()?;
        let mut names = names.flatten();
        let link = names.find(|it| fs::read_link(it.path()).is_ok_and(|to| to == Path::new(id)))?;
        link.file_name().into_string().ok()
    }
}

/// What is in the container's own namespace, and that, if we may enter it.
fn inside(record: &Record, address: IpAddr) -> (Inside, Option<Netns>) {
    let netns = match Netns::open(&record.netns.path) {
        Ok(netns) => netns,
        Err(netns::Error::Open { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return (Inside::Gone, None);
        }
        Err(netns::Error::NotANamespace { .. }) => return (Inside::Gone, None),
        Err(error) => return (Inside::Unseen(line(error)), None),
    };
    let (device, inode) = (record.netns.device, record.netns.inode);
    match netns.identity() {
        Ok(found) if (found.device, found.inode) == (device, inode) => {}
        Ok(_another) => return (Inside::Gone, None),
        Err(error) => return (Inside::Unseen(line(error)), None),
    }
    match look((record, address), &netns) {
        Ok(inside) => (inside, Some(netns)),
        Err(error) => (Inside::Unseen(line(error)), None),
    }
}

fn look((record, address): (&Record, IpAddr), netns: &Netns) -> Result<Inside, blocking::Error> {
    let mut kernel = blocking::Kernel::of(netns)?;
    let link = kernel.link(record.owner.interface.as_str())?.filter(|link| link.up);
    let Some(link) = link else {
        return Ok(Inside::Seen { up: false, address: false, gateway: None });
    };
    let addresses = kernel.addresses()?;
    let own = |found: &&blocking::Address| found.link == link.index && found.address == address;
    let routes = kernel.routes()?;
    let family = Family::of(address);
    let default = routes
        .iter()
        .find(|route| route.destination.len() == 0 && route.destination.family() == family);
    Ok(Inside::Seen {
        up: true,
        address: addresses.iter().find(own).is_some(),
        gateway: default.and_then(|route| route.gateway),
    })
}

fn line(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn names_ids_and_addresses_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let containers = Containers {
            root: root.path().to_owned(),
            pool: Host { subnet_env: "/nonexistent".into(), state: root.path().join("endpoint") },
        };
        let (web, old) = ("3f".repeat(32), "3e".repeat(32));
        let both = "3d".repeat(32);
        for (name, id, state) in [
            ("web", &web, r#"{"status":"running","address":{"ip":"10.88.1.2"}}"#),
            (
                "both",
                &both,
                r#"{"status":"running","address":{"ip":"10.88.1.3","ipv6":{"ip":"fd00::3"}}}"#,
            ),
            ("old", &old, r#"{"status":"exited","exit_code":3,"address":null,"error":""}"#),
        ] {
            let directory = root.path().join("containers").join(id);
            fs::create_dir_all(&directory).unwrap();
            fs::create_dir_all(root.path().join("names")).unwrap();
            fs::write(directory.join("state.json"), state).unwrap();
            symlink(id, root.path().join("names").join(name)).unwrap();
        }
        let address = Named::Addresses(vec![[10, 88, 1, 2].into()]);
        let two = vec![[10, 88, 1, 3].into(), "fd00::3".parse().unwrap()];
        for (word, wanted) in [
            ("10.88.1.2", address.clone()),
            ("web", address.clone()),
            ("both", Named::Addresses(two)),
            ("fd00::3", Named::Addresses(vec!["fd00::3".parse().unwrap()])),
            (&web[..12], address),
            ("old", Named::Stopped("old".to_owned(), "it has ended with 3".to_owned())),
            ("3", Named::Unknown),
            ("nobody", Named::Unknown),
            ("../names/web", Named::Unknown),
        ] {
            assert_eq!(containers.find(word), wanted, "{word}");
        }
        let nobody = containers.holder([10, 88, 1, 9].into(), &[]);
        assert!(matches!(nobody, (Holder::Nobody, None)));
    }
}
