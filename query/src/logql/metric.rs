//! LogQL's parser for metric expressions.

use super::ast::RangeOp::{
    Absent, Avg, Bytes, BytesRate, Count, First, Last, Max, Min, Quantile, Rate, Stddev, Stdvar,
};
use super::ast::{
    BinaryOp, Comparison, Grouping, LogExpr, LogRange, Matching, MetricExpr, RANGE_OPS, RangeOp,
    Side, VECTOR_OPS, VectorOp,
};
use super::lexer::Token;
use super::parser::Parser;
use crate::error::ParseError;

type Parsed<T> = Result<T, ParseError>;

impl Parser<'_> {
    /// A metric expression with all its operators.
    pub(super) fn metric_expr(&mut self) -> Parsed<MetricExpr> {
        self.cursor_nested(|parser| parser.binary(0))
    }

    /// Precedence climbing: operators that bind tighter than `floor`.
    fn binary(&mut self, floor: u8) -> Parsed<MetricExpr> {
        self.cursor.begin_height();
        let mut left = self.primary()?;
        loop {
            let at = self.cursor.position();
            let Some(op) = self.binary_op().filter(|op| op.precedence() > floor) else {
                return Ok(left);
            };
            let height = self.cursor.height();
            self.take_binary_op();
            let matching = self.matching(op)?;
            // `^` binds to the right, the others to the left.
            let next = op.precedence() - u8::from(op == BinaryOp::Pow);
            let right_at = self.cursor.position();
            let right = self.cursor_nested(|parser| parser.binary(next))?;
            self.cursor.grow(height)?;
            if op.is_set() {
                for (side, place) in [(&left, at), (&right, right_at)] {
                    if is_scalar(side) {
                        return Err(self.cursor.error_at(
                            place,
                            format!("series on both sides of {}, not a number", op.as_str()),
                        ));
                    }
                }
            }
            left = MetricExpr::Binary {
                op,
                left: Box::new(left),
                right: Box::new(right),
                matching,
            };
        }
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        Some(match self.cursor.peek()? {
            Token::Sign("+") => BinaryOp::Add,
            Token::Sign("-") => BinaryOp::Sub,
            Token::Sign("*") => BinaryOp::Mul,
            Token::Sign("/") => BinaryOp::Div,
            Token::Sign("%") => BinaryOp::Mod,
            Token::Sign("^") => BinaryOp::Pow,
            Token::Sign("==") => BinaryOp::Compare(Comparison::Equal),
            Token::Sign("!=") => BinaryOp::Compare(Comparison::NotEqual),
            Token::Sign(">") => BinaryOp::Compare(Comparison::Greater),
            Token::Sign(">=") => BinaryOp::Compare(Comparison::GreaterEqual),
            Token::Sign("<") => BinaryOp::Compare(Comparison::Less),
            Token::Sign("<=") => BinaryOp::Compare(Comparison::LessEqual),
            Token::Word(_) => match self.peek_word(0)?.as_str() {
                "or" => BinaryOp::Or,
                "and" => BinaryOp::And,
                "unless" => BinaryOp::Unless,
                _ => return None,
            },
            _ => return None,
        })
    }

    fn take_binary_op(&mut self) {
        self.cursor.advance();
    }

    fn matching(&mut self, op: BinaryOp) -> Parsed<Matching> {
        let mut matching = Matching::default();
        let at = self.cursor.position();
        if self.keyword("bool") {
            if !matches!(op, BinaryOp::Compare(_)) {
                return Err(self.cursor.error_at(at, "bool only after a comparison"));
            }
            matching.return_bool = true;
        }
        let on = self.keyword("on");
        if on || self.keyword("ignoring") {
            matching.labels = Some((on, self.label_list()?));
            let left = self.keyword("group_left");
            if left || self.keyword("group_right") {
                if op.is_set() {
                    return Err(self.cursor.error_at(
                        self.cursor.position() - 1,
                        format!("no grouping with {}", op.as_str()),
                    ));
                }
                let side = if left { Side::Left } else { Side::Right };
                let has_labels = self.cursor.peek() == Some(&Token::Sign("("))
                    && matches!(
                        (self.cursor.peek_at(1), self.cursor.peek_at(2)),
                        (Some(Token::Sign(")")), _)
                            | (Some(Token::Word(_)), Some(Token::Sign("," | ")")))
                    );
                let labels = if has_labels {
                    self.label_list()?
                } else {
                    Vec::new()
                };
                matching.group = Some((side, labels));
            }
        }
        Ok(matching)
    }

    /// `(a, b)`
    fn label_list(&mut self) -> Parsed<Vec<String>> {
        self.expect_sign("(")?;
        let mut labels = Vec::new();
        if self.sign(")") {
            return Ok(labels);
        }
        loop {
            labels.push(self.name()?);
            if self.sign(")") {
                return Ok(labels);
            }
            self.cursor.expect(&Token::Sign(","), ", or )")?;
        }
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = self.keyword("without");
        if !without && !self.keyword("by") {
            return Ok(None);
        }
        Ok(Some(Grouping {
            without,
            labels: self.label_list()?,
        }))
    }

    fn primary(&mut self) -> Parsed<MetricExpr> {
        if self.sign("(") {
            let inner = self.metric_expr()?;
            self.expect_sign(")")?;
            return Ok(inner);
        }
        let signed = matches!(self.cursor.peek(), Some(Token::Sign("+" | "-")));
        if signed || matches!(self.cursor.peek(), Some(Token::Number(_))) {
            return Ok(MetricExpr::Number(self.number()?));
        }
        let what = "a metric query such as rate({app=\"x\"}[5m]), a number or (";
        let Some(word) = self.peek_word(0) else {
            return Err(self.error(what));
        };
        if let Some((_, op)) = RANGE_OPS.iter().find(|(name, _)| *name == word) {
            let at = self.cursor.position();
            self.cursor.advance();
            return self.range_aggregation(*op, at);
        }
        if let Some((_, op)) = VECTOR_OPS.iter().find(|(name, _)| *name == word) {
            let at = self.cursor.position();
            self.cursor.advance();
            return self.vector_aggregation(*op, at);
        }
        match word.as_str() {
            "vector" => {
                self.cursor.advance();
                self.expect_sign("(")?;
                let number = self.number()?;
                self.expect_sign(")")?;
                Ok(MetricExpr::Literal(number))
            }
            "label_replace" => {
                self.cursor.advance();
                self.label_replace()
            }
            _ => Err(self.error(what)),
        }
    }

    /// A number with a sign.
    fn number(&mut self) -> Parsed<f64> {
        let negative = self.sign("-");
        if !negative {
            self.sign("+");
        }
        let Some(Token::Number(number)) = self.cursor.peek() else {
            return Err(self.error("a number"));
        };
        let number = if negative { -number } else { *number };
        self.cursor.advance();
        Ok(number)
    }

    fn label_replace(&mut self) -> Parsed<MetricExpr> {
        self.expect_sign("(")?;
        let expr = self.metric_expr()?;
        let mut texts: [String; 4] = Default::default();
        let mut at = self.cursor.position();
        for text in &mut texts {
            self.expect_sign(",")?;
            at = self.cursor.position();
            *text = self.text("a quoted text")?;
        }
        self.expect_sign(")")?;
        let [destination, replacement, source, regex] = texts;
        obs_model::Pattern::anchored(&regex).map_err(|e| {
            self.cursor
                .error_at(at, format!("a regular expression ({e})"))
        })?;
        Ok(MetricExpr::LabelReplace {
            expr: Box::new(expr),
            destination,
            replacement,
            source,
            regex,
        })
    }

    fn range_aggregation(&mut self, op: RangeOp, at: usize) -> Parsed<MetricExpr> {
        self.expect_sign("(")?;
        let parameter = if let Some(Token::Number(number)) = self.cursor.peek() {
            let number = *number;
            if op != Quantile {
                return Err(self.error(format!("no parameter for {}", op.as_str())));
            }
            self.cursor.advance();
            self.expect_sign(",")?;
            Some(number)
        } else if op == Quantile {
            return Err(self.error("the quantile as first parameter"));
        } else {
            None
        };
        let logs = self.cursor_nested(Self::log_range)?;
        self.expect_sign(")")?;
        let grouping_at = self.cursor.position();
        let grouping = self.grouping()?;
        let groups = matches!(
            op,
            Avg | Min | Max | Stdvar | Stddev | Quantile | First | Last
        );
        if grouping.is_some() && !groups {
            return Err(self
                .cursor
                .error_at(grouping_at, format!("no grouping for {}", op.as_str())));
        }
        match (op, &logs.unwrap) {
            (Count | BytesRate | Bytes, Some(_)) => Err(self.cursor.error_at(
                at,
                format!("an aggregation for unwrapped values, not {}", op.as_str()),
            )),
            (Rate | Absent | Count | BytesRate | Bytes, _) | (_, Some(_)) => {
                Ok(MetricExpr::Range {
                    op,
                    parameter,
                    logs,
                    grouping,
                })
            }
            (_, None) => Err(self
                .cursor
                .error_at(at, format!("| unwrap inside {}", op.as_str()))),
        }
    }

    /// Lines over time; the range stands before or behind the stages, and parentheses may be
    /// around the lines or around all of it.
    fn log_range(&mut self) -> Parsed<LogRange> {
        if self.cursor.peek() != Some(&Token::Sign("(")) {
            let matchers = self.selector()?;
            if self.cursor.peek() == Some(&Token::Sign("[")) {
                let (range, offset) = self.window()?;
                let (stages, unwrap) = self.stages(true)?;
                return Ok(LogRange {
                    logs: LogExpr { matchers, stages },
                    unwrap,
                    range,
                    offset,
                });
            }
            let (stages, unwrap) = self.stages(true)?;
            let (range, offset) = self.window()?;
            return Ok(LogRange {
                logs: LogExpr { matchers, stages },
                unwrap,
                range,
                offset,
            });
        }
        let open = self.cursor.position();
        self.expect_sign("(")?;
        // With the window inside, the parentheses hold a whole range; else only its lines.
        let whole = self.cursor_nested(Self::log_range);
        match whole {
            Ok(logs) if self.sign(")") => Ok(logs),
            Ok(_) => Err(self.error(")")),
            Err(inside) => {
                self.cursor.rewind(open);
                self.range_behind_parentheses().map_err(|behind| {
                    if inside.place > behind.place {
                        inside
                    } else {
                        behind
                    }
                })
            }
        }
    }

    /// `({…} stages) [5m]`
    fn range_behind_parentheses(&mut self) -> Parsed<LogRange> {
        let (mut logs, mut unwrap) = self.parenthesised_lines()?;
        let (range, offset) = self.window()?;
        if unwrap.is_none() {
            let (stages, behind) = self.stages(true)?;
            logs.stages.extend(stages);
            unwrap = behind;
        }
        Ok(LogRange {
            logs,
            unwrap,
            range,
            offset,
        })
    }

    fn parenthesised_lines(&mut self) -> Parsed<(LogExpr, Option<super::ast::Unwrap>)> {
        if !self.sign("(") {
            let matchers = self.selector()?;
            let (stages, unwrap) = self.stages(true)?;
            return Ok((LogExpr { matchers, stages }, unwrap));
        }
        let inner = self.cursor_nested(Self::parenthesised_lines)?;
        self.expect_sign(")")?;
        Ok(inner)
    }

    /// `[5m] offset 1h`
    fn window(&mut self) -> Parsed<(i64, i64)> {
        self.cursor
            .expect(&Token::Sign("["), "a range such as [5m]")?;
        let range = match self.cursor.peek() {
            Some(Token::Duration(nanos)) if *nanos > 0 => *nanos,
            _ => return Err(self.error("a duration such as 5m")),
        };
        self.cursor.advance();
        self.expect_sign("]")?;
        if !self.keyword("offset") {
            return Ok((range, 0));
        }
        let negative = self.sign("-");
        let offset = match self.cursor.peek() {
            Some(Token::Duration(nanos)) => *nanos,
            Some(Token::Number(number)) if *number == 0.0 => 0,
            _ => return Err(self.error("a duration such as 5m")),
        };
        self.cursor.advance();
        Ok((range, if negative { -offset } else { offset }))
    }

    fn vector_aggregation(&mut self, op: VectorOp, at: usize) -> Parsed<MetricExpr> {
        let before = self.grouping()?;
        self.expect_sign("(")?;
        let wants_k = matches!(
            op,
            VectorOp::Topk | VectorOp::Bottomk | VectorOp::ApproxTopk
        );
        let with_parameter = matches!(self.cursor.peek(), Some(Token::Number(_)))
            && self.cursor.peek_at(1) == Some(&Token::Sign(","));
        let parameter = match (wants_k, with_parameter) {
            (true, true) => Some(self.k()?),
            (true, false) => return Err(self.error("a whole number from 1 and a comma")),
            (false, true) => return Err(self.error(format!("no parameter for {}", op.as_str()))),
            (false, false) => None,
        };
        let inner_at = self.cursor.position();
        let expr = self.metric_expr()?;
        if is_scalar(&expr) {
            return Err(self
                .cursor
                .error_at(inner_at, "series to aggregate, not a number"));
        }
        self.expect_sign(")")?;
        let grouping = match before {
            Some(grouping) => Some(grouping),
            None => self.grouping()?,
        };
        let ungrouped = matches!(
            op,
            VectorOp::Sort | VectorOp::SortDesc | VectorOp::ApproxTopk
        );
        if grouping.is_some() && ungrouped {
            return Err(self
                .cursor
                .error_at(at, format!("no grouping with {}", op.as_str())));
        }
        Ok(MetricExpr::Vector {
            op,
            parameter,
            expr: Box::new(expr),
            grouping,
        })
    }

    /// The `k,` of topk.
    fn k(&mut self) -> Parsed<u64> {
        let k = match self.cursor.peek() {
            // Below 2^32 and whole, so that the cast is exact.
            Some(Token::Number(n)) if *n >= 1.0 && n.fract() == 0.0 && *n < 4_294_967_296.0 => {
                *n as u64
            }
            _ => return Err(self.error("a whole number from 1")),
        };
        self.cursor.advance();
        self.expect_sign(",")?;
        Ok(k)
    }
}

/// Whether an expression is a number rather than series.
pub(super) fn is_scalar(expr: &MetricExpr) -> bool {
    match expr {
        MetricExpr::Number(_) => true,
        MetricExpr::Binary { left, right, .. } => is_scalar(left) && is_scalar(right),
        _ => false,
    }
}
