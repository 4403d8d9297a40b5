//! Reading a container's log.

use std::str::FromStr;

/// How much of a log is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tail {
    /// From the first line.
    All,
    /// At most so many lines from the end.
    Last(usize),
}

impl FromStr for Tail {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            // Docker takes a negative number for all, too.
            "all" | "-1" => Ok(Self::All),
            number => number
                .parse()
                .map(Self::Last)
                .map_err(|_not_a_number| format!("`{text}` is neither a number nor `all`")),
        }
    }
}
