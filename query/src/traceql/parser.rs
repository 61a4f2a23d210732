//! TraceQL's parser for pipelines and field expressions; aggregates are in `scalar`.
//!
//! Recursive descent over the tokens of `lexer`. Invariant: depth and length are bounded by
//! [`Limits`], and what it gives keeps the types that `types` asks for.

use obs_model::Pattern;
use obs_model::limits::Limits;
use obs_model::spans::{SpanKind, StatusCode};

use super::ast::{
    Attribute, Element, FieldExpr, Gives, Intrinsic, Operator, Query, Relation, Root, STRUCTURAL,
    Scope, SpansetExpr, SpansetOp, Static,
};
use super::lexer::{Token, token};
use super::types;
use crate::error::ParseError;
use crate::tokens::{Cursor, quote, tokenize};

pub(super) type Parsed<T> = Result<T, ParseError>;

/// What is wrong beyond the grammar, in Tempo's words; it has no place.
pub(super) fn invalid(text: impl Into<String>) -> ParseError {
    ParseError {
        place: None,
        text: text.into(),
    }
}

/// Parses a query.
pub(super) fn parse(text: &str, limits: &Limits) -> Parsed<Query> {
    let tokens = tokenize(text, limits, token)?;
    let mut parser = Parser {
        cursor: Cursor::new(text, tokens, limits),
    };
    let root = parser.root()?;
    let mut hints = Vec::new();
    while parser.word("with") {
        parser.hints(&mut hints)?;
    }
    if parser.cursor.at_end() {
        Ok(Query { root, hints })
    } else {
        Err(parser.error("an operator, | or the end of the query"))
    }
}

/// What an operand turned out to be; nil stands only in comparisons.
enum Operand {
    Nil,
    Expr(FieldExpr),
}

/// The parser's state.
pub(super) struct Parser<'a> {
    pub(super) cursor: Cursor<'a, Token>,
}

impl Parser<'_> {
    pub(super) fn error(&self, expected: impl Into<String>) -> ParseError {
        self.cursor.error(expected)
    }

    pub(super) fn sign(&mut self, sign: &'static str) -> bool {
        self.cursor.eat(&Token::Sign(sign))
    }

    pub(super) fn expect_sign(&mut self, sign: &'static str) -> Parsed<()> {
        self.cursor.expect(&Token::Sign(sign), sign)
    }

    pub(super) fn at_word(&self) -> Option<&str> {
        match self.cursor.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.at_word() == Some(word);
        if found {
            self.cursor.advance();
        }
        found
    }

    pub(super) fn nested<R>(&mut self, parser: impl FnOnce(&mut Self) -> Parsed<R>) -> Parsed<R> {
        self.cursor.enter()?;
        let result = parser(self);
        self.cursor.leave();
        result
    }

    fn root(&mut self) -> Parsed<Root> {
        if self.is_arithmetic() {
            return self.arithmetic().map(Root::Metrics);
        }
        let begin = self.cursor.position();
        let pipeline = match self.pipeline() {
            Ok(pipeline) => pipeline,
            Err(error) if self.holds_spans_at(begin) => {
                // `({ } | count()) > 5`: pipelines that are numbers.
                let reached = self.cursor.position();
                self.cursor.restart(begin);
                return match self.scalar_filter() {
                    Ok(filter) => Ok(Root::Search(vec![Element::Scalar(filter)])),
                    Err(other) if self.cursor.position() > reached => Err(other),
                    Err(_) => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        if self.sign("|") {
            return self.metric(pipeline).map(Root::Metrics);
        }
        Ok(Root::Search(pipeline))
    }

    /// A pipeline without the metrics function behind it.
    pub(super) fn pipeline(&mut self) -> Parsed<Vec<Element>> {
        let mut elements = vec![self.element(true)?];
        while self.cursor.peek() == Some(&Token::Sign("|")) && !self.metric_behind() {
            self.cursor.advance();
            let height = self.cursor.height();
            elements.push(self.element(false)?);
            self.cursor.raise_height(height);
        }
        Ok(elements)
    }

    /// Whether parentheses here hold span sets rather than numbers.
    fn holds_spans(&self) -> bool {
        self.holds_spans_at(self.cursor.position())
    }

    fn holds_spans_at(&self, position: usize) -> bool {
        let mut at = position;
        while self.cursor.token_at(at) == Some(&Token::Sign("(")) {
            at += 1;
        }
        self.cursor.token_at(at) == Some(&Token::Sign("{"))
    }

    pub(super) fn element(&mut self, first: bool) -> Parsed<Element> {
        if self.holds_spans() {
            return Ok(Element::Spans(self.spanset_expr(0)?));
        }
        let at = self.cursor.position();
        let word = self.at_word().unwrap_or_default().to_owned();
        match word.as_str() {
            "by" => {
                self.cursor.advance();
                self.expect_sign("(")?;
                let expr = self.field_expr()?;
                if !types::speaks_of_span(&expr) {
                    return Err(invalid(format!(
                        "grouping field expressions must reference the span: by({expr})"
                    )));
                }
                self.expect_sign(")")?;
                Ok(Element::By(expr))
            }
            "coalesce" => {
                if first {
                    return Err(self.cursor.error_at(at, "a span set before coalesce()"));
                }
                self.cursor.advance();
                self.expect_sign("(")?;
                self.expect_sign(")")?;
                Ok(Element::Coalesce)
            }
            "select" => {
                self.cursor.advance();
                self.expect_sign("(")?;
                Ok(Element::Select(self.attributes()?))
            }
            _ => Ok(Element::Scalar(self.scalar_filter()?)),
        }
    }

    /// Attributes up to the closing parenthesis.
    pub(super) fn attributes(&mut self) -> Parsed<Vec<Attribute>> {
        let mut attributes = Vec::new();
        loop {
            let Some(Token::Attribute(attribute)) = self.cursor.peek() else {
                return Err(self.error("an attribute such as span.http.method"));
            };
            attributes.push(attribute.clone());
            self.cursor.advance();
            if self.sign(")") {
                return Ok(attributes);
            }
            self.cursor.expect(&Token::Sign(","), ", or )")?;
        }
    }

    /// Span sets: `&&` and `||` bind alike and to the left, structural operators tighter.
    fn spanset_expr(&mut self, floor: u8) -> Parsed<SpansetExpr> {
        self.cursor.begin_height();
        let mut left = self.spanset()?;
        loop {
            let Some((op, precedence)) = self.spanset_op().filter(|(_, p)| *p > floor) else {
                return Ok(left);
            };
            let height = self.cursor.height();
            self.cursor.advance();
            let right = self.nested(|parser| parser.spanset_expr(precedence))?;
            self.cursor.grow(height)?;
            left = SpansetExpr::Operation {
                op,
                left: Box::new(left),
                right: Box::new(right),
            };
        }
    }

    fn spanset_op(&self) -> Option<(SpansetOp, u8)> {
        let Some(Token::Sign(sign)) = self.cursor.peek() else {
            return None;
        };
        match *sign {
            "&&" => Some((SpansetOp::And, 1)),
            "||" => Some((SpansetOp::Union, 1)),
            sign => {
                let found: Option<&(&str, Relation, Gives)> =
                    STRUCTURAL.iter().find(|(text, _, _)| *text == sign);
                found.map(|(_, relation, gives)| (SpansetOp::Structural(*relation, *gives), 2))
            }
        }
    }

    fn spanset(&mut self) -> Parsed<SpansetExpr> {
        if self.sign("(") {
            let mut elements = self.nested(Self::pipeline)?;
            self.expect_sign(")")?;
            if elements.len() > 1 {
                return Ok(SpansetExpr::Pipeline(elements));
            }
            return match elements.pop() {
                Some(Element::Spans(expr)) => Ok(expr),
                _ => Err(self.error("a span set")),
            };
        }
        self.filter().map(SpansetExpr::Filter)
    }

    /// `{ … }`; nothing inside takes all.
    pub(super) fn filter(&mut self) -> Parsed<Option<FieldExpr>> {
        self.cursor
            .expect(&Token::Sign("{"), "a span set such as { status = error }")?;
        if self.sign("}") {
            return Ok(None);
        }
        let expr = self.field_expr()?;
        self.cursor.expect(&Token::Sign("}"), "an operator or }")?;
        if !types::is_boolean(&expr) {
            return Err(invalid(format!(
                "span filter field expressions must resolve to a boolean: {{ {expr} }}"
            )));
        }
        Ok(Some(expr))
    }

    pub(super) fn field_expr(&mut self) -> Parsed<FieldExpr> {
        let at = self.cursor.position();
        match self.nested(|parser| parser.binary(0))? {
            Operand::Expr(expr) => Ok(expr),
            Operand::Nil => Err(self.cursor.error_at(at, "a value beside nil")),
        }
    }

    fn binary(&mut self, floor: u8) -> Parsed<Operand> {
        self.cursor.begin_height();
        let mut left = self.unary()?;
        loop {
            let at = self.cursor.position();
            if let Some(positive) = self
                .regex_op()
                .filter(|_| floor < Operator::Equal.precedence())
            {
                let height = self.cursor.height();
                left = Operand::Expr(self.regex(left, positive, at)?);
                self.cursor.grow(height)?;
                continue;
            }
            let Some(op) = self.operator().filter(|op| op.precedence() > floor) else {
                return Ok(left);
            };
            let height = self.cursor.height();
            self.cursor.advance();
            let next = op.precedence() - u8::from(op == Operator::Pow);
            let right = self.nested(|parser| parser.binary(next))?;
            left = Operand::Expr(self.combine(op, left, right, at)?);
            self.cursor.grow(height)?;
        }
    }

    fn combine(&self, op: Operator, left: Operand, right: Operand, at: usize) -> Parsed<FieldExpr> {
        let exists = match op {
            Operator::Equal => Some(false),
            Operator::NotEqual => Some(true),
            _ => None,
        };
        let (left, right) = match (left, right, exists) {
            (Operand::Expr(left), Operand::Expr(right), _) => (left, right),
            // Nothing is neither there nor absent.
            (Operand::Nil, Operand::Nil, Some(_)) => {
                return Ok(FieldExpr::Static(Static::Bool(false)));
            }
            (Operand::Expr(expr), Operand::Nil, Some(exists))
            | (Operand::Nil, Operand::Expr(expr), Some(exists)) => {
                if !exists && let FieldExpr::Attribute(attribute) = &expr {
                    can_be_nil(attribute)?;
                }
                return Ok(FieldExpr::Exists(Box::new(expr), exists));
            }
            _ => {
                return Err(self
                    .cursor
                    .error_at(at, "an attribute and = or != beside nil"));
            }
        };
        types::check(op, &left, &right).map_err(invalid)?;
        Ok(FieldExpr::Operation {
            op,
            left: Box::new(left),
            right: Box::new(right),
        })
    }

    fn regex_op(&self) -> Option<bool> {
        match self.cursor.peek() {
            Some(Token::Sign("=~")) => Some(true),
            Some(Token::Sign("!~")) => Some(false),
            _ => None,
        }
    }

    fn regex(&mut self, left: Operand, positive: bool, at: usize) -> Parsed<FieldExpr> {
        self.cursor.advance();
        let Operand::Expr(left) = left else {
            return Err(self
                .cursor
                .error_at(at, "an attribute and = or != beside nil"));
        };
        let Some(Token::Text(text)) = self.cursor.peek() else {
            return Err(self.error("a regular expression in quotes"));
        };
        let op = if positive { "=~" } else { "!~" };
        if !types::is_text(&left) {
            return Err(invalid(format!(
                "binary operations must operate on the same type: {left} {op} {}",
                quote(text)
            )));
        }
        let pattern = Pattern::anchored(text)
            .map_err(|e| invalid(format!("invalid regex: {} ({e})", quote(text))))?;
        self.cursor.advance();
        Ok(FieldExpr::Matches(Box::new(left), pattern, positive))
    }

    pub(super) fn operator(&self) -> Option<Operator> {
        let Some(Token::Sign(sign)) = self.cursor.peek() else {
            return None;
        };
        Some(match *sign {
            "||" => Operator::Or,
            "&&" => Operator::And,
            "=" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::LessEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterEqual,
            "+" => Operator::Add,
            "-" => Operator::Sub,
            "*" => Operator::Mul,
            "/" => Operator::Div,
            "%" => Operator::Mod,
            "^" => Operator::Pow,
            _ => return None,
        })
    }

    fn unary(&mut self) -> Parsed<Operand> {
        if self.sign("(") {
            let at = self.cursor.position();
            let inner = self.nested(|parser| parser.binary(0))?;
            self.expect_sign(")")?;
            return match inner {
                Operand::Nil => Err(self.cursor.error_at(at, "a value beside nil")),
                expr @ Operand::Expr(_) => Ok(expr),
            };
        }
        let at = self.cursor.position();
        let negate = self.sign("-");
        if negate || self.sign("!") {
            // A sign takes all that binds more tightly than a sum.
            let floor = Operator::Add.precedence();
            let Operand::Expr(inner) = self.nested(|parser| parser.binary(floor))? else {
                return Err(self.cursor.error_at(at, "a value beside nil"));
            };
            return signed(negate, inner).map(Operand::Expr);
        }
        if let Some(Token::Attribute(attribute)) = self.cursor.peek() {
            let attribute = attribute.clone();
            self.cursor.advance();
            return Ok(Operand::Expr(FieldExpr::Attribute(attribute)));
        }
        if self.word("nil") {
            return Ok(Operand::Nil);
        }
        match self.constant() {
            Some(value) => Ok(Operand::Expr(FieldExpr::Static(value))),
            None => Err(self.error("an attribute, a constant, -, ! or (")),
        }
    }

    /// A number behind a minus.
    pub(super) fn negative_static(&mut self) -> Option<Static> {
        let value = match self.cursor.peek()? {
            Token::Int(value) => Static::Int(-value),
            Token::Float(value) => Static::Float(-value),
            Token::Duration(nanos) => Static::Duration(-nanos),
            _ => return None,
        };
        self.cursor.advance();
        Some(value)
    }

    /// A constant without a sign.
    pub(super) fn constant(&mut self) -> Option<Static> {
        let value = match self.cursor.peek()? {
            Token::Text(text) => Static::String(text.clone()),
            Token::Int(value) => Static::Int(*value),
            Token::Float(value) => Static::Float(*value),
            Token::Duration(nanos) => Static::Duration(*nanos),
            Token::Word(word) => keyword(word)?,
            Token::Attribute(_) | Token::Sign(_) => return None,
        };
        self.cursor.advance();
        Some(value)
    }

    /// `(name=value, …)` behind `with`.
    fn hints(&mut self, hints: &mut Vec<(String, Static)>) -> Parsed<()> {
        self.expect_sign("(")?;
        loop {
            let Some(name) = self.at_word().map(str::to_owned) else {
                return Err(self.error("a hint such as most_recent=true"));
            };
            self.cursor.advance();
            self.expect_sign("=")?;
            let negative = self.sign("-");
            let value = if negative {
                self.negative_static()
            } else {
                self.constant()
            };
            let Some(value) = value else {
                return Err(self.error("a constant"));
            };
            hints.push((name, value));
            if self.sign(")") {
                return Ok(());
            }
            self.cursor.expect(&Token::Sign(","), ", or )")?;
        }
    }
}

fn keyword(word: &str) -> Option<Static> {
    Some(match word {
        "true" => Static::Bool(true),
        "false" => Static::Bool(false),
        "ok" => Static::Status(StatusCode::Ok),
        "error" => Static::Status(StatusCode::Error),
        "unset" => Static::Status(StatusCode::Unset),
        "unspecified" => Static::Kind(SpanKind::Unspecified),
        "internal" => Static::Kind(SpanKind::Internal),
        "server" => Static::Kind(SpanKind::Server),
        "client" => Static::Kind(SpanKind::Client),
        "producer" => Static::Kind(SpanKind::Producer),
        "consumer" => Static::Kind(SpanKind::Consumer),
        "minInt" => Static::Int(i64::MIN),
        "maxInt" => Static::Int(i64::MAX),
        _ => return None,
    })
}

/// A sign before an expression; constants take a minus themselves.
fn signed(negate: bool, inner: FieldExpr) -> Parsed<FieldExpr> {
    if negate && let FieldExpr::Static(value) = &inner {
        let negated = match value {
            Static::Int(value) => Some(Static::Int(value.wrapping_neg())),
            Static::Float(value) => Some(Static::Float(-value)),
            Static::Duration(nanos) => Some(Static::Duration(nanos.saturating_neg())),
            _ => None,
        };
        if let Some(value) = negated {
            return Ok(FieldExpr::Static(value));
        }
    }
    let fits = if negate {
        types::is_numeric(&inner)
    } else {
        types::is_boolean(&inner)
    };
    let inner = Box::new(inner);
    let expr = if negate {
        FieldExpr::Negate(inner)
    } else {
        FieldExpr::Not(inner)
    };
    if fits {
        Ok(expr)
    } else {
        Err(invalid(format!(
            "illegal operation for the given type: {expr}"
        )))
    }
}

/// Intrinsics and the service's name always have a value; only a root has no parent.
fn can_be_nil(attribute: &Attribute) -> Parsed<()> {
    match attribute {
        Attribute::Intrinsic(Intrinsic::Parent) => Ok(()),
        Attribute::Intrinsic(_) => Err(invalid(format!(
            "{attribute}=nil is not valid because intrinsics cannot be nil"
        ))),
        Attribute::Named {
            parent: false,
            scope: Scope::Resource,
            name,
        } if name == "service.name" => Err(invalid(format!(
            "{attribute}=nil is not valid because resource.service.name cannot be nil"
        ))),
        Attribute::Named { .. } => Ok(()),
    }
}
