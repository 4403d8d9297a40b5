//! Which boot of the host this is: of the kernel's, or of the container that is the host.
//!
//! A container that boots a systemd (systemd-nspawn, LXC) has a number of its own in place of the kernel's, mounted over its
//! file in `/proc`. A unit that is not to see other processes has a `/proc` of its own, and there the kernel's is back. To the
//! agent, all that this boot has brought would be of another one. So its unit copies the number before the
//! agent is in there, and the copy is what counts; it goes with `/run`.

use std::fs;
use std::path::Path;

use crate::error::Error;

/// The copy.
const TOLD: &str = "/run/twill/boot-id";
/// Where a process sees it that hides from nobody.
const SEEN: &str = "/proc/sys/kernel/random/boot_id";

pub(crate) fn boot_id() -> Result<String, Error> {
    boot_id_of(Path::new(TOLD), Path::new(SEEN))
}

fn boot_id_of(told: &Path, seen: &Path) -> Result<String, Error> {
    let read = |path| fs::read_to_string(path).map(|text| text.trim().to_owned());
    match read(told) {
        // Whoever takes nothing for a boot throws all records away.
        Ok(told) if !told.is_empty() => Ok(told),
        _none => read(seen).map_err(|source| Error::ReadBootId { path: seen.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_unit_has_copied_counts() {
        let directory = tempfile::tempdir().unwrap();
        let [told, seen] = ["told", "seen"].map(|name| directory.path().join(name));
        let boot = || boot_id_of(&told, &seen);
        assert!(matches!(boot(), Err(Error::ReadBootId { .. })), "{:?}", boot());
        fs::write(&seen, "the-kernels\n").unwrap();
        assert_eq!(boot().unwrap(), "the-kernels");
        fs::write(&told, "").unwrap();
        assert_eq!(boot().unwrap(), "the-kernels");
        fs::write(&told, "the-containers\n").unwrap();
        assert_eq!(boot().unwrap(), "the-containers");
    }
}
