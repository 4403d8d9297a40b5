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

#[cfg(test)]
mod tests {
    use super::*;

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
