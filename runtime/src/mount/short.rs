//! `-v [SOURCE:]TARGET[:MODE]`.

use std::path::PathBuf;

use super::{Bind, Mount, Source, VolumeOf, Written, target};
use crate::volume;

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "rshared", "rslave", "shared", "slave"];

/// One mount.
pub fn parse(text: &str) -> Result<Mount, String> {
    let invalid = || format!("invalid volume specification: '{text}'");
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target_text, mode) = match parts.as_slice() {
        [only] if !only.is_empty() => return Ok(Mount::anonymous(target(only, text)?)),
        [source, target] => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        _ => return Err(invalid()),
    };
    if source.is_empty() || target_text.is_empty() {
        return Err(invalid());
    }
    let is_bind = source.starts_with('/');
    let mode = Mode::parse(mode, is_bind)?;
    let source = if is_bind {
        let path = super::clean(&PathBuf::from(source));
        let propagation = mode.propagation.unwrap_or("rprivate").to_owned();
        Source::Bind(Bind { path, made: true, recursive: true, propagation })
    } else {
        volume::check_name(source)?;
        Source::Volume(VolumeOf { name: source.to_owned(), anonymous: false, copies: mode.copies })
    };
    Ok(Mount {
        target: target(target_text, text)?,
        source,
        read_only: mode.read_only,
        written: Written::Short(mode.text.to_owned()),
    })
}

struct Mode<'a> {
    text: &'a str,
    read_only: bool,
    copies: bool,
    propagation: Option<&'a str>,
}

impl<'a> Mode<'a> {
    fn parse(text: &'a str, is_bind: bool) -> Result<Self, String> {
        let invalid = || format!("invalid mode: {text}");
        let mut mode = Self { text, read_only: false, copies: true, propagation: None };
        let (mut access, mut label) = (0, 0);
        for word in text.split(',').filter(|_| !text.is_empty()) {
            match word {
                "ro" | "rw" => {
                    mode.read_only = word == "ro";
                    access += 1;
                }
                // For SELinux, which this host does not have: as with Docker there, nothing to be done.
                "z" | "Z" => label += 1,
                "nocopy" if !is_bind && mode.copies => mode.copies = false,
                // For other systems than Linux.
                "consistent" | "cached" | "delegated" => {}
                word if is_bind && mode.propagation.is_none() && PROPAGATIONS.contains(&word) => {
                    mode.propagation = Some(word);
                }
                _ => return Err(invalid()),
            }
        }
        if access > 1 || label > 1 {
            return Err(invalid());
        }
        Ok(mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "it is a table")]
    fn volumes() {
        let check = |text: &str, want: Result<&str, &str>| {
            let got = parse(text).map(|mount| {
                let access = if mount.read_only { "ro" } else { "rw" };
                let target = mount.target.display();
                match &mount.source {
                    Source::Bind(bind) => {
                        format!(
                            "bind {} {target} {access} {}",
                            bind.path.display(),
                            bind.propagation
                        )
                    }
                    Source::Volume(volume) => format!(
                        "volume {} {target} {access} {} {}",
                        volume.name, volume.anonymous, volume.copies
                    ),
                    Source::Tmpfs(_) => "tmpfs".to_owned(),
                }
            });
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{text}");
        };
        check("/data", Ok("volume  /data rw true true"));
        check("data:/data", Ok("volume data /data rw false true"));
        check("data:/data:ro,nocopy", Ok("volume data /data ro false false"));
        check("/srv:/data", Ok("bind /srv /data rw rprivate"));
        check("/srv/../x:/data:ro,Z", Ok("bind /x /data ro rprivate"));
        check("/srv:/data:rslave,z", Ok("bind /srv /data rw rslave"));
        check("/srv:/data:cached", Ok("bind /srv /data rw rprivate"));
        check("", Err("invalid volume specification: ''"));
        check(":/data", Err("invalid volume specification: ':/data'"));
        check("data:", Err("invalid volume specification: 'data:'"));
        check("a:/b:ro:x", Err("invalid volume specification: 'a:/b:ro:x'"));
        check("a:/b:bogus", Err("invalid mode: bogus"));
        check("a:/b:ro,rw", Err("invalid mode: ro,rw"));
        check("a:/b:rslave", Err("invalid mode: rslave"));
        check("/a:/b:nocopy", Err("invalid mode: nocopy"));
        check(
            "data:b",
            Err(
                "invalid volume specification: 'data:b': invalid mount path: 'b' mount path must be absolute",
            ),
        );
        check(
            "/srv:/",
            Err(
                "invalid volume specification: '/srv:/': invalid specification: destination can't be '/'",
            ),
        );
        check(
            "./x:/data",
            Err(
                "create ./x: \"./x\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
            ),
        );
        check(
            "x:/data",
            Err(
                "create x: volume name is too short, names should be at least two alphanumeric characters",
            ),
        );
        check("/x:/proc/sys", Err("\"/proc/sys\" cannot be mounted because it is inside /proc"));
    }

    #[test]
    fn what_was_written_is_shown_again() {
        for text in ["data:/data", "/srv:/data:ro", "/srv:/data:ro,z"] {
            assert_eq!(parse(text).unwrap().bind_text().as_deref(), Some(text));
        }
        assert_eq!(parse("/data").unwrap().bind_text(), None);
    }
}
