//! Which of root's powers a container's root keeps.

/// Docker's fourteen.
pub const DEFAULT: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Stands for every capability.
pub const ALL: &str = "ALL";

/// The kernel's name of what a person called `net_admin`, `CAP_NET_ADMIN` or `all`.
pub fn parse(text: &str) -> Result<String, String> {
    let name = text.trim().to_ascii_uppercase();
    if name == ALL || name == "CAP_ALL" {
        return Ok(ALL.to_owned());
    }
    let name = if name.starts_with("CAP_") { name } else { format!("CAP_{name}") };
    match name.parse::<caps::Capability>() {
        Ok(_known) => Ok(name),
        Err(_unknown) => Err(format!("unknown capability: {name:?}")),
    }
}

/// Those that this process could give away.
#[must_use]
pub fn own() -> Vec<String> {
    let all = caps::read(None, caps::CapSet::Permitted).unwrap_or_default();
    let mut names: Vec<String> = all.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_capabilities() {
        for (text, want) in [
            ("net_admin", Some("CAP_NET_ADMIN")),
            ("CAP_NET_ADMIN", Some("CAP_NET_ADMIN")),
            ("cap_sys_time", Some("CAP_SYS_TIME")),
            ("all", Some("ALL")),
            ("CAP_ALL", Some("ALL")),
            ("bogus", None),
            ("", None),
        ] {
            assert_eq!(parse(text).ok().as_deref(), want, "{text:?}");
        }
        assert_eq!(parse("bogus").unwrap_err(), "unknown capability: \"CAP_BOGUS\"");
    }

    /// The number that Docker's containers show as `CapEff`.
    #[test]
    fn the_default_is_dockers_mask() {
        let mask = DEFAULT
            .iter()
            .map(|name| name.parse::<caps::Capability>().unwrap().bitmask())
            .fold(0, |mask, bit| mask | bit);
        assert_eq!(mask, 0xa804_25fb);
    }
}
