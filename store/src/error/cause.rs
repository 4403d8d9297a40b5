//! What an endpoint did instead of answering.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use etcd_client::Error as ClientError;
use hickory_resolver::net::NetError;

/// What an endpoint did instead of answering.
#[derive(Debug)]
pub enum Cause {
    /// The client's own error.
    Client(ClientError),
    /// Nothing within this time.
    Deadline(Duration),
    /// It closed the stream, for this reason.
    Closed(String),
    /// DNS did not say where etcd is.
    Discovery {
        /// The domain that was asked for.
        domain: String,
        /// What it did instead.
        source: Box<NetError>,
    },
    /// It said no, for this reason.
    Refused(String),
}

impl From<ClientError> for Cause {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
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
            // A watch is refused by closing it.
            Self::Closed(words) if is_denial(words) || is_stranger(words) => return Kind::Denied,
            Self::Deadline(_) | Self::Closed(_) | Self::Discovery { .. } => {
                return Kind::Unreachable;
            }
            Self::Refused(_) => return Kind::Failed,
        };
        match error {
            ClientError::TransportError(_) | ClientError::IoError(_) => Kind::Unreachable,
            ClientError::GRpcStatus(status) => {
                // https://grpc.io/docs/guides/status-codes/
                match i32::from(status.code()) {
                    CANCELLED | DEADLINE_EXCEEDED | UNAVAILABLE => Kind::Unreachable,
                    PERMISSION_DENIED | UNAUTHENTICATED => Kind::Denied,
                    INVALID_ARGUMENT if is_stranger(status.message()) => Kind::Denied,
                    // The server never said it: it comes from the connection.
                    _ if status.source().is_some() => Kind::Unreachable,
                    _ => Kind::Failed,
                }
            }
            _ => Kind::Failed,
        }
    }

    /// May a new connection, or another endpoint, help? So it is when nobody answered, and when etcd
    /// does not know us; not when it knows us and says no.
    pub(crate) fn is_of_connection(&self) -> bool {
        match (self.kind(), self) {
            (Kind::Unreachable, _) => true,
            (Kind::Denied, Self::Client(ClientError::GRpcStatus(status))) => {
                i32::from(status.code()) != PERMISSION_DENIED
            }
            (Kind::Denied, Self::Closed(words)) => !is_denial(words),
            (Kind::Denied | Kind::Failed, _) => false,
        }
    }

    /// The way out of what hinders TLS, by the words of rustls.
    pub(super) fn way_out(&self, endpoint: &str) -> Option<&'static str> {
        let ways: [(&[&str], &str); 6] = [
            (
                &["received fatal alert"],
                "etcd may want a certificate of its clients: give --etcd-certfile and \
                 --etcd-keyfile, not expired, of the authority in etcd's own --trusted-ca-file",
            ),
            (
                // A client's certificate is refused after the handshake, by hanging up, and so is
                // TLS by a server that speaks none: what is seen depends on who is quicker.
                &["roken pipe", "onnection reset", "onnection closed"],
                "etcd may want a certificate of its clients: give --etcd-certfile and \
                 --etcd-keyfile, not expired, of the authority in etcd's own --trusted-ca-file; \
                 or it speaks no TLS: write it with http:// in --etcd-endpoints",
            ),
            (
                &["expired", "Expired", "not valid yet", "NotValidYet"],
                "renew etcd's own certificate; if it is good, correct this host's clock",
            ),
            (
                &["not valid for name", "NotValidForName"],
                "write the endpoint in --etcd-endpoints with a name that etcd's certificate has",
            ),
            (
                &["certificate"],
                "name the authority that signed etcd's certificate with --etcd-cafile",
            ),
            (
                &["corrupt message", "handshake eof"],
                "that endpoint seems to speak no TLS: write it with http:// in --etcd-endpoints",
            ),
        ];
        if matches!(self, Self::Discovery { .. }) {
            return Some(
                "check --etcd-discovery-srv: `dig SRV _etcd-client-ssl._tcp.DOMAIN` has to name hosts",
            );
        }
        let trouble = self.to_string();
        let fits = |words: &[&str]| words.iter().any(|words| trouble.contains(words));
        let way = ways.into_iter().find_map(|(words, way)| fits(words).then_some(way));
        way.filter(|_| endpoint.contains("https://"))
    }

    /// Does etcd say that it has that lease already?
    pub(crate) fn is_lease_there(&self) -> bool {
        matches!(self, Self::Client(ClientError::GRpcStatus(status))
            if status.message().contains("lease already exists"))
    }

    /// Does etcd say that it has forgotten what was then?
    pub(crate) fn is_compacted(&self) -> bool {
        matches!(self, Self::Client(ClientError::GRpcStatus(status))
            if status.message().contains("required revision has been compacted"))
    }

    /// Does etcd say that this moment is still to come?
    pub(crate) fn is_future(&self) -> bool {
        matches!(self, Self::Client(ClientError::GRpcStatus(status))
            if status.message().contains("required revision is a future revision"))
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

/// Does etcd not know who we are? So it answers a wrong password, a call that lacks one, and a login
/// that ended or is older than a change of the users.
fn is_stranger(words: &str) -> bool {
    ["authentication failed", "user name", "invalid auth token", "revision of auth store"]
        .iter()
        .any(|known| words.contains(known))
}

fn is_denial(words: &str) -> bool {
    words.contains("permission denied")
}

const CANCELLED: i32 = 1;
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(ClientError::GRpcStatus(status)) => match status.source() {
                // The innermost one names the trouble; the layers around it only pass it on.
                Some(outermost) => write!(f, "{}", innermost(outermost)),
                None => f.write_str(status.message()),
            },
            Self::Client(ClientError::TransportError(error)) => write!(f, "{}", innermost(error)),
            Self::Client(error) => error.fmt(f),
            Self::Discovery { domain, source } => {
                write!(f, "DNS names no etcd for {domain}: {source}")
            }
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
