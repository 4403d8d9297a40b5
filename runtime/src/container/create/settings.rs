//! One setting at a time: the user's wish over what the image says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::image::Config;

use super::Wishes;
use crate::container::isolation::Uts;
use crate::container::ports::Ports;
use crate::container::{Network, id};
use crate::error::{Error, Result};

pub(super) fn hostname(wishes: &Wishes, id: &str, at: (Network, Option<String>)) -> Result<String> {
    match (&wishes.hostname, at) {
        (_, (Network::Container, shared)) => Ok(shared.unwrap_or_default()),
        (Some(hostname), _) => check_hostname(hostname),
        (None, (Network::Host, _)) => Ok(host_name()),
        (None, _) if wishes.isolation.uts == Uts::Host => Ok(host_name()),
        (None, _) => Ok(id::short(id).to_owned()),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub(super) fn ports(wishes: &Wishes, defaults: &Config) -> Ports {
    let image = defaults.exposed_ports().iter().flatten();
    let exposed: Vec<String> = image.chain(&wishes.exposed).cloned().collect();
    let ports = Ports::new(wishes.wiring.bindings.clone(), &exposed);
    Ports { publish_all: wishes.wiring.publish_all, ..ports }
}

pub(super) fn labels(wishes: &Wishes, defaults: &Config) -> Result<BTreeMap<String, String>> {
    let mut all: BTreeMap<String, String> =
        defaults.labels().clone().into_iter().flatten().collect();
    for wish in &wishes.labels {
        let (name, value) = wish.split_once('=').unwrap_or((wish, ""));
        if name.is_empty() {
            return Err(Error::Usage(format!("invalid label format: {wish:?}")));
        }
        all.insert(name.to_owned(), value.to_owned());
    }
    Ok(all)
}

/// A command of the user's goes to the image's entry point; an entry point of the user's takes the image's
/// command away.
pub(super) fn command(wishes: &Wishes, defaults: &Config) -> Result<(Vec<String>, usize)> {
    let of_image = |part: &Option<Vec<String>>| part.clone().unwrap_or_default();
    let (entrypoint, fallback) = match &wishes.entrypoint {
        Some(program) if program.is_empty() => (Vec::new(), Vec::new()),
        Some(program) => (vec![program.clone()], Vec::new()),
        None => (of_image(defaults.entrypoint()), of_image(defaults.cmd())),
    };
    let length = entrypoint.len();
    let arguments = if wishes.command.is_empty() { fallback } else { wishes.command.clone() };
    let command = [entrypoint, arguments].concat();
    if command.is_empty() {
        return Err(Error::Usage("no command specified".into()));
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err(Error::Usage("a command cannot hold a zero byte".into()));
    }
    Ok((command, length))
}

pub(super) fn environment(wishes: &Wishes, defaults: &Config) -> Result<Vec<String>> {
    let mut all = defaults.env().clone().unwrap_or_default();
    all.extend(expand_environment(&wishes.env)?);
    Ok(all)
}

/// `NAME` alone takes the caller's value, or nothing if the caller has none.
pub fn expand_environment(wishes: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for wish in wishes {
        match wish.split_once('=') {
            Some(("", _)) | None if wish.is_empty() || wish.starts_with('=') => {
                let flag = format!("invalid argument {wish:?} for \"-e, --env\" flag");
                return Err(Error::BadFlag(format!(
                    "{flag}: invalid environment variable: {wish}"
                )));
            }
            Some(_) => all.push(wish.clone()),
            None => all.extend(std::env::var(wish).ok().map(|value| format!("{wish}={value}"))),
        }
    }
    Ok(all)
}

pub(super) fn check_hostname(name: &str) -> Result<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if (1..=63).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('-') {
        return Ok(name.to_owned());
    }
    Err(Error::Usage(format!("invalid hostname: {name:?}")))
}

pub(super) fn absolute(workdir: &str) -> Result<PathBuf> {
    match workdir {
        "" => Ok("/".into()),
        path if path.starts_with('/') => Ok(Path::new(path).into()),
        path => Err(Error::Usage(format!(
            "the working directory '{path}' is invalid, it needs to be an absolute path"
        ))),
    }
}
