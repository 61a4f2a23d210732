//! LogQL's parser for selectors and pipelines; metric expressions are in `metric`.
//!
//! Recursive descent over the tokens of `lexer`. Errors are those of Loki's parser: what stands
//! where, and what could stand there if that is at most four things. Invariant: depth and length
//! are bounded by [`Limits`], and what it gives keeps the rules that `ast` promises.

use obs_model::limits::Limits;
use obs_model::{MatchOp, Matcher};

use super::ast::{
    Comparison, Conversion, Expr, Extraction, LabelChoice, LabelFilter, LabelFormat, LineFilter,
    LineMatch, LineOp, LogExpr, Stage, Unwrap,
};
use super::lexer::{Placed, Token, tokens};
use crate::error::ParseError;
use crate::tokens::{HEIGHT_MAX, parse_float};

/// What Loki says when a selector would select every stream.
const EMPTY_SELECTOR: &str = "queries require at least one regexp or equality matcher that does \
     not have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, \
     but app=~\".+\" will";

pub(super) type Parsed<T> = Result<T, ParseError>;

/// Parses a LogQL query.
pub fn parse(text: &str, limits: &Limits) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, limits)?;
    let checked = parser.expr()?;
    parser.end()?;
    match checked.fault {
        Some(fault) => Err(fault),
        None => Ok(checked.expr),
    }
}

/// Parses only a stream selector, as the label and series APIs take it; `{}` is refused.
pub fn parse_matchers(text: &str, limits: &Limits) -> Result<Vec<Matcher>, ParseError> {
    match parse(text, limits)? {
        Expr::Logs(logs) if logs.stages.is_empty() => Ok(logs.matchers),
        Expr::Logs(_) | Expr::Metric(_) => Err(ParseError {
            place: None,
            text: "only label matchers are supported".to_owned(),
        }),
    }
}

/// An expression and what is wrong with it, which is told only where the whole text parses.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) expr: Expr,
    pub(super) fault: Option<ParseError>,
}

/// An error without a place.
pub(super) fn refused(message: impl std::fmt::Display) -> ParseError {
    ParseError::logql(0, 0, message)
}

/// Why a selector is refused, if it is.
pub(super) fn empty_selector(matchers: &[Matcher]) -> Option<ParseError> {
    let everything = matchers.iter().all(|m| m.matches(""));
    everything.then(|| refused(EMPTY_SELECTOR))
}

/// The parser's state.
#[derive(Debug)]
pub(super) struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
    depth_max: usize,
    /// Operators above one another in what was parsed last.
    pub(super) height: usize,
}

impl Parser {
    fn new(text: &str, limits: &Limits) -> Parsed<Self> {
        let max = limits.query_text_bytes_max;
        if text.len() >= max {
            let length = text.len();
            return Err(refused(format!("input size too long ({length} > {max})")));
        }
        Ok(Self {
            tokens: tokens(text),
            at: 0,
            depth: 0,
            depth_max: limits.depth_max,
            height: 0,
        })
    }

    fn end(&self) -> Parsed<()> {
        match self.peek() {
            Token::End => Ok(()),
            _ => self.unexpected(&[]),
        }
    }

    fn placed(&self, ahead: usize) -> &Placed {
        let last = self.tokens.len() - 1;
        &self.tokens[(self.at + ahead).min(last)]
    }

    pub(super) fn peek(&self) -> &Token {
        &self.placed(0).token
    }

    pub(super) fn peek_at(&self, ahead: usize) -> &Token {
        &self.placed(ahead).token
    }

    pub(super) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    /// The error of a token that cannot stand here, with what could.
    pub(super) fn unexpected<T>(&self, expected: &[&str]) -> Parsed<T> {
        let placed = self.placed(0);
        let mut message = placed.token.name();
        if !matches!(placed.token, Token::Fault(_)) {
            message = format!("syntax error: unexpected {message}");
            if !expected.is_empty() {
                message = format!("{message}, expecting {}", expected.join(" or "));
            }
        }
        Err(ParseError::logql(placed.line, placed.column, message))
    }

    /// Takes a keyword or sign if it comes next.
    pub(super) fn key(&mut self, key: &'static str) -> bool {
        let found = *self.peek() == Token::Key(key);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn at_key(&self, key: &'static str) -> bool {
        *self.peek() == Token::Key(key)
    }

    pub(super) fn expect(&mut self, key: &'static str) -> Parsed<()> {
        match self.key(key) {
            true => Ok(()),
            false => self.unexpected(&[key]),
        }
    }

    /// The text that must stand here.
    pub(super) fn text(&mut self) -> Parsed<String> {
        let Token::Text(text) = self.peek() else {
            return self.unexpected(&["STRING"]);
        };
        let text = text.clone();
        self.advance();
        Ok(text)
    }

    /// The name that must stand here, or else one of what is expected.
    pub(super) fn name(&mut self, expected: &[&str]) -> Parsed<String> {
        let Token::Word(name) = self.peek() else {
            return self.unexpected(expected);
        };
        let name = name.clone();
        self.advance();
        Ok(name)
    }

    fn at_name(&self) -> bool {
        matches!(self.peek(), Token::Word(_))
    }

    /// Runs a parser one level deeper.
    pub(super) fn nested<R>(&mut self, parser: impl FnOnce(&mut Self) -> Parsed<R>) -> Parsed<R> {
        if self.depth >= self.depth_max {
            let placed = self.placed(0);
            let max = self.depth_max;
            let message = format!("more than {max} levels of nesting (obs.limits.depth_max)");
            return Err(ParseError::logql(placed.line, placed.column, message));
        }
        self.depth += 1;
        let result = parser(self);
        self.depth -= 1;
        result
    }

    /// Puts an operator above a left side of the given height and the right side, parsed last.
    pub(super) fn grow(&mut self, left: usize) -> Parsed<()> {
        self.height = self.height.max(left) + 1;
        if self.height > HEIGHT_MAX {
            let message = format!("more than {HEIGHT_MAX} operators above one another");
            return Err(refused(message));
        }
        Ok(())
    }

    /// A log query that begins with its selector.
    pub(super) fn log_expr(&mut self) -> Parsed<LogExpr> {
        let matchers = self.selector()?;
        let (stages, _) = self.stages(false)?;
        Ok(LogExpr { matchers, stages })
    }

    pub(super) fn selector(&mut self) -> Parsed<Vec<Matcher>> {
        if !self.key("{") {
            return self.unexpected(&[]);
        }
        let mut matchers = Vec::new();
        if self.key("}") {
            return Ok(matchers);
        }
        let mut expected: &[&str] = &["IDENTIFIER", "}"];
        loop {
            let name = self.name(expected)?;
            matchers.push(self.matcher(name)?);
            if self.key("}") {
                return Ok(matchers);
            }
            if !self.key(",") {
                return self.unexpected(&["}", ","]);
            }
            expected = &["IDENTIFIER"];
        }
    }

    /// The rest of a matcher after its name.
    fn matcher(&mut self, name: String) -> Parsed<Matcher> {
        let op = match self.peek() {
            Token::Key("=") => MatchOp::Equal,
            Token::Key("!=") => MatchOp::NotEqual,
            Token::Key("=~") => MatchOp::Regex,
            Token::Key("!~") => MatchOp::NotRegex,
            _ => return self.unexpected(&["=", "=~", "!~", "!="]),
        };
        self.advance();
        let value = self.text()?;
        Matcher::new(name, op, value).map_err(|e| refused(regex_fault(&e)))
    }

    /// Stages of a pipeline; with `unwrap` also an unwrap and the filters behind it.
    pub(super) fn stages(&mut self, unwrap: bool) -> Parsed<(Vec<Stage>, Option<Unwrap>)> {
        let mut stages = Vec::new();
        loop {
            if self.line_filter(&mut stages)? {
                continue;
            }
            if !self.at_key("|") {
                return Ok((stages, None));
            }
            self.advance();
            if unwrap && self.key("unwrap") {
                return Ok((stages, Some(self.unwrap()?)));
            }
            stages.push(self.stage()?);
        }
    }

    /// Adds a line filter if one stands here. A negative one with alternatives becomes one for
    /// each: neither this nor that.
    fn line_filter(&mut self, stages: &mut Vec<Stage>) -> Parsed<bool> {
        let op = match self.peek() {
            Token::Key("|=") => LineOp::Contains,
            Token::Key("!=") => LineOp::NotContains,
            Token::Key("|~") => LineOp::Matches,
            Token::Key("!~") => LineOp::NotMatches,
            Token::Key("|>") => LineOp::Pattern,
            Token::Key("!>") => LineOp::NotPattern,
            _ => return Ok(false),
        };
        self.advance();
        let mut alternatives = vec![self.line_match()?];
        while self.key("or") {
            alternatives.push(self.line_match()?);
        }
        if op.is_negative() {
            stages.extend(alternatives.into_iter().map(|one| {
                let alternatives = vec![one];
                Stage::Line(LineFilter { op, alternatives })
            }));
        } else {
            stages.push(Stage::Line(LineFilter { op, alternatives }));
        }
        Ok(true)
    }

    fn line_match(&mut self) -> Parsed<LineMatch> {
        match self.peek() {
            Token::Function("ip") => Ok(LineMatch::Ip(self.ip_range()?)),
            Token::Text(_) => Ok(LineMatch::Text(self.text()?)),
            _ => self.unexpected(&["STRING", "ip"]),
        }
    }

    /// `ip("…")`
    fn ip_range(&mut self) -> Parsed<String> {
        self.advance();
        self.expect("(")?;
        let range = self.text()?;
        self.expect(")")?;
        Ok(range)
    }

    /// A stage behind its `|`.
    fn stage(&mut self) -> Parsed<Stage> {
        let Token::Key(keyword) = *self.peek() else {
            return match self.peek() {
                Token::Word(_) => Ok(Stage::Filter(self.label_filter(&[])?)),
                _ => self.unexpected(&[]),
            };
        };
        if keyword == "(" {
            return Ok(Stage::Filter(self.label_filter(&[])?));
        }
        let is_stage = matches!(
            keyword,
            "json"
                | "logfmt"
                | "regexp"
                | "pattern"
                | "unpack"
                | "line_format"
                | "label_format"
                | "decolorize"
                | "drop"
                | "keep"
        );
        if !is_stage {
            return self.unexpected(&[]);
        }
        self.advance();
        Ok(match keyword {
            "json" => Stage::Json(self.extractions()?),
            "logfmt" => self.logfmt()?,
            "regexp" => {
                let text = self.text()?;
                crate::logs::pattern::check_captures(&text)
                    .map_err(|e| refused(format!("invalid regexp parser: {e}")))?;
                Stage::Regexp(text)
            }
            "pattern" => {
                let text = self.text()?;
                crate::logs::pattern::CapturePattern::new(&text)
                    .map_err(|e| refused(format!("invalid pattern parser: {e}")))?;
                Stage::Pattern(text)
            }
            "unpack" => Stage::Unpack,
            "line_format" => Stage::LineFormat(self.text()?),
            "label_format" => Stage::LabelFormat(self.label_formats()?),
            "decolorize" => Stage::Decolorize,
            "drop" => Stage::Drop(self.choices()?),
            _ => Stage::Keep(self.choices()?),
        })
    }

    fn logfmt(&mut self) -> Parsed<Stage> {
        let (mut strict, mut keep_empty) = (false, false);
        while let Token::Flag(flag) = *self.peek() {
            self.advance();
            strict |= flag == "--strict";
            keep_empty |= flag == "--keep-empty";
        }
        Ok(Stage::Logfmt {
            strict,
            keep_empty,
            fields: self.extractions()?,
        })
    }

    fn extractions(&mut self) -> Parsed<Vec<Extraction>> {
        let mut fields = Vec::new();
        if !self.at_name() {
            return Ok(fields);
        }
        loop {
            let label = self.name(&["IDENTIFIER"])?;
            let path = if self.key("=") {
                self.text()?
            } else {
                label.clone()
            };
            fields.push(Extraction { label, path });
            if !self.key(",") {
                return Ok(fields);
            }
        }
    }

    fn label_formats(&mut self) -> Parsed<Vec<LabelFormat>> {
        let mut formats = Vec::new();
        loop {
            let to = self.name(&["IDENTIFIER"])?;
            self.expect("=")?;
            formats.push(match self.peek() {
                Token::Text(_) => LabelFormat::Template {
                    to,
                    template: self.text()?,
                },
                _ => LabelFormat::Rename {
                    to,
                    from: self.name(&["IDENTIFIER", "STRING"])?,
                },
            });
            if !self.key(",") {
                return Ok(formats);
            }
        }
    }

    fn choices(&mut self) -> Parsed<Vec<LabelChoice>> {
        let mut choices = Vec::new();
        loop {
            let name = self.name(&["IDENTIFIER"])?;
            let operator = matches!(self.peek(), Token::Key("=" | "!=" | "=~" | "!~"));
            choices.push(if operator {
                LabelChoice::Matcher(self.matcher(name)?)
            } else {
                LabelChoice::Name(name)
            });
            if !self.key(",") {
                return Ok(choices);
            }
        }
    }

    /// Conditions on labels. `and` binds tighter than `or`; a comma or nothing at all takes all
    /// that follows as its right side, whatever it is.
    fn label_filter(&mut self, expected: &[&str]) -> Parsed<LabelFilter> {
        self.nested(|parser| parser.label_filter_under(None, expected))
    }

    /// The operand of an operator (or of none), with what binds tighter.
    fn label_filter_under(
        &mut self,
        operator: Option<&'static str>,
        expected: &[&str],
    ) -> Parsed<LabelFilter> {
        const OPERAND: &[&str] = &["IDENTIFIER", "("];
        let mut left = self.label_filter_one(expected)?;
        loop {
            let next = match self.peek() {
                Token::Key(key @ ("or" | "and" | ",")) => *key,
                Token::Word(_) | Token::Key("(") => "",
                _ => return Ok(left),
            };
            let ends = match next {
                "or" => matches!(operator, Some("or" | "and")),
                "and" => operator == Some("and"),
                _ => false,
            };
            if ends {
                return Ok(left);
            }
            if !next.is_empty() {
                self.advance();
            }
            let right = self.nested(|p| p.label_filter_under(Some(next), OPERAND))?;
            let both = vec![left, right];
            left = match next {
                "or" => LabelFilter::Or(both),
                _ => LabelFilter::And(both),
            };
        }
    }

    fn label_filter_one(&mut self, expected: &[&str]) -> Parsed<LabelFilter> {
        if self.key("(") {
            let inner = self.label_filter(&["IDENTIFIER", "("])?;
            if !self.key(")") {
                return self.unexpected(&[]);
            }
            return Ok(inner);
        }
        let name = self.name(expected)?;
        let equals = matches!(self.peek(), Token::Key("=" | "!="));
        match self.peek_at(1) {
            Token::Text(_) if equals => return Ok(LabelFilter::Matcher(self.matcher(name)?)),
            Token::Function("ip") if equals => {
                let negative = self.at_key("!=");
                self.advance();
                let range = self.ip_range()?;
                return Ok(LabelFilter::Ip {
                    name,
                    negative,
                    range,
                });
            }
            _ => {}
        }
        let op = match self.peek() {
            Token::Key("=~" | "!~") => return Ok(LabelFilter::Matcher(self.matcher(name)?)),
            Token::Key("=" | "==") => Comparison::Equal,
            Token::Key("!=") => Comparison::NotEqual,
            Token::Key(">") => Comparison::Greater,
            Token::Key(">=") => Comparison::GreaterEqual,
            Token::Key("<") => Comparison::Less,
            Token::Key("<=") => Comparison::LessEqual,
            _ => return self.unexpected(&[]),
        };
        self.advance();
        self.quantity(name, op)
    }

    fn quantity(&mut self, name: String, op: Comparison) -> Parsed<LabelFilter> {
        let filter = match *self.peek() {
            Token::Duration(nanos) => LabelFilter::Duration { name, op, nanos },
            Token::Bytes(bytes) => LabelFilter::Bytes { name, op, bytes },
            Token::Number(_) | Token::Key("+" | "-") => {
                let value = self.literal()??;
                return Ok(LabelFilter::Number { name, op, value });
            }
            _ => return self.unexpected(&[]),
        };
        self.advance();
        Ok(filter)
    }

    /// A number with a sign; what is wrong with its digits is told later.
    pub(super) fn literal(&mut self) -> Parsed<Parsed<f64>> {
        let negative = self.at_key("-");
        if negative || self.at_key("+") {
            self.advance();
        }
        let Token::Number(number) = self.peek() else {
            return self.unexpected(&["NUMBER"]);
        };
        let value = parse_number(number)
            .map(|value| if negative { -value } else { value })
            .map_err(|e| refused(format!("unable to parse literal as a float: {e}")));
        self.advance();
        Ok(value)
    }

    /// `unwrap` behind its keyword.
    fn unwrap(&mut self) -> Parsed<Unwrap> {
        let conversion = match self.peek() {
            Token::Function("bytes") => Conversion::Bytes,
            Token::Function("duration") => Conversion::Duration,
            Token::Function("duration_seconds") => Conversion::DurationSeconds,
            _ => Conversion::Number,
        };
        let label = if conversion == Conversion::Number {
            const EXPECTED: [&str; 4] = [
                "IDENTIFIER",
                "BYTES_CONV",
                "DURATION_CONV",
                "DURATION_SECONDS_CONV",
            ];
            self.name(&EXPECTED)?
        } else {
            self.advance();
            self.expect("(")?;
            let label = self.name(&["IDENTIFIER"])?;
            self.expect(")")?;
            label
        };
        let mut filters = Vec::new();
        while self.key("|") {
            filters.push(self.label_filter(&["IDENTIFIER", "("])?);
        }
        Ok(Unwrap {
            label,
            conversion,
            filters,
        })
    }
}

/// A number as Go's `ParseFloat` reads it, or why it does not.
pub(super) fn parse_number(text: &str) -> Result<f64, String> {
    let fault = || format!("strconv.ParseFloat: parsing {text:?}: invalid syntax");
    parse_float(text).ok_or_else(fault)
}

/// What Go says of an expression that does not compile.
pub(crate) fn regex_fault(error: &obs_model::pattern::PatternError) -> String {
    let obs_model::pattern::PatternError::Syntax { pattern, reason } = error else {
        return error.to_string();
    };
    let reason = match reason.as_str() {
        "unclosed group" => "missing closing )",
        "unopened group" => "unexpected )",
        "unclosed character class" => "missing closing ]",
        "repetition operator missing expression" => "missing argument to repetition operator",
        other => other,
    };
    format!("error parsing regexp: {reason}: `{pattern}`")
}
