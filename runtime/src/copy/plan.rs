//! Where a copy goes and what it is called there, by Docker's rules. Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What is copied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// The last part of its path; nothing for a root.
    pub base: Option<OsString>,
    /// Is it a directory?
    pub is_directory: bool,
    /// Is it what is in it that is wanted, as in `directory/.`?
    pub contents: bool,
}

impl Source {
    /// By its path.
    #[must_use]
    pub fn new(path: &Path, is_directory: bool) -> Self {
        let bytes = path.as_os_str().as_bytes();
        let contents = bytes == b"." || bytes.ends_with(b"/.");
        Self { base: path.file_name().map(ToOwned::to_owned), is_directory, contents }
    }

    /// What it is called in an archive.
    #[must_use]
    pub fn name(&self) -> PathBuf {
        match &self.base {
            Some(base) if !self.contents => base.into(),
            _ => ".".into(),
        }
    }
}

/// What is where it is to go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// From its root, links at its end followed.
    pub path: PathBuf,
    /// `None` if there is nothing.
    pub is_directory: Option<bool>,
    /// Did the user write it as a directory?
    pub slash: bool,
}

/// The decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// Below which directory.
    pub directory: PathBuf,
    /// Under which name; `None` for what is in the source, under its own names.
    pub name: Option<PathBuf>,
}

/// Decides, or refuses.
pub fn plan(source: &Source, to: &Destination, shown: &str) -> Result<Plan> {
    let directory = to.path.clone();
    if to.is_directory == Some(true) {
        return Ok(match &source.base {
            Some(base) if !source.contents => Plan { directory, name: Some(PathBuf::from(base)) },
            _ => Plan { directory, name: None },
        });
    }
    if to.is_directory == Some(false) && source.is_directory {
        return Err(Error::Usage("cannot copy directory".into()));
    }
    if to.slash && (to.is_directory == Some(false) || !source.is_directory) {
        return Err(Error::NoSuchDirectory(shown.to_owned()));
    }
    // Beside others in the directory above, under the name that it is to have.
    let (Some(parent), Some(name)) = (to.path.parent(), to.path.file_name()) else {
        return Err(Error::NoSuchDirectory(shown.to_owned()));
    };
    Ok(Plan { directory: parent.to_owned(), name: Some(name.into()) })
}

/// Does a path say that it is one of a directory?
#[must_use]
pub fn ends_as_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.ends_with(b"/") || bytes.ends_with(b"/.") || bytes.ends_with(b"/..") || bytes == b"."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_rules() {
        let file = |path: &str| Source::new(Path::new(path), false);
        let directory = |path: &str| Source::new(Path::new(path), true);
        let into = Some(true);
        check("a file into a directory", &file("/a/f"), ("/to", into), Some(("/to", Some("f"))));
        check("a file to a new name", &file("/a/f"), ("/to/g", None), Some(("/to", Some("g"))));
        check(
            "a file over a file",
            &file("/a/f"),
            ("/to/g", Some(false)),
            Some(("/to", Some("g"))),
        );
        check("a file to a directory that is not there", &file("/a/f"), ("/to/g/", None), None);
        check("a file below a file", &file("/a/f"), ("/to/g/", Some(false)), None);
        check(
            "a directory into a directory",
            &directory("/a/d"),
            ("/to", into),
            Some(("/to", Some("d"))),
        );
        check(
            "the same with a slash",
            &directory("/a/d/"),
            ("/to/", into),
            Some(("/to/", Some("d"))),
        );
        check(
            "a directory to a new name",
            &directory("/a/d"),
            ("/to/e", None),
            Some(("/to", Some("e"))),
        );
        check(
            "the same with a slash",
            &directory("/a/d"),
            ("/to/e/", None),
            Some(("/to", Some("e"))),
        );
        check("a directory over a file", &directory("/a/d"), ("/to/g", Some(false)), None);
        check("what is in a directory", &directory("/a/d/."), ("/to", into), Some(("/to", None)));
        check(
            "the same to a new name",
            &directory("/a/d/."),
            ("/to/e", None),
            Some(("/to", Some("e"))),
        );
        check("a whole root", &directory("/"), ("/to", into), Some(("/to", None)));
        check("a file into the root", &file("/f"), ("/", into), Some(("/", Some("f"))));
    }

    #[test]
    fn names_in_archives() {
        for (path, want) in [("/a/d", "d"), ("/a/d/", "d"), ("/a/d/.", "."), ("/", "."), (".", ".")]
        {
            assert_eq!(Source::new(Path::new(path), true).name(), Path::new(want), "{path}");
        }
    }

    #[track_caller]
    fn check(
        name: &str,
        source: &Source,
        to: (&str, Option<bool>),
        want: Option<(&str, Option<&str>)>,
    ) {
        let slash = ends_as_directory(Path::new(to.0));
        let to = Destination { path: to.0.into(), is_directory: to.1, slash };
        let want = want.map(|(directory, name)| Plan {
            directory: directory.into(),
            name: name.map(PathBuf::from),
        });
        assert_eq!(plan(source, &to, "x").ok(), want, "{name}");
    }
}
