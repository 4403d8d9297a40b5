//! Endpoints that DNS names: SRV records, as etcdctl and etcd's own client read them.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData};
use hickory_resolver::{Resolver, TokioResolver};

use super::connect::normalise;
use crate::{Cause, Error};

/// Where DNS says which endpoints there are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Discovery {
    /// `_etcd-client-ssl._tcp` below this domain, else `_etcd-client._tcp`.
    pub domain: String,
    /// The name servers to ask; those of `/etc/resolv.conf` if there are none here.
    pub servers: Vec<SocketAddr>,
}

/// What DNS said, and how long that holds.
pub(super) struct Found {
    pub(super) urls: Vec<String>,
    pub(super) valid_until: Instant,
}

impl Discovery {
    /// Refuses what is no domain.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = || Error::Domain { domain: self.domain.clone() };
        if self.domain.trim_matches('.').is_empty() {
            return Err(wrong());
        }
        self.service("_etcd-client-ssl").map(drop).map_err(|_wrong| wrong())
    }

    /// Asks DNS. Members with TLS hide those without; those without are not used at all if `secure`.
    pub(super) async fn look(&self, secure: bool) -> Result<Found, Cause> {
        self.ask(secure).await.map_err(|source| self.cause(source))
    }

    /// Nothing came in time.
    pub(super) fn silent(&self) -> Cause {
        self.cause(NetError::Timeout)
    }

    fn cause(&self, source: NetError) -> Cause {
        Cause::Discovery { domain: self.domain.clone(), source: Box::new(source) }
    }

    async fn ask(&self, secure: bool) -> Result<Found, NetError> {
        let resolver = self.resolver()?;
        match self.service_urls(&resolver, ("_etcd-client-ssl", "https")).await {
            // Only a certain no leads to plain HTTP: whoever keeps the answer back must not.
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => {}
            answer => return answer,
        }
        let found = self.service_urls(&resolver, ("_etcd-client", "http")).await?;
        if secure {
            return Err("it has members without TLS only, and certificates were given".into());
        }
        Ok(found)
    }

    async fn service_urls(
        &self,
        resolver: &TokioResolver,
        (service, scheme): (&str, &str),
    ) -> Result<Found, NetError> {
        let answer = resolver.srv_lookup(self.service(service)?).await?;
        let records: Vec<&SRV> = answer
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(srv),
                _ => None,
            })
            .collect();
        let urls = urls(records, scheme, rand::random);
        if urls.is_empty() {
            return Err("its SRV records name no host".into());
        }
        Ok(Found { urls, valid_until: answer.valid_until() })
    }

    fn service(&self, service: &str) -> Result<Name, NetError> {
        Ok(Name::from_ascii(format!("{service}._tcp.{}.", self.domain.trim_matches('.')))?)
    }

    /// Made for each look, so that it follows changes of `/etc/resolv.conf` and remembers nothing.
    fn resolver(&self) -> Result<TokioResolver, NetError> {
        if self.servers.is_empty() {
            return Resolver::builder_tokio()?.build();
        }
        let servers = self.servers.iter().map(|address| server(address.ip(), address.port()));
        let config = ResolverConfig::from_name_servers(servers.collect());
        Resolver::builder_with_config(config, TokioRuntimeProvider::default()).build()
    }
}

fn server(address: IpAddr, port: u16) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].into_iter();
    let connections = connections.map(|mut connection| {
        connection.port = port;
        connection
    });
    NameServerConfig::new(address, true, connections.collect())
}

/// The lowest priority first, and among equals by chance, in proportion to their weights (RFC 2782).
fn urls(records: Vec<&SRV>, scheme: &str, chance: impl Fn() -> f64) -> Vec<String> {
    let mut ranked: Vec<(u16, f64, &SRV)> = records
        .into_iter()
        .map(|record| {
            // Waiting times at these rates: who comes first has the odds that the RFC asks for.
            let rate = f64::from(record.weight).max(1e-3);
            (record.priority, -chance().max(f64::MIN_POSITIVE).ln() / rate, record)
        })
        .collect();
    ranked.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let url = |record: &SRV| {
        // A lone dot says that there is no such service.
        let host = record.target.to_ascii();
        let host = host.trim_end_matches('.');
        normalise(&format!("{scheme}://{host}:{}", record.port)).ok()
    };
    ranked.into_iter().filter_map(|(_, _, record)| url(record)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_first_then_chance_by_weight() {
        let record = |priority, weight, host: &str| {
            SRV::new(priority, weight, 2379, Name::from_ascii(host).unwrap())
        };
        let (first, heavy, light) =
            (record(0, 0, "a."), record(1, 3, "b.example."), record(1, 1, "c.example."));
        let none = record(0, 0, ".");
        let order = || urls(vec![&none, &light, &heavy, &first], "https", rand::random);
        let heavy_first = (0..1000)
            .filter(|_| {
                let order = order();
                assert_eq!(order.len(), 3, "{order:?}");
                assert_eq!(order[0], "https://a:2379");
                order[1] == "https://b.example:2379"
            })
            .count();
        // Three in four; ten standard deviations are 137.
        assert!((613..=887).contains(&heavy_first), "{heavy_first}");
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        let check = |domain: &str| Discovery { domain: domain.to_owned(), servers: vec![] }.check();
        for domain in ["example.com", "example.com.", "local"] {
            check(domain).unwrap();
        }
        for domain in ["", ".", "a..b", &"x".repeat(64)] {
            assert!(matches!(check(domain), Err(Error::Domain { .. })), "{domain}");
        }
    }
}
