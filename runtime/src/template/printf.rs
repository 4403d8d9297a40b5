//! `printf`, with the verbs of Go that make sense for JSON.

use serde_json::Value;

use super::value::{self, Val};

/// Wider than any terminal; more is a slip, not a wish.
const WIDEST: usize = 10_000;

/// One `%…`.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "flags are what they are called")]
struct Verb {
    left: bool,
    zeros: bool,
    plus: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

/// What does not fit is said in the text, as Go does it.
pub(super) fn format(format: &str, values: &[Val]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let verb = parse(&mut characters);
        match verb.letter {
            '%' => out.push('%'),
            '\0' => out.push_str("%!(NOVERB)"),
            letter => match values.next() {
                None => out.extend(["%!", &letter.to_string(), "(MISSING)"]),
                Some(value) => out.push_str(&pad(&verb, &show(&verb, value))),
            },
        }
    }
    let extra: Vec<String> =
        values.map(|value| format!("{}={}", value.kind(), plain(value))).collect();
    if !extra.is_empty() {
        out.extend(["%!(EXTRA ", &extra.join(", "), ")"]);
    }
    out
}

fn parse(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Verb {
    let mut verb = Verb::default();
    while let Some(flag) = characters.next_if(|c| matches!(c, '-' | '0' | '+' | '#' | ' ')) {
        match flag {
            '-' => verb.left = true,
            '0' => verb.zeros = true,
            '+' => verb.plus = true,
            '#' => verb.sharp = true,
            _ => {}
        }
    }
    verb.width = number(characters);
    if characters.next_if_eq(&'.').is_some() {
        verb.precision = Some(number(characters));
    }
    verb.letter = characters.next().unwrap_or('\0');
    verb
}

fn number(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> usize {
    let mut number = 0;
    while let Some(digit) = characters.next_if(char::is_ascii_digit) {
        let digit = digit.to_digit(10).map_or(0, |digit| digit as usize);
        number = (number * 10 + digit).min(WIDEST);
    }
    number
}

fn plain(value: &Val) -> String {
    match value {
        Val::Json { value, .. } => value::print(value),
        _ => "<nil>".into(),
    }
}

fn show(verb: &Verb, value: &Val) -> String {
    let cut = |text: &str| -> String {
        verb.precision.map_or_else(|| text.to_owned(), |most| text.chars().take(most).collect())
    };
    let json = match value {
        Val::Json { value, .. } => value,
        _ => &Value::Null,
    };
    match (verb.letter, json) {
        ('v', _) => plain(value),
        ('s', Value::String(text)) => cut(text),
        ('q', Value::String(text)) => format!("{text:?}"),
        ('x', Value::String(text)) => {
            text.bytes().flat_map(|byte| [byte >> 4, byte & 15]).map(hexadecimal).collect()
        }
        ('s' | 'q', Value::Array(items)) => {
            let inner = Verb { width: 0, ..*verb };
            let items = items.iter().map(|item| show(&inner, &item.clone().into()));
            format!("[{}]", items.collect::<Vec<_>>().join(" "))
        }
        ('t', Value::Bool(value)) => value.to_string(),
        ('d' | 'x' | 'X' | 'o' | 'b' | 'c', Value::Number(number)) if !number.is_f64() => {
            integer(verb, number.as_i64().unwrap_or(i64::MAX))
        }
        ('f' | 'F' | 'g' | 'e', Value::Number(number)) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            match (verb.letter, verb.precision) {
                ('g', None) => value::print_number(number),
                (_, precision) => format!("{float:.*}", precision.unwrap_or(6)),
            }
        }
        (letter, _) => format!("%!{letter}({}={})", value.kind(), plain(value)),
    }
}

fn hexadecimal(half: u8) -> char {
    char::from_digit(half.into(), 16).unwrap_or('0')
}

fn integer(verb: &Verb, number: i64) -> String {
    let sign = match number {
        ..0 => "-",
        _ if verb.plus => "+",
        _ => "",
    };
    let size = number.unsigned_abs();
    match verb.letter {
        'x' if verb.sharp => format!("{sign}0x{size:x}"),
        'x' => format!("{sign}{size:x}"),
        'X' => format!("{sign}{size:X}"),
        'o' => format!("{sign}{size:o}"),
        'b' => format!("{sign}{size:b}"),
        'c' => u32::try_from(size).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string(),
        _ => format!("{sign}{size}"),
    }
}

fn pad(verb: &Verb, text: &str) -> String {
    let missing = verb.width.saturating_sub(text.chars().count());
    if verb.left {
        return format!("{text}{}", " ".repeat(missing));
    }
    let is_number = matches!(verb.letter, 'd' | 'x' | 'X' | 'o' | 'b' | 'f' | 'F' | 'g' | 'e');
    if verb.zeros && is_number {
        let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    format!("{}{text}", " ".repeat(missing))
}
