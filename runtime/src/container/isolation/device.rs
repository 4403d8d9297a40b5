//! `--device HOST[:CONTAINER[:rwm]]`.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A device of the host, or a directory of devices, that a container gets.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Device {
    /// What of the host.
    pub host: PathBuf,
    /// Where in the container: below `/dev`, which is no part of the image.
    pub container: PathBuf,
    /// Of `rwm`, for reading, writing and making nodes.
    pub access: String,
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let (host, container, access) = match parts.as_slice() {
            [host] => (*host, *host, "rwm"),
            [host, access] if is_access(access) => (*host, *host, *access),
            [host, container] => (*host, *container, "rwm"),
            [host, container, access] if is_access(access) => (*host, *container, *access),
            [_, _, access] => return Err(format!("bad mode specified: {access}")),
            _ => return Err(format!("bad format for path: {text}")),
        };
        for path in [host, container] {
            if !path.starts_with('/') {
                return Err(format!("{path} is not an absolute path"));
            }
        }
        let container = PathBuf::from(container);
        if !is_below_dev(&container) {
            return Err(format!("{} is not below /dev", container.display()));
        }
        Ok(Self { host: host.into(), container, access: access.to_owned() })
    }
}

fn is_access(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| b"rwm".contains(&byte))
        && ["r", "w", "m"].iter().all(|one| text.matches(one).count() <= 1)
}

/// By names alone, and not `/dev` itself.
fn is_below_dev(path: &Path) -> bool {
    let Ok(rest) = path.strip_prefix("/dev") else { return false };
    rest.components().next().is_some()
        && rest.components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        for (text, want) in [
            ("/dev/a", Ok(("/dev/a", "/dev/a", "rwm"))),
            ("/dev/a:r", Ok(("/dev/a", "/dev/a", "r"))),
            ("/dev/a:/dev/b", Ok(("/dev/a", "/dev/b", "rwm"))),
            ("/dev/a:/dev/b:rw", Ok(("/dev/a", "/dev/b", "rw"))),
            ("/srv/a:/dev/b/c", Ok(("/srv/a", "/dev/b/c", "rwm"))),
            ("/dev/a:/dev/b:rx", Err("bad mode specified: rx")),
            ("/dev/a:/dev/b:rr", Err("bad mode specified: rr")),
            ("/dev/a:/dev/b:r:w", Err("bad format for path: /dev/a:/dev/b:r:w")),
            ("dev/a", Err("dev/a is not an absolute path")),
            ("/dev/a:b", Err("b is not an absolute path")),
            ("/srv/a", Err("/srv/a is not below /dev")),
            ("/dev/a:/dev", Err("/dev is not below /dev")),
            ("/dev/a:/dev/../etc/b", Err("/dev/../etc/b is not below /dev")),
            ("", Err(" is not an absolute path")),
        ] {
            let got = text.parse::<Device>();
            let want = want.map_err(str::to_owned).map(|(host, container, access)| Device {
                host: host.into(),
                container: container.into(),
                access: access.to_owned(),
            });
            assert_eq!(got, want, "{text}");
        }
    }
}
