//! Why a command failed: one line, a way out, an exit code.

use std::error::Error;
use std::fmt::{self, Write as _};

/// How a failure is told to the calling program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Refused, or failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The agent is not ready.
    NotReady = 3,
    /// There is no such thing.
    NotFound = 4,
    /// etcd or the agent cannot be reached.
    Unreachable = 5,
    /// A bug of ours.
    Internal = 70,
}

/// A failure, ready to be told.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure of our own making.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// An error of a library, with its causes.
    pub(crate) fn from_error(kind: Kind, error: &dyn Error) -> Self {
        Self::new(kind, chain(error))
    }

    /// What clap has to say about the command line, in our form: it writes paragraphs, of which the
    /// first is the message and one may be a tip.
    pub(crate) fn usage(text: &str) -> Self {
        let mut paragraphs = text.split("\n\n").map(one_line);
        let message = paragraphs.next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
        let tip = paragraphs.find_map(|line| line.strip_prefix("tip: ").map(ToOwned::to_owned));
        Self::new(Kind::Usage, message).hint(tip.unwrap_or_else(|| "try --help".to_owned()))
    }

    /// Adds the way out.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The message, and the way out if there is one.
    pub(crate) fn parts(self) -> (String, String) {
        (self.message, self.hint.unwrap_or_default())
    }

    /// Says first what was done before it failed.
    pub(crate) fn after(self, done: &str) -> Self {
        Self { message: format!("{done} {}", self.message), ..self }
    }

    /// What the calling program sees.
    pub(crate) fn exit_code(&self) -> u8 {
        self.kind as u8
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "twillctl: {}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

/// `error: cause: cause`, without a cause that its effect already spells out, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            // Writing to a string cannot fail.
            _ = write!(text, ": {words}");
        }
        cause = error.source();
    }
    one_line(&text)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_and_a_hint() {
        let failure = Failure::new(Kind::NotFound, "no lease").hint("look again");
        assert_eq!(failure.to_string(), "twillctl: no lease\nhint: look again");
        assert_eq!(failure.exit_code(), 4);
    }

    #[test]
    fn a_wrong_command_line_is_told_in_the_same_form() {
        let rows = [
            (
                "error: bad value '7' for\n  --x\n\nUsage: y\n",
                "bad value '7' for --x",
                "try --help",
            ),
            (
                "error: no `stael`\n\n  tip: there is 'steal'\n\nUsage:",
                "no `stael`",
                "there is 'steal'",
            ),
        ];
        for (text, message, hint) in rows {
            let failure = Failure::usage(text);
            assert_eq!(failure.to_string(), format!("twillctl: {message}\nhint: {hint}"));
            assert_eq!(failure.exit_code(), 2);
        }
    }

    #[test]
    fn causes_follow_once() {
        let io = std::io::Error::other("line one\nline two");
        let error = crate::agent::Error::NotRunning { socket: "/run/x".into(), source: io };
        assert_eq!(chain(&error), "no agent answers at /run/x: line one line two");
    }
}
