//! Cuts a template into texts and the words of its actions.

use super::error::{Error, Problem};

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Stands for itself.
    Text(String),
    /// Between `{{` and `}}`.
    Action(Vec<Token>),
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) word: Word,
    /// Is there nothing between it and the one before?
    pub(super) adjacent: bool,
    /// Where it stands.
    pub(super) at: At,
}

/// A place in the template, line and column.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct At {
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    /// `.` alone.
    Dot,
    /// `.Name`.
    Field(String),
    /// `$` or `$name`, without the dollar.
    Variable(String),
    /// A name of a function, or a keyword.
    Name(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Pipe,
    Open,
    Close,
    Declare,
    Assign,
    Comma,
}

impl Word {
    /// As it is written.
    pub(super) fn source(&self) -> String {
        match self {
            Self::Dot => ".".into(),
            Self::Field(name) => format!(".{name}"),
            Self::Variable(name) => format!("${name}"),
            Self::Name(name) => name.clone(),
            Self::Text(text) => format!("{text:?}"),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Pipe => "|".into(),
            Self::Open => "(".into(),
            Self::Close => ")".into(),
            Self::Declare => ":=".into(),
            Self::Assign => "=".into(),
            Self::Comma => ",".into(),
        }
    }
}

/// All pieces, in order.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece>, Error> {
    let mut lexer = Lexer { template, position: 0 };
    let (mut pieces, mut trim) = (Vec::new(), false);
    loop {
        let rest = lexer.rest();
        let Some(start) = rest.find("{{") else {
            push_text(&mut pieces, rest, (trim, false));
            return Ok(pieces);
        };
        let trims_before = is_trim(&rest.as_bytes()[start + 2..]);
        push_text(&mut pieces, &rest[..start], (trim, trims_before));
        lexer.position += start + 2 + if trims_before { 2 } else { 0 };
        trim = if lexer.rest().starts_with("/*") {
            lexer.comment()?
        } else {
            let (tokens, trims_after) = lexer.action()?;
            pieces.push(Piece::Action(tokens));
            trims_after
        };
    }
}

/// `{{- ` takes the blanks before it away.
fn is_trim(after: &[u8]) -> bool {
    matches!(after, [b'-', blank, ..] if blank.is_ascii_whitespace())
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim: (bool, bool)) {
    let is_blank = |c: char| c.is_ascii_whitespace();
    let text = if trim.0 { text.trim_start_matches(is_blank) } else { text };
    let text = if trim.1 { text.trim_end_matches(is_blank) } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

struct Lexer<'a> {
    template: &'a str,
    position: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.template[self.position..]
    }

    fn at(&self) -> At {
        let before = &self.template[..self.position];
        let line = before.matches('\n').count() + 1;
        At { line, column: self.position - before.rfind('\n').map_or(0, |newline| newline + 1) }
    }

    fn error(&self, problem: Problem) -> Error {
        Error::Parse { line: self.at().line, problem }
    }

    /// Whether it takes the blanks after it away.
    fn comment(&mut self) -> Result<bool, Error> {
        let Some(end) = self.rest()[2..].find("*/") else {
            return Err(self.error(Problem::UnclosedComment));
        };
        self.position += 2 + end + 2;
        self.end_of_action().ok_or_else(|| self.error(Problem::UnclosedComment))
    }

    /// Gets past `}}` or ` -}}`; the answer is whether it trims.
    fn end_of_action(&mut self) -> Option<bool> {
        let rest = self.rest();
        let trimmed = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let blanks = rest.len() - trimmed.len();
        if trimmed.starts_with("}}") {
            self.position += blanks + 2;
            return Some(false);
        }
        let trims = blanks > 0 && trimmed.starts_with("-}}");
        if trims {
            self.position += blanks + 3;
        }
        trims.then_some(true)
    }

    fn action(&mut self) -> Result<(Vec<Token>, bool), Error> {
        let mut tokens: Vec<Token> = Vec::new();
        loop {
            if let Some(trims) = self.end_of_action() {
                return Ok((tokens, trims));
            }
            let before = self.rest().len();
            let rest = self.rest().trim_start_matches(|c: char| c.is_ascii_whitespace());
            let blanks = before - rest.len();
            self.position += blanks;
            if rest.is_empty() {
                return Err(self.error(Problem::UnclosedAction));
            }
            let at = self.at();
            let word = self.word()?;
            tokens.push(Token { word, adjacent: blanks == 0 && !tokens.is_empty(), at });
        }
    }

    fn word(&mut self) -> Result<Word, Error> {
        let rest = self.rest();
        let (word, length) = match rest.as_bytes() {
            [b'|', ..] => (Word::Pipe, 1),
            [b'(', ..] => (Word::Open, 1),
            [b')', ..] => (Word::Close, 1),
            [b',', ..] => (Word::Comma, 1),
            [b':', b'=', ..] => (Word::Declare, 2),
            [b'=', ..] => (Word::Assign, 1),
            [b'"', ..] => return self.quoted(),
            [b'`', ..] => return self.raw(),
            [b'0'..=b'9', ..] | [b'-' | b'+', b'0'..=b'9', ..] => return self.number(),
            [b'.', ..] => match name(&rest[1..]) {
                "" => (Word::Dot, 1),
                field => (Word::Field(field.to_owned()), 1 + field.len()),
            },
            [b'$', ..] => {
                let variable = name(&rest[1..]);
                (Word::Variable(variable.to_owned()), 1 + variable.len())
            }
            _ => match name(rest) {
                "" => {
                    let odd =
                        rest.chars().next().map_or_else(String::new, |odd| format!("{odd:?}"));
                    return Err(self.error(Problem::Unexpected(odd)));
                }
                word => (Word::Name(word.to_owned()), word.len()),
            },
        };
        self.position += length;
        Ok(word)
    }

    fn quoted(&mut self) -> Result<Word, Error> {
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => {
                    self.position += index + 1;
                    return Ok(Word::Text(text));
                }
                '\n' => break,
                '\\' => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'r')) => text.push('\r'),
                    Some((_, other @ ('"' | '\\' | '\''))) => text.push(other),
                    _ => break,
                },
                other => text.push(other),
            }
        }
        Err(self.error(Problem::UnterminatedString))
    }

    fn raw(&mut self) -> Result<Word, Error> {
        let Some(end) = self.rest()[1..].find('`') else {
            return Err(self.error(Problem::UnterminatedString));
        };
        let text = self.rest()[1..=end].to_owned();
        self.position += end + 2;
        Ok(Word::Text(text))
    }

    fn number(&mut self) -> Result<Word, Error> {
        let rest = self.rest();
        let belongs = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
        let end = rest[1..].find(|c| !belongs(c)).map_or(rest.len(), |end| end + 1);
        let text = &rest[..end];
        let plain = text.strip_prefix('+').unwrap_or(text);
        let word = if let Ok(integer) = plain.parse::<i64>() {
            Word::Integer(integer)
        } else {
            match plain.parse::<f64>() {
                Ok(float) if float.is_finite() => Word::Float(float),
                _ => return Err(self.error(Problem::BadNumber(text.to_owned()))),
            }
        };
        self.position += end;
        Ok(word)
    }
}

/// Letters, digits and underscores at the start of a text, the first no digit.
fn name(text: &str) -> &str {
    if text.starts_with(|c: char| c.is_numeric()) {
        return "";
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}
