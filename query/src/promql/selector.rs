//! Parsing of selectors, their modifiers, and durations.

use obs_model::{MatchOp, Matcher};

use super::ast::{At, Duration, DurationKind, Expr, Kind, Modifiers, Selector, Span};
use super::lexer::{Keyword, Token};
use super::parser::Parser;
use crate::error::ParseError;
use crate::operators::BinaryOp;
use crate::plan::Borders;

/// Seconds that fit into 64 bits of nanoseconds.
const SECONDS_MAX: f64 = 9_223_372_036.854_775_807;

const DURATION: &str = "number, duration, step(), or range()";

impl Parser<'_> {
    /// A selector; the name before the braces, with its offset, has been taken.
    pub(crate) fn selector(&mut self, name: Option<(String, usize)>) -> Result<Expr, ParseError> {
        const RULE: &str = "label matching";
        let start = name.as_ref().map_or(self.offset(), |(_, start)| *start);
        let name = name.map(|(name, _)| name);
        let mut matchers = Vec::new();
        if self.accept("{") {
            while !self.accept("}") {
                let expected = "identifier or \"}\"";
                matchers.push(self.within(RULE, expected, |p| p.matcher())?);
                if !self.is_symbol("}") {
                    self.within(RULE, "\",\" or \"}\"", |p| p.expect(","))?;
                }
            }
        }
        let selector = Selector {
            name,
            matchers,
            modifiers: Modifiers::default(),
        };
        self.make(start, Kind::Selector(selector))
    }

    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        const RULE: &str = "label matching";
        let start = self.offset();
        let (label, quoted) = match self.peek() {
            Token::Name => (self.word().to_owned(), false),
            Token::Text(label) => (label.clone(), true),
            _ => return Err(self.unexpected()),
        };
        self.take();
        let op = match self.peek() {
            Token::Symbol("=") => MatchOp::Equal,
            Token::Symbol("!=") => MatchOp::NotEqual,
            Token::Symbol("=~") => MatchOp::Regex,
            Token::Symbol("!~") => MatchOp::NotRegex,
            _ if quoted => return Ok(Matcher::equal(obs_model::labels::METRIC_NAME, label)),
            _ => {
                let expected = "label matching operator";
                return self.within(RULE, expected, |p| Err(p.unexpected()));
            }
        };
        self.take();
        let Token::Text(value) = self.peek().clone() else {
            return self.within(RULE, "string", |p| Err(p.unexpected()));
        };
        self.take();
        let matcher = Matcher::new(label, op, value.as_str());
        matcher.map_err(|fault| self.error(start, super::regex_fault(&value, &fault)))
    }

    /// Takes one modifier behind an expression; `false` where none stands.
    pub(crate) fn modifier(&mut self, expr: &mut Expr) -> Result<bool, ParseError> {
        if self.accept_modifier("offset") {
            let offset = self.within("offset", DURATION, |p| p.offset_value())?;
            self.set_offset(expr, offset)?;
        } else if self.accept("@") {
            let at = self.within("@", "timestamp", |p| p.at_value(expr.span.start))?;
            self.set_at(expr, at)?;
        } else if self.accept_modifier("anchored") {
            self.set_borders(expr, Borders::Anchored)?;
        } else if self.accept_modifier("smoothed") {
            self.set_borders(expr, Borders::Smoothed)?;
        } else {
            return Ok(false);
        }
        expr.span.end = self.behind();
        Ok(true)
    }

    fn set_offset(&self, expr: &mut Expr, offset: Duration) -> Result<(), ParseError> {
        let start = expr.span.start;
        let Some(modifiers) = modifiers_of(expr) else {
            return Err(self.error(start, "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery"));
        };
        if modifiers.offset.is_some() {
            return Err(self.error(start, "offset may not be set multiple times"));
        }
        // No offset is what a zero is.
        modifiers.offset = Some(offset).filter(|offset| offset.literal() != Some(0.0));
        Ok(())
    }

    fn set_at(&self, expr: &mut Expr, at: At) -> Result<(), ParseError> {
        let start = expr.span.start;
        let Some(modifiers) = modifiers_of(expr) else {
            return Err(self.error(start, "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery"));
        };
        if modifiers.at.is_some() {
            return Err(self.error(start, "@ <timestamp> may not be set multiple times"));
        }
        modifiers.at = Some(at);
        Ok(())
    }

    fn set_borders(&self, expr: &mut Expr, borders: Borders) -> Result<(), ParseError> {
        let word = if borders == Borders::Anchored {
            "anchored"
        } else {
            "smoothed"
        };
        let start = expr.span.start;
        let fault = |what: &str| Err(self.error(start, what));
        if !self.features.extended_range_selectors {
            return fault(&format!("{word} modifier is experimental and not enabled"));
        }
        if let Kind::Subquery(_) = expr.kind {
            return fault(&format!("{word} modifier is not supported for subqueries"));
        }
        let Some(modifiers) = modifiers_of(expr) else {
            return fault(&format!("{word} modifier not implemented"));
        };
        if modifiers.borders != Borders::Plain && modifiers.borders != borders {
            return fault("anchored and smoothed modifiers cannot be used together");
        }
        modifiers.borders = borders;
        Ok(())
    }

    fn at_value(&mut self, start: usize) -> Result<At, ParseError> {
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if *self.peek() == Token::Keyword(Keyword::Call(word)) {
                self.take();
                self.expect("(")?;
                self.expect(")")?;
                return Ok(at);
            }
        }
        let seconds = self.signed_number()?;
        let millis = (seconds * 1000.0).round();
        // 2⁵³ ms are 285,000 years.
        if !(millis.is_finite() && millis.abs() < 9_007_199_254_740_992.0) {
            let seconds = crate::eval::fixed(seconds);
            let message = format!("timestamp out of bounds for @ modifier: {seconds}");
            return Err(self.error(start, message));
        }
        Ok(At::Millis(millis as i64))
    }

    /// `offset` takes one literal, call or parenthesis, with an optional sign.
    fn offset_value(&mut self) -> Result<Duration, ParseError> {
        let start = self.offset();
        let negative = self.is_symbol("-");
        if negative || self.is_symbol("+") {
            self.take();
        }
        let value = self.duration_atom()?;
        self.signed(start, negative, value)
    }

    /// A duration behind a sign.
    fn signed(
        &self,
        start: usize,
        negative: bool,
        value: Duration,
    ) -> Result<Duration, ParseError> {
        let span = Span { start, ..value.span };
        let kind = match value.kind {
            DurationKind::Number(value, written) => {
                let value = if negative { -value } else { value };
                DurationKind::Number(value, written)
            }
            _ if !negative => return Ok(value),
            kind => DurationKind::Negate(Box::new(Duration { kind, ..value })),
        };
        Ok(Duration { kind, span })
    }

    /// An expression of durations.
    pub(crate) fn duration(&mut self) -> Result<Duration, ParseError> {
        self.duration_binary(0)
    }

    fn duration_binary(&mut self, least: u8) -> Result<Duration, ParseError> {
        let mut lhs = self.duration_unary()?;
        let mut operators = 0;
        loop {
            let op = match self.peek() {
                Token::Symbol("+") => BinaryOp::Add,
                Token::Symbol("-") => BinaryOp::Sub,
                Token::Symbol("*") => BinaryOp::Mul,
                Token::Symbol("/") => BinaryOp::Div,
                Token::Symbol("%") => BinaryOp::Mod,
                Token::Symbol("^") => BinaryOp::Pow,
                _ => return Ok(lhs),
            };
            if op.precedence() < least {
                return Ok(lhs);
            }
            operators += 1;
            if operators > super::parser::HEIGHT_MAX {
                let message = "expected a shorter duration expression";
                return Err(self.error(self.offset(), message));
            }
            let place = self.offset();
            self.take();
            let tighter = op.precedence() + u8::from(op != BinaryOp::Pow);
            let rhs = match op {
                BinaryOp::Pow => self.nested(|p| p.duration_binary(tighter))?,
                _ => self.duration_binary(tighter)?,
            };
            match op {
                BinaryOp::Div if rhs.literal() == Some(0.0) => {
                    return Err(self.error(place, "division by zero"));
                }
                BinaryOp::Mod if rhs.literal() == Some(0.0) => {
                    return Err(self.error(place, "modulo by zero"));
                }
                _ => {}
            }
            let span = Span {
                start: lhs.span.start,
                end: rhs.span.end,
            };
            let kind = DurationKind::Binary(op, Box::new(lhs), Box::new(rhs));
            lhs = Duration { kind, span };
        }
    }

    fn duration_unary(&mut self) -> Result<Duration, ParseError> {
        let start = self.offset();
        let negative = self.is_symbol("-");
        if !negative && !self.is_symbol("+") {
            return self.duration_atom();
        }
        self.take();
        let inner = self.nested(|p| p.duration_binary(BinaryOp::Pow.precedence()))?;
        self.signed(start, negative, inner)
    }

    fn duration_atom(&mut self) -> Result<Duration, ParseError> {
        let start = self.offset();
        if let Some((value, written)) = self.number() {
            if value.abs() > SECONDS_MAX {
                return Err(self.error(start, "duration out of range"));
            }
            let kind = DurationKind::Number(value, written);
            return Ok(self.spanned(start, kind));
        }
        if self.accept("(") {
            let inner = self.nested(|p| p.duration())?;
            self.expect(")")?;
            if let DurationKind::Paren(_) = inner.kind {
                return Ok(inner);
            }
            let span = match inner.kind {
                DurationKind::Number(..) => Span { start, ..inner.span },
                _ => inner.span,
            };
            let kind = DurationKind::Paren(Box::new(inner));
            return Ok(Duration { kind, span });
        }
        let Token::Keyword(Keyword::Call(word)) = *self.peek() else {
            return Err(self.unexpected());
        };
        if !["step", "range", "min_of", "max_of"].contains(&word) {
            return Err(self.unexpected());
        }
        self.take();
        self.expect("(")?;
        if word == "step" || word == "range" {
            self.expect(")")?;
            let kind = match word {
                "step" => DurationKind::Step,
                _ => DurationKind::Range,
            };
            return Ok(self.spanned(start, kind));
        }
        let a = Box::new(self.nested(|p| p.duration())?);
        self.expect(",")?;
        let b = Box::new(self.nested(|p| p.duration())?);
        self.expect(")")?;
        let span = Span {
            start: a.span.start,
            end: b.span.end,
        };
        let kind = match word {
            "min_of" => DurationKind::MinOf(a, b),
            _ => DurationKind::MaxOf(a, b),
        };
        Ok(Duration { kind, span })
    }

    fn spanned(&self, start: usize, kind: DurationKind) -> Duration {
        let end = self.behind();
        let span = Span { start, end };
        Duration { kind, span }
    }
}

fn modifiers_of(expr: &mut Expr) -> Option<&mut Modifiers> {
    match &mut expr.kind {
        Kind::Selector(selector) | Kind::Range(selector, _) => Some(&mut selector.modifiers),
        Kind::Subquery(subquery) => Some(&mut subquery.modifiers),
        Kind::Number(..)
        | Kind::Text(_)
        | Kind::Call(..)
        | Kind::Aggregate(_)
        | Kind::Binary(_)
        | Kind::Sign(..)
        | Kind::Paren(_) => None,
    }
}
