//! LogQL's parser for metric expressions.
//!
//! Invariant: what is wrong with an expression of the right form (a parameter, a grouping, an
//! unwrap) is kept beside it and told after the whole text was parsed, outermost and leftmost
//! first, as Loki does.

use super::ast::RangeOp::{
    Absent, Avg, Bytes, BytesRate, Count, First, Last, Max, Min, Quantile, Rate, Stddev, Stdvar,
};
use super::ast::{
    BinaryOp, Comparison, Expr, Grouping, LogExpr, LogRange, Matching, MetricExpr, RANGE_OPS,
    RangeOp, Side, VECTOR_OPS, VectorOp,
};
use super::lexer::Token;
use super::parser::{Checked, Parsed, Parser, empty_selector, parse_number, refused, regex_fault};
use crate::error::ParseError;

/// A metric expression and what is wrong with it.
type CheckedMetric = (MetricExpr, Option<ParseError>);

impl Parser {
    /// An expression of any kind with all its operators.
    pub(super) fn expr(&mut self) -> Parsed<Checked> {
        self.nested(|parser| parser.binary(0))
    }

    /// An expression that must give numbers.
    fn metric(&mut self) -> Parsed<CheckedMetric> {
        let checked = self.expr()?;
        match checked.expr {
            Expr::Metric(metric) => Ok((metric, checked.fault)),
            Expr::Logs(_) => self.unexpected(&[]),
        }
    }

    /// Precedence climbing: operators that bind tighter than `floor`.
    fn binary(&mut self, floor: u8) -> Parsed<Checked> {
        self.height = 0;
        let mut left = self.primary()?;
        loop {
            let Some(op) = self.binary_op().filter(|op| op.precedence() > floor) else {
                return Ok(left);
            };
            let height = self.height;
            self.advance();
            let matching = self.matching()?;
            // `^` binds to the right, the others to the left.
            let next = op.precedence() - u8::from(op == BinaryOp::Pow);
            let right = self.nested(|parser| parser.binary(next))?;
            self.grow(height)?;
            left = join(op, matching, left, right);
        }
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        Some(match self.peek() {
            Token::Key("+") => BinaryOp::Add,
            Token::Key("-") => BinaryOp::Sub,
            Token::Key("*") => BinaryOp::Mul,
            Token::Key("/") => BinaryOp::Div,
            Token::Key("%") => BinaryOp::Mod,
            Token::Key("^") => BinaryOp::Pow,
            Token::Key("==") => BinaryOp::Compare(Comparison::Equal),
            Token::Key("!=") => BinaryOp::Compare(Comparison::NotEqual),
            Token::Key(">") => BinaryOp::Compare(Comparison::Greater),
            Token::Key(">=") => BinaryOp::Compare(Comparison::GreaterEqual),
            Token::Key("<") => BinaryOp::Compare(Comparison::Less),
            Token::Key("<=") => BinaryOp::Compare(Comparison::LessEqual),
            Token::Key("or") => BinaryOp::Or,
            Token::Key("and") => BinaryOp::And,
            Token::Key("unless") => BinaryOp::Unless,
            _ => return None,
        })
    }

    fn matching(&mut self) -> Parsed<Matching> {
        let mut matching = Matching {
            return_bool: self.key("bool"),
            ..Matching::default()
        };
        let on = self.key("on");
        if on || self.key("ignoring") {
            matching.labels = Some((on, self.label_list()?));
            let left = self.key("group_left");
            if left || self.key("group_right") {
                let side = if left { Side::Left } else { Side::Right };
                // A parenthesis may also begin the right side.
                let has_labels = self.at_key("(")
                    && matches!(
                        (self.peek_at(1), self.peek_at(2)),
                        (Token::Key(")"), _) | (Token::Word(_), Token::Key("," | ")"))
                    );
                let labels = match has_labels {
                    true => self.label_list()?,
                    false => Vec::new(),
                };
                matching.group = Some((side, labels));
            }
        }
        Ok(matching)
    }

    /// `(a, b)`
    fn label_list(&mut self) -> Parsed<Vec<String>> {
        self.expect("(")?;
        let mut labels = Vec::new();
        if self.key(")") {
            return Ok(labels);
        }
        let mut expected: &[&str] = &["IDENTIFIER", ")"];
        loop {
            labels.push(self.name(expected)?);
            if self.key(")") {
                return Ok(labels);
            }
            if !self.key(",") {
                return self.unexpected(&[",", ")"]);
            }
            expected = &["IDENTIFIER"];
        }
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = self.key("without");
        if !without && !self.key("by") {
            return Ok(None);
        }
        Ok(Some(Grouping {
            without,
            labels: self.label_list()?,
        }))
    }

    fn primary(&mut self) -> Parsed<Checked> {
        let (metric, fault) = match *self.peek() {
            Token::Key("(") => {
                self.advance();
                let inner = self.expr()?;
                return match self.key(")") {
                    true => Ok(inner),
                    false => self.unexpected(&[]),
                };
            }
            Token::Key("{") => {
                let logs = self.log_expr()?;
                return Ok(Checked {
                    fault: empty_selector(&logs.matchers),
                    expr: Expr::Logs(logs),
                });
            }
            Token::Number(_) | Token::Key("+" | "-") => match self.literal()? {
                Ok(number) => (MetricExpr::Number(number), None),
                Err(fault) => (MetricExpr::Number(f64::NAN), Some(fault)),
            },
            Token::Function("vector") => self.vector()?,
            Token::Function("label_replace") => self.label_replace()?,
            Token::Function(name) => self.aggregation(name)?,
            _ => return self.unexpected(&[]),
        };
        Ok(Checked {
            expr: Expr::Metric(metric),
            fault,
        })
    }

    fn aggregation(&mut self, name: &'static str) -> Parsed<CheckedMetric> {
        let range = RANGE_OPS.iter().find(|(known, _)| *known == name);
        let vector = VECTOR_OPS.iter().find(|(known, _)| *known == name);
        match (range, vector) {
            (Some((_, op)), _) => {
                self.advance();
                self.range_aggregation(*op)
            }
            (None, Some((_, op))) => {
                self.advance();
                self.vector_aggregation(*op)
            }
            (None, None) => self.unexpected(&[]),
        }
    }

    /// `vector(1)`
    fn vector(&mut self) -> Parsed<CheckedMetric> {
        self.advance();
        self.expect("(")?;
        let Token::Number(number) = self.peek() else {
            return self.unexpected(&["NUMBER"]);
        };
        let number = parse_number(number);
        self.advance();
        self.expect(")")?;
        let fault = |e| refused(format!("unable to parse vectorExpr as a float: {e}"));
        Ok(match number {
            Ok(number) => (MetricExpr::Literal(number), None),
            Err(e) => (MetricExpr::Literal(f64::NAN), Some(fault(e))),
        })
    }

    fn label_replace(&mut self) -> Parsed<CheckedMetric> {
        self.advance();
        self.expect("(")?;
        let (expr, inner) = self.metric()?;
        let mut texts: [String; 4] = Default::default();
        for (index, text) in texts.iter_mut().enumerate() {
            if !self.key(",") {
                return match index {
                    0 => self.unexpected(&[]),
                    _ => self.unexpected(&[","]),
                };
            }
            *text = self.text()?;
        }
        self.expect(")")?;
        let [destination, replacement, source, regex] = texts;
        let own = obs_model::Pattern::anchored(&regex).err();
        let own = own.map(|e| {
            let fault = regex_fault(&e);
            refused(format!("invalid regex in label_replace: {fault}"))
        });
        let expr = MetricExpr::LabelReplace {
            expr: Box::new(expr),
            destination,
            replacement,
            source,
            regex,
        };
        Ok((expr, own.or(inner)))
    }

    fn range_aggregation(&mut self, op: RangeOp) -> Parsed<CheckedMetric> {
        self.expect("(")?;
        let mut number = None;
        if let Token::Number(text) = self.peek() {
            number = Some(text.clone());
            self.advance();
            self.expect(",")?;
        }
        let expected: &[&str] = match number {
            Some(_) => &["{", "("],
            None => &["NUMBER", "{", "("],
        };
        let logs = self.log_range(expected)?;
        self.expect(")")?;
        let grouping = self.grouping()?;
        let parameter = number.as_deref().and_then(|text| parse_number(text).ok());
        let own = range_fault(op, number.as_deref(), &logs, grouping.is_some());
        let fault = own.or_else(|| empty_selector(&logs.logs.matchers));
        let expr = MetricExpr::Range {
            op,
            parameter,
            logs,
            grouping,
        };
        Ok((expr, fault))
    }

    /// Lines over time; the range stands before or behind the stages, and parentheses may be
    /// around the lines or around all of it.
    fn log_range(&mut self, expected: &[&str]) -> Parsed<LogRange> {
        match self.peek() {
            Token::Key("{") => {
                let matchers = self.selector()?;
                let (lines, window) = self.lines_or_range(matchers)?;
                match window {
                    Some(window) => Ok(lines.over(window)),
                    None => {
                        let window = self.window(lines.expected())?;
                        Ok(lines.over(window))
                    }
                }
            }
            Token::Key("(") => self.nested(Self::log_range_in_parentheses),
            _ => self.unexpected(expected),
        }
    }

    fn log_range_in_parentheses(&mut self) -> Parsed<LogRange> {
        self.advance();
        if !self.at_key("{") {
            let inner = self.log_range(&["{", "("])?;
            self.expect(")")?;
            return Ok(inner);
        }
        let matchers = self.selector()?;
        let (mut lines, mut window) = self.lines_or_range(matchers)?;
        if window.is_none() && matches!(self.peek(), Token::Range(_)) {
            window = Some(self.window(&[])?);
        }
        if let Some(window) = window {
            self.expect(")")?;
            return Ok(lines.over(window));
        }
        if !self.key(")") {
            return match lines.unwrap {
                Some(_) => self.unexpected(&["RANGE", ")", "|"]),
                None => self.unexpected(&[]),
            };
        }
        let window = self.window(&["RANGE"])?;
        if lines.unwrap.is_none() {
            let (stages, unwrap) = self.stages(true)?;
            lines.logs.stages.extend(stages);
            lines.unwrap = unwrap;
        }
        Ok(lines.over(window))
    }

    /// What follows a selector: stages, with the range before them or not yet there.
    fn lines_or_range(
        &mut self,
        matchers: Vec<obs_model::Matcher>,
    ) -> Parsed<(Lines, Option<(i64, i64)>)> {
        let window = match self.peek() {
            Token::Range(_) => Some(self.window(&[])?),
            _ => None,
        };
        let (stages, unwrap) = self.stages(true)?;
        let logs = LogExpr { matchers, stages };
        Ok((Lines { logs, unwrap }, window))
    }

    /// `[5m] offset 1h`
    fn window(&mut self, expected: &[&str]) -> Parsed<(i64, i64)> {
        let Token::Range(range) = *self.peek() else {
            return self.unexpected(expected);
        };
        self.advance();
        if !self.key("offset") {
            return Ok((range, 0));
        }
        let Token::Duration(offset) = *self.peek() else {
            return self.unexpected(&["DURATION"]);
        };
        self.advance();
        Ok((range, offset))
    }

    fn vector_aggregation(&mut self, op: VectorOp) -> Parsed<CheckedMetric> {
        let before = self.grouping()?;
        self.expect("(")?;
        let mut number = None;
        if let (Token::Number(text), Token::Key(",")) = (self.peek(), self.peek_at(1)) {
            number = Some(text.clone());
            self.advance();
            self.advance();
        }
        let (expr, inner) = self.metric()?;
        if !self.key(")") {
            return self.unexpected(&[]);
        }
        let grouping = match before {
            Some(grouping) => Some(grouping),
            None => self.grouping()?,
        };
        let (parameter, own) = match k(op, number.as_deref(), grouping.as_ref()) {
            Ok(parameter) => (parameter, None),
            Err(fault) => (None, Some(fault)),
        };
        // `by ()` is what is done without a grouping.
        let grouping = grouping.filter(|g| g.without || !g.labels.is_empty());
        let expr = MetricExpr::Vector {
            op,
            parameter,
            expr: Box::new(expr),
            grouping,
        };
        Ok((expr, own.or(inner)))
    }
}

/// Lines whose range is not known yet.
struct Lines {
    logs: LogExpr,
    unwrap: Option<super::ast::Unwrap>,
}

impl Lines {
    /// What could follow.
    fn expected(&self) -> &'static [&'static str] {
        match self.unwrap {
            Some(_) => &["RANGE", "|"],
            None => &[],
        }
    }

    fn over(self, (range, offset): (i64, i64)) -> LogRange {
        LogRange {
            logs: self.logs,
            unwrap: self.unwrap,
            range,
            offset,
        }
    }
}

/// What is wrong with a range aggregation.
fn range_fault(
    op: RangeOp,
    number: Option<&str>,
    logs: &LogRange,
    grouped: bool,
) -> Option<ParseError> {
    let name = op.as_str();
    match (op, number) {
        (Quantile, None) => {
            return Some(refused(format!("parameter required for operation {name}")));
        }
        (Quantile, Some(number)) => {
            if let Err(e) = parse_number(number) {
                let message = format!("invalid parameter for operation {name}: {e}");
                return Some(refused(message));
            }
        }
        (_, Some(number)) => {
            let message = format!("parameter {number} not supported for operation {name}");
            return Some(refused(message));
        }
        (_, None) => {}
    }
    let groups = matches!(
        op,
        Avg | Min | Max | Stdvar | Stddev | Quantile | First | Last
    );
    if grouped && !groups {
        return Some(refused(format!(
            "grouping not allowed for {name} aggregation"
        )));
    }
    match (op, &logs.unwrap) {
        (Count | BytesRate | Bytes, Some(_)) => {
            Some(refused(format!("invalid aggregation {name} with unwrap")))
        }
        (Rate | Absent | Count | BytesRate | Bytes, _) | (_, Some(_)) => None,
        (_, None) => Some(refused(format!(
            "invalid aggregation {name} without unwrap"
        ))),
    }
}

/// The parameter of a vector aggregation, or what is wrong with it or its grouping.
fn k(
    op: VectorOp,
    number: Option<&str>,
    grouping: Option<&Grouping>,
) -> Result<Option<u64>, ParseError> {
    let name = op.as_str();
    let refuse = |message: String| Err(refused(message));
    let wanted = matches!(
        op,
        VectorOp::Topk | VectorOp::Bottomk | VectorOp::ApproxTopk
    );
    let labels = grouping.is_some_and(|grouping| !grouping.labels.is_empty());
    match (wanted, number) {
        (true, None) => refuse(format!("parameter required for operation {name}")),
        (false, Some(number)) => refuse(format!(
            "unsupported parameter for operation {name}({number},"
        )),
        (false, None) if labels && matches!(op, VectorOp::Sort | VectorOp::SortDesc) => {
            refuse("sort and sort_desc doesn't allow grouping by ".to_owned())
        }
        (false, None) => Ok(None),
        (true, Some(text)) => match text.parse::<u32>() {
            Err(_) => refuse(format!("invalid parameter {name}({text},")),
            Ok(0) => refuse(format!(
                "invalid parameter (must be greater than 0) {name}({text}"
            )),
            Ok(_) if op == VectorOp::ApproxTopk && grouping.is_some() => {
                refuse(format!("grouping not allowed for {name} aggregation"))
            }
            Ok(k) => Ok(Some(u64::from(k))),
        },
    }
}

/// A binary operation; two numbers become one.
fn join(op: BinaryOp, matching: Matching, left: Checked, right: Checked) -> Checked {
    let fault = |fault: ParseError| Checked {
        expr: Expr::Metric(MetricExpr::Number(f64::NAN)),
        fault: Some(fault),
    };
    let sides = [("left", &left), ("right", &right)];
    let numbers = sides.map(|(_, side)| match &side.expr {
        Expr::Metric(MetricExpr::Number(number)) => Some(*number),
        _ => None,
    });
    for (name, side) in sides {
        if let Expr::Logs(logs) = &side.expr {
            let kind = match logs.stages.is_empty() {
                true => "MatchersExpr",
                false => "PipelineExpr",
            };
            return fault(refused(format!(
                "unexpected type for {name} leg of binary operation ({}): *syntax.{kind}",
                op.as_str()
            )));
        }
    }
    for ((name, side), number) in sides.into_iter().zip(numbers) {
        let Some(number) = number else { continue };
        if let Some(own) = &side.fault {
            return fault(own.clone());
        }
        if op.is_set() {
            return fault(refused(format!(
                "unexpected literal for {name} leg of logical/set binary operation ({}): {number:.6}",
                op.as_str()
            )));
        }
    }
    if let [Some(left), Some(right)] = numbers {
        return Checked {
            expr: Expr::Metric(MetricExpr::Number(folded(op, left, right))),
            fault: None,
        };
    }
    match (left.expr, right.expr) {
        (Expr::Metric(lhs), Expr::Metric(rhs)) => Checked {
            expr: Expr::Metric(MetricExpr::Binary {
                op,
                left: Box::new(lhs),
                right: Box::new(rhs),
                matching,
            }),
            fault: left.fault.or(right.fault),
        },
        // Logs were refused above.
        (logs @ Expr::Logs(_), _) | (_, logs @ Expr::Logs(_)) => Checked {
            expr: logs,
            fault: left.fault.or(right.fault),
        },
    }
}

/// Two numbers put together; divided by zero they are no number.
fn folded(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Compare(comparison) => f64::from(u8::from(comparison.holds(left, right))),
        // Refused between numbers.
        BinaryOp::Or | BinaryOp::And | BinaryOp::Unless => f64::NAN,
    }
}
