//! The `extension` backend: commands of the administrator's carry the packets. Which of them is to be
//! run, and with which words; who runs them is elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{BootId, Subnet, Underlay};

/// The commands of a network; `None` is nothing to run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Extension {
    /// Before the host takes its subnet. What it says is told to the other hosts.
    pub pre_startup: Option<Command>,
    /// When the host has its subnet.
    pub post_startup: Option<Command>,
    /// When the agent is told to stop. flannel has it in its samples and never runs it.
    pub shutdown: Option<Command>,
    /// For each other host, with what that host told on stdin.
    pub subnet_add: Option<Command>,
    /// For each that is gone, the same.
    pub subnet_remove: Option<Command>,
}

impl Extension {
    /// All of them, by the names of their members in the configuration.
    #[must_use]
    pub fn commands(&self) -> [(&'static str, Option<&Command>); 5] {
        [
            ("PreStartupCommand", self.pre_startup.as_ref()),
            ("PostStartupCommand", self.post_startup.as_ref()),
            ("ShutdownCommand", self.shutdown.as_ref()),
            ("SubnetAddCommand", self.subnet_add.as_ref()),
            ("SubnetRemoveCommand", self.subnet_remove.as_ref()),
        ]
    }
}

/// One command. No shell ever sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// flannel's form: one line. It is split at white space, and then `$NAME` and `${NAME}` stand for
    /// variables of the environment in each word.
    Line(String),
    /// Ours: the words as they are. Of a `$` in them only the command itself can make something.
    Words(Vec<String>),
}

impl Command {
    /// As it is in the configuration.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Line(line) => line.as_str().into(),
            Self::Words(words) => words.as_slice().into(),
        }
    }

    /// What to execute. A value never becomes more than one word, or a part of one.
    #[must_use]
    pub fn words(&self, variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
        match self {
            Self::Line(line) => {
                line.split_whitespace().map(|word| expanded(word, &variable)).collect()
            }
            Self::Words(words) => words.clone(),
        }
    }
}

/// As Go's `os.Expand` does it: a variable that there is not is empty, and a `$` without a name stays.
fn expanded(word: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let in_braces = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let length = after.bytes().take_while(|byte| is_part(*byte)).count();
        let (name, behind) = in_braces.unwrap_or_else(|| after.split_at(length));
        if name.is_empty() {
            text.push('$');
        }
        text.push_str(&variable(name).unwrap_or_default());
        rest = if name.is_empty() { after } else { behind };
    }
    text + rest
}

/// What the commands are told of another host.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Host {
    /// Where it is.
    pub public_ip: Underlay,
    /// What its own first command said.
    pub data: Option<String>,
}

/// Hosts by their subnets.
pub type Hosts = BTreeMap<Subnet, Host>;

/// What the commands may have done, as it is kept for the next start.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Kept {
    /// A reboot undoes what commands do.
    pub boot: BootId,
    /// Whom they were told of.
    pub hosts: Hosts,
}

impl Kept {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Addresses and texts always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what [`Self::to_json`] wrote.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }
}

/// One run of a command.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the variants read as sentences")]
pub enum Step {
    Add(Subnet, Host),
    Remove(Subnet, Host),
}

impl Step {
    /// The other host's.
    #[must_use]
    pub fn subnet(&self) -> Subnet {
        match self {
            Self::Add(subnet, _host) | Self::Remove(subnet, _host) => *subnet,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Add(subnet, host) => write!(f, "add {subnet} at {}", host.public_ip),
            Self::Remove(subnet, host) => write!(f, "remove {subnet} at {}", host.public_ip),
        }
    }
}

/// What is to be run to get from what was `done` to what is `wanted`: one step for each subnet. Of a
/// host that has changed the old one is removed first, and added anew by the steps after that.
#[must_use]
pub fn steps(wanted: &Hosts, done: &Hosts) -> Vec<Step> {
    let stale = done.iter().filter(|(subnet, host)| wanted.get(subnet) != Some(host));
    let missing = wanted.iter().filter(|(subnet, _host)| !done.contains_key(subnet));
    let remove = stale.map(|(subnet, host)| Step::Remove(*subnet, host.clone()));
    remove.chain(missing.map(|(subnet, host)| Step::Add(*subnet, host.clone()))).collect()
}

/// What a fresh start may take for done of what an earlier run did: hosts that are to be removed. The
/// others are told to the commands again, which `PostStartupCommand` may have made necessary.
#[must_use]
pub fn left_over(wanted: &Hosts, earlier: Hosts) -> Hosts {
    earlier.into_iter().filter(|(subnet, host)| wanted.get(subnet) != Some(host)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_first_and_then_filled() {
        let variable = |name: &str| match name {
            "SUBNET" => Some("10.88.9.0/24".to_owned()),
            "TWO" => Some("a b; $SUBNET".to_owned()),
            _other => None,
        };
        let rows: [(&str, &[&str]); 9] = [
            ("  ip  route\tadd ", &["ip", "route", "add"]),
            ("add $SUBNET dev", &["add", "10.88.9.0/24", "dev"]),
            ("x=${SUBNET}y", &["x=10.88.9.0/24y"]),
            ("$SUBNET$SUBNET", &["10.88.9.0/2410.88.9.0/24"]),
            ("$TWO", &["a b; $SUBNET"]),
            ("$NONE x", &["", "x"]),
            ("a$ $- ${open", &["a$", "$-", "${open"]),
            ("$SUBNET_", &[""]),
            ("", &[]),
        ];
        for (line, words) in rows {
            assert_eq!(Command::Line(line.to_owned()).words(variable), words, "{line}");
        }
        let words = vec!["sh".to_owned(), "-c".to_owned(), "echo $SUBNET".to_owned()];
        assert_eq!(Command::Words(words.clone()).words(variable), words);
    }

    #[test]
    fn what_is_kept_reads_back() {
        let host =
            Host { public_ip: Underlay([192, 0, 2, 9].into()), data: Some("x\n".to_owned()) };
        let hosts = Hosts::from([("10.88.9.0/24".parse().expect("a subnet"), host)]);
        let kept = Kept { boot: BootId::from_bytes([7; 16]), hosts };
        assert_eq!(Kept::parse(kept.to_json().as_bytes()).expect("it reads back"), kept);
        assert!(Kept::parse(b"{\"boot\":\"x\"}").is_err());
    }

    /// Two hosts, each away, or there in one of two states: every world to every other.
    #[test]
    fn steps_lead_from_every_world_to_every_other() {
        let subnets: [Subnet; 2] =
            ["10.88.1.0/24", "10.88.2.0/24"].map(|text| text.parse().expect(text));
        let host = |last| Host { public_ip: Underlay([192, 0, 2, last].into()), data: None };
        let states = [None, Some(host(1)), Some(host(2))];
        let worlds: Vec<Hosts> = states
            .iter()
            .flat_map(|one| states.iter().map(move |two| [one.clone(), two.clone()]))
            .map(|hosts| subnets.into_iter().zip(hosts).filter_map(|(s, host)| Some((s, host?))))
            .map(Iterator::collect)
            .collect();
        for (from, to) in worlds.iter().flat_map(|from| worlds.iter().map(move |to| (from, to))) {
            let mut done = from.clone();
            for _round in 0..2 {
                for step in steps(to, &done) {
                    match step {
                        Step::Add(subnet, host) => assert_eq!(done.insert(subnet, host), None),
                        Step::Remove(subnet, host) => {
                            assert_eq!(done.remove(&subnet), Some(host), "as it was added");
                        }
                    }
                }
            }
            assert_eq!(&done, to);
            assert_eq!(steps(to, &done), []);
            let again = left_over(to, from.clone());
            assert!(again.iter().all(|(subnet, host)| to.get(subnet) != Some(host)));
            assert!(steps(to, &again).len() >= to.len(), "all are told again, or first removed");
        }
    }
}
