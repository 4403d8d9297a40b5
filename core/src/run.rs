//! Where programs of this host agree on what they hold: files of root's alone, which are gone when the machine
//! starts anew. There the agent answers, too.

use std::path::{Path, PathBuf};

/// All of them. Not an option: two programs must agree on it.
pub const DIRECTORY: &str = "/run/twill";

/// Where the agent answers if nothing else is said.
pub const SOCKET: &str = "/run/twill/agent.sock";

/// A network namespace, by its number in the file system. Those that share `/run` have devices and ports of their
/// own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Namespace(pub u64);

impl Namespace {
    /// What is kept there of `name`.
    #[must_use]
    pub fn file(self, name: &str, ending: &str) -> PathBuf {
        Path::new(DIRECTORY).join(format!("{name}{}", self.end(ending)))
    }

    /// Of whom a file with that ending is, if it is of this namespace.
    #[must_use]
    pub fn name_of(self, file: &Path, ending: &str) -> Option<String> {
        let name = file.file_name()?.to_str()?;
        Some(name.strip_suffix(&self.end(ending))?.to_owned())
    }

    fn end(self, ending: &str) -> String {
        format!("-{}.{ending}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_of_one_namespace_and_one_kind() {
        let file = Namespace(7).file("flannel-wg", "lock");
        assert_eq!(file.to_str(), Some("/run/twill/flannel-wg-7.lock"));
        assert_eq!(Namespace(7).name_of(&file, "lock").as_deref(), Some("flannel-wg"));
        for (other, ending) in [(Namespace(17), "lock"), (Namespace(7), "claim")] {
            assert_eq!(other.name_of(&file, ending), None);
        }
    }
}
