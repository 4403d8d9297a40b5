//! What is wrong with a template, in Go's words.

/// Where and what.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// It cannot be understood.
    #[error("template parsing error: template: :{line}: {problem}")]
    Parse {
        /// Counted from one.
        line: usize,
        /// What.
        problem: Problem,
    },
    /// It cannot be applied to this data.
    #[error("template: :{line}:{column}: executing \"\" at <{source_text}>: {problem}")]
    Execute {
        /// Counted from one.
        line: usize,
        /// Bytes from the start of the line.
        column: usize,
        /// The part of the template.
        source_text: String,
        /// What.
        problem: Problem,
    },
}

/// Everything that can be wrong.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum Problem {
    #[error("unclosed action")]
    UnclosedAction,
    #[error("unclosed comment")]
    UnclosedComment,
    #[error("unterminated quoted string")]
    UnterminatedString,
    #[error("bad number syntax: {0:?}")]
    BadNumber(String),
    #[error("unexpected {0} in command")]
    Unexpected(String),
    #[error("unexpected EOF")]
    UnexpectedEnd,
    #[error("unexpected {{{{{0}}}}}")]
    Misplaced(String),
    #[error("missing value for command")]
    MissingValue,
    #[error("function {0:?} not defined")]
    UnknownFunction(String),
    #[error("undefined variable {0:?}")]
    UnknownVariable(String),
    #[error("unclosed left paren")]
    UnclosedParenthesis,
    #[error("{{{{{0}}}}} is not supported")]
    Unsupported(String),
    #[error("nested too deeply")]
    TooDeep,
    #[error("more than {0}, which is enough for everything sensible")]
    TooMuch(usize),
    #[error("map has no entry for key {0:?}")]
    NoSuchField(String),
    #[error("can't evaluate field {field} in type {kind}")]
    NotAnObject { field: String, kind: &'static str },
    #[error("can't give argument to non-function {0}")]
    NotAFunction(String),
    #[error("range can't iterate over {0}")]
    NotAList(String),
    #[error("wrong number of args for {function}: want {want} got {got}")]
    Arguments { function: String, want: &'static str, got: usize },
    #[error("error calling {function}: wrong type {kind}")]
    WrongType { function: String, kind: &'static str },
    #[error("error calling {0}: incompatible types for comparison")]
    Incomparable(String),
    #[error("error calling index: index out of range: {0}")]
    OutOfRange(String),
}
