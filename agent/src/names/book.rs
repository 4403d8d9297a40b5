//! Which names are known: those of containers that run on this host, from the runtime's records, and those
//! that other runtimes gave to theirs when they called the CNI plugin, from the records of the address pool.
//!
//! Names of other hosts would come in here, as further entries.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use twill_endpoint::Host;

/// Where the runtime keeps its containers.
const CONTAINERS: &str = "/var/lib/twill/containers";
/// How old what is known may be: less than a container takes to start.
const AGE: Duration = Duration::from_millis(50);

/// What the runtime wrote, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Config {
    id: String,
    name: String,
    #[serde(default)]
    wiring: Wiring,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wiring {
    aliases: Vec<String>,
    links: Vec<Link>,
    dns: Vec<IpAddr>,
}

#[derive(Debug, Deserialize)]
struct Link {
    id: String,
    alias: String,
}

#[derive(Debug, Deserialize)]
struct State {
    address: Option<Joined>,
}

#[derive(Debug, Deserialize)]
struct Joined {
    ip: IpAddr,
    ipv6: Option<Beside>,
}

#[derive(Debug, Deserialize)]
struct Beside {
    ip: IpAddr,
}

/// All that is known at one moment.
#[derive(Debug, Default)]
pub(super) struct Book {
    names: HashMap<String, Vec<IpAddr>>,
    containers: HashMap<IpAddr, Known>,
}

/// One container, by each of its addresses.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    links: HashMap<String, Vec<IpAddr>>,
    servers: Vec<IpAddr>,
}

impl Book {
    /// Reads what there is. A container whose files are torn, or that is going, is not known.
    fn read(containers: &Path, pool: &Host) -> Self {
        let entries = fs::read_dir(containers).into_iter().flatten().flatten();
        let read = entries.filter_map(|entry| {
            let state: State = parse(&entry.path().join("state.json"))?;
            let joined = state.address?;
            let addresses = [joined.ip].into_iter().chain(joined.ipv6.map(|beside| beside.ip));
            Some((parse(&entry.path().join("config.json"))?, addresses.collect()))
        });
        let mut book = Self::of(&read.collect::<Vec<_>>());
        // A pool that cannot be read names nobody.
        for pod in pool.records().unwrap_or_default() {
            book.add(&pod.aliases, &pod.places().map(|place| place.address).collect::<Vec<_>>());
        }
        book
    }

    fn add(&mut self, aliases: &[String], addresses: &[IpAddr]) {
        let names = aliases.iter().map(|name| name.to_ascii_lowercase());
        for name in names.clone() {
            self.names.entry(name).or_default().extend(addresses);
        }
        let Some(name) = names.clone().next() else { return };
        let known = Known { name, links: HashMap::new(), servers: Vec::new() };
        self.containers.extend(addresses.iter().map(|address| (*address, known.clone())));
    }

    fn of(running: &[(Config, Vec<IpAddr>)]) -> Self {
        let mut book = Self::default();
        let by_id: HashMap<&str, &Vec<IpAddr>> =
            running.iter().map(|(config, addresses)| (config.id.as_str(), addresses)).collect();
        for (config, addresses) in running {
            let short = config.id.get(..12).unwrap_or(&config.id).to_owned();
            let names = [config.name.clone(), short].into_iter();
            for name in names.chain(config.wiring.aliases.clone()) {
                book.names.entry(name.to_ascii_lowercase()).or_default().extend(addresses);
            }
            let link =
                |link: &Link| Some((link.alias.clone(), (*by_id.get(link.id.as_str())?).clone()));
            let known = Known {
                name: config.name.to_ascii_lowercase(),
                links: config.wiring.links.iter().filter_map(link).collect(),
                servers: config.wiring.dns.clone(),
            };
            book.containers.extend(addresses.iter().map(|address| (*address, known.clone())));
        }
        book
    }

    /// Where whoever is called that is; a name of the asker's own comes first.
    pub(super) fn addresses_of(&self, name: &str, asker: IpAddr) -> Option<&[IpAddr]> {
        let own = self.containers.get(&asker).and_then(|known| known.links.get(name));
        own.or_else(|| self.names.get(name)).map(Vec::as_slice)
    }

    /// What whoever is there is called.
    pub(super) fn name_of(&self, address: IpAddr) -> Option<&str> {
        self.containers.get(&address).map(|known| known.name.as_str())
    }

    /// Whom the asker wants asked, if not the host's resolvers.
    pub(super) fn servers(&self, asker: IpAddr) -> &[IpAddr] {
        self.containers.get(&asker).map(|known| known.servers.as_slice()).unwrap_or_default()
    }
}

fn parse<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// The book of now.
#[derive(Debug)]
pub(super) struct Books {
    containers: PathBuf,
    pool: Host,
    last: Mutex<Option<(Instant, Arc<Book>)>>,
}

impl Default for Books {
    fn default() -> Self {
        Self { containers: CONTAINERS.into(), pool: Host::default(), last: Mutex::default() }
    }
}

impl Books {
    pub(super) fn now(&self) -> Arc<Book> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, book)) = last.as_ref()
            && read.elapsed() < AGE
        {
            return book.clone();
        }
        let book = Arc::new(Book::read(&self.containers, &self.pool));
        *last = Some((Instant::now(), book.clone()));
        book
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `web`, which knows `db` as `mysql`, and `db` with a name more.
    pub(in crate::names) fn book() -> Book {
        let directory = tempfile::tempdir().unwrap();
        let put = |id: &str, config: String, address: &str| {
            let own = directory.path().join(id);
            fs::create_dir(&own).unwrap();
            fs::write(own.join("config.json"), config).unwrap();
            fs::write(
                own.join("state.json"),
                format!("{{\"status\":\"x\",\"address\":{address}}}"),
            )
            .unwrap();
        };
        let (a, b, c) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
        put(
            &a,
            format!(
                r#"{{"id":"{a}","name":"web","wiring":{{"links":[{{"id":"{b}","alias":"mysql"}}],"dns":["192.0.2.53"]}}}}"#
            ),
            r#"{"ip":"10.5.2.2"}"#,
        );
        put(
            &b,
            format!(r#"{{"id":"{b}","name":"Db","wiring":{{"aliases":["cache"]}}}}"#),
            r#"{"ip":"10.5.2.3","ipv6":{"ip":"fd00::3"}}"#,
        );
        put(&c, format!(r#"{{"id":"{c}","name":"resting"}}"#), "null");
        put("torn", "{".to_owned(), r#"{"ip":"10.5.2.4"}"#);
        let pool = Host { state: directory.path().join("endpoint"), ..Host::default() };
        fs::create_dir(&pool.state).unwrap();
        let record = r#"{
            "keeper":"cni:pods","container":"p","interface":"eth0","address":"10.5.2.5","subnet":"10.5.2.0/24",
            "bridge":"twill0","hostInterface":"tw0","netns":{"path":"/x","device":1,"inode":1},"bootId":"BOOT",
            "madeAt":1,"aliases":["Pod","front"]}"#;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        fs::write(pool.state.join("10.5.2.5,tw0.json"), record.replace("BOOT", boot.trim()))
            .unwrap();
        let earlier = record.replace("10.5.2.5", "10.5.2.6").replace("front", "before");
        fs::write(pool.state.join("10.5.2.6,tw1.json"), earlier).unwrap();
        Book::read(directory.path(), &pool)
    }

    #[test]
    fn pods_are_known_by_the_names_that_they_were_given() {
        let (book, asker) = (book(), [10, 5, 2, 2].into());
        let pod = IpAddr::from([10, 5, 2, 5]);
        for name in ["pod", "front"] {
            assert_eq!(book.addresses_of(name, asker), Some(&[pod][..]), "{name}");
        }
        assert_eq!(book.name_of(pod), Some("pod"));
        assert_eq!(book.addresses_of("before", asker), None, "of an earlier boot");
    }

    #[test]
    fn whose_servers_are_asked() {
        let book = book();
        assert_eq!(book.servers([10, 5, 2, 2].into()), [IpAddr::from([192, 0, 2, 53])]);
        assert_eq!(book.servers([10, 5, 2, 3].into()), [] as [IpAddr; 0]);
        assert_eq!(book.name_of([10, 5, 2, 4].into()), None);
    }
}
