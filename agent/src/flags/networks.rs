//! Flags as they read for one of several networks.

use std::path::{Path, PathBuf};

use twill_core::ids::NetworkName;

use super::{Etcd, Files, Flags};
use crate::hook::Choice;

impl Flags {
    /// Each network that this host is to be in, with its flags, as far as that is known without etcd; a
    /// single one that has no name unless there may be others.
    pub(crate) fn of_networks(&self) -> Vec<(Option<NetworkName>, Self)> {
        let names = match self.etcd.networks.names() {
            _any if self.etcd.watch_networks => self.known_networks(),
            [] => return vec![(None, self.clone())],
            names => names.to_vec(),
        };
        names.into_iter().map(|name| (Some(name.clone()), self.of(&name))).collect()
    }

    /// Of those that the state directory knows of, the ones that this host may be in.
    pub(crate) fn known_networks(&self) -> Vec<NetworkName> {
        let known = self.files.known_networks().into_iter();
        known.filter(|name| self.may_be_in(name)).collect()
    }

    /// Is that network one that the administrator wants, if it is there?
    pub(crate) fn may_be_in(&self, name: &NetworkName) -> bool {
        let Etcd { networks, watch_networks, .. } = &self.etcd;
        if *watch_networks { networks.admit(name) } else { networks.names().contains(name) }
    }

    /// Have this host's networks names?
    pub(crate) fn are_named(&self) -> bool {
        self.etcd.watch_networks || !self.etcd.networks.names().is_empty()
    }

    /// As they are for one of several networks.
    pub(crate) fn of(&self, name: &NetworkName) -> Self {
        let mut flags = self.clone();
        flags.etcd.prefix = format!("{}/{name}", self.etcd.prefix.trim_end_matches('/'));
        flags.files = self.files.of(name);
        flags
    }
}

impl Files {
    /// As they are for one of several networks.
    pub(crate) fn of(&self, name: &NetworkName) -> Self {
        // The runtime's own hook would bring every container to this network.
        let hook = self.subnet_hook.clone().unwrap_or(Choice::Nothing);
        Self {
            subnet_file: self.subnet_dir.join(format!("{name}.env")),
            docker_options_file: self.subnet_dir.join(format!("{name}.docker")),
            state_dir: networks_in(&self.state_dir).join(name.as_str()),
            subnet_hook: Some(hook),
            ..self.clone()
        }
    }

    /// The networks that the state directory knows of, whether this host is still to be in them or not.
    pub(crate) fn known_networks(&self) -> Vec<NetworkName> {
        let Ok(entries) = networks_in(&self.state_dir).read_dir() else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<NetworkName> = names.filter_map(|name| name.parse().ok()).collect();
        names.sort();
        names
    }
}

/// Where a state directory keeps what is of one network alone, each in a directory of its own.
pub(crate) fn networks_in(state: &Path) -> PathBuf {
    state.join("networks")
}
