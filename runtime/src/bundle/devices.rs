//! Devices of the host for a container: which nodes, and what the device cgroup lets it do with them.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::container::isolation::Device;
use crate::error::{Error, Result};

/// What of the host's `/dev` a container has of its own.
const OWN: [&str; 5] = ["console", "fd", "mqueue", "pts", "shm"];

/// A node to be made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// Where in the container.
    pub path: PathBuf,
    /// `b` or `c`.
    pub kind: &'static str,
    /// The number, in two parts.
    pub number: (u32, u32),
    /// Permissions.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Of `rwm`.
    pub access: String,
}

impl Node {
    fn new(found: &Metadata, path: PathBuf, access: &str) -> Option<Self> {
        let kind = match found.file_type() {
            kind if kind.is_char_device() => "c",
            kind if kind.is_block_device() => "b",
            _ => return None,
        };
        let number = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
        let (mode, owner) = (found.mode() & 0o7777, (found.uid(), found.gid()));
        Some(Self { path, kind, number, mode, owner, access: access.to_owned() })
    }

    /// For the `devices` of the OCI's config.json.
    #[must_use]
    pub fn render(&self) -> Value {
        json!({
            "path": self.path,
            "type": self.kind,
            "major": self.number.0,
            "minor": self.number.1,
            "fileMode": self.mode,
            "uid": self.owner.0,
            "gid": self.owner.1,
        })
    }

    /// For the `resources` there.
    #[must_use]
    pub fn rule(&self) -> Value {
        json!({
            "allow": true,
            "type": self.kind,
            "major": self.number.0,
            "minor": self.number.1,
            "access": self.access,
        })
    }
}

/// The nodes that were asked for; of a directory, all below it.
pub fn nodes(devices: &[Device]) -> Result<Vec<Node>> {
    let mut all = Vec::new();
    for device in devices {
        let refuse = |reason: &str| {
            Error::Usage(format!(
                "error gathering device information while adding custom device \"{}\": {reason}",
                device.host.display()
            ))
        };
        let said = |error: io::Error| {
            let text = error.to_string().to_lowercase();
            refuse(text.split(" (os error").next().unwrap_or(&text))
        };
        let found = fs::metadata(&device.host).map_err(said)?;
        if found.is_dir() {
            below(&device.host, (&device.container, &device.access), &mut all).map_err(said)?;
        } else {
            let node = Node::new(&found, device.container.clone(), &device.access);
            all.push(node.ok_or_else(|| refuse("not a device node"))?);
        }
    }
    Ok(all)
}

/// All devices of the host, for a privileged container.
pub fn of_host() -> Result<Vec<Node>> {
    let mut all = Vec::new();
    let dev = Path::new("/dev");
    below(dev, (dev, "rwm"), &mut all)
        .map_err(|error| Error::Usage(format!("cannot list the devices of the host: {error}")))?;
    all.retain(|node| !OWN.iter().any(|own| node.path.starts_with(dev.join(own))));
    Ok(all)
}

/// No link is followed, and what vanishes meanwhile is not there.
fn below(host: &Path, (to, access): (&Path, &str), all: &mut Vec<Node>) -> io::Result<()> {
    for entry in fs::read_dir(host)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => {
                let found = found?;
                let own = host == Path::new("/dev")
                    && OWN
                        .iter()
                        .any(|name| entry.file_name().as_encoded_bytes() == name.as_bytes());
                if found.is_dir() && !own {
                    below(&entry.path(), (&target, access), all)?;
                } else {
                    all.extend(Node::new(&found, target, access));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_looked_up() {
        let all = nodes(&["/dev/null:/dev/x:r".parse().unwrap()]).unwrap();
        let node = &all[0];
        assert_eq!((node.kind, node.number, node.access.as_str()), ("c", (1, 3), "r"));
        assert_eq!(node.path, Path::new("/dev/x"));
        for (device, want) in [
            (
                "/dev/nosuch",
                "error gathering device information while adding custom device \"/dev/nosuch\": no such file or directory",
            ),
            (
                "/etc/passwd:/dev/x",
                "error gathering device information while adding custom device \"/etc/passwd\": not a device node",
            ),
        ] {
            let refused = nodes(&[device.parse().unwrap()]).unwrap_err();
            assert_eq!(refused.to_string(), want);
        }
        let all = of_host().unwrap();
        assert!(all.iter().any(|node| node.path == Path::new("/dev/null")));
        assert!(!all.iter().any(|node| node.path.starts_with("/dev/pts")));
    }
}
