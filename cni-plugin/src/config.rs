//! The network's configuration, as a runtime sends it on stdin.
//!
//! What each verb needs is read when it is needed: a wish that cannot be fulfilled must not keep a
//! container from being removed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Map, Value};
use twill_core::run::SOCKET;
use twill_endpoint::Host;

use crate::document::Document;
use crate::environment::{Args, is_identifier};
use crate::error::{Code, Failure};
use crate::version::Version;
use crate::wish::Wish;

/// What we use of the configuration. Unknown keys are passed over, as the specification wants.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// In which release of the specification to answer.
    pub(crate) version: Version,
    /// The network's name.
    pub(crate) name: String,
    /// Where subnet and pool are found.
    pub(crate) host: Host,
    /// Where the agent answers.
    pub(crate) agent: PathBuf,
    /// An object.
    value: Value,
}

impl Config {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let undecodable = |words: String| {
            let message = format!("the network configuration on stdin {words}");
            Failure::new(Code::Decode, message)
                .hint("one JSON object is wanted: a plugin's, with `cniVersion` and `name`")
        };
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| undecodable(format!("is not JSON: {error}")))?;
        let document =
            Document::new(&value).ok_or_else(|| undecodable("is not an object".to_owned()))?;
        let version = version(&document)?;
        let found = Self::find(&document).map_err(|failure| failure.asked_in(version));
        let (name, host, agent) = found?;
        Ok(Self { version, name, host, agent, value })
    }

    /// The network's name, and where subnet, pool and agent are found.
    fn find(document: &Document<'_>) -> Result<(String, Host, PathBuf), Failure> {
        let name = document.text("name")?.unwrap_or_default();
        if !is_identifier(name) {
            return Err(document.wrong("name", "the name of a network"));
        }
        let mut host = Host::default();
        if let Some(path) = document.text("subnetFile")? {
            host.subnet_env = path.into();
        }
        if let Some(path) = document.text("stateDir")? {
            host.state = path.into();
        }
        let agent = document.text("agentSocket")?.unwrap_or(SOCKET).into();
        Ok((name.to_owned(), host, agent))
    }

    /// How to join a container. `args` are those of the environment: the oldest of the ways in which a
    /// user's wish for an address comes.
    pub(crate) fn wish(&self, args: &Args) -> Result<Wish, Failure> {
        Wish::read(&self.document(), args)
    }

    /// What the plugins before us have done, or on CHECK, what the last of them said.
    pub(crate) fn previous(&self) -> Result<Option<Map<String, Value>>, Failure> {
        self.document().members("prevResult").map(Option::<&_>::cloned)
    }

    /// Who is there, for GC; `None` if the runtime does not say.
    pub(crate) fn attachments(&self) -> Result<Option<BTreeSet<(String, String)>>, Failure> {
        attachments(&self.document())
    }

    fn document(&self) -> Document<'_> {
        Document::of(self.value.as_object())
    }
}

fn version(document: &Document<'_>) -> Result<Version, Failure> {
    // The reference implementation takes a configuration without a version for its oldest kind.
    let text = document.text("cniVersion")?.unwrap_or("0.1.0");
    Version::parse(text).ok_or_else(|| {
        let known = Version::ALL.map(Version::as_str).join(", ");
        let message =
            format!("CNI {text}, which the network configuration asks for, is not spoken");
        Failure::new(Code::IncompatibleVersion, message)
            .hint(format!("set `cniVersion` to one of {known}"))
    })
}

/// The specification's spelling, and the one that libcni sends besides. A list without elements is `null`
/// in the library's language; no list at all is a mistake.
fn attachments(document: &Document<'_>) -> Result<Option<BTreeSet<(String, String)>>, Failure> {
    let spelling = "cni.dev/valid-attachments";
    let found = document.written(spelling).or_else(|| document.written("cni.dev/attachments"));
    let Some(found) = found else { return Ok(None) };
    let wrong = || document.wrong(spelling, "a list of attachments");
    let mut attachments = BTreeSet::new();
    if found.is_null() {
        return Ok(Some(attachments));
    }
    for element in found.as_array().ok_or_else(wrong)? {
        let element = Document::new(element).ok_or_else(wrong)?;
        let container = element.text("containerID")?.ok_or_else(wrong)?;
        let interface = element.text("ifname")?.ok_or_else(wrong)?;
        attachments.insert((container.to_owned(), interface.to_owned()));
    }
    Ok(Some(attachments))
}

#[cfg(test)]
mod tests;
