//! Why the store could not do what it was asked.

use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use etcd_client::Error as ClientError;

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
    /// An endpoint is not an address of etcd.
    #[error("`{endpoint}` is not an endpoint of etcd")]
    Endpoint {
        /// The text.
        endpoint: String,
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
    WriteConfig,
    ListLeases,
    Claim,
    Renew,
    Revoke,
    PutNode,
    ListNodes,
    Watch,
}

/// What an endpoint did instead of answering.
#[derive(Debug)]
pub enum Cause {
    /// The client's own error.
    Client(ClientError),
    /// Nothing within this time.
    Deadline(Duration),
    /// It closed the stream, for this reason.
    Closed(String),
    /// It said no, for this reason.
    Refused(String),
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
            Self::Unreachable { source, .. } if source.to_string().contains("certificate") => {
                "name the authority that signed etcd's certificate with --etcd-cafile"
            }
            Self::Unreachable { .. } => {
                "check that etcd runs and that --etcd-endpoints names it, with http:// or https:// \
                 as it listens"
            }
            Self::Denied { .. } => {
                "check --etcd-username and --etcd-password, and that the user's role covers the prefix"
            }
            Self::Failed { .. } => "see etcd's own log, and `etcdctl endpoint status`",
            Self::ReadFile { .. } => "check the path and that this user may read it",
            Self::HalfIdentity { .. } => "give --etcd-certfile and --etcd-keyfile, or neither",
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

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Unreachable,
    Denied,
    Failed,
}

impl Cause {
    pub(crate) fn kind(&self) -> Kind {
        let error = match self {
            Self::Client(error) => error,
            Self::Deadline(_) | Self::Closed(_) => return Kind::Unreachable,
            Self::Refused(_) => return Kind::Failed,
        };
        match error {
            ClientError::TransportError(_) | ClientError::IoError(_) => Kind::Unreachable,
            ClientError::GRpcStatus(status) => {
                // https://grpc.io/docs/guides/status-codes/
                match i32::from(status.code()) {
                    CANCELLED | DEADLINE_EXCEEDED | UNAVAILABLE => Kind::Unreachable,
                    PERMISSION_DENIED | UNAUTHENTICATED => Kind::Denied,
                    // etcd answers a wrong password so, and a call that lacks one.
                    INVALID_ARGUMENT
                        if ["authentication failed", "user name"]
                            .iter()
                            .any(|words| status.message().contains(words)) =>
                    {
                        Kind::Denied
                    }
                    // The server never said it: it comes from the connection.
                    _ if status.source().is_some() => Kind::Unreachable,
                    _ => Kind::Failed,
                }
            }
            _ => Kind::Failed,
        }
    }

    /// Does etcd say that it has that lease already?
    pub(crate) fn is_lease_there(&self) -> bool {
        matches!(self, Self::Client(ClientError::GRpcStatus(status))
            if status.message().contains("lease already exists"))
    }

    /// Does etcd say that it has no such lease?
    pub(crate) fn is_lease_not_found(&self) -> bool {
        match self {
            Self::Client(ClientError::GRpcStatus(status)) => {
                i32::from(status.code()) == NOT_FOUND && status.message().contains("lease")
            }
            Self::Client(ClientError::LeaseKeepAliveError(reason)) => reason == "lease not found",
            _ => false,
        }
    }
}

const CANCELLED: i32 = 1;
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in etcd at {}", self.operation, self.key, self.endpoint)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadConfig => "read the network configuration",
            Self::WriteConfig => "write the network configuration",
            Self::ListLeases => "list the leases under",
            Self::Claim => "claim the subnet",
            Self::Renew => "renew the lease",
            Self::Revoke => "revoke the lease",
            Self::PutNode => "write the node record",
            Self::ListNodes => "list the node records under",
            Self::Watch => "watch the leases under",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(ClientError::GRpcStatus(status)) => match status.source() {
                // The innermost one names the trouble; the layers around it only pass it on.
                Some(outermost) => write!(f, "{}", innermost(outermost)),
                None => f.write_str(status.message()),
            },
            Self::Client(error) => error.fmt(f),
            Self::Deadline(time) => write!(f, "nothing within {time:?}"),
            Self::Closed(reason) | Self::Refused(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Cause {}

fn innermost<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> &'a dyn std::error::Error {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}
