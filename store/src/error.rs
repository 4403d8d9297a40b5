//! Why the store could not do what it was asked.

mod cause;

use std::fmt;
use std::path::PathBuf;

pub use cause::Cause;
pub(crate) use cause::Kind;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No endpoint answered in time.
    #[error("cannot {place}: no answer")]
    Unreachable {
        /// What was tried, and where.
        place: Box<Place>,
        /// The last endpoint's trouble.
        #[source]
        source: Box<Cause>,
    },
    /// etcd wants another user, or grants this one too little.
    #[error("cannot {place}: not allowed")]
    Denied {
        /// What was tried, and where.
        place: Box<Place>,
        /// etcd's words.
        #[source]
        source: Box<Cause>,
    },
    /// etcd answered with another error.
    #[error("cannot {place}: refused")]
    Failed {
        /// What was tried, and where.
        place: Box<Place>,
        /// etcd's words.
        #[source]
        source: Box<Cause>,
    },
    /// A certificate or key file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A certificate was given without its key, or a key without its certificate.
    #[error("a client certificate and its key are needed together, and there is no {missing}")]
    HalfIdentity {
        /// What is missing.
        missing: &'static str,
    },
    /// A file is not what it should be.
    #[error("there is no {wanted} in {path}, in the form of PEM", path = path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// A certificate and a key cannot be used together.
    #[error("cannot use the certificate in {certificate} with the key in {key}",
        certificate = certificate.display(), key = key.display())]
    Identity {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// The file of the password has none.
    #[error("the first line of {path} is empty, and should be a password", path = path.display())]
    NoPassword {
        /// The file.
        path: PathBuf,
    },
    /// An endpoint is not an address of etcd.
    #[error("`{endpoint}` is not an endpoint of etcd")]
    Endpoint {
        /// The text.
        endpoint: String,
    },
    /// The place of discovery is no domain.
    #[error("`{domain}` is not a domain of DNS")]
    Domain {
        /// The text.
        domain: String,
    },
    /// There is no endpoint at all.
    #[error("the list of etcd's endpoints is empty")]
    NoEndpoint,
}

/// What was tried, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// What was tried.
    pub operation: Operation,
    /// The key, or the prefix of the keys.
    pub key: String,
    /// The endpoints that were asked.
    pub endpoint: String,
}

/// What the store does, in words that follow "cannot".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operation {
    ReadConfig,
    ReadPicture,
    Ask,
    Answer,
    WriteConfig,
    ListLeases,
    ReadLease,
    Reserve,
    Release,
    Claim,
    Renew,
    Revoke,
    ListNodes,
    ListNetworks,
    Watch,
    WatchNetworks,
}

impl Error {
    /// Did no endpoint answer? Later may help; nothing else in here is of that kind.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// A way out, for a `hint:` line.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { place, source } => source.way_out(&place.endpoint).unwrap_or(
                "check that etcd runs and that --etcd-endpoints names it, with http:// or https:// \
                 as it listens",
            ),
            Self::Denied { .. } => {
                "check --etcd-username and the password, and that the user's role covers the prefix"
            }
            Self::Failed { .. } => "see etcd's own log, and `etcdctl endpoint status`",
            Self::ReadFile { .. } => "check the path and that this user may read it",
            Self::NotPem { .. } => "check that the option names the file that it should",
            Self::Identity { .. } => {
                "give the key that the certificate was made for; new ones of both may be half written"
            }
            Self::NoPassword { .. } => "write the password into it, as its first line",
            Self::HalfIdentity { .. } => "give --etcd-certfile and --etcd-keyfile, or neither",
            Self::Domain { .. } => "write the domain as --etcd-discovery-srv example.com",
            Self::Endpoint { .. } | Self::NoEndpoint => {
                "write endpoints as http://192.168.140.22:2379, separated by commas"
            }
        }
    }

    pub(crate) fn new(place: Place, cause: Cause) -> Self {
        let kind = cause.kind();
        let (place, source) = (Box::new(place), Box::new(cause));
        match kind {
            Kind::Unreachable => Self::Unreachable { place, source },
            Kind::Denied => Self::Denied { place, source },
            Kind::Failed => Self::Failed { place, source },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in etcd at {}", self.operation, self.key, self.endpoint)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadConfig => "read the network configuration",
            Self::ReadPicture => "read configuration and leases under",
            Self::Ask => "ask for doubles at",
            Self::Answer => "answer the question at",
            Self::WriteConfig => "write the network configuration",
            Self::ListLeases => "list the leases under",
            Self::ReadLease => "read the lease",
            Self::Reserve => "reserve the subnet",
            Self::Release => "release the reservation",
            Self::Claim => "claim the subnet",
            Self::Renew => "renew the lease",
            Self::Revoke => "revoke the lease",
            Self::ListNodes => "list the node records under",
            Self::ListNetworks => "list the networks under",
            Self::Watch => "watch the leases under",
            Self::WatchNetworks => "watch the networks under",
        })
    }
}
