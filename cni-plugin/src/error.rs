//! What a runtime is told when something cannot be done.

use serde_json::{Map, Value, json};
use twill_endpoint as endpoint;

use crate::version::Version;

/// The numbers of errors: up to 99 the specification's ("Well-known Error Codes"), from 100 ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Code {
    /// The configuration asks for a release of the specification that we do not speak.
    IncompatibleVersion = 1,
    /// The configuration asks for something that we do not do.
    UnsupportedField = 2,
    /// The container is not known; nothing of it has to be removed.
    UnknownContainer = 3,
    /// A variable of the environment is missing or wrong.
    InvalidEnvironment = 4,
    /// Something could not be read or written.
    InputOutput = 5,
    /// What should be JSON is not.
    Decode = 6,
    /// The configuration makes no sense.
    InvalidConfiguration = 7,
    /// The container's network namespace cannot be used (the number of the reference library).
    InvalidNetns = 8,
    /// It would work later.
    TryAgain = 11,
    /// No container can be joined now (answer to STATUS).
    NotAvailable = 50,
    /// The same, and containers that were joined are worse off, too (answer to STATUS).
    Degraded = 51,
    /// The kernel said no.
    Kernel = 100,
    /// No address is left.
    Exhausted = 101,
    /// The address or the port belongs to somebody else.
    AddressTaken = 102,
    /// The interface is there already.
    InterfaceExists = 103,
    /// The host's network stands in the way.
    HostNetwork = 104,
    /// The container is not as ADD left it (answer to CHECK).
    NotAsAdded = 105,
}

/// An error as the specification wants it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// What happened, to what.
    pub(crate) message: String,
    /// The way out.
    pub(crate) details: Option<String>,
    /// The release in which the runtime asked, as far as we got to know it.
    pub(crate) version: Version,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None, version: Version::NEWEST }
    }

    pub(crate) fn hint(self, details: impl Into<String>) -> Self {
        Self { details: Some(details.into()), ..self }
    }

    pub(crate) fn asked_in(self, version: Version) -> Self {
        Self { version, ..self }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("cniVersion".to_owned(), json!(self.version.as_str()));
        object.insert("code".to_owned(), json!(self.code as u32));
        object.insert("msg".to_owned(), json!(self.message));
        object.extend(self.details.iter().map(|details| ("details".to_owned(), json!(details))));
        Value::Object(object)
    }
}

impl From<endpoint::Error> for Failure {
    fn from(error: endpoint::Error) -> Self {
        Self { details: error.hint(), ..Self::new(code(&error), error.in_full()) }
    }
}

fn code(error: &endpoint::Error) -> Code {
    use endpoint::Error as E;
    match error {
        // The agent has not got a subnet yet, or is being started.
        E::ReadSubnetEnv { .. } => Code::TryAgain,
        E::ParseSubnetEnv { .. } | E::ParseRecord { .. } => Code::Decode,
        E::Pool { .. } | E::ReadBootId { .. } => Code::InputOutput,
        E::Exhausted { .. } | E::NoName { .. } => Code::Exhausted,
        E::AddressOutside { .. }
        | E::AddressReserved { .. }
        | E::NoSuchFamily { .. }
        | E::TwoOfAFamily { .. }
        | E::PortNotThere { .. }
        | E::PortAtLoopback
        | E::PortOfNoFamily { .. }
        | E::TooSmallForIpv6 { .. } => Code::InvalidConfiguration,
        E::AddressTaken { .. }
        | E::PortTaken { .. }
        | E::PortOccupied { .. }
        | E::PortInUse { .. } => Code::AddressTaken,
        E::Several { first, .. } => code(first),
        E::SameNamespace { .. } | E::Netns(_) => Code::InvalidNetns,
        E::InterfaceExists { .. } => Code::InterfaceExists,
        E::NotABridge { .. } | E::GatewayElsewhere { .. } | E::Overlap { .. } => Code::HostNetwork,
        E::NotJoined { .. } => Code::UnknownContainer,
        E::Stranded { .. } | E::Lacking { .. } | E::Spoilt { .. } => Code::NotAsAdded,
        E::Vanished { .. } | E::Network(_) | E::Sysctl(_) => Code::Kernel,
    }
}
