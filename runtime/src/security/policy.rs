//! What one container may do more or less than others.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MASKED_PATHS, READONLY_PATHS, capabilities, profile, seccomp};

/// Which calls the kernel answers.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// Docker's default profile for the container's capabilities.
    #[default]
    Builtin,
    /// All.
    Unconfined,
    /// A profile of the user's, in Docker's form.
    Profile(Value),
}

/// The wishes about a container's powers.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Security {
    /// All capabilities, all devices, no filter, nothing hidden.
    pub privileged: bool,
    /// `CAP_…` or `ALL`.
    pub cap_add: Vec<String>,
    /// `CAP_…` or `ALL`.
    pub cap_drop: Vec<String>,
    /// The filter.
    pub seccomp: Seccomp,
    /// May no program give more than its caller has?
    pub no_new_privileges: bool,
    /// Are the paths shown that are hidden from others?
    pub shows_system_paths: bool,
    /// `--security-opt` as Docker shows it.
    pub options: Vec<String>,
}

impl Security {
    /// The capabilities of the container's root, of those that we have ourselves. One that was asked
    /// for by name and that we lack is the error.
    pub fn capabilities(&self, own: &[String]) -> Result<Vec<String>, String> {
        let (add, drop) = (&self.cap_add, &self.cap_drop);
        let all = |list: &[String]| list.iter().any(|name| name == capabilities::ALL);
        let mut wanted: BTreeSet<&str> = if self.privileged {
            own.iter().map(String::as_str).collect()
        } else {
            let base: Vec<&str> = match (all(add), all(drop)) {
                (true, _) => own.iter().map(String::as_str).collect(),
                (false, true) => Vec::new(),
                (false, false) => capabilities::DEFAULT.to_vec(),
            };
            base.into_iter().filter(|name| !drop.iter().any(|other| other == name)).collect()
        };
        wanted.retain(|name| own.iter().any(|other| other == name));
        if !self.privileged {
            for name in add.iter().filter(|name| *name != capabilities::ALL) {
                if all(add) && drop.contains(name) {
                    continue;
                }
                if !own.contains(name) {
                    return Err(name.clone());
                }
                wanted.insert(name);
            }
        }
        Ok(wanted.into_iter().map(str::to_owned).collect())
    }

    /// The filter in the OCI's form, if there is one.
    pub fn filter(&self, capabilities: &[String]) -> Result<Option<Value>, profile::Invalid> {
        match &self.seccomp {
            Seccomp::Unconfined => Ok(None),
            Seccomp::Builtin if self.privileged => Ok(None),
            Seccomp::Builtin => Ok(Some(seccomp::profile(capabilities))),
            Seccomp::Profile(profile) => profile::resolve(profile, capabilities).map(Some),
        }
    }

    /// What is covered.
    #[must_use]
    pub fn masked_paths(&self) -> &'static [&'static str] {
        if self.privileged || self.shows_system_paths { &[] } else { &MASKED_PATHS }
    }

    /// What cannot be written.
    #[must_use]
    pub fn readonly_paths(&self) -> &'static [&'static str] {
        if self.privileged || self.shows_system_paths { &[] } else { &READONLY_PATHS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        let own = [capabilities::DEFAULT.as_slice(), &["CAP_NET_ADMIN", "CAP_SYS_TIME"]].concat();
        let own = names(&own);
        let check = |add: &[&str], drop: &[&str], want: Result<usize, &str>| {
            let security =
                Security { cap_add: names(add), cap_drop: names(drop), ..Security::default() };
            let got = security.capabilities(&own).map(|all| all.len());
            assert_eq!(got, want.map_err(str::to_owned), "{add:?} {drop:?}");
        };
        check(&[], &[], Ok(14));
        check(&["CAP_NET_ADMIN"], &[], Ok(15));
        check(&["CAP_CHOWN"], &[], Ok(14));
        check(&[], &["CAP_CHOWN"], Ok(13));
        check(&["CAP_CHOWN"], &["CAP_CHOWN"], Ok(14));
        check(&["ALL"], &[], Ok(16));
        check(&["ALL"], &["CAP_CHOWN"], Ok(15));
        check(&[], &["ALL"], Ok(0));
        check(&["CAP_CHOWN", "CAP_SYS_TIME"], &["ALL"], Ok(2));
        check(&["CAP_SYS_ADMIN"], &[], Err("CAP_SYS_ADMIN"));
        let privileged =
            Security { privileged: true, cap_drop: names(&["ALL"]), ..Security::default() };
        assert_eq!(privileged.capabilities(&own).unwrap().len(), 16);
        let poor = Security::default().capabilities(&names(&["CAP_CHOWN"]));
        assert_eq!(poor.unwrap(), ["CAP_CHOWN"], "what we have not ourselves cannot be given");
    }

    #[test]
    fn the_privileged_are_not_filtered_unless_they_are_asked_to_be() {
        let privileged = Security { privileged: true, ..Security::default() };
        assert!(privileged.filter(&[]).unwrap().is_none());
        assert!(privileged.masked_paths().is_empty() && privileged.readonly_paths().is_empty());
        let profile = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW"});
        let both = Security { seccomp: Seccomp::Profile(profile), ..privileged };
        assert!(both.filter(&[]).unwrap().is_some());
        assert!(Security::default().filter(&[]).unwrap().is_some());
    }
}
