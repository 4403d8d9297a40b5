//! From words to the tree of a template.

use super::DEPTH;
use super::error::{Error, Problem};
use super::functions;
use super::lexer::{self, At, Piece, Token, Word};

/// A part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// Its value is printed, unless it is put into a variable.
    Action(Pipeline),
    If(Block),
    With(Block),
    Range(Block),
    Break,
    Continue,
}

/// What is done with a value, and what without one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    pub(super) pipeline: Pipeline,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands, each of which gets the value of the one before as its last argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    /// `=`, not `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// A value or a function, and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
}

/// A value, and the fields of it that are asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operand {
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
    pub(super) at: At,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Function(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Nil,
    Pipeline(Box<Pipeline>),
}

impl Operand {
    /// As it was written, nearly.
    pub(super) fn source(&self) -> String {
        let base = match &self.base {
            Base::Dot if self.fields.is_empty() => ".".to_owned(),
            Base::Dot => String::new(),
            Base::Variable(name) => format!("${name}"),
            Base::Function(name) => name.clone(),
            Base::Text(text) => format!("{text:?}"),
            Base::Integer(number) => number.to_string(),
            Base::Float(number) => number.to_string(),
            Base::Bool(value) => value.to_string(),
            Base::Nil => "nil".to_owned(),
            Base::Pipeline(_) => "(…)".to_owned(),
        };
        self.fields.iter().fold(base, |text, field| text + "." + field)
    }
}

pub(super) fn parse(template: &str) -> Result<Vec<Node>, Error> {
    let pieces = lexer::pieces(template)?;
    let mut parser = Parser { pieces: pieces.into_iter(), scopes: vec![String::new()], last: 1 };
    let (nodes, end) = parser.nodes(0)?;
    match end {
        Stop::Text => Ok(nodes),
        Stop::End => Err(parser.error(Problem::Misplaced("end".into()))),
        Stop::Else(_) => Err(parser.error(Problem::Misplaced("else".into()))),
    }
}

/// What a list of nodes ended with.
enum Stop {
    Text,
    End,
    /// `else`, and what follows it in the action.
    Else(Vec<Token>),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    /// The variables that are known here.
    scopes: Vec<String>,
    last: usize,
}

impl Parser {
    fn error(&self, problem: Problem) -> Error {
        Error::Parse { line: self.last, problem }
    }

    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, Stop), Error> {
        if depth > DEPTH {
            return Err(self.error(Problem::TooDeep));
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            self.last = tokens.first().map_or(self.last, |token| token.at.line);
            let keyword = match tokens.first().map(|token| &token.word) {
                None => return Err(self.error(Problem::MissingValue)),
                Some(Word::Name(name)) => name.clone(),
                Some(_) => String::new(),
            };
            let rest = || tokens[1..].to_vec();
            match keyword.as_str() {
                "end" => return Ok((nodes, Stop::End)),
                "else" => return Ok((nodes, Stop::Else(rest()))),
                "if" | "with" | "range" => nodes.push(self.block(&keyword, rest(), depth)?),
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "define" | "template" | "block" => {
                    return Err(self.error(Problem::Unsupported(keyword)));
                }
                _ => nodes.push(Node::Action(self.whole_pipeline(tokens)?)),
            }
        }
        Ok((nodes, Stop::Text))
    }

    fn block(&mut self, keyword: &str, tokens: Vec<Token>, depth: usize) -> Result<Node, Error> {
        let known = self.scopes.len();
        let pipeline = self.whole_pipeline(tokens)?;
        let inside = self.scopes.len();
        let (body, end) = self.nodes(depth + 1)?;
        self.scopes.truncate(inside);
        let otherwise = match end {
            Stop::Text => return Err(self.error(Problem::UnexpectedEnd)),
            Stop::End => Vec::new(),
            Stop::Else(rest) if rest.is_empty() => match self.nodes(depth + 1)? {
                (nodes, Stop::End) => nodes,
                (_, Stop::Text) => return Err(self.error(Problem::UnexpectedEnd)),
                (_, Stop::Else(_)) => return Err(self.error(Problem::Misplaced("else".into()))),
            },
            Stop::Else(rest) => match &rest[0].word {
                // `else if`: a block in the other branch, which ends with the same `end`.
                Word::Name(name) if name == keyword && name != "range" => {
                    vec![self.block(keyword, rest[1..].to_vec(), depth + 1)?]
                }
                other => return Err(self.error(Problem::Unexpected(other.source()))),
            },
        };
        self.scopes.truncate(known);
        let block = Block { pipeline, body, otherwise };
        Ok(match keyword {
            "if" => Node::If(block),
            "with" => Node::With(block),
            _ => Node::Range(block),
        })
    }

    fn whole_pipeline(&mut self, tokens: Vec<Token>) -> Result<Pipeline, Error> {
        let mut tokens = Tokens { tokens, next: 0 };
        let pipeline = self.pipeline(&mut tokens, 0)?;
        match tokens.peek() {
            None => Ok(pipeline),
            Some(token) => Err(self.error(Problem::Unexpected(token.word.source()))),
        }
    }

    fn pipeline(&mut self, tokens: &mut Tokens, depth: usize) -> Result<Pipeline, Error> {
        if depth > DEPTH {
            return Err(self.error(Problem::TooDeep));
        }
        let (variables, assigns) = self.declaration(tokens)?;
        let mut commands = vec![self.command(tokens, depth)?];
        while tokens.take_if(&Word::Pipe) {
            commands.push(self.command(tokens, depth)?);
        }
        if !assigns {
            self.scopes.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, assigns, commands })
    }

    /// `$x :=`, `$i, $x :=`, `$x =`; nothing of these leaves the words where they are.
    fn declaration(&mut self, tokens: &mut Tokens) -> Result<(Vec<String>, bool), Error> {
        let start = tokens.next;
        let mut variables = Vec::new();
        while let Some(Token { word: Word::Variable(name), .. }) = tokens.peek() {
            variables.push(name.clone());
            tokens.next += 1;
            if !tokens.take_if(&Word::Comma) {
                break;
            }
        }
        if !variables.is_empty() && variables.len() <= 2 {
            if tokens.take_if(&Word::Declare) {
                return Ok((variables, false));
            }
            if tokens.take_if(&Word::Assign) {
                let unknown = variables.iter().find(|name| !self.scopes.contains(name));
                return match unknown {
                    None => Ok((variables, true)),
                    Some(name) => Err(self.error(Problem::UnknownVariable(format!("${name}")))),
                };
            }
        }
        tokens.next = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self, tokens: &mut Tokens, depth: usize) -> Result<Command, Error> {
        let mut operands = Vec::new();
        while let Some(operand) = self.operand(tokens, depth)? {
            operands.push(operand);
        }
        if operands.is_empty() {
            return Err(match tokens.peek() {
                None => self.error(Problem::MissingValue),
                Some(token) => self.error(Problem::Unexpected(token.word.source())),
            });
        }
        Ok(Command { operands })
    }

    fn operand(&mut self, tokens: &mut Tokens, depth: usize) -> Result<Option<Operand>, Error> {
        let Some(token) = tokens.peek().cloned() else { return Ok(None) };
        let at = token.at;
        let mut fields = Vec::new();
        let base = match token.word {
            Word::Dot => Base::Dot,
            Word::Field(name) => {
                fields.push(name);
                Base::Dot
            }
            Word::Variable(name) => {
                if !self.scopes.contains(&name) {
                    return Err(self.error(Problem::UnknownVariable(format!("${name}"))));
                }
                Base::Variable(name)
            }
            Word::Name(name) => match name.as_str() {
                "true" | "false" => Base::Bool(name == "true"),
                "nil" => Base::Nil,
                _ if functions::is_known(&name) => Base::Function(name),
                _ => return Err(self.error(Problem::UnknownFunction(name))),
            },
            Word::Text(text) => Base::Text(text),
            Word::Integer(number) => Base::Integer(number),
            Word::Float(number) => Base::Float(number),
            Word::Open => {
                tokens.next += 1;
                let inner = self.pipeline(tokens, depth + 1)?;
                if tokens.peek().map(|token| &token.word) != Some(&Word::Close) {
                    return Err(self.error(Problem::UnclosedParenthesis));
                }
                Base::Pipeline(Box::new(inner))
            }
            Word::Pipe | Word::Close | Word::Declare | Word::Assign | Word::Comma => {
                return Ok(None);
            }
        };
        tokens.next += 1;
        while let Some(Token { word: Word::Field(name), adjacent: true, .. }) = tokens.peek() {
            fields.push(name.clone());
            tokens.next += 1;
        }
        Ok(Some(Operand { base, fields, at }))
    }
}

struct Tokens {
    tokens: Vec<Token>,
    next: usize,
}

impl Tokens {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take_if(&mut self, word: &Word) -> bool {
        let is_next = self.peek().is_some_and(|token| token.word == *word);
        self.next += usize::from(is_next);
        is_next
    }
}
