//! Tokens into a tree, as Go's `text/template/parse` does it and with its words for faults.

use std::collections::BTreeMap;

use super::ast::{Branch, Command, Node, Number, Operand, Pipe, Word};
use super::lexer::{self, Fault, Kind, Token};
use super::{DEPTH_MAX, Functions, TemplateError, builtins};
use crate::promql::strings;

/// Parses a template: its body and those that it defines, by name.
pub(super) fn parse(
    name: &str,
    text: &str,
    functions: &dyn Functions,
) -> Result<BTreeMap<String, Vec<Node>>, TemplateError> {
    let fault = |(at, message): Fault| {
        let line = 1 + text.as_bytes()[..at.min(text.len())]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        TemplateError(format!("{name}:{line}: {message}"))
    };
    let tokens = lexer::tokens(text).map_err(fault)?;
    let mut parser = Parser {
        tokens,
        next: 0,
        functions,
        variables: vec!["$".to_owned()],
        loops: 0,
        depth: 0,
        bodies: BTreeMap::new(),
    };
    let (body, end) = parser.nodes().map_err(fault)?;
    match end {
        Ending::Eof => {}
        Ending::End(at) => return Err(fault((at, "unexpected {{end}}".to_owned()))),
        Ending::Else(at) => return Err(fault((at, "unexpected {{else}}".to_owned()))),
    }
    parser.bodies.insert(name.to_owned(), body);
    Ok(parser.bodies)
}

struct Parser<'f> {
    tokens: Vec<Token>,
    next: usize,
    functions: &'f dyn Functions,
    /// Variables that are declared here, with their `$`.
    variables: Vec<String>,
    /// Loops around this place.
    loops: usize,
    depth: usize,
    bodies: BTreeMap<String, Vec<Node>>,
}

/// What ended a list of nodes.
enum Ending {
    Eof,
    End(usize),
    Else(usize),
}

/// How a control structure goes on after its `else`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Structure {
    If,
    With,
    Range,
}

impl Structure {
    fn word(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::With => "with",
            Self::Range => "range",
        }
    }
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.next]
    }

    fn take(&mut self) -> Token {
        let token = self.tokens[self.next].clone();
        // The end stays.
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    /// The next token that is no space.
    fn peek_word(&mut self) -> &Token {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
        self.peek()
    }

    fn take_word(&mut self) -> Token {
        self.peek_word();
        self.take()
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, Ending), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let at = self.peek().at;
            return Err((at, format!("more than {DEPTH_MAX} actions in each other")));
        }
        let mut nodes = Vec::new();
        let ending = loop {
            let token = self.take();
            match token.kind {
                Kind::End => break Ending::Eof,
                Kind::Text => nodes.push(Node::Text(token.text)),
                Kind::Open => {
                    let word = self.peek_word().clone();
                    match (word.kind, word.text.as_str()) {
                        (Kind::Name, "end") => {
                            self.take();
                            self.close("end")?;
                            break Ending::End(word.at);
                        }
                        (Kind::Name, "else") => {
                            self.take();
                            break Ending::Else(word.at);
                        }
                        _ => nodes.extend(self.action()?),
                    }
                }
                _ => return Err(unexpected(&token, "input")),
            }
        };
        self.depth -= 1;
        Ok((nodes, ending))
    }

    fn close(&mut self, context: &str) -> Result<(), Fault> {
        let token = self.take_word();
        match token.kind {
            Kind::Close => Ok(()),
            _ => Err(unexpected(&token, context)),
        }
    }

    /// An action after its `{{`.
    fn action(&mut self) -> Result<Option<Node>, Fault> {
        let word = self.peek().clone();
        if word.kind == Kind::Name {
            let node = match word.text.as_str() {
                "if" => self.branch(Structure::If)?,
                "with" => self.branch(Structure::With)?,
                "range" => self.branch(Structure::Range)?,
                "block" => self.block()?,
                "template" => self.template()?,
                "define" => {
                    self.define()?;
                    return Ok(None);
                }
                "break" | "continue" => self.jump(&word)?,
                _ => Node::Action(self.command_action()?),
            };
            return Ok(Some(node));
        }
        Ok(Some(Node::Action(self.command_action()?)))
    }

    fn command_action(&mut self) -> Result<Pipe, Fault> {
        self.pipeline("command", Kind::Close)
    }

    fn jump(&mut self, word: &Token) -> Result<Node, Fault> {
        self.take();
        let token = self.take_word();
        if token.kind != Kind::Close {
            return Err(unexpected(&token, &format!("{{{{{}}}}}", word.text)));
        }
        if self.loops == 0 {
            let outside = format!("{{{{{}}}}} outside {{{{range}}}}", word.text);
            return Err((word.at, outside));
        }
        Ok(match word.text.as_str() {
            "break" => Node::Break,
            _ => Node::Continue,
        })
    }

    fn branch(&mut self, structure: Structure) -> Result<Node, Fault> {
        self.take();
        let known = self.variables.len();
        let pipe = self.pipeline(structure.word(), Kind::Close)?;
        self.loops += usize::from(structure == Structure::Range);
        let (body, ending) = self.nodes()?;
        self.loops -= usize::from(structure == Structure::Range);
        let otherwise = match ending {
            Ending::End(_) => Vec::new(),
            Ending::Eof => return Err((self.peek().at, "unexpected EOF".to_owned())),
            Ending::Else(_) => self.otherwise(structure)?,
        };
        self.variables.truncate(known);
        let branch = Branch {
            pipe,
            body,
            otherwise,
        };
        Ok(match structure {
            Structure::If => Node::If(branch),
            Structure::With => Node::With(branch),
            Structure::Range => Node::Range(branch),
        })
    }

    /// What follows `{{else`.
    fn otherwise(&mut self, structure: Structure) -> Result<Vec<Node>, Fault> {
        let word = self.peek_word().clone();
        let again = match (word.kind, word.text.as_str()) {
            (Kind::Name, "if") if structure == Structure::If => Some(Structure::If),
            (Kind::Name, "with") if structure == Structure::With => Some(Structure::With),
            _ => None,
        };
        if let Some(again) = again {
            // `{{else if}}` has one `{{end}}` with the `{{if}}` before it.
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err((
                    word.at,
                    format!("more than {DEPTH_MAX} actions in each other"),
                ));
            }
            let node = self.branch(again)?;
            self.depth -= 1;
            return Ok(vec![node]);
        }
        self.close("else")?;
        match self.nodes()? {
            (nodes, Ending::End(_)) => Ok(nodes),
            (_, Ending::Else(at)) => Err((at, "expected end; found {{else}}".to_owned())),
            (_, Ending::Eof) => Err((self.peek().at, "unexpected EOF".to_owned())),
        }
    }

    fn quoted_name(&mut self, context: &str) -> Result<String, Fault> {
        let token = self.take_word();
        match token.kind {
            Kind::Quoted => unquote(&token),
            _ => Err(unexpected(&token, context)),
        }
    }

    /// A body up to its `{{end}}`, with variables of its own.
    fn body(&mut self) -> Result<Vec<Node>, Fault> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, ending) = self.nodes()?;
        self.variables = variables;
        self.loops = loops;
        match ending {
            Ending::End(_) => Ok(nodes),
            Ending::Else(at) => Err((at, "unexpected {{else}} in define clause".to_owned())),
            Ending::Eof => Err((self.peek().at, "unexpected EOF".to_owned())),
        }
    }

    fn define(&mut self) -> Result<(), Fault> {
        let at = self.take().at;
        if self.depth > 1 {
            return Err((at, "unexpected {{define}}".to_owned()));
        }
        let name = self.quoted_name("define clause")?;
        self.close("define clause")?;
        let body = self.body()?;
        self.bodies.insert(name, body);
        Ok(())
    }

    fn block(&mut self) -> Result<Node, Fault> {
        let at = self.take().at;
        let name = self.quoted_name("block clause")?;
        let pipe = self.pipeline("block clause", Kind::Close)?;
        let body = self.body()?;
        self.bodies.insert(name.clone(), body);
        Ok(Node::Template {
            at,
            name,
            pipe: Some(pipe),
        })
    }

    fn template(&mut self) -> Result<Node, Fault> {
        let at = self.take().at;
        let name = self.quoted_name("template clause")?;
        let pipe = if self.peek_word().kind == Kind::Close {
            self.take();
            None
        } else {
            Some(self.pipeline("template clause", Kind::Close)?)
        };
        Ok(Node::Template { at, name, pipe })
    }

    fn is_sign(&self, sign: &str) -> bool {
        self.peek().kind == Kind::Sign && self.peek().text == sign
    }

    /// A pipeline and the token that ends it: `}}` or `)`.
    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe, Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let at = self.peek().at;
            return Err((at, format!("more than {DEPTH_MAX} actions in each other")));
        }
        let mut pipe = Pipe {
            at: self.peek_word().at,
            variables: Vec::new(),
            assigns: false,
            commands: Vec::new(),
        };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.peek_word().clone();
            let ends = match end {
                Kind::Close => token.kind == Kind::Close,
                _ => token.kind == Kind::Sign && token.text == ")",
            };
            if ends {
                self.take();
                self.check_pipeline(&pipe, context, token.at)?;
                self.depth -= 1;
                return Ok(pipe);
            }
            if !begins_operand(&token) {
                return Err(unexpected(&token, context));
            }
            let command = self.command()?;
            pipe.commands.push(command);
        }
    }

    fn check_pipeline(&self, pipe: &Pipe, context: &str, at: usize) -> Result<(), Fault> {
        if pipe.commands.is_empty() {
            return Err((at, format!("missing value for {context}")));
        }
        // Only the first command of a pipeline may be a value.
        for (stage, command) in pipe.commands.iter().enumerate().skip(1) {
            let word = &command.words[0];
            if matches!(
                word.operand,
                Operand::Bool(_)
                    | Operand::Dot
                    | Operand::Nil
                    | Operand::Number(_)
                    | Operand::Text(..)
            ) {
                let stage = stage + 1;
                let message = format!("non executable command in pipeline stage {stage}");
                return Err((word.at, message));
            }
        }
        Ok(())
    }

    /// `$x :=`, `$x =`, or `$i, $x :=` after `range`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<(), Fault> {
        let begin = self.next;
        let mut names = Vec::new();
        while self.peek_word().kind == Kind::Variable {
            let token = self.take();
            names.push(token.text.clone());
            self.peek_word();
            if self.is_sign(":=") || self.is_sign("=") {
                pipe.assigns = self.is_sign("=");
                if pipe.assigns {
                    for name in &names {
                        self.check_variable(name, token.at)?;
                    }
                }
                self.take();
                if !pipe.assigns {
                    self.variables.extend(names.iter().cloned());
                }
                pipe.variables = names;
                return Ok(());
            }
            if !self.is_sign(",") {
                break;
            }
            let at = self.take().at;
            if context != "range" || names.len() == 2 {
                return Err((at, format!("too many declarations in {context}")));
            }
        }
        // No declaration: the variables are operands.
        self.next = begin;
        Ok(())
    }

    fn check_variable(&self, name: &str, at: usize) -> Result<(), Fault> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        Err((at, format!("undefined variable {name:?}")))
    }

    fn command(&mut self) -> Result<Command, Fault> {
        let at = self.peek_word().at;
        let mut words = Vec::new();
        loop {
            let token = self.peek_word().clone();
            if begins_operand(&token) {
                words.push(self.operand()?);
            }
            let token = self.peek().clone();
            match (token.kind, token.text.as_str()) {
                (Kind::Space, _) => {
                    self.take();
                    continue;
                }
                (Kind::Close, _) | (Kind::Sign, ")") => break,
                (Kind::Sign, "|") => {
                    self.take();
                    let next = self.peek_word().clone();
                    if !begins_operand(&next) {
                        let empty = next.kind == Kind::Close || next.text == ")";
                        return Err(if empty {
                            (next.at, "missing value for command".to_owned())
                        } else {
                            unexpected(&next, "operand")
                        });
                    }
                    break;
                }
                _ => return Err(unexpected(&token, "operand")),
            }
        }
        if words.is_empty() {
            return Err((at, "empty command".to_owned()));
        }
        Ok(Command { words })
    }

    /// A term and the fields behind it.
    fn operand(&mut self) -> Result<Word, Fault> {
        let term = self.term()?;
        let mut names = Vec::new();
        while self.peek().kind == Kind::Field {
            names.push(self.take().text[1..].to_owned());
        }
        if names.is_empty() {
            return Ok(term);
        }
        let at = term.at;
        let operand = match term.operand {
            Operand::Field(mut first) => {
                first.append(&mut names);
                Operand::Field(first)
            }
            Operand::Variable(mut first) => {
                first.append(&mut names);
                Operand::Variable(first)
            }
            Operand::Bool(_)
            | Operand::Text(..)
            | Operand::Number(_)
            | Operand::Nil
            | Operand::Dot => {
                let term = Word {
                    at,
                    operand: term.operand,
                };
                let message = format!("unexpected . after term {:?}", term.to_string());
                return Err((at, message));
            }
            operand => Operand::Chain(Box::new(Word { at, operand }), names),
        };
        Ok(Word { at, operand })
    }

    fn term(&mut self) -> Result<Word, Fault> {
        let token = self.take();
        let at = token.at;
        let operand = match token.kind {
            Kind::Name => match token.text.as_str() {
                "true" => Operand::Bool(true),
                "false" => Operand::Bool(false),
                "nil" => Operand::Nil,
                name if builtins::is_keyword(name) => return Err(unexpected(&token, "operand")),
                name if self.functions.knows(name) || builtins::knows(name) => {
                    Operand::Function(name.to_owned())
                }
                name => return Err((at, format!("function {name:?} not defined"))),
            },
            Kind::Dot => Operand::Dot,
            Kind::Field => Operand::Field(vec![token.text[1..].to_owned()]),
            Kind::Variable => {
                self.check_variable(&token.text, at)?;
                Operand::Variable(vec![token.text])
            }
            Kind::Number => Operand::Number(number(&token)?),
            Kind::Quoted => Operand::Text(unquote(&token)?, token.text),
            Kind::Sign if token.text == "(" => Operand::Pipe(Box::new(
                self.pipeline("parenthesized pipeline", Kind::Sign)?,
            )),
            _ => return Err(unexpected(&token, "operand")),
        };
        Ok(Word { at, operand })
    }
}

fn begins_operand(token: &Token) -> bool {
    match token.kind {
        Kind::Name | Kind::Field | Kind::Dot | Kind::Variable | Kind::Number | Kind::Quoted => true,
        Kind::Sign => token.text == "(",
        Kind::Text | Kind::Open | Kind::Close | Kind::Space | Kind::End => false,
    }
}

/// A token where it may not be.
fn unexpected(token: &Token, context: &str) -> Fault {
    let shown = match token.kind {
        Kind::End => "EOF".to_owned(),
        Kind::Name if builtins::is_keyword(&token.text) => format!("<{}>", token.text),
        _ if token.text.chars().count() > 10 => {
            let clipped: String = token.text.chars().take(10).collect();
            format!("{clipped:?}...")
        }
        _ => format!("{:?}", token.text),
    };
    (token.at, format!("unexpected {shown} in {context}"))
}

/// The content of a text or a character in quotes.
fn unquote(token: &Token) -> Result<String, Fault> {
    let read = strings::unquote(&token.text);
    let read = read.map_err(|_| (token.at, "invalid syntax".to_owned()))?;
    Ok(read.0)
}

/// A number or a character, as Go's constants.
fn number(token: &Token) -> Result<Number, Fault> {
    let text = &token.text;
    let fault = || (token.at, format!("bad number syntax: {text:?}"));
    if text.starts_with('\'') {
        let content = unquote(token).unwrap_or_default();
        let mut chars = content.chars();
        let (Some(c), None) = (chars.next(), chars.next()) else {
            return Err((token.at, format!("malformed character constant: {text}")));
        };
        return Ok(Number {
            text: text.clone(),
            int: Some(i64::from(c as u32)),
            float: f64::from(c as u32),
        });
    }
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text.as_str()),
    };
    let plain = digits.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    let (radix, body) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        _ if lower.len() > 1
            && lower.bytes().all(|b| b.is_ascii_digit())
            && lower.starts_with('0') =>
        {
            (8, &lower[1..])
        }
        _ => (10, lower.as_str()),
    };
    let signed = if negative {
        format!("-{body}")
    } else {
        body.to_owned()
    };
    let int = i64::from_str_radix(&signed, radix).ok();
    let float = match int {
        Some(int) => int as f64,
        None if radix == 10 => signed.parse().map_err(|_| fault())?,
        None => return Err(fault()),
    };
    if !plain.starts_with(|c: char| c.is_ascii_digit() || c == '.') || float.is_infinite() {
        return Err(fault());
    }
    // 1e3 is a whole number as well; 1.5 is none.
    let whole = float.fract() == 0.0 && float.abs() < 9.2e18;
    Ok(Number {
        text: text.clone(),
        int: int.or(whole.then_some(float as i64)),
        float,
    })
}
