//! `--tmpfs TARGET[:OPTIONS]`, and what `--mount type=tmpfs` says about memory.

use nix::mount::MsFlags;
use serde::{Deserialize, Serialize};

use super::{Mount, Source, Written, target};

/// Options that have a value.
const VALUES: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
/// Each option, the one that takes it back, and the kernel's bit.
const FLAGS: [(&str, &str, MsFlags); 9] = [
    ("ro", "rw", MsFlags::MS_RDONLY),
    ("nosuid", "suid", MsFlags::MS_NOSUID),
    ("nodev", "dev", MsFlags::MS_NODEV),
    ("noexec", "exec", MsFlags::MS_NOEXEC),
    ("sync", "async", MsFlags::MS_SYNCHRONOUS),
    ("noatime", "atime", MsFlags::MS_NOATIME),
    ("nodiratime", "diratime", MsFlags::MS_NODIRATIME),
    ("relatime", "norelatime", MsFlags::MS_RELATIME),
    ("strictatime", "nostrictatime", MsFlags::MS_STRICTATIME),
];

/// Memory as a file system.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tmpfs {
    /// For the mount.
    pub options: Vec<String>,
}

impl Tmpfs {
    /// Docker's options under those that were asked for.
    pub(super) fn with(wishes: &[String]) -> Self {
        let mut options: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec();
        for wish in wishes {
            let name = wish.split('=').next().unwrap_or(wish);
            let opposite = FLAGS.iter().find_map(|&(flag, back, _)| match name {
                name if name == flag => Some(back),
                name if name == back => Some(flag),
                _ => None,
            });
            options.retain(|old| {
                let old = old.split('=').next().unwrap_or(old);
                old != name && Some(old) != opposite
            });
            options.push(wish.clone());
        }
        Self { options }
    }

    /// Options, as they are written after one another.
    pub fn check(options: &str) -> Result<Vec<String>, String> {
        let mut wishes = Vec::new();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let known = match option.split_once('=') {
                Some((name, value)) => VALUES.contains(&name) && !value.is_empty(),
                None => {
                    FLAGS.iter().any(|(flag, back, _)| option == *flag || option == *back)
                        || option == "defaults"
                }
            };
            if !known {
                return Err(format!("invalid tmpfs option [{option:?}]"));
            }
            wishes.push(option.to_owned());
        }
        Ok(wishes)
    }

    /// Options that were checked, as `mount` takes them: of two that contradict each other the last one counts.
    pub fn for_mount(options: &[String]) -> (MsFlags, String) {
        let mut bits = MsFlags::empty();
        let mut values = Vec::new();
        for option in options {
            for &(flag, back, bit) in &FLAGS {
                if option == flag || option == back {
                    bits.set(bit, option == flag);
                }
            }
            values.extend(option.contains('=').then_some(option.as_str()));
        }
        (bits, values.join(","))
    }
}

/// One mount.
pub fn parse(text: &str) -> Result<Mount, String> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let tmpfs = Tmpfs::with(&Tmpfs::check(options)?);
    Ok(Mount {
        target: target(path, text)?,
        read_only: tmpfs.options.iter().any(|option| option == "ro"),
        source: Source::Tmpfs(tmpfs),
        written: Written::Tmpfs(options.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_is_told() {
        let check = |options: &str, bits: MsFlags, values: &str| {
            let options = Tmpfs::check(options).unwrap();
            assert_eq!(Tmpfs::for_mount(&options), (bits, values.to_owned()), "{options:?}");
        };
        check("", MsFlags::empty(), "");
        check("defaults,size=1m,nosuid,uid=33", MsFlags::MS_NOSUID, "size=1m,uid=33");
        check("ro,noexec,rw", MsFlags::MS_NOEXEC, "");
    }

    #[test]
    fn memory() {
        let check = |text: &str, want: Result<&str, &str>| {
            let got = parse(text).map(|mount| match mount.source {
                Source::Tmpfs(tmpfs) => {
                    format!("{} {}", mount.target.display(), tmpfs.options.join(","))
                }
                _ => String::new(),
            });
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{text}");
        };
        check("/run", Ok("/run noexec,nosuid,nodev"));
        check("/run:size=64m,mode=1777", Ok("/run noexec,nosuid,nodev,size=64m,mode=1777"));
        check("/run:rw,exec,size=1k,size=2k", Ok("/run nosuid,nodev,rw,exec,size=2k"));
        check("/run:ro", Ok("/run noexec,nosuid,nodev,ro"));
        check("/run:bogus", Err("invalid tmpfs option [\"bogus\"]"));
        check("/run:size=", Err("invalid tmpfs option [\"size=\"]"));
        check(
            "run",
            Err(
                "invalid volume specification: 'run': invalid mount path: 'run' mount path must be absolute",
            ),
        );
    }
}
