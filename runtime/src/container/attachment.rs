//! Which of a container's streams a client has. Pure.

use serde::{Deserialize, Serialize};

/// What `-a` takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stream {
    /// Standard input.
    Input,
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl std::str::FromStr for Stream {
    type Err = String;

    /// Docker's message.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "stdin" => Ok(Self::Input),
            "stdout" => Ok(Self::Output),
            "stderr" => Ok(Self::Error),
            _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
        }
    }
}

/// Each of the three, or not.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Attachment {
    /// Standard input.
    pub input: bool,
    /// Standard output; a terminal has no other.
    pub output: bool,
    /// Standard error.
    pub error: bool,
}

impl Attachment {
    /// Both outputs, and perhaps the input.
    #[must_use]
    pub fn watching(input: bool) -> Self {
        Self { input, output: true, error: true }
    }

    /// As with Docker: `-i` is the input as well, and who names none has the outputs.
    #[must_use]
    pub fn of(named: &[Stream], interactive: bool) -> Self {
        if named.is_empty() {
            return Self::watching(interactive);
        }
        let has = |stream| named.contains(&stream);
        Self {
            input: interactive || has(Stream::Input),
            output: has(Stream::Output),
            error: has(Stream::Error),
        }
    }

    /// Does the client see anything?
    #[must_use]
    pub fn watches(self) -> bool {
        self.output || self.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_by_name() {
        let check = |named: &[&str], interactive: bool, want: [bool; 3]| {
            let named: Vec<Stream> = named.iter().map(|name| name.parse().unwrap()).collect();
            let Attachment { input, output, error } = Attachment::of(&named, interactive);
            assert_eq!([input, output, error], want, "{named:?} {interactive}");
        };
        check(&[], false, [false, true, true]);
        check(&[], true, [true, true, true]);
        check(&["stdout"], false, [false, true, false]);
        check(&["STDERR", "StdOut"], false, [false, true, true]);
        check(&["stdin"], false, [true, false, false]);
        check(&["stderr"], true, [true, false, true]);
        let wrong = "stdio".parse::<Stream>().unwrap_err();
        assert_eq!(wrong, "valid streams are STDIN, STDOUT and STDERR");
    }
}
