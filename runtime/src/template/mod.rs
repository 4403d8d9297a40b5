//! Go's templates, as far as `--format` needs them: text, fields, variables, pipelines, `if`, `range`,
//! `with`, the functions of Go and of Docker. Pure: text and JSON in, text out.
//!
//! ```text
//! text ──lexer──► pieces ──parser──► nodes ──eval, with the data──► text
//! ```
//!
//! The two crates that exist for this start a thread to read a template; a program that forks must not
//! have a second one. What they would do is small: no `define`, no `template`, no methods.
//!
//! JSON does not know what Go's types do, so the few fields that matter are named here
//! (in `value`): which objects are maps, so that a missing key is no mistake.

mod error;
mod eval;
mod functions;
mod lexer;
mod parser;
mod printf;
mod value;

use std::collections::BTreeMap;

use serde_json::Value;

pub use error::{Error, Problem};
use parser::Node;

/// How deep actions and parentheses may be nested.
const DEPTH: usize = 64;

/// What a template is applied to.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// The fields of `.`, an object.
    pub fields: Value,
    /// What `.Label "name"` answers.
    pub labels: Labels,
}

/// What there is to know about labels.
#[derive(Clone, Debug)]
pub enum Labels {
    /// Those of one thing.
    Of(BTreeMap<String, String>),
    /// This is the line of headings: a label is headed by the last part of its own name, and
    /// functions change no heading.
    Headings,
}

impl Default for Labels {
    fn default() -> Self {
        Self::Of(BTreeMap::new())
    }
}

impl Labels {
    fn get(&self, name: &str) -> String {
        match self {
            Self::Of(labels) => labels.get(name).cloned().unwrap_or_default(),
            Self::Headings => name.rsplit('.').next().unwrap_or(name).replace(['-', '_'], " "),
        }
    }
}

impl From<Value> for Data {
    fn from(fields: Value) -> Self {
        Self { fields, labels: Labels::default() }
    }
}

/// A template that can be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
    text: String,
}

impl Template {
    /// Understands a template.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self { nodes: parser::parse(text)?, text: text.to_owned() })
    }

    /// The same for `--format` of one thing: `json` is short for all of it, and what a shell's single
    /// quotes keep from being a tab or a line end is one.
    pub fn of_format(text: &str) -> Result<Self, Error> {
        let text = if text == "json" { "{{json .}}" } else { text };
        Self::parse(&text.replace("\\t", "\t").replace("\\n", "\n"))
    }

    /// Applies it.
    pub fn render(&self, data: &Data) -> Result<String, Error> {
        eval::render(&self.nodes, data)
    }

    /// Might it ask for this field? Some are dear to find out.
    #[must_use]
    pub fn mentions(&self, field: &str) -> bool {
        self.text.contains(&format!(".{field}")) || self.text.contains("json .")
    }
}

#[cfg(test)]
mod tests;
