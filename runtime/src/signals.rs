//! Signals by the names and numbers that people use.

use std::str::FromStr;

/// A signal that can be sent to a container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Signal(nix::sys::signal::Signal);

impl Signal {
    /// What ends a process politely.
    pub const TERM: Self = Self(nix::sys::signal::SIGTERM);
    /// What ends it for sure.
    pub const KILL: Self = Self(nix::sys::signal::SIGKILL);

    /// The kernel's number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0 as i32
    }

    /// By the kernel's number; `None` for numbers that no program can handle by name.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        nix::sys::signal::Signal::try_from(number).ok().map(Self)
    }

    /// As in `SIGTERM`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.as_str()
    }

    /// For system calls of the `rustix` crate.
    #[must_use]
    pub fn to_rustix(self) -> rustix::process::Signal {
        // Both crates leave the same numbers out.
        rustix::process::Signal::from_named_raw(self.number())
            .unwrap_or(rustix::process::Signal::KILL)
    }
}

impl FromStr for Signal {
    type Err = String;

    /// `TERM`, `sigterm` and `15` are the same.
    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("Invalid signal: {text}");
        let signal = if let Ok(number) = text.parse::<i32>() {
            nix::sys::signal::Signal::try_from(number).ok()
        } else {
            let upper = text.to_ascii_uppercase();
            format!("SIG{}", upper.strip_prefix("SIG").unwrap_or(&upper)).parse().ok()
        };
        signal.map(Self).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, want) in [
            ("TERM", Some(15)),
            ("SIGTERM", Some(15)),
            ("sigkill", Some(9)),
            ("hup", Some(1)),
            ("9", Some(9)),
            ("0", None),
            ("99", None),
            ("SIG", None),
            ("", None),
            ("SIGSIGTERM", None),
        ] {
            assert_eq!(text.parse().ok().map(Signal::number), want, "{text:?}");
        }
    }
}
