//! The two files through which a host tells container runtimes about its subnet.
//!
//! The formats are flannel's `subnet.env` and the output of its `mk-docker-opts.sh`, byte for byte,
//! because Docker units and CNI configurations in the field read them.

use std::fmt::Write as _;

use crate::ids::{Mtu, Subnet};

/// What `subnet.env` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SubnetEnv {
    /// The whole overlay network.
    pub network: Subnet,
    /// This host's block of it.
    pub subnet: Subnet,
    /// What a container's interface may carry.
    pub mtu: Mtu,
    /// Does the agent masquerade what leaves the overlay? If not, Docker shall.
    pub ip_masq: bool,
}

/// Why a `subnet.env` cannot be used.
#[derive(Debug, thiserror::Error, Eq, PartialEq)]
pub enum Error {
    /// A line is neither empty, nor a comment, nor an assignment.
    #[error("line {line} has no `=`")]
    NotAnAssignment {
        /// Counted from one.
        line: usize,
    },
    /// A variable that every reader needs is not there.
    #[error("{name} is missing")]
    Missing {
        /// The variable.
        name: &'static str,
    },
    /// A variable holds something else than it should.
    #[error("{name} is `{value}`, which is not {wanted}")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        wanted: &'static str,
    },
}

impl SubnetEnv {
    /// The text of the file.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let Self { network, subnet, mtu, ip_masq } = self;
        let bridge = subnet.first_host();
        // Writing to a string cannot fail.
        _ = writeln!(text, "FLANNEL_NETWORK={network}");
        _ = writeln!(text, "FLANNEL_SUBNET={bridge}/{}", subnet.len());
        _ = writeln!(text, "FLANNEL_MTU={mtu}");
        _ = writeln!(text, "FLANNEL_IPMASQ={ip_masq}");
        text
    }

    /// Reads what we, or a flanneld on this host, wrote. Unknown variables are ignored.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let variables = Variables::parse(text)?;
        let network = variables.block("FLANNEL_NETWORK")?;
        let subnet = variables.block("FLANNEL_SUBNET")?;
        let mtu = variables.need("FLANNEL_MTU")?;
        let mtu =
            mtu.parse().ok().and_then(Mtu::new).ok_or_else(|| {
                malformed("FLANNEL_MTU", mtu, "a number of bytes from 68 to 65535")
            })?;
        let ip_masq = variables.need("FLANNEL_IPMASQ")?;
        let ip_masq = ip_masq
            .parse()
            .map_err(|_not_a_bool| malformed("FLANNEL_IPMASQ", ip_masq, "true or false"))?;
        Ok(Self { network, subnet, mtu, ip_masq })
    }

    /// The options that make dockerd use this subnet, as `mk-docker-opts.sh` writes them, with the
    /// combined options in the variable named `key`.
    #[must_use]
    pub fn docker_options(&self, key: &str) -> String {
        let bip = format!("--bip={}/{}", self.subnet.first_host(), self.subnet.len());
        let masq = format!("--ip-masq={}", !self.ip_masq);
        let mtu = format!("--mtu={}", self.mtu);
        format!(
            "DOCKER_OPT_BIP=\"{bip}\"\nDOCKER_OPT_IPMASQ=\"{masq}\"\nDOCKER_OPT_MTU=\"{mtu}\"\n\
             {key}=\" {bip} {masq} {mtu}\"\n"
        )
    }
}

struct Variables<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Variables<'a> {
    fn parse(text: &'a str) -> Result<Self, Error> {
        let mut variables = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) =
                line.split_once('=').ok_or(Error::NotAnAssignment { line: index + 1 })?;
            variables.push((name.trim(), value.trim().trim_matches('"')));
        }
        Ok(Self(variables))
    }

    fn need(&self, name: &'static str) -> Result<&'a str, Error> {
        // As in a shell that sources the file, the last assignment holds.
        let found = self.0.iter().rev().find(|(known, _value)| *known == name);
        found.map(|(_name, value)| *value).ok_or(Error::Missing { name })
    }

    fn block(&self, name: &'static str) -> Result<Subnet, Error> {
        let value = self.need(name)?;
        let block = value.split_once('/').and_then(|(address, len)| {
            Subnet::containing(address.parse().ok()?, len.parse().ok()?)
        });
        block.ok_or_else(|| malformed(name, value, "a block of addresses such as 10.5.2.0/24"))
    }
}

fn malformed(name: &'static str, value: &str, wanted: &'static str) -> Error {
    Error::Malformed { name, value: value.to_owned(), wanted }
}
