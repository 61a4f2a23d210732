//! Parsing of selectors, their modifiers, and durations.

use obs_model::{MatchOp, Matcher};

use super::ast::{At, Duration, Expr, Kind, Modifiers, Selector};
use super::lexer::Token;
use super::parser::Parser;
use crate::error::ParseError;
use crate::operators::BinaryOp;
use crate::plan::Borders;

const NAME: &str = obs_model::labels::METRIC_NAME;

impl Parser<'_> {
    /// A selector; the name before the braces, with its offset, has been taken.
    pub(crate) fn selector(&mut self, name: Option<(String, usize)>) -> Result<Expr, ParseError> {
        let start = name.as_ref().map_or(self.offset(), |(_, start)| *start);
        let mut name = name.map(|(name, _)| name);
        // Whether the name stands as such, not only in a matcher of the label.
        let mut named = name.is_some();
        let mut matchers = Vec::new();
        if self.accept("{") {
            while !self.accept("}") {
                named |= self.matcher(&mut name, &mut matchers)?;
                if !self.is_symbol("}") && !self.accept(",") {
                    return Err(self.unexpected("\",\" or \"}\""));
                }
            }
        }
        if named && let Some(second) = matchers.iter().find(|m| m.name == NAME) {
            let found = format!("{:?} and {:?}", name.unwrap_or_default(), second.value);
            return Err(self.error(start, "the metric name only once", &found));
        }
        if !self.any_selector && name.is_none() && matchers.iter().all(|m| m.matches("")) {
            let expected = "at least one matcher that does not match the empty string";
            return Err(self.error(start, expected, "none"));
        }
        // The order has no meaning; Prometheus prints it sorted.
        matchers.sort_by_cached_key(Matcher::to_string);
        let modifiers = Modifiers::default();
        self.make(
            start,
            Kind::Selector(Selector {
                name,
                matchers,
                modifiers,
            }),
        )
    }

    /// Takes a matcher or a quoted metric name; `true` for the latter.
    fn matcher(
        &mut self,
        name: &mut Option<String>,
        matchers: &mut Vec<Matcher>,
    ) -> Result<bool, ParseError> {
        let start = self.offset();
        let (label, quoted) = match self.peek() {
            Token::Name(label) => (label.clone(), false),
            Token::Text(label) if !label.is_empty() => (label.clone(), true),
            _ => return Err(self.unexpected("a label name or \"}\"")),
        };
        self.take();
        let op = match self.peek() {
            Token::Symbol("=") => MatchOp::Equal,
            Token::Symbol("!=") => MatchOp::NotEqual,
            Token::Symbol("=~") => MatchOp::Regex,
            Token::Symbol("!~") => MatchOp::NotRegex,
            _ if quoted => {
                if let Some(first) = name.replace(label.clone()) {
                    let found = format!("{first:?} and {label:?}");
                    return Err(self.error(start, "the metric name only once", &found));
                }
                return Ok(true);
            }
            _ => return Err(self.unexpected("\"=\", \"!=\", \"=~\" or \"!~\"")),
        };
        self.take();
        let place = self.offset();
        let Token::Text(value) = self.peek().clone() else {
            return Err(self.unexpected("a quoted label value"));
        };
        self.take();
        if label == NAME && op == MatchOp::Equal && !value.is_empty() && name.is_none() {
            *name = Some(value);
            return Ok(false);
        }
        let matcher = Matcher::new(label, op, value)
            .map_err(|fault| self.error(place, "a regular expression", &fault.to_string()))?;
        matchers.push(matcher);
        Ok(false)
    }

    /// Takes one modifier behind an expression; `false` where none stands.
    pub(crate) fn modifier(&mut self, expr: &mut Expr) -> Result<bool, ParseError> {
        let place = self.offset();
        if self.accept_keyword("offset") {
            let offset = self.offset_value()?;
            let modifiers = modifiers_of(expr).ok_or_else(|| self.misplaced(place, "offset"))?;
            if modifiers.offset.replace(offset).is_some() {
                return Err(self.error(place, "offset only once", "it twice"));
            }
        } else if self.is_symbol("@") {
            self.take();
            let at = self.at_value()?;
            let modifiers = modifiers_of(expr).ok_or_else(|| self.misplaced(place, "@"))?;
            if modifiers.at.replace(at).is_some() {
                return Err(self.error(place, "@ only once", "it twice"));
            }
        } else if self.is_keyword("anchored") || self.is_keyword("smoothed") {
            let anchored = self.accept_keyword("anchored");
            if !anchored {
                self.take();
            }
            let borders = if anchored {
                Borders::Anchored
            } else {
                Borders::Smoothed
            };
            if matches!(expr.kind, Kind::Subquery(_)) || (anchored && !is_range(expr)) {
                return Err(self.misplaced(place, if anchored { "anchored" } else { "smoothed" }));
            }
            let modifiers = modifiers_of(expr).ok_or_else(|| self.misplaced(place, "anchored"))?;
            if std::mem::replace(&mut modifiers.borders, borders) != Borders::Plain {
                return Err(self.error(place, "anchored or smoothed only once", "it twice"));
            }
        } else {
            return Ok(false);
        }
        expr.span.end = self.behind();
        Ok(true)
    }

    fn misplaced(&self, place: usize, what: &str) -> ParseError {
        let expected = format!("{what} only behind a vector selector, range selector or subquery");
        self.error(place, &expected, "another expression before it")
    }

    fn at_value(&mut self) -> Result<At, ParseError> {
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if self.is_keyword(word) && *self.peek_second() == Token::Symbol("(") {
                self.take();
                self.expect("(")?;
                self.expect(")")?;
                return Ok(at);
            }
        }
        let place = self.offset();
        let seconds = self.signed_number().map_err(|error| ParseError {
            expected: "a timestamp, start() or end()".to_owned(),
            ..error
        })?;
        let millis = (seconds * 1000.0).round();
        // 2⁵³ ms are 285,000 years.
        if !(millis.is_finite() && millis.abs() < 9_007_199_254_740_992.0) {
            let found = seconds.to_string();
            return Err(self.error(place, "a timestamp in range", &found));
        }
        Ok(At::Millis(millis as i64))
    }

    /// `offset` takes one literal, call or parenthesis, with an optional sign.
    fn offset_value(&mut self) -> Result<Duration, ParseError> {
        let negative = self.is_symbol("-");
        if negative || self.is_symbol("+") {
            self.take();
        }
        let value = self.duration_atom("duration")?;
        Ok(if negative { negate(value) } else { value })
    }

    /// An expression of durations.
    pub(crate) fn duration(&mut self, expected: &str) -> Result<Duration, ParseError> {
        self.duration_binary(expected, 0)
    }

    fn duration_binary(&mut self, expected: &str, least: u8) -> Result<Duration, ParseError> {
        let mut lhs = self.duration_unary(expected)?;
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
                return Err(self.unexpected("a shorter duration expression"));
            }
            self.take();
            let tighter = op.precedence() + u8::from(op != BinaryOp::Pow);
            let rhs = match op {
                BinaryOp::Pow => self.nested(|p| p.duration_binary("duration", tighter))?,
                _ => self.duration_binary("duration", tighter)?,
            };
            lhs = Duration::Binary(op, Box::new(lhs), Box::new(rhs));
        }
    }

    fn duration_unary(&mut self, expected: &str) -> Result<Duration, ParseError> {
        let negative = self.is_symbol("-");
        if !negative && !self.is_symbol("+") {
            return self.duration_atom(expected);
        }
        self.take();
        let inner = self.nested(|p| p.duration_binary("duration", BinaryOp::Pow.precedence()))?;
        Ok(if negative { negate(inner) } else { inner })
    }

    fn duration_atom(&mut self, expected: &str) -> Result<Duration, ParseError> {
        if let Token::Number(_) | Token::Duration(_) = self.peek()
            && let Some((value, written)) = self.number()
        {
            return Ok(Duration::Number(value, written));
        }
        if self.accept("(") {
            let inner = self.nested(|p| p.duration("duration"))?;
            self.expect(")")?;
            return Ok(Duration::Paren(Box::new(inner)));
        }
        for (word, value) in [("step", Duration::Step), ("range", Duration::Range)] {
            if self.accept_keyword(word) {
                self.expect("(")?;
                self.expect(")")?;
                return Ok(value);
            }
        }
        let least = self.is_keyword("min_of");
        if !least && !self.is_keyword("max_of") {
            return Err(self.unexpected(expected));
        }
        self.take();
        self.expect("(")?;
        let a = Box::new(self.nested(|p| p.duration("duration"))?);
        self.expect(",")?;
        let b = Box::new(self.nested(|p| p.duration("duration"))?);
        self.expect(")")?;
        Ok(if least {
            Duration::MinOf(a, b)
        } else {
            Duration::MaxOf(a, b)
        })
    }
}

fn negate(value: Duration) -> Duration {
    match value {
        Duration::Number(value, written) => Duration::Number(-value, written),
        other => Duration::Negate(Box::new(other)),
    }
}

fn is_range(expr: &Expr) -> bool {
    matches!(expr.kind, Kind::Range(..))
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
        | Kind::Negate(_)
        | Kind::Paren(_) => None,
    }
}

/// Kept for `check`: a literal that must be positive.
pub(crate) fn literal(value: &Duration) -> Option<f64> {
    match value {
        Duration::Number(value, _) => Some(*value),
        Duration::Paren(inner) => literal(inner),
        Duration::Negate(_)
        | Duration::Binary(..)
        | Duration::Step
        | Duration::Range
        | Duration::MinOf(..)
        | Duration::MaxOf(..) => None,
    }
}
