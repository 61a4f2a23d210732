//! Executing a parsed template, as Go's `text/template` does it and with its words for faults.

use super::ast::{Branch, Command, Node, Operand, Pipe, Word};
use super::builtins::{self, Arguments};
use super::methods;
use super::value::Value;
use super::{
    CallError, DEPTH_MAX, Functions, OUTPUT_BYTES_MAX, STEPS_MAX, Template, TemplateError,
};

/// Characters of an action that an error shows.
const CONTEXT_CHARS: usize = 20;

pub(super) fn execute(
    template: &Template,
    name: &str,
    data: &Value,
    functions: &dyn Functions,
) -> Result<String, TemplateError> {
    let mut run = Run {
        template,
        functions,
        out: String::new(),
        steps: 0,
    };
    let Some((name, body)) = template.bodies.get_key_value(name) else {
        return Err(TemplateError(format!("template {name:?} is not defined")));
    };
    let mut scope = Scope::new(name, data.clone(), 0);
    run.nodes(&body.nodes, data, &mut scope)?;
    Ok(run.out)
}

/// One execution.
struct Run<'t> {
    template: &'t Template,
    functions: &'t dyn Functions,
    out: String,
    steps: usize,
}

/// The variables of one body.
struct Scope<'t> {
    name: &'t str,
    variables: Vec<(String, Value)>,
    depth: usize,
}

impl<'t> Scope<'t> {
    fn new(name: &'t str, data: Value, depth: usize) -> Self {
        Self {
            name,
            variables: vec![("$".to_owned(), data)],
            depth,
        }
    }
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

type Outcome<T> = Result<T, TemplateError>;

impl<'t> Run<'t> {
    /// An error at a place, which is shown as `shown`.
    fn fault<T>(
        &self,
        scope: &Scope<'_>,
        at: usize,
        shown: &dyn std::fmt::Display,
        message: &str,
    ) -> Outcome<T> {
        let text = match self.template.bodies.get(scope.name) {
            Some(body) => &body.text,
            None => &self.template.text,
        };
        let text = &text.as_bytes()[..at.min(text.len())];
        let line = 1 + text.iter().filter(|b| **b == b'\n').count();
        let begin = text
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |newline| newline + 1);
        let (file, name) = (&self.template.name, scope.name);
        let mut shown = shown.to_string();
        if shown.chars().count() > CONTEXT_CHARS {
            shown = shown.chars().take(CONTEXT_CHARS).collect::<String>() + "...";
        }
        let column = at - begin;
        Err(TemplateError(format!(
            "{file}:{line}:{column}: executing {name:?} at <{shown}>: {message}"
        )))
    }

    fn step(&mut self) -> Outcome<()> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            let message = format!("executed more than {STEPS_MAX} actions");
            return Err(TemplateError(format!("{}: {message}", self.template.name)));
        }
        if self.out.len() > OUTPUT_BYTES_MAX {
            let message = format!("wrote more than {OUTPUT_BYTES_MAX} bytes");
            return Err(TemplateError(format!("{}: {message}", self.template.name)));
        }
        Ok(())
    }

    fn nodes(&mut self, nodes: &'t [Node], dot: &Value, scope: &mut Scope<'t>) -> Outcome<Flow> {
        for node in nodes {
            self.step()?;
            let flow = match node {
                Node::Text(text) => {
                    self.out.push_str(text);
                    Flow::On
                }
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot, scope)?;
                    if pipe.variables.is_empty() && !self.functions.write(&value, &mut self.out) {
                        value.print("<no value>", &mut self.out);
                    }
                    Flow::On
                }
                Node::If(branch) => self.branch(branch, dot, scope, false)?,
                Node::With(branch) => self.branch(branch, dot, scope, true)?,
                Node::Range(branch) => {
                    let known = scope.variables.len();
                    let flow = self.range(branch, dot, scope);
                    scope.variables.truncate(known);
                    flow?
                }
                Node::Template { at, name, pipe } => {
                    self.call_template(*at, name, pipe.as_ref(), dot, scope)?;
                    Flow::On
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        self.step()?;
        Ok(Flow::On)
    }

    fn branch(
        &mut self,
        branch: &'t Branch,
        dot: &Value,
        scope: &mut Scope<'t>,
        with: bool,
    ) -> Outcome<Flow> {
        let known = scope.variables.len();
        let value = self.pipe(&branch.pipe, dot, scope)?;
        let flow = if !value.is_true() {
            self.nodes(&branch.otherwise, dot, scope)
        } else if with {
            self.nodes(&branch.body, &value, scope)
        } else {
            self.nodes(&branch.body, dot, scope)
        };
        scope.variables.truncate(known);
        flow
    }

    fn range(&mut self, branch: &'t Branch, dot: &Value, scope: &mut Scope<'t>) -> Outcome<Flow> {
        let over = self.pipe(&branch.pipe, dot, scope)?;
        let known = scope.variables.len();
        let pipe = &branch.pipe;
        let mut each = |run: &mut Self, key: Value, value: &Value| {
            set_loop_variables(pipe, scope, key, value);
            let flow = run.nodes(&branch.body, value, scope);
            scope.variables.truncate(known);
            flow
        };
        let mut empty = true;
        match &over {
            Value::List(values) => {
                for (at, value) in values.iter().enumerate() {
                    empty = false;
                    if each(self, Value::Int(at as i64), value)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, value) in &map.entries {
                    empty = false;
                    if each(self, key.as_str().into(), value)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Int(count) => {
                for at in 0..*count {
                    empty = false;
                    let at = Value::Int(at);
                    if each(self, at.clone(), &at)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Nil => {}
            other => {
                let shown = other.printed();
                let message = format!("range can't iterate over {shown}");
                // What was evaluated last.
                let last = pipe
                    .commands
                    .last()
                    .and_then(|command| command.words.last());
                return match last {
                    Some(word) => self.fault(scope, word.at, word, &message),
                    None => self.fault(scope, pipe.at, pipe, &message),
                };
            }
        }
        if empty {
            return self.nodes(&branch.otherwise, dot, scope);
        }
        Ok(Flow::On)
    }

    fn call_template(
        &mut self,
        at: usize,
        name: &'t str,
        pipe: Option<&'t Pipe>,
        dot: &Value,
        scope: &mut Scope<'t>,
    ) -> Outcome<()> {
        let shown = format!("{{{{template {name:?}}}}}");
        let Some(body) = self.template.bodies.get(name) else {
            let message = format!("template {name:?} not defined");
            return self.fault(scope, at, &shown, &message);
        };
        if scope.depth == DEPTH_MAX {
            let message = format!("exceeded maximum template depth ({DEPTH_MAX})");
            return self.fault(scope, at, &shown, &message);
        }
        let data = match pipe {
            Some(pipe) => self.pipe(pipe, dot, scope)?,
            None => Value::Nil,
        };
        let mut inner = Scope::new(name, data.clone(), scope.depth + 1);
        self.nodes(&body.nodes, &data, &mut inner)?;
        Ok(())
    }

    /// The value of a pipeline; its variables are set.
    fn pipe(&mut self, pipe: &'t Pipe, dot: &Value, scope: &mut Scope<'t>) -> Outcome<Value> {
        self.step()?;
        let mut value: Option<Value> = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value, scope)?);
        }
        let value = value.unwrap_or_default();
        // The variables of a loop are set for each round.
        for name in &pipe.variables {
            if pipe.assigns {
                let mut known = scope.variables.iter_mut().rev();
                if let Some((_, old)) = known.find(|(known, _)| known == name) {
                    *old = value.clone();
                }
            } else {
                scope.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn command(
        &mut self,
        command: &'t Command,
        dot: &Value,
        last: Option<Value>,
        scope: &mut Scope<'t>,
    ) -> Outcome<Value> {
        let first = &command.words[0];
        if let Operand::Function(name) = &first.operand {
            return self.function(name, command, dot, last, scope);
        }
        let arguments = command.words.len() > 1 || last.is_some();
        match &first.operand {
            Operand::Nil => self.fault(scope, first.at, first, "nil is not a command"),
            Operand::Field(names) if arguments => {
                let receiver = (dot.clone(), names.as_slice());
                self.method(command, receiver, dot, last, scope)
            }
            Operand::Variable(names) if arguments && names.len() > 1 => {
                let receiver = (variable(&names[0], scope), &names[1..]);
                self.method(command, receiver, dot, last, scope)
            }
            Operand::Chain(inner, names) if arguments => {
                let receiver = (self.word(inner, dot, scope)?, names.as_slice());
                self.method(command, receiver, dot, last, scope)
            }
            _ if arguments => {
                let message = format!("can't give argument to non-function {first}");
                self.fault(scope, first.at, first, &message)
            }
            _ => self.word(first, dot, scope),
        }
    }

    /// The value of an operand by itself.
    fn word(&mut self, word: &'t Word, dot: &Value, scope: &mut Scope<'t>) -> Outcome<Value> {
        match &word.operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Nil => Ok(Value::Nil),
            Operand::Bool(value) => Ok(Value::Bool(*value)),
            Operand::Number(number) => {
                let written_float = !number.text.starts_with('\'')
                    && !number.text.starts_with("0x")
                    && number.text.contains(['.', 'e', 'E', 'p', 'P']);
                match number.int.filter(|_| !written_float) {
                    Some(int) => Ok(Value::Int(int)),
                    None if written_float => Ok(Value::Float(number.float)),
                    None => {
                        let message = format!("{} overflows int", number.text);
                        self.fault(scope, word.at, word, &message)
                    }
                }
            }
            Operand::Text(text, _) => Ok(text.as_str().into()),
            Operand::Field(names) => self.fields(word, dot, names, scope),
            Operand::Variable(names) => {
                let value = variable(&names[0], scope);
                self.fields(word, &value, &names[1..], scope)
            }
            Operand::Function(name) => {
                let arguments = Arguments::default();
                self.call(name, word, &arguments, scope)
            }
            Operand::Pipe(pipe) => self.pipe(pipe, dot, scope),
            Operand::Chain(inner, names) => {
                let value = self.word(inner, dot, scope)?;
                self.fields(word, &value, names, scope)
            }
        }
    }

    fn fields(
        &self,
        word: &Word,
        value: &Value,
        names: &[String],
        scope: &Scope<'_>,
    ) -> Outcome<Value> {
        let mut value = value.clone();
        for name in names {
            let none = Arguments::default();
            if let Some(outcome) = methods::call(self.functions, &value, name, &none) {
                value = self.outcome(name, word, outcome, scope)?;
                continue;
            }
            value = match &value {
                Value::Map(map) => match map.entries.get(name) {
                    Some(value) => value.clone(),
                    None if map.texts => "".into(),
                    None => Value::Nil,
                },
                Value::Nil => Value::Nil,
                other => {
                    let kind = other.type_name();
                    let message = format!("can't evaluate field {name} in type {kind}");
                    return self.fault(scope, word.at, word, &message);
                }
            };
        }
        Ok(value)
    }

    fn function(
        &mut self,
        name: &str,
        command: &'t Command,
        dot: &Value,
        last: Option<Value>,
        scope: &mut Scope<'t>,
    ) -> Outcome<Value> {
        let first = &command.words[0];
        let words = &command.words[1..];
        if matches!(name, "and" | "or") && !self.functions.knows(name) {
            return self.logic(name, first, (words, last), dot, scope);
        }
        let arguments = self.arguments(words, last, dot, scope)?;
        self.call(name, first, &arguments, scope)
    }

    fn arguments(
        &mut self,
        words: &'t [Word],
        last: Option<Value>,
        dot: &Value,
        scope: &mut Scope<'t>,
    ) -> Outcome<Arguments> {
        let mut arguments = Arguments::default();
        for word in words {
            let literal = matches!(word.operand, Operand::Number(_));
            arguments.push(self.word(word, dot, scope)?, literal);
        }
        if let Some(last) = last {
            arguments.push(last, false);
        }
        Ok(arguments)
    }

    /// A method with arguments: the last of the names, on what the others lead to.
    fn method(
        &mut self,
        command: &'t Command,
        (receiver, names): (Value, &[String]),
        dot: &Value,
        last: Option<Value>,
        scope: &mut Scope<'t>,
    ) -> Outcome<Value> {
        self.step()?;
        let first = &command.words[0];
        let (name, path) = match names.split_last() {
            Some((name, path)) => (name.as_str(), path),
            None => ("", names),
        };
        let receiver = self.fields(first, &receiver, path, scope)?;
        let arguments = self.arguments(&command.words[1..], last, dot, scope)?;
        match methods::call(self.functions, &receiver, name, &arguments) {
            Some(outcome) => self.outcome(name, first, outcome, scope),
            None => {
                let message = format!("{name} is not a method but has arguments");
                self.fault(scope, first.at, first, &message)
            }
        }
    }

    /// `and` and `or`: they take no more of their arguments than they need.
    fn logic(
        &mut self,
        name: &str,
        first: &Word,
        (words, last): (&'t [Word], Option<Value>),
        dot: &Value,
        scope: &mut Scope<'t>,
    ) -> Outcome<Value> {
        if words.is_empty() && last.is_none() {
            let message = format!("wrong number of args for {name}: want at least 1 got 0");
            return self.fault(scope, first.at, first, &message);
        }
        let mut value = Value::Nil;
        for word in words {
            value = self.word(word, dot, scope)?;
            if value.is_true() == (name == "or") {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn call(
        &mut self,
        name: &str,
        word: &Word,
        arguments: &Arguments,
        scope: &Scope<'_>,
    ) -> Outcome<Value> {
        self.step()?;
        let outcome = if self.functions.knows(name) {
            self.functions.call(name, arguments)
        } else {
            builtins::call(name, arguments)
        };
        self.outcome(name, word, outcome, scope)
    }

    /// What a call gave, or its fault at the place of the call.
    fn outcome(
        &self,
        name: &str,
        word: &Word,
        outcome: Result<Value, CallError>,
        scope: &Scope<'_>,
    ) -> Outcome<Value> {
        match outcome {
            Ok(value) => Ok(value),
            Err(CallError::Arguments(message)) => self.fault(scope, word.at, word, &message),
            Err(CallError::Failed(message)) => {
                let message = format!("error calling {name}: {message}");
                self.fault(scope, word.at, word, &message)
            }
        }
    }
}

/// The value of a variable.
fn variable(name: &str, scope: &Scope<'_>) -> Value {
    let mut known = scope.variables.iter().rev();
    let found = known.find(|(known, _)| known == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// Sets `$i, $x` or `$x` for a round of a loop.
fn set_loop_variables(pipe: &Pipe, scope: &mut Scope<'_>, key: Value, value: &Value) {
    let values = match pipe.variables.len() {
        1 => vec![value.clone()],
        2 => vec![key, value.clone()],
        _ => return,
    };
    for (name, value) in pipe.variables.iter().zip(values) {
        let mut known = scope.variables.iter_mut().rev();
        // Declared by the pipeline, or before where it assigns.
        if let Some((_, old)) = known.find(|(known, _)| known == name) {
            *old = value;
        }
    }
}
