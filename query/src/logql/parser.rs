//! LogQL's parser for selectors and pipelines; metric expressions are in `metric`.
//!
//! Recursive descent over the tokens of `lexer`. Invariant: depth and length are bounded by
//! [`Limits`], and what it gives keeps the rules that `ast` promises.

use obs_model::limits::Limits;
use obs_model::{MatchOp, Matcher};

use super::ast::{
    Comparison, Conversion, Expr, Extraction, LabelChoice, LabelFilter, LabelFormat, LineFilter,
    LineMatch, LineOp, LogExpr, Stage, Unwrap,
};
use super::lexer::{Token, token};
use crate::error::ParseError;
use crate::tokens::{Cursor, tokenize};

/// Words that can never be label names.
const KEYWORDS: [&str; 23] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "or",
    "and",
    "unless",
    "offset",
    "json",
    "logfmt",
    "regexp",
    "pattern",
    "unpack",
    "line_format",
    "label_format",
    "decolorize",
    "drop",
    "keep",
    "unwrap",
    "ip",
];

/// What Loki says when a selector would select every stream.
const EMPTY_SELECTOR: &str = "a selector that narrows the streams (queries require at least one \
     regexp or equality matcher that does not have an empty-compatible value. For instance, \
     app=~\".*\" does not meet this requirement, but app=~\".+\" will)";

type Parsed<T> = Result<T, ParseError>;

/// Parses a LogQL query.
pub fn parse(text: &str, limits: &Limits) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, limits)?;
    let expr = parser.root()?;
    parser.end()?;
    Ok(expr)
}

/// Parses only a stream selector, as the label and series APIs take it; `{}` is refused.
pub fn parse_matchers(text: &str, limits: &Limits) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text, limits)?;
    let matchers = parser.selector()?;
    parser.end()?;
    Ok(matchers)
}

/// The parser's state.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    pub(super) cursor: Cursor<'a, Token>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, limits: &Limits) -> Parsed<Self> {
        let tokens = tokenize(text, limits, token)?;
        Ok(Self {
            cursor: Cursor::new(text, tokens, limits),
        })
    }

    fn end(&self) -> Parsed<()> {
        if self.cursor.at_end() {
            Ok(())
        } else {
            Err(self.error("an operator or the end of the query"))
        }
    }

    fn root(&mut self) -> Parsed<Expr> {
        let mut ahead = 0;
        while self.cursor.peek_at(ahead) == Some(&Token::Sign("(")) {
            ahead += 1;
        }
        if self.cursor.peek_at(ahead) == Some(&Token::Sign("{")) {
            Ok(Expr::Logs(self.log_expr()?))
        } else {
            Ok(Expr::Metric(self.metric_expr()?))
        }
    }

    pub(super) fn error(&self, expected: impl Into<String>) -> ParseError {
        self.cursor.error(expected)
    }

    pub(super) fn sign(&mut self, sign: &'static str) -> bool {
        self.cursor.eat(&Token::Sign(sign))
    }

    pub(super) fn expect_sign(&mut self, sign: &'static str) -> Parsed<()> {
        self.cursor.expect(&Token::Sign(sign), sign)
    }

    /// The next word in lower case, if a word comes next.
    pub(super) fn peek_word(&self, ahead: usize) -> Option<String> {
        match self.cursor.peek_at(ahead) {
            Some(Token::Word(word)) => Some(word.to_ascii_lowercase()),
            _ => None,
        }
    }

    pub(super) fn keyword(&mut self, keyword: &str) -> bool {
        let found =
            matches!(self.cursor.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(keyword));
        if found {
            self.cursor.advance();
        }
        found
    }

    pub(super) fn text(&mut self, what: &str) -> Parsed<String> {
        if let Some(Token::Text(text)) = self.cursor.peek() {
            let text = text.clone();
            self.cursor.advance();
            Ok(text)
        } else {
            Err(self.error(what))
        }
    }

    pub(super) fn name(&mut self) -> Parsed<String> {
        match self.cursor.peek() {
            Some(Token::Word(word)) if !is_keyword(word) => {
                let word = word.clone();
                self.cursor.advance();
                Ok(word)
            }
            _ => Err(self.error("a label name")),
        }
    }

    fn at_name(&self) -> bool {
        matches!(self.cursor.peek(), Some(Token::Word(word)) if !is_keyword(word))
    }

    fn log_expr(&mut self) -> Parsed<LogExpr> {
        if self.sign("(") {
            let inner = self.cursor_nested(Self::log_expr)?;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        let matchers = self.selector()?;
        let (stages, unwrap) = self.stages(false)?;
        debug_assert!(unwrap.is_none(), "stages(false) refuses unwrap");
        Ok(LogExpr { matchers, stages })
    }

    /// Runs a parser one level deeper.
    pub(super) fn cursor_nested<R>(
        &mut self,
        parser: impl FnOnce(&mut Self) -> Parsed<R>,
    ) -> Parsed<R> {
        self.cursor.enter()?;
        let result = parser(self);
        self.cursor.leave();
        result
    }

    pub(super) fn selector(&mut self) -> Parsed<Vec<Matcher>> {
        let start = self.cursor.position();
        self.cursor
            .expect(&Token::Sign("{"), "a stream selector such as {app=\"x\"}")?;
        let mut matchers = Vec::new();
        if !self.sign("}") {
            loop {
                let name = self.name()?;
                matchers.push(self.matcher(name)?);
                if self.sign("}") {
                    break;
                }
                self.cursor.expect(&Token::Sign(","), ", or }")?;
            }
        }
        if matchers.iter().all(|m| m.matches("")) {
            return Err(self.cursor.error_from(start, EMPTY_SELECTOR));
        }
        Ok(matchers)
    }

    /// The rest of a matcher after its name.
    fn matcher(&mut self, name: String) -> Parsed<Matcher> {
        let op = match self.cursor.peek() {
            Some(Token::Sign("=")) => MatchOp::Equal,
            Some(Token::Sign("!=")) => MatchOp::NotEqual,
            Some(Token::Sign("=~")) => MatchOp::Regex,
            Some(Token::Sign("!~")) => MatchOp::NotRegex,
            _ => return Err(self.error("=, !=, =~ or !~")),
        };
        self.cursor.advance();
        let at = self.cursor.position();
        let value = self.text("a quoted text")?;
        Matcher::new(name, op, value).map_err(|e| {
            self.cursor
                .error_at(at, format!("a regular expression ({e})"))
        })
    }

    /// Stages of a pipeline; with `unwrap` also an unwrap and the filters behind it.
    pub(super) fn stages(&mut self, unwrap: bool) -> Parsed<(Vec<Stage>, Option<Unwrap>)> {
        let mut stages = Vec::new();
        loop {
            if let Some(filter) = self.line_filter()? {
                stages.push(Stage::Line(filter));
                continue;
            }
            if !self.sign("|") {
                return Ok((stages, None));
            }
            if unwrap && self.keyword("unwrap") {
                let unwrap = self.unwrap()?;
                return Ok((stages, Some(unwrap)));
            }
            stages.push(self.stage()?);
        }
    }

    fn line_filter(&mut self) -> Parsed<Option<LineFilter>> {
        let op = match self.cursor.peek() {
            Some(Token::Sign("|=")) => LineOp::Contains,
            Some(Token::Sign("!=")) => LineOp::NotContains,
            Some(Token::Sign("|~")) => LineOp::Matches,
            Some(Token::Sign("!~")) => LineOp::NotMatches,
            Some(Token::Sign("|>")) => LineOp::Pattern,
            Some(Token::Sign("!>")) => LineOp::NotPattern,
            _ => return Ok(None),
        };
        self.cursor.advance();
        let mut alternatives = vec![self.line_match(op)?];
        while self.keyword("or") {
            alternatives.push(self.line_match(op)?);
        }
        Ok(Some(LineFilter { op, alternatives }))
    }

    fn line_match(&mut self, op: LineOp) -> Parsed<LineMatch> {
        let at = self.cursor.position();
        if self.keyword("ip") {
            if !matches!(op, LineOp::Contains | LineOp::NotContains) {
                return Err(self
                    .cursor
                    .error_at(at, "a quoted text (ip() goes with |= and !=)"));
            }
            return Ok(LineMatch::Ip(self.ip_range()?));
        }
        let text = self.text("a quoted text or ip(…)")?;
        let fault = match op {
            LineOp::Matches | LineOp::NotMatches => obs_model::Pattern::search(&text)
                .err()
                .map(|e| e.to_string()),
            LineOp::Pattern | LineOp::NotPattern => {
                crate::logs::pattern::LinePattern::new(&text).err()
            }
            LineOp::Contains | LineOp::NotContains => None,
        };
        match fault {
            Some(reason) => Err(self
                .cursor
                .error_at(at, format!("a usable expression ({reason})"))),
            None => Ok(LineMatch::Text(text)),
        }
    }

    /// `("…")` behind `ip`.
    fn ip_range(&mut self) -> Parsed<String> {
        self.expect_sign("(")?;
        let at = self.cursor.position();
        let range = self.text("an address, a range or a network in quotes")?;
        if crate::logs::ip::IpSet::new(&range).is_none() {
            return Err(self
                .cursor
                .error_at(at, "an address, a range (a-b) or a network (a/n)"));
        }
        self.expect_sign(")")?;
        Ok(range)
    }

    /// A stage behind its `|`.
    fn stage(&mut self) -> Parsed<Stage> {
        let at = self.cursor.position();
        let word = self.peek_word(0).unwrap_or_default();
        let is_stage = matches!(
            word.as_str(),
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
            if word == "unwrap" {
                return Err(
                    self.error("a stage of a log query (unwrap stands inside a range aggregation)")
                );
            }
            return Ok(Stage::Filter(self.label_filter()?));
        }
        self.cursor.advance();
        Ok(match word.as_str() {
            "json" => Stage::Json(self.json_paths()?),
            "logfmt" => self.logfmt()?,
            "regexp" => {
                let text = self.text("an expression in quotes")?;
                crate::logs::pattern::check_captures(&text)
                    .map_err(|e| self.cursor.error_at(at + 1, e))?;
                Stage::Regexp(text)
            }
            "pattern" => {
                let text = self.text("a pattern in quotes")?;
                crate::logs::pattern::CapturePattern::new(&text)
                    .map_err(|e| self.cursor.error_at(at + 1, e))?;
                Stage::Pattern(text)
            }
            "unpack" => Stage::Unpack,
            "line_format" => Stage::LineFormat(self.text("a template in quotes")?),
            "label_format" => Stage::LabelFormat(self.label_formats()?),
            "decolorize" => Stage::Decolorize,
            "drop" => Stage::Drop(self.choices()?),
            _ => Stage::Keep(self.choices()?),
        })
    }

    fn json_paths(&mut self) -> Parsed<Vec<Extraction>> {
        let at = self.cursor.position();
        let fields = self.extractions()?;
        for field in &fields {
            if crate::logs::json::parse_path(&field.path).is_none() {
                return Err(self
                    .cursor
                    .error_at(at, "paths such as a.b[0] or a[\"b c\"]"));
            }
        }
        Ok(fields)
    }

    fn logfmt(&mut self) -> Parsed<Stage> {
        let (mut strict, mut keep_empty) = (false, false);
        loop {
            if self.sign("--strict") {
                strict = true;
            } else if self.sign("--keep-empty") {
                keep_empty = true;
            } else {
                break;
            }
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
            let label = self.name()?;
            let path = if self.sign("=") {
                self.text("a path in quotes")?
            } else {
                label.clone()
            };
            fields.push(Extraction { label, path });
            if !self.sign(",") {
                return Ok(fields);
            }
        }
    }

    fn label_formats(&mut self) -> Parsed<Vec<LabelFormat>> {
        let mut formats = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        loop {
            let at = self.cursor.position();
            let to = self.name()?;
            if seen.contains(&to) {
                return Err(self
                    .cursor
                    .error_at(at, "each label at most once in label_format"));
            }
            seen.push(to.clone());
            self.expect_sign("=")?;
            formats.push(if self.at_name() {
                let from = self.name()?;
                LabelFormat::Rename { to, from }
            } else {
                let template = self.text("a label name or a template in quotes")?;
                LabelFormat::Template { to, template }
            });
            if !self.sign(",") {
                return Ok(formats);
            }
        }
    }

    fn choices(&mut self) -> Parsed<Vec<LabelChoice>> {
        let mut choices = Vec::new();
        loop {
            let name = self.name()?;
            let operator = matches!(
                self.cursor.peek(),
                Some(Token::Sign("=" | "!=" | "=~" | "!~"))
            );
            choices.push(if operator {
                LabelChoice::Matcher(self.matcher(name)?)
            } else {
                LabelChoice::Name(name)
            });
            if !self.sign(",") {
                return Ok(choices);
            }
        }
    }

    /// Conditions on labels: `and`, `,` and nothing at all bind tighter than `or`.
    fn label_filter(&mut self) -> Parsed<LabelFilter> {
        let mut any = vec![self.label_filter_all()?];
        while self.keyword("or") {
            any.push(self.label_filter_all()?);
        }
        Ok(single_or(any, LabelFilter::Or))
    }

    fn label_filter_all(&mut self) -> Parsed<LabelFilter> {
        let mut all = vec![self.label_filter_one()?];
        loop {
            let joined = self.keyword("and") || self.sign(",");
            let follows = self.at_name() || self.cursor.peek() == Some(&Token::Sign("("));
            if !joined && !follows {
                return Ok(single_or(all, LabelFilter::And));
            }
            all.push(self.label_filter_one()?);
        }
    }

    fn label_filter_one(&mut self) -> Parsed<LabelFilter> {
        if self.sign("(") {
            let inner = self.cursor_nested(Self::label_filter)?;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        if !self.at_name() {
            return Err(self.error("a pipeline stage or a label filter"));
        }
        let name = self.name()?;
        let next = self.cursor.peek_at(1);
        if matches!(next, Some(Token::Text(_))) && self.cursor.peek() != Some(&Token::Sign("==")) {
            return Ok(LabelFilter::Matcher(self.matcher(name)?));
        }
        if self.peek_word(1).as_deref() == Some("ip") {
            let negative = match self.cursor.peek() {
                Some(Token::Sign("=")) => false,
                Some(Token::Sign("!=")) => true,
                _ => return Err(self.error("= or != before ip(…)")),
            };
            self.cursor.advance();
            self.cursor.advance();
            let range = self.ip_range()?;
            return Ok(LabelFilter::Ip {
                name,
                negative,
                range,
            });
        }
        let op = match self.cursor.peek() {
            Some(Token::Sign("=" | "==")) => Comparison::Equal,
            Some(Token::Sign("!=")) => Comparison::NotEqual,
            Some(Token::Sign(">")) => Comparison::Greater,
            Some(Token::Sign(">=")) => Comparison::GreaterEqual,
            Some(Token::Sign("<")) => Comparison::Less,
            Some(Token::Sign("<=")) => Comparison::LessEqual,
            _ => return Err(self.error("=, !=, =~, !~, ==, >, >=, < or <=")),
        };
        self.cursor.advance();
        self.quantity(name, op)
    }

    fn quantity(&mut self, name: String, op: Comparison) -> Parsed<LabelFilter> {
        let negative = self.sign("-");
        if !negative {
            self.sign("+");
        }
        let filter = match self.cursor.peek() {
            Some(Token::Number(value)) => LabelFilter::Number {
                name,
                op,
                value: if negative { -value } else { *value },
            },
            Some(Token::Duration(nanos)) => LabelFilter::Duration {
                name,
                op,
                nanos: if negative { -nanos } else { *nanos },
            },
            Some(Token::Bytes(bytes)) if !negative => LabelFilter::Bytes {
                name,
                op,
                bytes: *bytes,
            },
            _ => return Err(self.error("a number, a duration or a size")),
        };
        self.cursor.advance();
        Ok(filter)
    }

    /// `unwrap` behind its keyword.
    fn unwrap(&mut self) -> Parsed<Unwrap> {
        let function = self.cursor.peek_at(1) == Some(&Token::Sign("("));
        let (label, conversion) = if function {
            let conversion = match self.peek_word(0).as_deref() {
                Some("bytes") => Conversion::Bytes,
                Some("duration" | "duration_seconds") => Conversion::Duration,
                _ => return Err(self.error("bytes, duration or duration_seconds")),
            };
            self.cursor.advance();
            self.cursor.advance();
            let label = self.name()?;
            self.expect_sign(")")?;
            (label, conversion)
        } else {
            (self.name()?, Conversion::Number)
        };
        let mut filters = Vec::new();
        while self.sign("|") {
            filters.push(self.label_filter()?);
        }
        Ok(Unwrap {
            label,
            conversion,
            filters,
        })
    }
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|k| k.eq_ignore_ascii_case(word))
}

fn single_or(
    mut filters: Vec<LabelFilter>,
    join: fn(Vec<LabelFilter>) -> LabelFilter,
) -> LabelFilter {
    if filters.len() == 1 {
        filters.remove(0)
    } else {
        join(filters)
    }
}
