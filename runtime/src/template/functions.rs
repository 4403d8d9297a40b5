//! The functions that a template may call: Go's own, and Docker's.

use std::cmp::Ordering;

use serde_json::Value;

use super::error::Problem;
use super::printf;
use super::value::{self, Val};

const KNOWN: [&str; 23] = [
    "and", "or", "not", "len", "index", "eq", "ne", "lt", "le", "gt", "ge", "print", "printf",
    "println", "slice", "json", "split", "join", "title", "lower", "upper", "pad", "truncate",
];

pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Calls one of them, other than `and` and `or`.
pub(super) fn call(name: &str, arguments: &[Val]) -> Result<Val, Problem> {
    let wanted = |want| Problem::Arguments { function: name.into(), want, got: arguments.len() };
    match (name, arguments) {
        ("not", [value]) => Ok((!value.is_true()).into()),
        ("len", [value]) => length(value),
        ("index", [value, keys @ ..]) => {
            keys.iter().try_fold(value.clone(), |value, key| index(&value, key))
        }
        ("slice", [value, bounds @ ..]) if bounds.len() <= 2 => slice(value, bounds),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            for other in others {
                if equal(name, first, other)? {
                    return Ok(true.into());
                }
            }
            Ok(false.into())
        }
        ("ne", [first, second]) => Ok((!equal(name, first, second)?).into()),
        ("lt" | "le" | "gt" | "ge", [first, second]) => {
            let order = compare(name, first, second)?;
            Ok(match name {
                "lt" => order == Ordering::Less,
                "le" => order != Ordering::Greater,
                "gt" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            }
            .into())
        }
        ("print", values) => Ok(print(values).into()),
        ("println", values) => {
            Ok((values.iter().map(show).collect::<Vec<_>>().join(" ") + "\n").into())
        }
        ("printf", [format, values @ ..]) => {
            Ok(printf::format(text("printf", format)?, values).into())
        }
        ("json", [value]) => Ok(json(value)),
        ("split", [whole, separator]) => Ok(split(text(name, whole)?, text(name, separator)?)),
        ("join", [parts, separator]) => join(parts, text(name, separator)?),
        ("title", [value]) => Ok(title(text(name, value)?).into()),
        ("lower", [value]) => Ok(text(name, value)?.to_lowercase().into()),
        ("upper", [value]) => Ok(text(name, value)?.to_uppercase().into()),
        ("pad", [value, before, after]) => pad(text(name, value)?, before, after),
        ("truncate", [value, length]) => {
            let length = number(name, length)?;
            Ok(text(name, value)?.chars().take(length).collect::<String>().into())
        }
        ("not" | "len" | "json" | "title" | "lower" | "upper", _) => Err(wanted("1")),
        ("pad", _) => Err(wanted("3")),
        ("eq" | "index" | "slice" | "printf", _) => Err(wanted("at least 1")),
        _ => Err(wanted("2")),
    }
}

fn show(value: &Val) -> String {
    match value {
        Val::Json { value, .. } => value::print(value),
        _ => "<nil>".into(),
    }
}

/// Go puts a blank between two that are no texts.
fn print(values: &[Val]) -> String {
    let is_text = |value: &Val| matches!(value, Val::Json { value: Value::String(_), .. });
    let mut out = String::new();
    for (position, value) in values.iter().enumerate() {
        if position > 0 && !is_text(value) && !is_text(&values[position - 1]) {
            out.push(' ');
        }
        out.push_str(&show(value));
    }
    out
}

fn text<'a>(function: &str, value: &'a Val) -> Result<&'a str, Problem> {
    match value {
        Val::Json { value: Value::String(text), .. } => Ok(text),
        other => Err(wrong(function, other)),
    }
}

fn number(function: &str, value: &Val) -> Result<usize, Problem> {
    match value {
        Val::Json { value: Value::Number(number), .. } => {
            let number = number.as_u64().and_then(|number| usize::try_from(number).ok());
            number.ok_or_else(|| wrong(function, value))
        }
        other => Err(wrong(function, other)),
    }
}

fn wrong(function: &str, value: &Val) -> Problem {
    Problem::WrongType { function: function.into(), kind: value.kind() }
}

fn length(value: &Val) -> Result<Val, Problem> {
    let length = match value {
        Val::Json { value: Value::String(text), .. } => text.len(),
        Val::Json { value: Value::Array(items), .. } => items.len(),
        Val::Json { value: Value::Object(fields), .. } => fields.len(),
        Val::Json { value: Value::Null, .. } => 0,
        other => return Err(wrong("len", other)),
    };
    Ok(Value::from(length).into())
}

fn index(value: &Val, key: &Val) -> Result<Val, Problem> {
    match (value, key) {
        (
            Val::Json { value: Value::Object(fields), .. },
            Val::Json { value: Value::String(key), .. },
        ) => {
            let missing = || {
                // Go answers with the zero value of what the map holds.
                if fields.values().all(Value::is_string) { Value::from("") } else { Value::Null }
            };
            Ok(fields.get(key).cloned().unwrap_or_else(missing).into())
        }
        (
            Val::Json { value: Value::Null, .. } | Val::Missing,
            Val::Json { value: Value::String(_), .. },
        ) => Ok(Val::from(String::new())),
        (
            Val::Json { value: Value::Array(items), .. },
            Val::Json { value: Value::Number(at), .. },
        ) => {
            let item = at.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?));
            item.cloned().map(Val::from).ok_or_else(|| Problem::OutOfRange(at.to_string()))
        }
        (Val::Json { value: Value::Null, .. }, Val::Json { value: Value::Number(at), .. }) => {
            Err(Problem::OutOfRange(at.to_string()))
        }
        _ => Err(wrong("index", value)),
    }
}

fn slice(value: &Val, bounds: &[Val]) -> Result<Val, Problem> {
    let length = match value {
        Val::Json { value: Value::String(text), .. } => text.len(),
        Val::Json { value: Value::Array(items), .. } => items.len(),
        other => return Err(wrong("slice", other)),
    };
    let start = bounds.first().map_or(Ok(0), |start| number("slice", start))?;
    let end = bounds.get(1).map_or(Ok(length), |end| number("slice", end))?;
    let out = || Problem::OutOfRange(format!("{start}:{end}"));
    match value {
        Val::Json { value: Value::String(text), .. } => {
            text.get(start..end).map(|part| part.to_owned().into()).ok_or_else(out)
        }
        Val::Json { value: Value::Array(items), .. } => {
            items.get(start..end).map(|part| Value::from(part).into()).ok_or_else(out)
        }
        other => Err(wrong("slice", other)),
    }
}

fn equal(function: &str, first: &Val, second: &Val) -> Result<bool, Problem> {
    match (first, second) {
        (Val::Nil | Val::Missing, Val::Nil | Val::Missing) => Ok(true),
        (Val::Nil | Val::Missing, _) | (_, Val::Nil | Val::Missing) => Ok(false),
        (
            Val::Json { value: Value::Bool(first), .. },
            Val::Json { value: Value::Bool(second), .. },
        ) => Ok(first == second),
        _ => compare(function, first, second).map(Ordering::is_eq),
    }
}

fn compare(function: &str, first: &Val, second: &Val) -> Result<Ordering, Problem> {
    let incomparable = || Problem::Incomparable(function.into());
    let (Val::Json { value: first, .. }, Val::Json { value: second, .. }) = (first, second) else {
        return Err(incomparable());
    };
    match (first, second) {
        (Value::String(first), Value::String(second)) => Ok(first.cmp(second)),
        (Value::Number(first), Value::Number(second)) => {
            if first.is_f64() != second.is_f64() {
                return Err(incomparable());
            }
            if let (Some(first), Some(second)) = (first.as_i64(), second.as_i64()) {
                return Ok(first.cmp(&second));
            }
            first
                .as_f64()
                .zip(second.as_f64())
                .and_then(|(first, second)| first.partial_cmp(&second))
                .ok_or_else(incomparable)
        }
        _ => Err(incomparable()),
    }
}

fn json(value: &Val) -> Val {
    let value = match value {
        Val::Json { value, .. } => value,
        _ => &Value::Null,
    };
    value.to_string().into()
}

fn split(whole: &str, separator: &str) -> Val {
    let parts: Vec<Value> = if separator.is_empty() {
        whole.chars().map(|one| one.to_string().into()).collect()
    } else {
        whole.split(separator).map(Value::from).collect()
    };
    Value::from(parts).into()
}

fn join(parts: &Val, separator: &str) -> Result<Val, Problem> {
    match parts {
        Val::Json { value: Value::Array(items), .. } => {
            Ok(items.iter().map(value::print).collect::<Vec<_>>().join(separator).into())
        }
        Val::Json { value: Value::Null, .. } => Ok(String::new().into()),
        other => Err(wrong("join", other)),
    }
}

/// Each word with a capital letter at its start.
fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if inside {
            out.push(character);
        } else {
            out.extend(character.to_uppercase());
        }
        inside = character.is_alphanumeric() || matches!(character, '_' | '\'');
    }
    out
}

/// Blanks before and after a text that is not empty.
fn pad(text: &str, before: &Val, after: &Val) -> Result<Val, Problem> {
    const MOST: usize = 10_000;
    if text.is_empty() {
        return Ok(String::new().into());
    }
    let (before, after) = (number("pad", before)?.min(MOST), number("pad", after)?.min(MOST));
    Ok(format!("{}{text}{}", " ".repeat(before), " ".repeat(after)).into())
}
