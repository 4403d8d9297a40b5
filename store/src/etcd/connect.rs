//! How to reach etcd: endpoints, TLS, user.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

use crate::Error;

/// How to reach etcd.
#[derive(Clone, Debug)]
pub struct Options {
    /// One or more of `http://host:port`, `https://host:port`; the first that answers is used.
    pub endpoints: Vec<String>,
    /// Where the network's keys are, `/coreos.com/network` by default.
    pub prefix: String,
    /// For `https://` endpoints.
    pub tls: Tls,
    /// If etcd has users.
    pub user: Option<User>,
    /// How long one endpoint may take to answer one call.
    pub deadline: Duration,
    /// How often a silent connection is probed, and how long an answer to that may take. etcd closes
    /// connections that are probed more often than each 5 s.
    pub probe: (Duration, Duration),
}

/// The certificates of a TLS connection, each a PEM file.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Who may sign etcd's certificate; without it, whoever the operating system trusts.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// A user of etcd.
#[derive(Clone)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password, which no log ever shows.
    pub password: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:4001".to_owned(), "http://127.0.0.1:2379".to_owned()],
            prefix: "/coreos.com/network".to_owned(),
            tls: Tls::default(),
            user: None,
            deadline: Duration::from_secs(3),
            probe: (Duration::from_secs(6), Duration::from_secs(3)),
        }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Options {
    /// The client's options for an endpoint.
    pub(super) fn for_endpoint(&self, tls: &TlsOptions, endpoint: &str) -> ConnectOptions {
        let (interval, timeout) = self.probe;
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.deadline)
            .with_keep_alive(interval, timeout)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        if let Some(User { name, password }) = &self.user {
            options = options.with_user(name, password).with_auto_token_refresh(true);
        }
        // As in flannel, plain HTTP stays plain whatever certificates there are.
        if endpoint.starts_with("https://") {
            options = options.with_tls(tls.clone());
        }
        options
    }
}

impl Tls {
    /// Reads the files.
    pub(super) fn load(&self) -> Result<TlsOptions, Error> {
        let mut options = TlsOptions::new();
        options = match &self.ca_file {
            Some(path) => options.ca_certificate(Certificate::from_pem(read(path)?)),
            None => options.with_enabled_roots(),
        };
        match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => {
                Ok(options.identity(Identity::from_pem(read(cert)?, read(key)?)))
            }
            (None, None) => Ok(options),
            (Some(_), None) => Err(Error::HalfIdentity { missing: "key" }),
            (None, Some(_)) => Err(Error::HalfIdentity { missing: "certificate" }),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::ReadFile { path: path.to_owned(), source })
}

/// Without a scheme it is plain HTTP, as for etcdctl.
pub(super) fn normalise(endpoint: &str) -> Result<String, Error> {
    let text = endpoint.trim();
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    if rest.is_some_and(|rest| is_host(rest.trim_end_matches('/'))) {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    // Before an `@` stands a password, which no log ever shows.
    let shown = endpoint.rsplit_once('@').map_or(endpoint, |(_secret, host)| host);
    Err(Error::Endpoint { endpoint: shown.to_owned() })
}

/// A name or address, with a port or without; IPv6 in brackets.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => ("ipv6", port),
        Some(_) => return false,
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let port = port.strip_prefix(':').map_or(port.is_empty(), |port| port.parse::<u16>().is_ok());
    port && !host.is_empty() && host.bytes().all(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (text, url) in [
            ("192.0.2.1:2379", Some("http://192.0.2.1:2379")),
            (" https://etcd-1.example:2379/ ", Some("https://etcd-1.example:2379")),
            ("http://etcd_1", Some("http://etcd_1")),
            ("http://[fd00::1]:2379", Some("http://[fd00::1]:2379")),
            ("[::1]", Some("http://[::1]")),
            ("", None),
            (" ", None),
            ("http://", None),
            ("http://:2379", None),
            ("http://fd00::1:2379", None),
            ("http://[fd00::x]:2379", None),
            ("http://a:b:c", None),
            ("http://a:65536", None),
            ("http://a:", None),
            ("http://a b:2379", None),
            ("http://me:secret@a:2379", None),
            ("unix:///run/etcd.sock", None),
            ("ftp://a", None),
        ] {
            assert_eq!(normalise(text).ok().as_deref(), url, "{text}");
        }
        let error = normalise("http://me:secret@a:2379").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
