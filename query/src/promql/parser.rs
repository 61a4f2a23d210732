//! From tokens to an expression, by precedence climbing.
//!
//! Errors are in Prometheus' words. Its parser is a generated one, which on an unexpected token
//! tells the innermost rule that knows how to complain; [`Parser::within`] keeps these rules.
//! Invariants: recursion is bounded by `depth_max`, the height of the result by [`HEIGHT_MAX`];
//! every expression that comes out has passed `check`.

use obs_model::limits::Limits;

use super::Features;
use super::ast::{Aggregate, Binary, Expr, Kind, Modifiers, Span, Subquery, Type};
use super::check;
use super::lexer::{Keyword, Lexeme, Token, describe, lex};
use super::signatures::{Signature, signature};
use crate::error::ParseError;
use crate::operators::{AggregateOp, BinaryOp, Cardinality, Grouping, Matching};

/// Levels of one expression, chains of operators included; what recursion over it may need fits
/// into the smallest stack that a thread has (2 MiB).
pub(crate) const HEIGHT_MAX: usize = 256;

/// A rule that can tell what it misses: where it is, and what it expects.
type Rule = (&'static str, &'static str);

pub(crate) struct Parser<'a> {
    pub(crate) text: &'a str,
    lexemes: Vec<Lexeme>,
    at: usize,
    depth: usize,
    depth_max: usize,
    rules: Vec<Rule>,
    pub(crate) features: Features,
}

/// Parses and checks a query.
pub(crate) fn parse(text: &str, features: Features, limits: &Limits) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, features, limits)?;
    if *parser.peek() == Token::End {
        return Err(parser.error(0, "no expression found in input"));
    }
    let expr = parser.binary(0)?;
    match parser.peek() {
        Token::End => {}
        _ => return Err(parser.unexpected()),
    }
    check::check(text, &expr)?;
    Ok(expr)
}

/// Parses a bare selector.
pub(crate) fn parse_selector(text: &str, limits: &Limits) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, Features::default(), limits)?;
    let expr = match parser.peek() {
        Token::Symbol("{") => parser.selector(None)?,
        _ if parser.is_metric_name() => {
            let name = parser.name();
            parser.selector(Some(name))?
        }
        _ => return Err(parser.unexpected()),
    };
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected()),
    }
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, features: Features, limits: &Limits) -> Result<Self, ParseError> {
        if text.len() > limits.query_text_bytes_max {
            let message = format!(
                "expected at most {} bytes (obs.limits.query_text_bytes_max), found {}",
                limits.query_text_bytes_max,
                text.len()
            );
            return Err(ParseError::promql(text, 0, message));
        }
        Ok(Self {
            text,
            lexemes: lex(text),
            at: 0,
            depth: 0,
            depth_max: limits.depth_max,
            rules: Vec::new(),
            features,
        })
    }

    pub(crate) fn peek(&self) -> &Token {
        &self.lexemes[self.at].token
    }

    pub(crate) fn peek_second(&self) -> &Token {
        let next = (self.at + 1).min(self.lexemes.len() - 1);
        &self.lexemes[next].token
    }

    /// The text of the current token.
    pub(crate) fn word(&self) -> &'a str {
        let lexeme = &self.lexemes[self.at];
        &self.text[lexeme.start..lexeme.end]
    }

    /// The current token; moves behind it, but never behind the end.
    pub(crate) fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.lexemes.len() - 1);
        token
    }

    /// Takes a name or keyword: its text and offset.
    fn name(&mut self) -> (String, usize) {
        let name = (self.word().to_owned(), self.offset());
        self.take();
        name
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

    /// The current token stands where it cannot.
    pub(crate) fn unexpected(&self) -> ParseError {
        let lexeme = &self.lexemes[self.at];
        let found = describe(&lexeme.token, &self.text[lexeme.start..lexeme.end]);
        if let Token::Fault(_) = lexeme.token {
            return self.error(lexeme.start, found);
        }
        let (context, expected) = self.rules.last().copied().unwrap_or_default();
        let mut message = format!("unexpected {found}");
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        self.error(lexeme.start, message)
    }

    pub(crate) fn error(&self, offset: usize, message: impl std::fmt::Display) -> ParseError {
        ParseError::promql(self.text, offset, message)
    }

    /// Parses with a rule that tells what it misses.
    pub(crate) fn within<T>(
        &mut self,
        context: &'static str,
        expected: &'static str,
        parse: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        self.rules.push((context, expected));
        let found = parse(self);
        self.rules.pop();
        found
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
        Err(self.unexpected())
    }

    pub(crate) fn is_modifier(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Keyword(Keyword::Modifier(m)) if *m == word)
    }

    /// Takes the modifier if it stands here.
    pub(crate) fn accept_modifier(&mut self, word: &str) -> bool {
        let found = self.is_modifier(word);
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
            let message = format!(
                "expected at most {} levels (obs.limits.depth_max), found a deeper nesting",
                self.depth_max
            );
            return Err(self.error(self.offset(), message));
        }
        self.depth += 1;
        let found = rule(self);
        self.depth -= 1;
        found
    }

    /// An expression from `start` to here.
    pub(crate) fn make(&self, start: usize, kind: Kind) -> Result<Expr, ParseError> {
        let below = kind.children().into_iter().map(|e| e.height).max();
        let height = 1 + below.unwrap_or(0);
        if height > HEIGHT_MAX {
            let message = format!("expected at most {HEIGHT_MAX} levels of expressions");
            return Err(self.error(start, message));
        }
        let end = self.behind();
        let span = Span { start, end };
        Ok(Expr { kind, span, height })
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
            Token::Keyword(Keyword::Operator(op)) => *op,
            _ => return None,
        })
    }

    /// Operators that bind at least as tightly as `least`.
    fn binary(&mut self, least: u8) -> Result<Expr, ParseError> {
        let start = self.offset();
        let mut lhs = self.unary()?;
        while let Some(op) = self.operator().filter(|op| op.precedence() >= least) {
            self.take();
            let return_bool = self.accept_modifier("bool");
            let matching = self.matching(op)?;
            // Only `^` groups to the right.
            let tighter = op.precedence() + u8::from(op != BinaryOp::Pow);
            // Others recurse at most once per level of precedence.
            let rhs = match op {
                BinaryOp::Pow => self.nested(|p| p.binary(tighter))?,
                _ => self.binary(tighter)?,
            };
            let fills = matching.fill_left.or(matching.fill_right).is_some();
            if fills && !self.features.fill_modifiers {
                let message = "binop fill modifiers are experimental and not enabled";
                return Err(self.error(start, message));
            }
            let vectors = [&lhs, &rhs].map(Expr::value_type) == [Type::Vector; 2];
            // Without two vectors there is nothing to match; `check` refuses where it was asked.
            let keep = vectors || fills || !matching.labels.is_empty();
            let binary = Binary {
                op,
                return_bool,
                matching: keep.then_some(matching),
                lhs,
                rhs,
            };
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
        match inner.kind {
            Kind::Number(value, written) => {
                let value = if negative { -value } else { value };
                self.make(start, Kind::Number(value, written))
            }
            kind => {
                let inner = Box::new(Expr { kind, ..inner });
                self.make(start, Kind::Sign(negative, inner))
            }
        }
    }

    /// `on`, `ignoring`, `group_left`, `group_right`, `fill` behind an operator.
    fn matching(&mut self, op: BinaryOp) -> Result<Matching, ParseError> {
        let mut matching = Matching::default();
        if op.is_set() {
            matching.cardinality = Cardinality::ManyToMany;
        }
        if self.is_modifier("on") || self.is_modifier("ignoring") {
            matching.on = self.is_modifier("on");
            self.take();
            matching.labels = self.names()?;
            for (word, cardinality) in [
                ("group_left", Cardinality::ManyToOne),
                ("group_right", Cardinality::OneToMany),
            ] {
                if self.accept_modifier(word) {
                    matching.cardinality = cardinality;
                    if self.is_symbol("(") {
                        matching.include = self.names()?;
                    }
                    break;
                }
            }
        }
        if self.accept_modifier("fill") {
            matching.fill_left = Some(self.fill()?);
            matching.fill_right = matching.fill_left;
        } else if self.accept_modifier("fill_left") {
            matching.fill_left = Some(self.fill()?);
            if self.accept_modifier("fill_right") {
                matching.fill_right = Some(self.fill()?);
            }
        } else if self.accept_modifier("fill_right") {
            matching.fill_right = Some(self.fill()?);
            if self.accept_modifier("fill_left") {
                matching.fill_left = Some(self.fill()?);
            }
        }
        Ok(matching)
    }

    fn fill(&mut self) -> Result<f64, ParseError> {
        self.expect("(")?;
        let value = self.signed_number()?;
        self.expect(")")?;
        Ok(value)
    }

    /// A number with an optional sign.
    pub(crate) fn signed_number(&mut self) -> Result<f64, ParseError> {
        let negative = self.is_symbol("-");
        if negative || self.is_symbol("+") {
            self.take();
        }
        let Some((value, _)) = self.number() else {
            return Err(self.unexpected());
        };
        Ok(if negative { -value } else { value })
    }

    /// Takes a number or duration if one stands here.
    pub(crate) fn number(&mut self) -> Option<(f64, bool)> {
        let found = match self.peek() {
            Token::Number(value) => (*value, false),
            Token::Duration(seconds) => (*seconds, true),
            _ => return None,
        };
        self.take();
        Some(found)
    }

    /// Label names in parentheses; a comma may trail.
    fn names(&mut self) -> Result<Vec<String>, ParseError> {
        const RULE: &str = "grouping opts";
        self.within(RULE, "\"(\"", |p| {
            p.expect("(")?;
            let mut names = Vec::new();
            while !p.accept(")") {
                names.push(p.within(RULE, "label", Self::label_name)?);
                if !p.is_symbol(")") {
                    p.within(RULE, "\",\" or \")\"", |p| p.expect(","))?;
                }
            }
            Ok(names)
        })
    }

    fn label_name(&mut self) -> Result<String, ParseError> {
        let name = match self.peek() {
            Token::Name | Token::MetricName | Token::Keyword(_) => self.word().to_owned(),
            Token::Text(name) => name.clone(),
            _ => return Err(self.unexpected()),
        };
        if name.is_empty() {
            let message = "invalid label name for grouping: \"\"";
            return Err(self.error(self.offset(), message));
        }
        self.take();
        Ok(name)
    }

    /// Whether the current token may be the name of a metric.
    fn is_metric_name(&self) -> bool {
        match self.peek() {
            Token::Name | Token::MetricName => true,
            Token::Keyword(Keyword::Operator(op)) => *op != BinaryOp::Atan2,
            Token::Keyword(Keyword::Aggregate(_) | Keyword::Call(_)) => true,
            Token::Keyword(Keyword::Modifier(word)) => {
                !["bool", "on", "ignoring", "group_left", "group_right"].contains(word)
            }
            _ => false,
        }
    }

    /// Whether an expression may begin here.
    fn begins_expr(&self) -> bool {
        let literal = matches!(
            self.peek(),
            Token::Number(_)
                | Token::Duration(_)
                | Token::Text(_)
                | Token::Symbol("(" | "{" | "+" | "-")
        );
        literal || self.is_metric_name()
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        let start = self.offset();
        if let Some((value, written)) = self.number() {
            return self.make(start, Kind::Number(value, written));
        }
        match self.peek().clone() {
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
            Token::Keyword(Keyword::Aggregate(op)) if self.aggregates() => {
                self.take();
                self.within("aggregation", "", |p| p.aggregate(start, op))
            }
            Token::Name | Token::Keyword(Keyword::Call(_))
                if *self.peek_second() == Token::Symbol("(") =>
            {
                self.call(start)
            }
            _ if self.is_metric_name() => {
                let name = self.name();
                self.selector(Some(name))
            }
            _ => Err(self.unexpected()),
        }
    }

    /// Whether the aggregation's name that stands here is not a metric's.
    fn aggregates(&self) -> bool {
        matches!(
            self.peek_second(),
            Token::Symbol("(") | Token::Keyword(Keyword::Modifier("by" | "without"))
        )
    }

    fn call(&mut self, start: usize) -> Result<Expr, ParseError> {
        let (name, _) = self.name();
        let arguments = self.arguments()?;
        let signature = self.function(&name, start)?;
        self.make(start, Kind::Call(signature, arguments))
    }

    fn function(&self, name: &str, start: usize) -> Result<&'static Signature, ParseError> {
        let Some(signature) = signature(name) else {
            let name = super::strings::quote(name);
            return Err(self.error(start, format!("unknown function with name {name}")));
        };
        if signature.experimental && !self.features.experimental_functions {
            let name = super::strings::quote(name);
            return Err(self.error(start, format!("function {name} is not enabled")));
        }
        Ok(signature)
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
            let comma = self.offset();
            self.expect(",")?;
            if !self.begins_expr() {
                if let Token::Fault(_) = self.peek() {
                    return Err(self.unexpected());
                }
                let message = "trailing commas not allowed in function call args";
                return Err(self.error(comma, message));
            }
        }
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = self.is_modifier("without");
        if !without && !self.is_modifier("by") {
            return Ok(None);
        }
        self.take();
        let labels = self.names()?;
        Ok(Some(Grouping { without, labels }))
    }

    fn aggregate(&mut self, start: usize, op: AggregateOp) -> Result<Expr, ParseError> {
        let mut grouping = self.grouping()?;
        let mut arguments = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        if arguments.is_empty() {
            let message = "no arguments for aggregate expression provided";
            return Err(self.error(start, message));
        }
        let experimental = matches!(op, AggregateOp::Limitk | AggregateOp::LimitRatio);
        if experimental && !self.features.experimental_functions {
            let op = op.as_str();
            let message = format!(
                "{op}() is experimental and must be enabled with --enable-feature=promql-experimental-functions"
            );
            return Err(self.error(start, message));
        }
        let wanted = 1 + usize::from(op.has_parameter());
        let found = arguments.len();
        let (Some(expr), true) = (arguments.pop(), found == wanted) else {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {found}"
            );
            return Err(self.error(start, message));
        };
        let aggregate = Aggregate {
            op,
            parameter: arguments.pop(),
            expr,
            // `by ()` is what there is without it.
            grouping: grouping.filter(|g| g.without || !g.labels.is_empty()),
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
        const DURATION: &str = "number, duration, step(), or range()";
        let place = self.offset();
        self.take();
        let range = self.within("subquery or range selector", DURATION, |p| p.duration())?;
        check::positive(self.text, &range)?;
        if self.accept("]") {
            return self.range(start, place, expr, range);
        }
        self.within("subquery or range", "\":\" or \"]\"", |p| p.expect(":"))?;
        let mut step = None;
        if !self.accept("]") {
            let expected = "number, duration, step(), range(), or \"]\"";
            let found = self.within("subquery selector", expected, |p| p.duration())?;
            check::positive(self.text, &found)?;
            step = Some(found);
            self.within("subquery selector", "\"]\"", |p| p.expect("]"))?;
        }
        let subquery = Subquery {
            expr,
            range,
            step,
            modifiers: Modifiers::default(),
        };
        self.make(start, Kind::Subquery(Box::new(subquery)))
    }

    fn range(
        &mut self,
        start: usize,
        place: usize,
        expr: Expr,
        range: super::ast::Duration,
    ) -> Result<Expr, ParseError> {
        let Kind::Selector(selector) = expr.kind else {
            return Err(self.error(place, "ranges only allowed for vector selectors"));
        };
        if selector.modifiers.offset.is_some() {
            return Err(self.error(place, "no offset modifiers allowed before range"));
        }
        if selector.modifiers.at.is_some() {
            return Err(self.error(place, "no @ modifiers allowed before range"));
        }
        self.make(start, Kind::Range(selector, range))
    }
}
