//! From tokens to an expression, by precedence climbing.
//!
//! Invariants: recursion is bounded by `depth_max`, the height of the result by [`HEIGHT_MAX`];
//! every expression that comes out has passed `check`.

use obs_model::limits::Limits;

use super::ast::{Aggregate, Binary, Expr, Kind, Span, Subquery};
use super::check;
use super::lexer::{Lexeme, Token, describe, lex};
use super::signatures::{Meaning, signature};
use crate::error::ParseError;
use crate::functions::aggregation;
use crate::operators::{BinaryOp, Cardinality, Grouping, Matching};

/// Levels of one expression, chains of operators included; what recursion over it may need fits
/// into the smallest stack that a thread has (2 MiB).
pub(crate) const HEIGHT_MAX: usize = 256;

/// Words that are not metric names.
const RESERVED: [&str; 5] = ["bool", "on", "ignoring", "group_left", "group_right"];

pub(crate) struct Parser<'a> {
    pub(crate) text: &'a str,
    lexemes: Vec<Lexeme>,
    at: usize,
    depth: usize,
    depth_max: usize,
    /// Inside `info`, whose selector may match anything.
    pub(crate) any_selector: bool,
}

/// Parses and checks a query.
pub(crate) fn parse(text: &str, limits: &Limits) -> Result<Expr, ParseError> {
    if text.len() > limits.query_text_bytes_max {
        let expected = format!(
            "at most {} bytes (obs.limits.query_text_bytes_max)",
            limits.query_text_bytes_max
        );
        return Err(ParseError::at(
            text,
            0,
            expected,
            format!("{} bytes", text.len()),
        ));
    }
    let mut parser = Parser {
        text,
        lexemes: lex(text)?,
        at: 0,
        depth: 0,
        depth_max: limits.depth_max,
        any_selector: false,
    };
    let expr = parser.binary(0)?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected("an operator or end of query")),
    }
}

impl Parser<'_> {
    pub(crate) fn peek(&self) -> &Token {
        &self.lexemes[self.at].token
    }

    pub(crate) fn peek_second(&self) -> &Token {
        let next = (self.at + 1).min(self.lexemes.len() - 1);
        &self.lexemes[next].token
    }

    /// The current token; moves behind it, but never behind the end.
    pub(crate) fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.lexemes.len() - 1);
        token
    }

    /// Byte offset of the current token.
    pub(crate) fn offset(&self) -> usize {
        self.lexemes[self.at].start
    }

    /// Byte offset behind the token before.
    pub(crate) fn behind(&self) -> usize {
        self.at
            .checked_sub(1)
            .map_or(0, |before| self.lexemes[before].end)
    }

    pub(crate) fn unexpected(&self, expected: &str) -> ParseError {
        let lexeme = &self.lexemes[self.at];
        let found = describe(&lexeme.token, &self.text[lexeme.start..lexeme.end]);
        ParseError::at(self.text, lexeme.start, expected, found)
    }

    pub(crate) fn error(&self, offset: usize, expected: &str, found: &str) -> ParseError {
        ParseError::at(self.text, offset, expected, found)
    }

    pub(crate) fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(s) if *s == symbol)
    }

    /// Takes the symbol if it stands here.
    pub(crate) fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.take();
        }
        found
    }

    pub(crate) fn expect(&mut self, symbol: &str) -> Result<(), ParseError> {
        if self.accept(symbol) {
            return Ok(());
        }
        Err(self.unexpected(&format!("{symbol:?}")))
    }

    pub(crate) fn is_keyword(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Name(name) if name.eq_ignore_ascii_case(word))
    }

    /// Takes the keyword if it stands here.
    pub(crate) fn accept_keyword(&mut self, word: &str) -> bool {
        let found = self.is_keyword(word);
        if found {
            self.take();
        }
        found
    }

    /// Runs a nested rule within the bound of depth.
    pub(crate) fn nested<T>(
        &mut self,
        rule: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        if self.depth >= self.depth_max {
            let expected = format!("at most {} levels (obs.limits.depth_max)", self.depth_max);
            return Err(self.error(self.offset(), &expected, "a deeper nesting"));
        }
        self.depth += 1;
        let found = rule(self);
        self.depth -= 1;
        found
    }

    /// An expression from `start` to here, checked.
    pub(crate) fn make(&self, start: usize, kind: Kind) -> Result<Expr, ParseError> {
        let height = 1 + kind
            .children()
            .into_iter()
            .map(|e| e.height)
            .max()
            .unwrap_or(0);
        if height > HEIGHT_MAX {
            let expected = format!("at most {HEIGHT_MAX} levels of expressions");
            return Err(self.error(start, &expected, "more"));
        }
        let end = self.behind();
        let span = Span { start, end };
        let expr = Expr { kind, span, height };
        check::check(self.text, &expr)?;
        Ok(expr)
    }

    fn operator(&self) -> Option<BinaryOp> {
        Some(match self.peek() {
            Token::Symbol(symbol) => match *symbol {
                "+" => BinaryOp::Add,
                "-" => BinaryOp::Sub,
                "*" => BinaryOp::Mul,
                "/" => BinaryOp::Div,
                "%" => BinaryOp::Mod,
                "^" => BinaryOp::Pow,
                "==" => BinaryOp::Equal,
                "!=" => BinaryOp::NotEqual,
                "<" => BinaryOp::Less,
                "<=" => BinaryOp::LessEqual,
                ">" => BinaryOp::Greater,
                ">=" => BinaryOp::GreaterEqual,
                "</" => BinaryOp::TrimUpper,
                ">/" => BinaryOp::TrimLower,
                _ => return None,
            },
            Token::Name(_) => {
                let words = [
                    BinaryOp::And,
                    BinaryOp::Or,
                    BinaryOp::Unless,
                    BinaryOp::Atan2,
                ];
                return words.into_iter().find(|op| self.is_keyword(op.as_str()));
            }
            _ => return None,
        })
    }

    /// Operators that bind at least as tightly as `least`.
    fn binary(&mut self, least: u8) -> Result<Expr, ParseError> {
        let start = self.offset();
        let mut lhs = self.unary()?;
        while let Some(op) = self.operator().filter(|op| op.precedence() >= least) {
            self.take();
            let return_bool = self.accept_keyword("bool");
            let (matching, place) = (self.matching(op)?, self.offset());
            // Only `^` groups to the right.
            let tighter = op.precedence() + u8::from(op != BinaryOp::Pow);
            // Others recurse at most once per level of precedence.
            let rhs = match op {
                BinaryOp::Pow => self.nested(|p| p.binary(tighter))?,
                _ => self.binary(tighter)?,
            };
            let binary = check::matching(self.text, place, op, return_bool, matching, lhs, rhs)?;
            lhs = self.make(start, Kind::Binary(Box::new(binary)))?;
        }
        Ok(lhs)
    }

    fn unary(&mut self) -> Result<Expr, ParseError> {
        let start = self.offset();
        let negative = self.is_symbol("-");
        if !negative && !self.is_symbol("+") {
            return self.postfix();
        }
        self.take();
        // Binds like `*`: only `^` is tighter.
        let inner = self.nested(|p| p.binary(BinaryOp::Pow.precedence()))?;
        match (negative, inner.kind) {
            (true, Kind::Number(value, written)) => self.make(start, Kind::Number(-value, written)),
            (true, kind) => self.make(start, Kind::Negate(Box::new(Expr { kind, ..inner }))),
            (false, kind) => {
                let expr = Expr { kind, ..inner };
                check::sign(self.text, &expr)?;
                Ok(expr)
            }
        }
    }

    /// `bool`, `on`, `ignoring`, `group_left`, `group_right`, `fill` behind an operator. `None`
    /// where nothing is written.
    fn matching(&mut self, op: BinaryOp) -> Result<Option<Matching>, ParseError> {
        let mut matching = Matching::default();
        if op.is_set() {
            matching.cardinality = Cardinality::ManyToMany;
        }
        let mut written = false;
        if self.is_keyword("on") || self.is_keyword("ignoring") {
            written = true;
            matching.on = self.is_keyword("on");
            self.take();
            matching.labels = self.names()?;
            for (word, cardinality) in [
                ("group_left", Cardinality::ManyToOne),
                ("group_right", Cardinality::OneToMany),
            ] {
                if !self.is_keyword(word) {
                    continue;
                }
                if op.is_set() {
                    let expected = format!("no grouping with the set operator {:?}", op.as_str());
                    return Err(self.unexpected(&expected));
                }
                self.take();
                matching.cardinality = cardinality;
                if self.is_symbol("(") {
                    matching.include = self.names()?;
                }
                break;
            }
        }
        written |= self.fill(op, &mut matching)?;
        let both = matching
            .include
            .iter()
            .find(|l| matching.labels.contains(l));
        if let Some(label) = both.filter(|_| matching.on) {
            let expected = format!("label {label:?} not both in on and group_left or group_right");
            return Err(self.unexpected(&expected));
        }
        Ok(written.then_some(matching))
    }

    fn fill(&mut self, op: BinaryOp, matching: &mut Matching) -> Result<bool, ParseError> {
        let mut written = false;
        for word in ["fill", "fill_left", "fill_right", "fill_left"] {
            if !(self.is_keyword(word) && *self.peek_second() == Token::Symbol("(")) {
                continue;
            }
            if op.is_set() {
                let expected = format!("no fill with the set operator {:?}", op.as_str());
                return Err(self.unexpected(&expected));
            }
            written = true;
            self.take();
            self.expect("(")?;
            let value = Some(self.signed_number()?);
            self.expect(")")?;
            if word != "fill_right" {
                matching.fill_left = value;
            }
            if word != "fill_left" {
                matching.fill_right = value;
            }
        }
        Ok(written)
    }

    /// A number with an optional sign.
    pub(crate) fn signed_number(&mut self) -> Result<f64, ParseError> {
        let negative = self.is_symbol("-");
        if negative || self.is_symbol("+") {
            self.take();
        }
        let Some((value, _)) = self.number() else {
            return Err(self.unexpected("a number"));
        };
        Ok(if negative { -value } else { value })
    }

    /// Takes a number or duration if one stands here.
    pub(crate) fn number(&mut self) -> Option<(f64, bool)> {
        let found = match self.peek() {
            Token::Number(value) => (*value, false),
            Token::Duration(seconds) => (*seconds, true),
            Token::Name(name) if name.eq_ignore_ascii_case("inf") => (f64::INFINITY, false),
            Token::Name(name) if name.eq_ignore_ascii_case("nan") => (f64::NAN, false),
            Token::Name(_) | Token::Text(_) | Token::Symbol(_) | Token::End => return None,
        };
        self.take();
        Some(found)
    }

    /// Label names in parentheses; a comma may trail.
    pub(crate) fn names(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect("(")?;
        let mut names = Vec::new();
        while !self.accept(")") {
            match self.peek() {
                Token::Name(name) if obs_model::labels::is_legacy_name(name) => {
                    names.push(name.clone());
                }
                Token::Text(name) if !name.is_empty() => names.push(name.clone()),
                _ => return Err(self.unexpected("a label name or \")\"")),
            }
            self.take();
            if !self.is_symbol(")") && !self.accept(",") {
                return Err(self.unexpected("\",\" or \")\""));
            }
        }
        Ok(names)
    }

    pub(crate) fn primary(&mut self) -> Result<Expr, ParseError> {
        let start = self.offset();
        let called = matches!(self.peek_second(), Token::Symbol("("));
        if !(called || matches!(self.peek_second(), Token::Symbol("{")))
            && let Some((value, written)) = self.number()
        {
            return self.make(start, Kind::Number(value, written));
        }
        match self.peek().clone() {
            Token::Number(value) => {
                self.take();
                self.make(start, Kind::Number(value, false))
            }
            Token::Duration(value) => {
                self.take();
                self.make(start, Kind::Number(value, true))
            }
            Token::Text(text) => {
                self.take();
                self.make(start, Kind::Text(text))
            }
            Token::Symbol("(") => {
                self.take();
                let inner = self.nested(|p| p.binary(0))?;
                self.expect(")")?;
                self.make(start, Kind::Paren(Box::new(inner)))
            }
            Token::Symbol("{") => self.selector(None),
            Token::Name(name) => self.named(&name),
            Token::Symbol(_) | Token::End => Err(self.unexpected("an expression")),
        }
    }

    /// What starts with a name: an aggregation, a call, or a selector.
    fn named(&mut self, name: &str) -> Result<Expr, ParseError> {
        let start = self.offset();
        let called = *self.peek_second() == Token::Symbol("(");
        let grouped = matches!(self.peek_second(), Token::Name(next)
            if next.eq_ignore_ascii_case("by") || next.eq_ignore_ascii_case("without"));
        if let Some(op) = aggregation(name)
            && (called || grouped)
        {
            self.take();
            return self.aggregate(start, op);
        }
        if called {
            let Some(signature) = signature(name) else {
                let found = format!("unknown function with name {name:?}");
                return Err(self.error(start, "a function", &found));
            };
            self.take();
            let arguments = match signature.meaning {
                Meaning::Info => self.info_arguments()?,
                _ => self.arguments()?,
            };
            return self.make(start, Kind::Call(signature, arguments));
        }
        if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name)) {
            return Err(self.unexpected("an expression"));
        }
        self.take();
        self.selector(Some((name.to_owned(), start)))
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.expect("(")?;
        let mut arguments = Vec::new();
        if self.accept(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.nested(|p| p.binary(0))?);
            if self.accept(")") {
                return Ok(arguments);
            }
            if !self.accept(",") {
                return Err(self.unexpected("\",\" or \")\""));
            }
        }
    }

    /// An expression, and perhaps a selector in braces.
    fn info_arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.expect("(")?;
        let mut arguments = vec![self.nested(|p| p.binary(0))?];
        if self.accept(",") {
            if !self.is_symbol("{") {
                return Err(self.unexpected("label selectors only"));
            }
            self.any_selector = true;
            arguments.push(self.selector(None)?);
            self.any_selector = false;
        }
        self.expect(")")?;
        Ok(arguments)
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = self.is_keyword("without");
        if !without && !self.is_keyword("by") {
            return Ok(None);
        }
        self.take();
        let labels = self.names()?;
        Ok(Some(Grouping { without, labels }))
    }

    fn aggregate(
        &mut self,
        start: usize,
        op: crate::operators::AggregateOp,
    ) -> Result<Expr, ParseError> {
        let mut grouping = self.grouping()?;
        let place = self.offset();
        let mut arguments = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let wanted = 1 + usize::from(op.has_parameter());
        if arguments.len() != wanted {
            let expected = format!("{wanted} argument(s) for aggregation {:?}", op.as_str());
            return Err(self.error(place, &expected, &arguments.len().to_string()));
        }
        let Some(expr) = arguments.pop() else {
            return Err(self.unexpected("an argument"));
        };
        let parameter = arguments.pop();
        let aggregate = Aggregate {
            op,
            parameter,
            expr,
            grouping,
        };
        self.make(start, Kind::Aggregate(Box::new(aggregate)))
    }

    /// An expression with what may follow it: ranges, subqueries, modifiers.
    fn postfix(&mut self) -> Result<Expr, ParseError> {
        let start = self.offset();
        let mut expr = self.primary()?;
        loop {
            if self.is_symbol("[") {
                expr = self.bracket(start, expr)?;
            } else if !self.modifier(&mut expr)? {
                return Ok(expr);
            }
        }
    }

    /// `[range]` or `[range:step]`
    fn bracket(&mut self, start: usize, expr: Expr) -> Result<Expr, ParseError> {
        let place = self.offset();
        self.take();
        let range = self.duration("duration")?;
        check::positive(self.text, place + 1, &range)?;
        if self.accept(":") {
            let step = if self.is_symbol("]") {
                None
            } else {
                let place = self.offset();
                let step = self.duration("duration or \"]\"")?;
                check::positive(self.text, place, &step)?;
                Some(step)
            };
            self.expect("]")?;
            let modifiers = super::ast::Modifiers::default();
            let subquery = Subquery {
                expr,
                range,
                step,
                modifiers,
            };
            return self.make(start, Kind::Subquery(Box::new(subquery)));
        }
        if !self.is_symbol("]") {
            return Err(self.unexpected("\":\" or \"]\""));
        }
        self.take();
        let Kind::Selector(selector) = expr.kind else {
            let found = expr.value_type().as_str();
            return Err(self.error(place, "a range only behind a vector selector", found));
        };
        if selector.modifiers != super::ast::Modifiers::default() {
            return Err(self.error(place, "no modifiers before the range", "one"));
        }
        self.make(start, Kind::Range(selector, range))
    }
}

impl Kind {
    /// The expressions directly below.
    pub(crate) fn children(&self) -> Vec<&Expr> {
        match self {
            Self::Number(..) | Self::Text(_) | Self::Selector(_) | Self::Range(..) => Vec::new(),
            Self::Subquery(subquery) => vec![&subquery.expr],
            Self::Call(_, arguments) => arguments.iter().collect(),
            Self::Aggregate(aggregate) => aggregate
                .parameter
                .iter()
                .chain([&aggregate.expr])
                .collect(),
            Self::Binary(binary) => {
                let Binary { lhs, rhs, .. } = binary.as_ref();
                vec![lhs, rhs]
            }
            Self::Negate(inner) | Self::Paren(inner) => vec![inner],
        }
    }
}
