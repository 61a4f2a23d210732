//! The tree of a parsed template. Positions are byte offsets, for the places in errors.

use std::fmt;

/// What stands between and in actions.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Literal text.
    Text(String),
    /// `{{pipeline}}`
    Action(Pipe),
    /// `{{if}}`
    If(Branch),
    /// `{{with}}`
    With(Branch),
    /// `{{range}}`
    Range(Branch),
    /// `{{template "name" pipeline}}`
    Template {
        at: usize,
        name: String,
        pipe: Option<Pipe>,
    },
    /// `{{break}}`
    Break,
    /// `{{continue}}`
    Continue,
}

/// A pipeline and what is done with and without its value.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands whose values are passed on, perhaps into variables.
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    pub(super) at: usize,
    /// Variables with their `$`.
    pub(super) variables: Vec<String>,
    /// `=` instead of `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// An operand and its arguments.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) words: Vec<Word>,
}

/// An operand at a place.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) at: usize,
    pub(super) operand: Operand,
}

#[derive(Clone, Debug)]
pub(super) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    /// A text and how it was written.
    Text(String, String),
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`: the variable first.
    Variable(Vec<String>),
    /// A function.
    Function(String),
    /// `(pipeline)`
    Pipe(Box<Pipe>),
    /// `(pipeline).a.b`
    Chain(Box<Word>, Vec<String>),
}

/// A number as it was written, and what it can be.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) text: String,
    pub(super) int: Option<i64>,
    pub(super) float: f64,
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (at, command) in self.commands.iter().enumerate() {
            if at > 0 {
                f.write_str(" | ")?;
            }
            command.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.words.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            word.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.operand {
            Operand::Dot => f.write_str("."),
            Operand::Nil => f.write_str("nil"),
            Operand::Bool(value) => value.fmt(f),
            Operand::Number(number) => f.write_str(&number.text),
            Operand::Text(_, quoted) => f.write_str(quoted),
            Operand::Field(names) => names.iter().try_for_each(|name| write!(f, ".{name}")),
            Operand::Variable(names) => f.write_str(&names.join(".")),
            Operand::Function(name) => f.write_str(name),
            Operand::Pipe(pipe) => write!(f, "({pipe})"),
            Operand::Chain(word, names) => {
                word.fmt(f)?;
                names.iter().try_for_each(|name| write!(f, ".{name}"))
            }
        }
    }
}

/// Adds the first parts of the fields that nodes name.
pub(super) fn fields(nodes: &[Node], out: &mut Vec<String>) {
    for node in nodes {
        match node {
            Node::Action(pipe) => pipe_fields(pipe, out),
            Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                pipe_fields(&branch.pipe, out);
                fields(&branch.body, out);
                fields(&branch.otherwise, out);
            }
            Node::Template {
                pipe: Some(pipe), ..
            } => pipe_fields(pipe, out),
            Node::Text(_) | Node::Template { .. } | Node::Break | Node::Continue => {}
        }
    }
}

fn pipe_fields(pipe: &Pipe, out: &mut Vec<String>) {
    let words = pipe.commands.iter().flat_map(|command| &command.words);
    words.for_each(|word| word_fields(word, out));
}

fn word_fields(word: &Word, out: &mut Vec<String>) {
    match &word.operand {
        Operand::Field(names) => out.extend(names.first().cloned()),
        // `$` is the data at the start.
        Operand::Variable(names) if names[0] == "$" => out.extend(names.get(1).cloned()),
        Operand::Pipe(pipe) => pipe_fields(pipe, out),
        Operand::Chain(word, _) => word_fields(word, out),
        _ => {}
    }
}
