//! How to reach etcd: endpoints, TLS, user.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use etcd_client::ConnectOptions;

use super::discover::Discovery;
use super::files::{Access, Files};
use crate::Error;

/// How to reach etcd.
#[derive(Clone, Debug)]
pub struct Options {
    /// One or more of `http://host:port`, `https://host:port`; the first that answers is used.
    pub endpoints: Vec<String>,
    /// If DNS names the endpoints; then the list above counts for nothing.
    pub discovery: Option<Discovery>,
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
    /// How often the files of certificates and password are looked at while all is well; when it is
    /// not, they are looked at at once.
    pub reread: Duration,
}

/// What every connection is made with.
pub(super) struct Reach {
    pub(super) files: Files,
    pub(super) limits: Limits,
}

/// How long anything may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) deadline: Duration,
    pub(super) reread: Duration,
    probe: (Duration, Duration),
}

/// The certificates of a TLS connection, each a PEM file that is read again when it changes.
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
#[derive(Clone, Debug)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: Password,
}

/// A password, which no log ever shows.
#[derive(Clone)]
pub enum Password {
    /// This one.
    Word(String),
    /// The first line of this file, read again when it changes.
    File(PathBuf),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:4001".to_owned(), "http://127.0.0.1:2379".to_owned()],
            discovery: None,
            prefix: "/coreos.com/network".to_owned(),
            tls: Tls::default(),
            user: None,
            deadline: Duration::from_secs(3),
            probe: (Duration::from_secs(6), Duration::from_secs(3)),
            reread: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(_) => f.write_str("***"),
            Self::File(path) => path.fmt(f),
        }
    }
}

impl From<&Options> for Limits {
    fn from(options: &Options) -> Self {
        let Options { deadline, reread, probe, .. } = *options;
        Self { deadline, reread, probe }
    }
}

impl Reach {
    /// Reads the files.
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let files = Files::open(options)?;
        Ok(Self { files, limits: options.into() })
    }

    /// The client's options for an endpoint, but for the user.
    pub(super) fn for_endpoint(&self, access: &Access, endpoint: &str) -> ConnectOptions {
        let Limits { deadline, probe: (interval, timeout), .. } = self.limits;
        let options = ConnectOptions::new()
            .with_connect_timeout(deadline)
            .with_keep_alive(interval, timeout)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        // As in flannel, plain HTTP stays plain whatever certificates there are.
        if endpoint.starts_with("https://") { options.with_tls(access.tls()) } else { options }
    }
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
