//! `--sysctl NAME=VALUE`: only what belongs to a namespace of the container's.

use std::str::FromStr;

/// Those of the ipc namespace; `fs.mqueue.` are, too.
const OF_IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// One parameter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sysctl {
    /// With dots.
    pub name: String,
    /// As it is written.
    pub value: String,
}

impl Sysctl {
    /// Does it belong to the network namespace?
    #[must_use]
    pub fn is_of_network(name: &str) -> bool {
        name.starts_with("net.")
    }

    /// Does it belong to the ipc namespace?
    #[must_use]
    pub fn is_of_ipc(name: &str) -> bool {
        OF_IPC.contains(&name) || name.starts_with("fs.mqueue.")
    }
}

impl FromStr for Sysctl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("sysctl '{text}' is not allowed");
        let (name, value) = text.split_once('=').ok_or_else(refused)?;
        let is_name = name.split('.').all(|part| !part.is_empty() && !part.contains(['/', '\0']));
        if !is_name || !(Self::is_of_network(name) || Self::is_of_ipc(name)) {
            return Err(refused());
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_containers_own() {
        for (text, good) in [
            ("net.core.somaxconn=1024", true),
            ("net.ipv4.ip_forward=1", true),
            ("kernel.sem=1 2 3 4", true),
            ("fs.mqueue.msg_max=5", true),
            ("kernel.panic=1", false),
            ("vm.swappiness=1", false),
            ("net.core.somaxconn", false),
            ("net..x=1", false),
            ("net./../kernel.panic=1", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<Sysctl>().is_ok(), good, "{text}");
        }
        let refused = "kernel.panic=1".parse::<Sysctl>().unwrap_err();
        assert_eq!(refused, "sysctl 'kernel.panic=1' is not allowed");
    }
}
