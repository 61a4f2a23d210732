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

impl Node {
    /// Nothing but spaces.
    pub(super) fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }
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

/// The first parts of the fields that nodes name.
#[derive(Debug, Default)]
pub(super) struct Fields {
    names: Vec<String>,
    whole: bool,
}

impl Fields {
    pub(super) fn add(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Action(pipe) => self.pipe(pipe),
                Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                    self.pipe(&branch.pipe);
                    self.add(&branch.body);
                    self.add(&branch.otherwise);
                }
                Node::Template {
                    pipe: Some(pipe), ..
                } => self.pipe(pipe),
                Node::Text(_) | Node::Template { .. } | Node::Break | Node::Continue => {}
            }
        }
    }

    fn pipe(&mut self, pipe: &Pipe) {
        let words = pipe.commands.iter().flat_map(|command| &command.words);
        words.for_each(|word| self.word(word));
    }

    fn word(&mut self, word: &Word) {
        match &word.operand {
            Operand::Dot => self.whole = true,
            Operand::Field(names) => self.names.extend(names.first().cloned()),
            // `$` is the data at the start.
            Operand::Variable(names) if names[0] == "$" => match names.get(1) {
                Some(name) => self.names.push(name.clone()),
                None => self.whole = true,
            },
            Operand::Pipe(pipe) => self.pipe(pipe),
            Operand::Chain(word, _) => self.word(word),
            Operand::Nil
            | Operand::Bool(_)
            | Operand::Number(_)
            | Operand::Text(..)
            | Operand::Variable(_)
            | Operand::Function(_) => {}
        }
    }

    /// The names, sorted; `None` where something is taken as a whole.
    pub(super) fn finish(mut self) -> Option<Vec<String>> {
        self.names.sort_unstable();
        self.names.dedup();
        (!self.whole).then_some(self.names)
    }
}
