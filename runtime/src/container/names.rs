//! Names of containers: Docker's rule, made-up names, and the links that reserve them.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use rand::RngExt as _;

use crate::error::{Error, FileContext as _, Result};
use crate::{Paths, container::id};

const FABRICS: [&str; 24] = [
    "brocade", "calico", "canvas", "chiffon", "corduroy", "cotton", "damask", "denim", "felt",
    "flannel", "fleece", "gauze", "jersey", "lace", "linen", "muslin", "organza", "poplin",
    "sateen", "silk", "taffeta", "tweed", "velvet", "wool",
];
const QUALITIES: [&str; 24] = [
    "airy", "brave", "bright", "calm", "crisp", "eager", "fine", "gentle", "golden", "happy",
    "keen", "light", "lucid", "mellow", "neat", "nimble", "plain", "proud", "quiet", "silver",
    "smooth", "swift", "warm", "wise",
];

/// Checks a wish. At least two characters of `[a-zA-Z0-9_.-]`, the first a letter or a digit.
pub fn check(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let good = name.len() >= 2
        // The name is the name of a link.
        && name.len() <= 255
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(allowed);
    if good { Ok(()) } else { Err(Error::InvalidName(name.to_owned())) }
}

/// A name for a container that was given none; add a number when it is taken.
#[must_use]
pub fn invent() -> String {
    let mut random = rand::rng();
    let quality = QUALITIES[random.random_range(0..QUALITIES.len())];
    let fabric = FABRICS[random.random_range(0..FABRICS.len())];
    format!("{quality}_{fabric}")
}

/// Who has this name, alive or not.
#[must_use]
pub fn holder(paths: &Paths, name: &str) -> Option<String> {
    check(name).ok()?;
    let target = fs::read_link(paths.names().join(name)).ok()?;
    let target = target.to_str()?;
    id::is_full(target).then(|| target.to_owned())
}

/// Which container is called that. A link that a crash left, of a container that is gone or has
/// another name, leads nowhere.
#[must_use]
pub fn owner(paths: &Paths, name: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    let holder = holder(paths, name)?;
    let bytes = match fs::read(paths.container(&holder).join("config.json")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Torn apart, but there.
            return paths.container(&holder).exists().then_some(holder);
        }
        bytes => bytes.unwrap_or_default(),
    };
    // Of one whose record is torn, the link is all that is known.
    let named = serde_json::from_slice::<Named>(&bytes).ok();
    named.is_none_or(|named| named.name == name).then_some(holder)
}

/// Reserves a name for an id. The caller holds the lock of the store.
///
/// A name whose container has no directory was left by a crash and is free.
pub fn reserve(paths: &Paths, name: &str, id: &str) -> Result<()> {
    let link = paths.names().join(name);
    match symlink(id, &link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => return result.file("create", &link),
    }
    if let Some(holder) = owner(paths, name) {
        return Err(Error::NameTaken { name: name.to_owned(), holder });
    }
    fs::remove_file(&link).file("remove", &link)?;
    symlink(id, &link).file("create", &link)
}

/// Frees a name, if this id has it. The caller holds the lock of the store.
pub fn release(paths: &Paths, name: &str, id: &str) -> Result<()> {
    let link = paths.names().join(name);
    match fs::read_link(&link) {
        Ok(target) if target == Path::new(id) => fs::remove_file(&link).file("remove", &link),
        // Somebody else's, or free already.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule() {
        let long = "x".repeat(256);
        for (name, good) in [
            ("web", true),
            ("web-1", true),
            ("a.b_c-D", true),
            ("0x", true),
            ("a", false),
            ("", false),
            ("-web", false),
            (".web", false),
            ("_web", false),
            ("we b", false),
            ("wéb", false),
            ("../web", false),
            ("web/1", false),
            (&long, false),
        ] {
            assert_eq!(check(name).is_ok(), good, "{name:?}");
        }
        for _ in 0..100 {
            check(&invent()).unwrap();
        }
    }

    #[test]
    fn a_name_has_one_holder_until_it_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(directory.path().into(), directory.path().join("run"));
        fs::create_dir(paths.names()).unwrap();
        let (first, second) = (id::random(), id::random());
        reserve(&paths, "web", &first).unwrap();
        fs::create_dir_all(paths.container(&first)).unwrap();
        let refused = reserve(&paths, "web", &second).unwrap_err().to_string();
        assert!(refused.starts_with("Conflict. The container name \"/web\" is already in use"));
        assert!(refused.contains(&first));
        release(&paths, "web", &second).unwrap();
        assert_eq!(holder(&paths, "web"), Some(first.clone()));
        fs::remove_dir(paths.container(&first)).unwrap();
        reserve(&paths, "web", &second).unwrap();
        assert_eq!(holder(&paths, "web"), Some(second.clone()));
        release(&paths, "web", &second).unwrap();
        assert_eq!(holder(&paths, "web"), None);
        release(&paths, "web", &second).unwrap();
    }
}
