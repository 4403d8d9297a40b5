//! The options of `run` and `create` about what a container may do and see.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::container::isolation::{Device, Ipc, Isolation, Pid, Sysctl, Ulimit, Uts};
use crate::container::links::is_name;
use crate::container::ports::ExposedRange;
use crate::container::resources;
use crate::error::{Error, Result};
use crate::security::{Seccomp, Security, capabilities, profile};

/// They all have a default.
#[derive(Clone, Debug, Default, clap::Args)]
// `run` has a group of this name, too.
#[group(skip)]
pub struct Args {
    /// Read environment variables from a file, NAME=VALUE or NAME a line
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Add a capability, as in `NET_ADMIN`; ALL for every one that there is
    #[arg(long, value_name = "CAPABILITY", value_parser = capability_to_add)]
    pub cap_add: Vec<String>,
    /// Take a capability away, as in `MKNOD`; ALL for every one
    #[arg(long, value_name = "CAPABILITY", value_parser = capability_to_drop)]
    pub cap_drop: Vec<String>,
    /// Give it all capabilities and devices, and hide nothing; it can do to the host whatever root can
    #[arg(long)]
    pub privileged: bool,
    /// `seccomp=FILE`, `seccomp=unconfined`, `no-new-privileges`, `systempaths=unconfined`
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Give it a device of the host, or all devices below a directory
    #[arg(long, value_name = "HOST[:CONTAINER[:rwm]]")]
    pub device: Vec<Device>,
    /// Make its root file system read-only
    #[arg(long)]
    pub read_only: bool,
    /// Have orphans reaped and signals forwarded by a small first process
    #[arg(long)]
    pub init: bool,
    /// Limit a resource per process, as in `nofile=1024:2048`; -1 for no limit
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<Ulimit>,
    /// Further group of its processes, by name or number
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Size of /dev/shm, as in `256m`
    #[arg(long, value_name = "BYTES", value_parser = shm_size)]
    pub shm_size: Option<u64>,
    /// Set a parameter of the kernel that belongs to the container's namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    pub sysctl: Vec<Sysctl>,
    /// Whose processes it sees: host, or container:NAME
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    pub pid: Pid,
    /// Whose shared memory it sees: private, shareable, none, host, or container:NAME
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    pub ipc: Ipc,
    /// Whose host name it has: host for the host's own
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    pub uts: Uts,
    /// Name of its NIS domain
    #[arg(long, value_name = "NAME", value_parser = domain_name, default_value = "", hide_default_value = true)]
    pub domainname: String,
    /// Signal that asks it to end; the image's, else TERM, if not given
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<crate::signals::Signal>,
    /// Seconds that `stop` gives it before it is killed; -1 for any number
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub stop_timeout: Option<i64>,
    /// Note a port, or a range of them, that it listens on; nothing is opened
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub expose: Vec<ExposedRange>,
    /// How its output is kept: `max-size=10m`, `max-file=3`, `labels=NAMES`, `env=NAMES`
    #[arg(long, value_name = "NAME=VALUE")]
    pub log_opt: Vec<String>,
    /// What keeps its output: json-file
    #[arg(long, value_name = "NAME", value_parser = ["json-file"], default_value = "json-file", hide_default_value = true)]
    pub log_driver: String,
    /// Write its id into a file, which must not be there yet
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// When to fetch the image: missing, never; always is refused, for there is no registry yet
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub pull: Pull,
}

/// When an image is fetched from a registry.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Pull {
    /// If it is not here.
    #[default]
    Missing,
    /// Not even then.
    Never,
    /// Even if it is here.
    Always,
}

impl std::str::FromStr for Pull {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "missing" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            "always" => Ok(Self::Always),
            _ => Err(format!(
                "invalid pull option: '{text}': must be one of \"always\", \"missing\" or \"never\""
            )),
        }
    }
}

impl Args {
    /// For the library.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        let mut ulimits: Vec<Ulimit> = Vec::new();
        for limit in &self.ulimit {
            ulimits.retain(|other| other.name != limit.name);
            ulimits.push(limit.clone());
        }
        let sysctls = self.sysctl.iter().map(|it| (it.name.clone(), it.value.clone()));
        Isolation {
            read_only: self.read_only,
            init: self.init,
            ulimits,
            groups: self.group_add.clone(),
            devices: self.device.clone(),
            shm_size: self.shm_size,
            sysctls: sysctls.collect(),
            pid: self.pid.clone(),
            ipc: self.ipc.clone(),
            uts: self.uts,
            domainname: self.domainname.clone(),
        }
    }

    /// For the library.
    pub fn log_options(&self) -> Result<BTreeMap<String, String>> {
        let pair = |text: &String| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Error::Usage(format!("invalid logging opts format: {text:?}"))),
        };
        self.log_opt.iter().map(pair).collect()
    }

    /// For the library; a profile is read here and now.
    pub fn security(&self) -> Result<Security> {
        let mut security = Security {
            privileged: self.privileged,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            ..Security::default()
        };
        for option in &self.security_opt {
            apply(&mut security, option)?;
        }
        Ok(security)
    }
}

fn apply(security: &mut Security, option: &str) -> Result<()> {
    let invalid = || Error::Usage(format!("invalid --security-opt: {option:?}"));
    // Docker's older form has a colon.
    let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    let mut shown = option.to_owned();
    match (name, value) {
        ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
        ("no-new-privileges", "false") => security.no_new_privileges = false,
        ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
        ("seccomp", "builtin") => security.seccomp = Seccomp::Builtin,
        ("seccomp", file) if !file.is_empty() => {
            let profile = read_profile(file)?;
            shown = format!("seccomp={profile}");
            security.seccomp = Seccomp::Profile(profile);
        }
        ("systempaths", "unconfined") => {
            // Docker shows what follows from it instead.
            security.shows_system_paths = true;
            return Ok(());
        }
        // There is neither of them here: what is to be without them is.
        ("apparmor", "unconfined") | ("label", "disable") => {}
        _ => return Err(invalid()),
    }
    security.options.push(shown);
    Ok(())
}

fn read_profile(file: &str) -> Result<serde_json::Value> {
    let text = std::fs::read(file).map_err(|error| {
        Error::Usage(format!("opening seccomp profile ({file}) failed: {error}"))
    })?;
    let invalid = |error: &dyn std::error::Error| {
        let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
        Error::Usage(format!("invalid seccomp profile ({file}): {error}{cause}"))
    };
    let profile = serde_json::from_slice(&text).map_err(|error| invalid(&error))?;
    profile::resolve(&profile, &[]).map_err(|error| invalid(&error))?;
    Ok(profile)
}

fn capability_to_add(text: &str) -> Result<String, String> {
    capabilities::parse(text).map_err(|error| format!("invalid CapAdd: {error}"))
}

fn capability_to_drop(text: &str) -> Result<String, String> {
    capabilities::parse(text).map_err(|error| format!("invalid CapDrop: {error}"))
}

/// It stands in the hosts file; the kernel takes 64 bytes.
fn domain_name(text: &str) -> Result<String, String> {
    if text.is_empty() || (text.len() <= 64 && is_name(text)) {
        return Ok(text.to_owned());
    }
    Err(format!("invalid domain name: {text:?}"))
}

fn shm_size(text: &str) -> Result<u64, String> {
    let bytes = resources::parse_bytes(text)?;
    u64::try_from(bytes)
        .ok()
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "SHM size can not be less than 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security(options: &[&str]) -> Result<Security> {
        let security_opt = options.iter().map(|&option| option.to_owned()).collect();
        Args { security_opt, ..Args::default() }.security()
    }

    #[test]
    fn security_options() {
        let both = security(&["no-new-privileges", "seccomp=unconfined"]).unwrap();
        assert!(both.no_new_privileges && both.seccomp == Seccomp::Unconfined);
        assert_eq!(both.options, ["no-new-privileges", "seccomp=unconfined"]);
        assert!(security(&["no-new-privileges:true"]).unwrap().no_new_privileges);
        assert!(!security(&["no-new-privileges=false"]).unwrap().no_new_privileges);
        let shown = security(&["systempaths=unconfined"]).unwrap();
        assert!(shown.masked_paths().is_empty() && shown.options.is_empty());
        for (option, want) in [
            ("bogus", "invalid --security-opt: \"bogus\""),
            ("no-new-privileges=maybe", "invalid --security-opt"),
            ("apparmor=mine", "invalid --security-opt"),
            ("seccomp=", "invalid --security-opt"),
            ("seccomp=/nosuch", "opening seccomp profile (/nosuch) failed"),
            ("seccomp=/etc/passwd", "invalid seccomp profile (/etc/passwd)"),
        ] {
            let refused = security(&[option]).unwrap_err().to_string();
            assert!(refused.starts_with(want), "{refused}");
        }
    }

    #[test]
    fn domain_names_are_one_word_of_the_hosts_file() {
        let (longest, longer) = ("x".repeat(64), "x".repeat(65));
        for (text, good) in [
            ("", true),
            ("example.test", true),
            (&longest, true),
            (&longer, false),
            ("a b", false),
            ("a\n192.0.2.1 bank", false),
            ("-a", false),
        ] {
            assert_eq!(domain_name(text).is_ok(), good, "{text:?}");
        }
    }

    #[test]
    fn the_last_limit_of_a_resource_counts() {
        let ulimit = ["nofile=1", "core=2", "nofile=3"].map(|text| text.parse().unwrap()).to_vec();
        let got = Args { ulimit, ..Args::default() }.isolation().ulimits;
        let got: Vec<String> = got.iter().map(ToString::to_string).collect();
        assert_eq!(got, ["core=2:2", "nofile=3:3"]);
    }
}
