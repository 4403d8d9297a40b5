//! `volume create -o`: what a volume is made of, in the words of Docker's driver `local`. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::mount::Tmpfs;

const KNOWN: [&str; 4] = ["device", "o", "size", "type"];
/// An option, and those that it needs.
const NEEDS: [(&str, &[&str]); 3] =
    [("device", &["type"]), ("type", &["device"]), ("o", &["device", "type"])];

/// What containers see in a volume's place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Backing {
    /// A directory of its own.
    Directory,
    /// A path of the host.
    Host {
        /// Where.
        path: PathBuf,
        /// With the mounts below it?
        recursive: bool,
        /// May nobody write?
        read_only: bool,
    },
    /// Memory, with these options: as long as a container has it.
    Memory(Vec<String>),
}

impl Backing {
    /// Of the options, which belong together.
    pub fn of(options: &BTreeMap<String, String>) -> Result<Self, String> {
        let value = |name: &str| options.get(name).map_or("", String::as_str);
        if let Some(unknown) = options.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(format!("invalid option: {unknown:?}"));
        }
        if !matches!(value("size"), "" | "0") {
            return Err("quota size requested but no quota support".to_owned());
        }
        for (name, needed) in NEEDS {
            let missing = needed.iter().find(|needed| !options.contains_key(**needed));
            if let (true, Some(missing)) = (options.contains_key(name), missing) {
                return Err(format!("missing required option: {missing:?}"));
            }
        }
        let words = || value("o").split(',');
        match value("type") {
            "" if !options.contains_key("type") => Ok(Self::Directory),
            "tmpfs" => Ok(Self::Memory(Tmpfs::check(value("o"))?)),
            "none" | "bind" | "" if words().any(|word| word == "bind" || word == "rbind") => {
                host(Path::new(value("device")), words())
            }
            "none" | "bind" | "" => Err("missing option of a path of the host: o=bind".to_owned()),
            other => Err(format!(
                "volumes of type {other:?} are not mounted here: mount it on the host, and name the directory (type=none,o=bind)"
            )),
        }
    }
}

fn host(path: &Path, words: std::str::Split<'_, char>) -> Result<Backing, String> {
    if !path.is_absolute() {
        return Err(format!("the device of a bind has to be an absolute path: {}", path.display()));
    }
    let (mut recursive, mut read_only) = (false, false);
    for word in words {
        match word {
            "bind" | "" => {}
            "rbind" => recursive = true,
            "ro" | "rw" => read_only = word == "ro",
            other => return Err(format!("invalid option of a bind: {other:?}")),
        }
    }
    Ok(Backing::Host { path: path.to_owned(), recursive, read_only })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_in_dockers_words() {
        let check = |text: &str, want: Result<Backing, &str>| {
            let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
            let options = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            assert_eq!(Backing::of(&options), want.map_err(str::to_owned), "{text}");
        };
        let memory = |options: &[&str]| {
            Ok(Backing::Memory(options.iter().map(|&option| option.to_owned()).collect()))
        };
        let host =
            |recursive, read_only| Ok(Backing::Host { path: "/srv".into(), recursive, read_only });
        check("", Ok(Backing::Directory));
        check("type=tmpfs device=tmpfs", memory(&[]));
        check("type=tmpfs device=x o=size=100m,uid=33", memory(&["size=100m", "uid=33"]));
        check("type=none device=/srv o=bind", host(false, false));
        check("type= device=/srv o=rbind,ro", host(true, true));
        check("x=1", Err("invalid option: \"x\""));
        check("type=tmpfs", Err("missing required option: \"device\""));
        check("device=tmpfs", Err("missing required option: \"type\""));
        check("o=bind", Err("missing required option: \"device\""));
        check("size=1g", Err("quota size requested but no quota support"));
        check("type=tmpfs device=tmpfs o=bogus", Err("invalid tmpfs option [\"bogus\"]"));
        check("type=none device=/srv", Err("missing option of a path of the host: o=bind"));
        check("type=none device=/srv o=bind,x", Err("invalid option of a bind: \"x\""));
        check(
            "type=none device=srv o=bind",
            Err("the device of a bind has to be an absolute path: srv"),
        );
        let nfs = Backing::of(
            &[("type", "nfs"), ("device", ":/x")].map(|(a, b)| (a.into(), b.into())).into(),
        );
        assert!(nfs.unwrap_err().starts_with("volumes of type \"nfs\" are not mounted here"));
    }
}
