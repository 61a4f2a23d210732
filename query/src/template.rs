//! Go's `text/template`, as Prometheus, Alertmanager and Loki use it: parsed once, executed for
//! each row or alert.
//!
//! Language and error texts are Go's. What a template may call beyond Go's built-in functions is
//! said by a [`Functions`]; each signal brings its own.
//! Invariant: executing is bounded, by [`STEPS_MAX`] nodes, [`OUTPUT_BYTES_MAX`] bytes and
//! [`DEPTH_MAX`] nested templates; no input panics.

mod ast;
mod builtins;
mod exec;
mod lexer;
mod methods;
mod parser;
mod printf;
pub mod texts;
mod time;
mod value;

pub use builtins::{Arguments, NoFunctions};
pub use builtins::{html, urlquery};
pub use time::Moment;
pub use value::{Map, Value};

use std::collections::BTreeMap;
use std::sync::Arc;

use ast::Node;

/// Nodes that one execution may visit.
pub const STEPS_MAX: usize = 1_000_000;
/// Bytes that one execution may write.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Templates that may be in each other.
pub const DEPTH_MAX: usize = 100;

/// Why a template does not parse or does not execute, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: {0}")]
pub struct TemplateError(pub(crate) String);

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The arguments do not fit the function.
    Arguments(String),
    /// The function says so.
    Failed(String),
}

/// The functions that a template may call beside Go's.
pub trait Functions {
    /// Whether there is a function of this name; asked when a template is parsed.
    fn knows(&self, name: &str) -> bool;

    /// Calls a function; its error is told with the place of the call.
    fn call(&self, name: &str, arguments: &Arguments) -> Result<Value, CallError>;

    /// Calls a method of a value, such as one of Alertmanager's maps of labels; nothing where there
    /// is no such method. It goes before an entry of the same name.
    fn method(
        &self,
        _receiver: &Value,
        _name: &str,
        _arguments: &Arguments,
    ) -> Option<Result<Value, CallError>> {
        None
    }

    /// Writes the value of an action in its own way, such as with HTML's escapes; `false` where it
    /// is written as usual. What was written before it is known.
    fn write(&self, _value: &Value, _out: &mut String) -> bool {
        false
    }
}

/// The body of a template, and the text that it stands in.
#[derive(Clone, Debug)]
struct Body {
    nodes: Vec<Node>,
    text: Arc<str>,
}

/// A parsed template with the templates that it defines.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    text: Arc<str>,
    /// Bodies by name; the template's own is among them.
    bodies: BTreeMap<String, Arc<Body>>,
}

impl Template {
    /// Parses a text. Its errors call it by the name.
    pub fn parse(name: &str, text: &str, functions: &dyn Functions) -> Result<Self, TemplateError> {
        let none = Self {
            name: name.to_owned(),
            text: Arc::from(""),
            bodies: BTreeMap::new(),
        };
        none.with(text, functions)
    }

    /// The same name with another text: what this one defines can be called from it, and what it
    /// defines itself takes the place of what has the name, unless that would empty it.
    pub fn with(&self, text: &str, functions: &dyn Functions) -> Result<Self, TemplateError> {
        let parsed = parser::parse(&self.name, text, functions)?;
        let text: Arc<str> = Arc::from(text);
        let mut bodies = self.bodies.clone();
        for (name, nodes) in parsed {
            let empties = name != self.name && nodes.iter().all(Node::is_blank);
            if empties && bodies.contains_key(&name) {
                continue;
            }
            let text = Arc::clone(&text);
            bodies.insert(name, Arc::new(Body { nodes, text }));
        }
        Ok(Self {
            name: self.name.clone(),
            text,
            bodies,
        })
    }

    /// The text that was parsed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Executes the template over data.
    pub fn execute(
        &self,
        data: &Value,
        functions: &dyn Functions,
    ) -> Result<String, TemplateError> {
        exec::execute(self, &self.name, data, functions)
    }

    /// Executes one of the templates that it defines.
    pub fn execute_named(
        &self,
        name: &str,
        data: &Value,
        functions: &dyn Functions,
    ) -> Result<String, TemplateError> {
        if !self.bodies.contains_key(name) {
            let text = format!("template {name:?} is not defined");
            return Err(TemplateError(text));
        }
        exec::execute(self, name, data, functions)
    }

    /// The fields of the data that are named anywhere, first part only: `a` for `{{.a.b}}`. `None`
    /// where the data, or what is the data somewhere, is taken as a whole.
    pub fn fields(&self) -> Option<Vec<String>> {
        let mut fields = ast::Fields::default();
        for body in self.bodies.values() {
            fields.add(&body.nodes);
        }
        fields.finish()
    }
}

#[cfg(test)]
mod tests;
