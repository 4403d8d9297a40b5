//! Applies a template to data.

use serde_json::Value;

use super::error::{Error, Problem};
use super::functions;
use super::parser::{Base, Block, Command, Node, Operand, Pipeline};
use super::value::{self, Val};
use super::{Data, Labels};

/// More than any sensible template needs; `range` in `range` in `range` could go on for ever.
const STEPS: usize = 1_000_000;
/// Bytes of one value.
const LONGEST: usize = 4 << 20;

pub(super) fn render(nodes: &[Node], data: &Data) -> Result<String, Error> {
    let variables = vec![(String::new(), Val::Root)];
    let mut eval = Eval { data, out: String::new(), variables, steps: 0 };
    eval.nodes(nodes, &Val::Root)?;
    Ok(eval.out)
}

/// What a part of a template asks the loop around it to do.
enum Flow {
    On,
    Break,
    Continue,
}

struct Eval<'a> {
    data: &'a Data,
    out: String,
    variables: Vec<(String, Val)>,
    steps: usize,
}

fn failed(operand: &Operand, problem: Problem) -> Error {
    let (line, column) = (operand.at.line, operand.at.column);
    Error::Execute { line, column, source_text: operand.source(), problem }
}

impl Eval<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Val) -> Result<Flow, Error> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        let text = self.print(&value);
                        self.out.push_str(&text);
                    }
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
                Node::If(block) | Node::With(block) => {
                    let known = self.variables.len();
                    let value = self.pipeline(&block.pipeline, dot)?;
                    let inner = if matches!(node, Node::With(_)) { &value } else { dot };
                    let flow = if value.is_true() {
                        self.nodes(&block.body, inner)?
                    } else {
                        self.nodes(&block.otherwise, dot)?
                    };
                    self.variables.truncate(known);
                    if !matches!(flow, Flow::On) {
                        return Ok(flow);
                    }
                }
                Node::Range(block) => {
                    let known = self.variables.len();
                    let flow = self.range(block, dot)?;
                    self.variables.truncate(known);
                    if !matches!(flow, Flow::On) {
                        return Ok(flow);
                    }
                }
            }
        }
        Ok(Flow::On)
    }

    fn range(&mut self, block: &Block, dot: &Val) -> Result<Flow, Error> {
        // The variables are those of the items, not of the list.
        let list = Pipeline { variables: Vec::new(), ..block.pipeline.clone() };
        let list = self.pipeline(&list, dot)?;
        let items = items(&self.plain(&list), &list)
            .map_err(|problem| failed(first(&block.pipeline), problem))?;
        if items.is_empty() {
            return self.nodes(&block.otherwise, dot);
        }
        self.steps = self.steps.saturating_add(items.len());
        let known = self.variables.len();
        for (key, item) in items {
            match block.pipeline.variables.as_slice() {
                [] => {}
                [one] => self.put(one, item.clone(), block.pipeline.assigns),
                [index, one, ..] => {
                    self.put(index, key, block.pipeline.assigns);
                    self.put(one, item.clone(), block.pipeline.assigns);
                }
            }
            let flow = self.nodes(&block.body, &item)?;
            self.variables.truncate(known);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn put(&mut self, name: &str, value: Val, assigns: bool) {
        if assigns && let Some(known) = self.variables.iter_mut().rev().find(|(it, _)| it == name) {
            known.1 = value;
            return;
        }
        self.variables.push((name.to_owned(), value));
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Val) -> Result<Val, Error> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Val::Missing);
        for name in &pipeline.variables {
            self.put(name, value.clone(), pipeline.assigns);
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, dot: &Val, last: Option<Val>) -> Result<Val, Error> {
        let Some((first, rest)) = command.operands.split_first() else { return Ok(Val::Missing) };
        self.steps += 1;
        if self.steps > STEPS {
            return Err(failed(first, Problem::TooMuch(STEPS)));
        }
        if let Base::Function(name) = &first.base {
            let value = match name.as_str() {
                // Those who know the answer ask no further.
                "and" | "or" => self.until(name == "or", first, (rest, dot, last))?,
                _ => {
                    let arguments = self.arguments(rest, dot, last)?;
                    let plain = self.plain_all(arguments);
                    self.call(name, &plain).map_err(|problem| failed(first, problem))?
                }
            };
            if matches!(&value, Val::Json { value: Value::String(text), .. } if text.len() > LONGEST)
            {
                return Err(failed(first, Problem::TooMuch(LONGEST)));
            }
            return self.fields(value, first);
        }
        if rest.is_empty() && last.is_none() {
            return self.operand(first, dot);
        }
        let arguments = self.arguments(rest, dot, last)?;
        self.method(first, dot, &arguments).map_err(|problem| failed(first, problem))
    }

    fn call(&self, name: &str, arguments: &[Val]) -> Result<Val, Problem> {
        let dresses = ["json", "split", "join", "title", "lower", "upper", "truncate"];
        match (&self.data.labels, arguments.first()) {
            (Labels::Headings, Some(heading)) if dresses.contains(&name) => Ok(heading.clone()),
            _ => functions::call(name, arguments),
        }
    }

    /// `.Label "name"` is the one field that takes an argument.
    fn method(&self, first: &Operand, dot: &Val, arguments: &[Val]) -> Result<Val, Problem> {
        let is_root = match &first.base {
            Base::Dot => *dot == Val::Root,
            Base::Variable(name) => name.is_empty(),
            _ => false,
        };
        if !is_root || first.fields != ["Label"] {
            return Err(Problem::NotAFunction(first.source()));
        }
        match arguments {
            [Val::Json { value: Value::String(name), .. }] => Ok(self.data.labels.get(name).into()),
            _ => Err(Problem::Arguments {
                function: "Label".into(),
                want: "1",
                got: arguments.len(),
            }),
        }
    }

    fn arguments(
        &mut self,
        operands: &[Operand],
        dot: &Val,
        last: Option<Val>,
    ) -> Result<Vec<Val>, Error> {
        let mut all = Vec::new();
        for operand in operands {
            all.push(self.operand(operand, dot)?);
        }
        all.extend(last);
        Ok(all)
    }

    fn until(
        &mut self,
        wanted: bool,
        first: &Operand,
        (rest, dot, last): (&[Operand], &Val, Option<Val>),
    ) -> Result<Val, Error> {
        let mut value = None;
        for operand in rest {
            let one = self.operand(operand, dot)?;
            if one.is_true() == wanted {
                return Ok(one);
            }
            value = Some(one);
        }
        let function = if wanted { "or" } else { "and" };
        let none = || Problem::Arguments { function: function.into(), want: "at least 1", got: 0 };
        last.or(value).ok_or_else(|| failed(first, none()))
    }

    fn operand(&mut self, operand: &Operand, dot: &Val) -> Result<Val, Error> {
        let value = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found
                    .map(|(_, value)| value.clone())
                    .ok_or_else(|| failed(operand, Problem::UnknownVariable(format!("${name}"))))?
            }
            Base::Function(name) => {
                functions::call(name, &[]).map_err(|problem| failed(operand, problem))?
            }
            Base::Text(text) => text.clone().into(),
            Base::Integer(number) => Value::from(*number).into(),
            Base::Float(number) => Value::from(*number).into(),
            Base::Bool(value) => (*value).into(),
            Base::Nil => Val::Nil,
            Base::Pipeline(inner) => {
                let known = self.variables.len();
                let value = self.pipeline(inner, dot)?;
                self.variables.truncate(known);
                value
            }
        };
        self.fields(value, operand)
    }

    fn fields(&self, value: Val, operand: &Operand) -> Result<Val, Error> {
        operand.fields.iter().try_fold(value, |value, name| {
            self.field(&value, name).map_err(|problem| failed(operand, problem))
        })
    }

    fn field(&self, value: &Val, name: &str) -> Result<Val, Problem> {
        let (object, is_map) = match value {
            Val::Root => (&self.data.fields, false),
            Val::Json { value, is_map } => (value, *is_map),
            // Of nothing there is nothing.
            Val::Missing => return Ok(Val::Missing),
            Val::Nil => {
                return Err(Problem::NotAnObject { field: name.into(), kind: value.kind() });
            }
        };
        match (object, object.get(name)) {
            (_, Some(found)) => Ok(Val::of_field(name, found)),
            (Value::Object(_), None) if is_map => Ok(Val::Missing),
            (Value::Object(_), None) if Val::is_pointer(name) => Ok(Val::Nil),
            (Value::Object(_), None) => Err(Problem::NoSuchField(name.into())),
            _ => Err(Problem::NotAnObject { field: name.into(), kind: value.kind() }),
        }
    }

    /// Functions know nothing of the root.
    fn plain_all(&self, values: Vec<Val>) -> Vec<Val> {
        let plain = |value| match value {
            Val::Root => self.data.fields.clone().into(),
            other => other,
        };
        values.into_iter().map(plain).collect()
    }

    fn plain(&self, value: &Val) -> Value {
        match value {
            Val::Missing | Val::Nil => Value::Null,
            Val::Root => self.data.fields.clone(),
            Val::Json { value, .. } => value.clone(),
        }
    }

    fn print(&self, value: &Val) -> String {
        match value {
            Val::Missing => "<no value>".into(),
            Val::Nil => "<nil>".into(),
            Val::Root => value::print(&self.data.fields),
            Val::Json { value: Value::Null, is_map: true } => "map[]".into(),
            Val::Json { value, .. } => value::print(value),
        }
    }
}

fn first(pipeline: &Pipeline) -> &Operand {
    static NOTHING: Operand = Operand {
        base: Base::Nil,
        fields: Vec::new(),
        at: super::lexer::At { line: 0, column: 0 },
    };
    pipeline.commands.first().and_then(|command| command.operands.first()).unwrap_or(&NOTHING)
}

/// What `range` goes through: keys and items.
fn items(list: &Value, shown: &Val) -> Result<Vec<(Val, Val)>, Problem> {
    let number = |index: usize| Value::from(index).into();
    match list {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            let items = items.iter().cloned().map(Val::from).enumerate();
            Ok(items.map(|(index, item)| (number(index), item)).collect())
        }
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            let entry = |(key, value): (&String, &Value)| {
                (key.clone().into(), Val::Json { value: value.clone(), is_map: false })
            };
            Ok(sorted.into_iter().map(entry).collect())
        }
        Value::Number(count) => {
            let count = count.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
            if count > STEPS {
                return Err(Problem::TooMuch(STEPS));
            }
            Ok((0..count).map(|index| (number(index), number(index))).collect())
        }
        other => Err(Problem::NotAList(match shown {
            Val::Missing | Val::Nil | Val::Root => shown.kind().into(),
            Val::Json { .. } => value::print(other),
        })),
    }
}
