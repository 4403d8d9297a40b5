//! Values as a template sees them: JSON, and what of Go's types its printing shows.

use serde_json::{Number, Value};

/// Objects that are maps in Docker's types: one may ask them for a key that they do not have.
const MAPS: [&str; 12] = [
    "Attributes",
    "Containers",
    "Data",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];
/// Pointers in Docker's types: none of them is a mistake, and is printed as nothing else is.
const POINTERS: [&str; 6] =
    ["Health", "Healthcheck", "Init", "OomKillDisable", "PidsLimit", "StopTimeout"];

/// A value on its way through a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Val {
    /// What a map answers for a key that it does not have.
    Missing,
    /// A pointer to nothing.
    Nil,
    /// `.` of the whole template.
    Root,
    /// All others.
    Json {
        /// The value.
        value: Value,
        /// Is it a map, and not an object with known fields?
        is_map: bool,
    },
}

impl From<Value> for Val {
    fn from(value: Value) -> Self {
        Self::Json { value, is_map: false }
    }
}

impl From<String> for Val {
    fn from(text: String) -> Self {
        Value::String(text).into()
    }
}

impl From<bool> for Val {
    fn from(value: bool) -> Self {
        Value::Bool(value).into()
    }
}

impl Val {
    /// The value of a field of an object.
    pub(super) fn of_field(name: &str, value: &Value) -> Self {
        if value.is_null() && POINTERS.contains(&name) {
            return Self::Nil;
        }
        Self::Json { value: value.clone(), is_map: MAPS.contains(&name) }
    }

    /// A field that objects may lack.
    pub(super) fn is_pointer(name: &str) -> bool {
        POINTERS.contains(&name)
    }

    /// Go's idea of true: not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Nil => false,
            Self::Root => true,
            Self::Json { value, .. } => match value {
                Value::Null => false,
                Value::Bool(value) => *value,
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(fields) => !fields.is_empty(),
            },
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "nil",
            Self::Root => "struct",
            Self::Json { value, .. } => match value {
                Value::Null => "nil",
                Value::Bool(_) => "bool",
                Value::Number(number) if number.is_f64() => "float64",
                Value::Number(_) => "int",
                Value::String(_) => "string",
                Value::Array(_) => "slice",
                Value::Object(_) => "map",
            },
        }
    }
}

/// As Go prints it with `%v`.
pub(super) fn print(value: &Value) -> String {
    match value {
        // Nearly everything in Docker's types that may be null is a list.
        Value::Null => "[]".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => print_number(number),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(print).collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            let entries = sorted.into_iter().map(|(key, value)| format!("{key}:{}", print(value)));
            format!("map[{}]", entries.collect::<Vec<_>>().join(" "))
        }
    }
}

/// Go's `%v` of a float takes the shortest form, with an exponent from 1e21 on.
pub(super) fn print_number(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => {
            let size = float.abs();
            if size != 0.0 && !(1e-4..1e21).contains(&size) {
                let text = format!("{float:e}");
                let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let (sign, exponent) =
                    exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
                return format!("{digits}e{sign}{exponent:0>2}");
            }
            format!("{float}")
        }
        _ => number.to_string(),
    }
}
