//! Why the agent gives up, in words for people and a code for systemd.

use std::io::Write;
use std::process::ExitCode;

use twill_core::{config, pick};

/// The administrator's word is needed: the start was refused.
const REFUSED: u8 = 1;
/// An option is wrong.
const USAGE: u8 = 2;
/// There is no such container or address, as for twillctl.
const UNKNOWN: u8 = 4;
/// A mistake of ours (`EX_SOFTWARE`).
const INTERNAL: u8 = 70;
/// The network's configuration is broken (`EX_CONFIG` of sysexits.h).
const CONFIGURATION: u8 = 78;

/// An error that ends the process: what, the way out, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    error: anyhow::Error,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// The start was refused.
    pub(crate) fn refused(error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), hint: None, code: REFUSED }
    }

    /// An option is wrong in a way that only its use shows.
    pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { code: USAGE, ..Self::refused(error) }
    }

    /// What was asked for is not there.
    pub(crate) fn unknown(error: impl Into<anyhow::Error>) -> Self {
        Self { code: UNKNOWN, ..Self::refused(error) }
    }

    /// Something happened that cannot happen.
    pub(crate) fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self { code: INTERNAL, ..Self::refused(error) }
    }

    /// The network's configuration breaks a rule.
    pub(crate) fn configuration(key: &str, error: config::Error) -> Self {
        let hint = error.hint();
        let error = anyhow::Error::new(error).context(format!("cannot use {key}"));
        Self { code: CONFIGURATION, ..Self::refused(error).hint(hint) }
    }

    /// Adds the way out.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Says what else is the matter.
    pub(crate) fn besides(self, what: &str) -> Self {
        let text = format!("{}; {what}", self.line());
        Self { error: anyhow::Error::msg(text), ..self }
    }

    /// The causes in one line.
    pub(crate) fn line(&self) -> String {
        format!("{:#}", self.error)
    }

    /// Has a device gone that was there a moment ago?
    pub(crate) fn lacks_device(&self) -> bool {
        let gone = |cause: &std::io::Error| cause.raw_os_error() == Some(nix::libc::ENODEV);
        self.error.chain().filter_map(|cause| cause.downcast_ref()).any(gone)
    }

    /// The way out, if there is one.
    pub(crate) fn way_out(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Prints both, once.
    pub(crate) fn report(&self) -> ExitCode {
        let hint = self.hint.as_ref().map(|hint| format!("hint: {hint}\n"));
        let text = format!("twilld: {}\n{}", self.line(), hint.unwrap_or_default());
        // Nobody is left to be told when even that fails.
        drop(std::io::stderr().write_all(text.as_bytes()));
        ExitCode::from(self.code)
    }
}

impl From<twill_net::Error> for Failure {
    fn from(error: twill_net::Error) -> Self {
        let hint = error.hint();
        let failure = Self::refused(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<twill_store::Error> for Failure {
    fn from(error: twill_store::Error) -> Self {
        use twill_store::Error::{Domain, Endpoint, HalfIdentity, NoEndpoint};
        let hint = error.hint();
        let failure = match error {
            Domain { .. } | Endpoint { .. } | HalfIdentity { .. } | NoEndpoint => {
                Self::usage(error)
            }
            other => Self::refused(other),
        };
        failure.hint(hint)
    }
}

impl From<twill_tunnel::Error> for Failure {
    fn from(error: twill_tunnel::Error) -> Self {
        use twill_tunnel::Error::{Held, Listen, Lost, Open, Persist, Start};
        let hint = match &error {
            Held { .. } => {
                Some("stop the flanneld or twilld that holds it: `ps -C flanneld,twilld`")
            }
            Open { .. } => Some(
                "if it is a device of another kind, remove it with `ip link del`: see `ip -d link`",
            ),
            Listen { .. } => Some(
                "`ss -ulpn` shows which program has the port; stop it, or choose another Port in the \
                 network's configuration",
            ),
            Persist { .. } | Start { .. } | Lost { .. } => None,
        };
        let failure = Self::refused(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<pick::Error> for Failure {
    fn from(error: pick::Error) -> Self {
        let hint = error.hint();
        Self::refused(error).hint(hint)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::refused(error)
    }
}

/// Prints what clap has to say: an error on stderr, help and version on stdout.
pub(crate) fn usage(answer: &clap::Error) -> ExitCode {
    drop(answer.print());
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(USAGE))
}
