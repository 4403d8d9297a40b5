//! `--mount type=bind|volume|tmpfs,source=…,target=…,…`.

use std::path::PathBuf;

use super::{Bind, Mount, Source, Tmpfs, VolumeOf, Written, target};
use crate::container::resources::parse_bytes;
use crate::volume;

#[derive(Default)]
struct Fields {
    kind: String,
    source: String,
    target: String,
    read_only: bool,
    propagation: Option<String>,
    non_recursive: bool,
    no_copy: bool,
    tmpfs: Vec<String>,
    /// The first option that is for one kind only, and that kind.
    only: Option<(&'static str, String)>,
}

/// One mount.
pub fn parse(text: &str) -> Result<Mount, String> {
    let mut fields = Fields { kind: "volume".into(), ..Fields::default() };
    for field in text.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        fields.take(field, &key, value)?;
    }
    if let Some((kind, option)) = &fields.only
        && *kind != fields.kind
    {
        return Err(format!("cannot mix '{option}' with mount type '{}'", fields.kind));
    }
    if fields.target.is_empty() {
        return Err("target is required".into());
    }
    let target = target(&fields.target, text)?;
    let source = fields.source()?;
    Ok(Mount { target, source, read_only: fields.read_only, written: Written::Long })
}

impl Fields {
    fn take(&mut self, field: &str, key: &str, value: Option<&str>) -> Result<(), String> {
        let flag = |value: Option<&str>| match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("invalid value for {key}: {other}")),
        };
        match key {
            "readonly" | "ro" => self.read_only = flag(value)?,
            "bind-nonrecursive" => {
                self.non_recursive = flag(value)?;
                self.only = Some(("bind", key.to_owned()));
            }
            "volume-nocopy" => {
                self.no_copy = flag(value)?;
                self.only = Some(("volume", key.to_owned()));
            }
            _ => {
                let value = value
                    .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
                self.take_value(key, value, field)?;
            }
        }
        Ok(())
    }

    fn take_value(&mut self, key: &str, value: &str, field: &str) -> Result<(), String> {
        match key {
            "type" => self.kind = value.to_ascii_lowercase(),
            "source" | "src" => value.clone_into(&mut self.source),
            "target" | "dst" | "destination" => value.clone_into(&mut self.target),
            "bind-propagation" => {
                if !["private", "rprivate", "rshared", "rslave", "shared", "slave"].contains(&value)
                {
                    return Err(format!("invalid propagation mode: {value:?}"));
                }
                self.propagation = Some(value.to_owned());
                self.only = Some(("bind", key.to_owned()));
            }
            "consistency" => {}
            "volume-driver" if value == "local" => {}
            "volume-driver" => {
                return Err(format!("there is no volume driver {value:?}: only local"));
            }
            "tmpfs-size" => {
                let bytes = parse_bytes(value)
                    .map_err(|_error| format!("invalid value for {key}: {value}"))?;
                self.tmpfs.push(format!("size={bytes}"));
                self.only = Some(("tmpfs", key.to_owned()));
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                let mode = mode.ok_or_else(|| format!("invalid value for {key}: {value}"))?;
                self.tmpfs.push(format!("mode={mode:o}"));
                self.only = Some(("tmpfs", key.to_owned()));
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
        Ok(())
    }

    fn source(&self) -> Result<Source, String> {
        let config =
            |reason: &str| format!("invalid mount config for type \"{}\": {reason}", self.kind);
        match self.kind.as_str() {
            "bind" if self.source.is_empty() => Err(config("field Source must not be empty")),
            "bind" => {
                let path = PathBuf::from(&self.source);
                if !path.is_absolute() {
                    let text = format!(
                        "invalid mount path: '{}' mount path must be absolute",
                        self.source
                    );
                    return Err(config(&text));
                }
                Ok(Source::Bind(Bind {
                    path: super::clean(&path),
                    made: false,
                    recursive: !self.non_recursive,
                    propagation: self.propagation.clone().unwrap_or_else(|| "rprivate".into()),
                }))
            }
            "volume" => {
                let anonymous = self.source.is_empty();
                if !anonymous {
                    volume::check_name(&self.source)?;
                }
                let (name, copies) = (self.source.clone(), !self.no_copy);
                Ok(Source::Volume(VolumeOf { name, anonymous, copies }))
            }
            "tmpfs" if !self.source.is_empty() => Err(config("field Source must not be specified")),
            "tmpfs" => {
                let mut wishes = self.tmpfs.clone();
                wishes.extend(self.read_only.then(|| "ro".to_owned()));
                Ok(Source::Tmpfs(Tmpfs::with(&wishes)))
            }
            other => Err(format!("mount type unknown: {other:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "it is a table")]
    fn mounts() {
        let check = |text: &str, want: Result<&str, &str>| {
            let got = parse(text).map(|mount| {
                let access = if mount.read_only { "ro" } else { "rw" };
                let source = match &mount.source {
                    Source::Bind(it) => {
                        format!("bind {} {} {}", it.path.display(), it.recursive, it.propagation)
                    }
                    Source::Volume(it) => {
                        format!("volume {} {} {}", it.name, it.anonymous, it.copies)
                    }
                    Source::Tmpfs(it) => format!("tmpfs {}", it.options.join(",")),
                };
                format!("{source} {} {access}", mount.target.display())
            });
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{text}");
        };
        check("type=bind,source=/srv,target=/x", Ok("bind /srv true rprivate /x rw"));
        check("type=bind,src=/srv,dst=/x,readonly", Ok("bind /srv true rprivate /x ro"));
        check(
            "type=bind,src=/srv,dst=/x,ro=true,bind-propagation=rslave,bind-nonrecursive=true",
            Ok("bind /srv false rslave /x ro"),
        );
        check("source=data,destination=/x", Ok("volume data false true /x rw"));
        check("type=volume,target=/x,volume-nocopy", Ok("volume  true false /x rw"));
        check(
            "type=tmpfs,target=/x,tmpfs-size=1m,tmpfs-mode=700",
            Ok("tmpfs noexec,nosuid,nodev,size=1048576,mode=700 /x rw"),
        );
        check(
            "type=bind,target=/x",
            Err("invalid mount config for type \"bind\": field Source must not be empty"),
        );
        check(
            "type=bind,source=x,target=/x",
            Err(
                "invalid mount config for type \"bind\": invalid mount path: 'x' mount path must be absolute",
            ),
        );
        check("type=bind,source=/x", Err("target is required"));
        check("type=bogus,target=/x", Err("mount type unknown: \"bogus\""));
        check("type=bind,bogus=1", Err("unexpected key 'bogus' in 'bogus=1'"));
        check("type=bind,source", Err("invalid field 'source' must be a key=value pair"));
        check("target=/x,readonly=maybe", Err("invalid value for readonly: maybe"));
        check(
            "type=bind,source=/a,target=/x,tmpfs-size=1m",
            Err("cannot mix 'tmpfs-size' with mount type 'bind'"),
        );
        check(
            "type=tmpfs,source=a,target=/x",
            Err("invalid mount config for type \"tmpfs\": field Source must not be specified"),
        );
        check("type=tmpfs,target=/x,tmpfs-mode=9", Err("invalid value for tmpfs-mode: 9"));
    }
}
