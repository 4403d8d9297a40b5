//! What of the host, or of its memory, a container sees at which path. Pure.

mod long;
mod short;
mod tmpfs;

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use long::parse as parse_mount;
pub use short::parse as parse_volume;
pub use tmpfs::{Tmpfs, parse as parse_tmpfs};

/// One mount.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mount {
    /// Where in the container: absolute, without `..`.
    pub target: PathBuf,
    /// From where.
    pub source: Source,
    /// May the container write?
    pub read_only: bool,
    /// As the user wrote it, for those options that are shown again.
    pub written: Written,
}

/// From where it comes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A path of the host.
    Bind(Bind),
    /// A volume.
    Volume(VolumeOf),
    /// Memory.
    Tmpfs(Tmpfs),
}

/// A path of the host in a container.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Bind {
    /// Absolute.
    pub path: PathBuf,
    /// Is a directory made where there is nothing?
    pub made: bool,
    /// Do mounts below it come along?
    pub recursive: bool,
    /// How mounts of one side are seen on the other: `rprivate` unless asked otherwise.
    pub propagation: String,
}

/// A volume in a container.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct VolumeOf {
    /// Empty until one has been made for the container.
    pub name: String,
    /// Does it go with the container?
    pub anonymous: bool,
    /// Does an empty one get what the image has at the path?
    pub copies: bool,
}

/// Which option it came from.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Written {
    /// The image, or `-v` with nothing but a path.
    #[default]
    Declared,
    /// `-v`, and the mode in it.
    Short(String),
    /// `--mount`.
    Long,
    /// `--tmpfs`, and what came after the path.
    Tmpfs(String),
}

impl Mount {
    /// A volume of its own at this path.
    #[must_use]
    pub fn anonymous(target: PathBuf) -> Self {
        let volume = VolumeOf { name: String::new(), anonymous: true, copies: true };
        let source = Source::Volume(volume);
        Self { target, source, read_only: false, written: Written::Declared }
    }

    /// The volume, if it is one.
    #[must_use]
    pub fn volume(&self) -> Option<&VolumeOf> {
        match &self.source {
            Source::Volume(volume) => Some(volume),
            _ => None,
        }
    }

    /// One of Docker's `HostConfig.Binds`, if it came from `-v`.
    #[must_use]
    pub fn bind_text(&self) -> Option<String> {
        let Written::Short(mode) = &self.written else { return None };
        let source = match &self.source {
            Source::Bind(bind) => bind.path.display().to_string(),
            Source::Volume(volume) => volume.name.clone(),
            Source::Tmpfs(_) => return None,
        };
        let colon = if mode.is_empty() { "" } else { ":" };
        Some(format!("{source}:{}{colon}{mode}", self.target.display()))
    }

    /// Docker's `Mounts`; what came from `--tmpfs` is shown elsewhere.
    #[must_use]
    pub fn shown(&self, data: impl Fn(&str) -> PathBuf) -> Option<Value> {
        let mode = match &self.written {
            Written::Short(mode) => mode.as_str(),
            _ => "",
        };
        let mut shown = json!({
            "Destination": self.target,
            "Mode": mode,
            "RW": !self.read_only,
            "Propagation": "",
        });
        match (&self.source, &self.written) {
            (Source::Bind(bind), _) => {
                shown["Type"] = "bind".into();
                shown["Source"] = json!(bind.path);
                shown["Propagation"] = bind.propagation.as_str().into();
            }
            (Source::Volume(volume), _) => {
                shown["Type"] = "volume".into();
                shown["Name"] = volume.name.as_str().into();
                shown["Source"] = json!(data(&volume.name));
                shown["Driver"] = "local".into();
            }
            (Source::Tmpfs(_), Written::Tmpfs(_)) => return None,
            (Source::Tmpfs(_), _) => {
                shown["Type"] = "tmpfs".into();
                shown["Source"] = "".into();
            }
        }
        Some(shown)
    }
}

/// A volume that an image declares: the whole text is the path. An image has no say in where it comes from.
pub fn declared(path: &str) -> Result<Mount, String> {
    target(path, path).map(Mount::anonymous)
}

/// Puts each mount below those that it lies in, and refuses two at one place.
pub fn ordered(mut mounts: Vec<Mount>) -> Result<Vec<Mount>, String> {
    mounts.sort_by_key(|mount| mount.target.components().count());
    for (index, mount) in mounts.iter().enumerate() {
        if mounts[..index].iter().any(|other| other.target == mount.target) {
            return Err(format!("Duplicate mount point: {}", mount.target.display()));
        }
    }
    Ok(mounts)
}

/// An absolute path without detours, and not the root itself.
fn target(text: &str, whole: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(format!(
            "invalid volume specification: '{whole}': invalid mount path: '{text}' mount path must be absolute"
        ));
    }
    let clean = clean(path);
    if clean == Path::new("/") {
        return Err(format!(
            "invalid volume specification: '{whole}': invalid specification: destination can't be '/'"
        ));
    }
    if clean.starts_with("/proc") {
        return Err(format!("{text:?} cannot be mounted because it is inside /proc"));
    }
    Ok(clean)
}

/// By text alone, as Docker does.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_lie_below_those_that_they_lie_in() {
        let of = |paths: &[&str]| {
            ordered(paths.iter().map(|path| Mount::anonymous(path.into())).collect()).map(|all| {
                all.iter().map(|it| it.target.display().to_string()).collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(of(&["/a/b/c", "/a", "/d", "/a/b"]).unwrap(), "/a /d /a/b /a/b/c");
        assert_eq!(of(&["/a", "/b", "/a"]).unwrap_err(), "Duplicate mount point: /a");
    }

    #[test]
    fn an_image_declares_paths_and_nothing_else() {
        for (text, want) in [
            ("/data", Some("/data")),
            ("/:/host", Some("/:/host")),
            ("/etc:/host:rw", Some("/etc:/host:rw")),
            ("/a/../b/", Some("/b")),
            ("secrets:/x", None),
            ("relative", None),
            ("/proc/x", None),
            ("/", None),
            ("", None),
        ] {
            let got = declared(text).ok();
            assert_eq!(got, want.map(|path| Mount::anonymous(path.into())), "{text:?}");
        }
    }

    #[test]
    fn targets() {
        for (text, want) in [
            ("/a/b", Some("/a/b")),
            ("/a//./b/", Some("/a/b")),
            ("/a/../b", Some("/b")),
            ("a", None),
            ("/", None),
            ("/a/..", None),
            ("/proc", None),
            ("/proc/self", None),
            ("/a/../proc/sys", None),
            ("/process", Some("/process")),
            ("", None),
        ] {
            assert_eq!(target(text, "x").ok().as_deref(), want.map(Path::new), "{text:?}");
        }
    }
}
