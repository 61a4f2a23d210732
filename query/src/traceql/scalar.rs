//! TraceQL's parser for aggregates and their comparisons: `avg(duration) > 1s`.

use super::ast::{Aggregate, Operator, ScalarExpr, ScalarFilter, Static};
use super::lexer::Token;
use super::parser::{Parsed, Parser, invalid};
use super::types;

const AGGREGATES: [Aggregate; 5] = [
    Aggregate::Count,
    Aggregate::Max,
    Aggregate::Min,
    Aggregate::Avg,
    Aggregate::Sum,
];

impl Parser<'_> {
    pub(super) fn scalar_filter(&mut self) -> Parsed<ScalarFilter> {
        let start = self.cursor.position();
        let left = self.scalar(2)?;
        let Some(op) = self.operator().filter(|op| op.is_comparison()) else {
            return Err(self.error("a comparison such as > 5"));
        };
        self.cursor.advance();
        let right = self.scalar(2)?;
        if !has_aggregate(&left) && !has_aggregate(&right) {
            return Err(self
                .cursor
                .error_from(start, "an aggregate such as count() on one side"));
        }
        let shown = || format!("{left} {} {right}", op.as_str());
        if !is_number(&left) || !is_number(&right) {
            let text = "binary operations must operate on the same type";
            return Err(invalid(format!("{text}: {}", shown())));
        }
        Ok(ScalarFilter { left, op, right })
    }

    fn scalar(&mut self, floor: u8) -> Parsed<ScalarExpr> {
        self.cursor.begin_height();
        let mut left = self.scalar_operand()?;
        loop {
            let arithmetic = |op: &Operator| !op.is_comparison() && !op.is_logical();
            let Some(op) = self
                .operator()
                .filter(arithmetic)
                .filter(|op| op.precedence() > floor)
            else {
                return Ok(left);
            };
            let height = self.cursor.height();
            self.cursor.advance();
            let next = op.precedence() - u8::from(op == Operator::Pow);
            let right = self.nested(|parser| parser.scalar(next))?;
            self.cursor.grow(height)?;
            left = ScalarExpr::Operation {
                op,
                left: Box::new(left),
                right: Box::new(right),
            };
        }
    }

    /// `{ … } | … | avg(duration)`
    fn scalar_pipeline(&mut self) -> Parsed<ScalarExpr> {
        let mut elements = vec![self.element(true)?];
        loop {
            self.expect_sign("|")?;
            let aggregates = self
                .at_word()
                .is_some_and(|word| AGGREGATES.iter().any(|a| a.as_str() == word));
            if aggregates {
                let begin = self.cursor.position();
                let aggregate = self.scalar_operand()?;
                if self.cursor.peek() == Some(&Token::Sign(")")) {
                    return Ok(ScalarExpr::Pipeline(elements, Box::new(aggregate)));
                }
                self.cursor.rewind(begin);
            }
            elements.push(self.element(false)?);
        }
    }

    fn scalar_operand(&mut self) -> Parsed<ScalarExpr> {
        if self.sign("(") {
            let inner = if self.cursor.peek() == Some(&Token::Sign("{")) {
                self.nested(Self::scalar_pipeline)?
            } else {
                self.nested(|parser| parser.scalar(2))?
            };
            self.expect_sign(")")?;
            return Ok(inner);
        }
        let aggregate = self
            .at_word()
            .and_then(|word| AGGREGATES.into_iter().find(|a| a.as_str() == word));
        if let Some(aggregate) = aggregate {
            self.cursor.advance();
            self.expect_sign("(")?;
            if aggregate == Aggregate::Count {
                self.expect_sign(")")?;
                return Ok(ScalarExpr::Aggregate(aggregate, None));
            }
            let expr = self.field_expr()?;
            self.expect_sign(")")?;
            let (number, spans) = (types::is_numeric(&expr), types::speaks_of_span(&expr));
            let expr = ScalarExpr::Aggregate(aggregate, Some(expr));
            let text = match (number, spans) {
                (true, true) => return Ok(expr),
                (false, _) => "aggregate field expressions must resolve to a number type",
                (true, false) => "aggregate field expressions must reference the span",
            };
            return Err(invalid(format!("{text}: {expr}")));
        }
        let negative = self.sign("-");
        let number = matches!(
            self.cursor.peek(),
            Some(Token::Int(_) | Token::Float(_) | Token::Duration(_))
        );
        let value: Option<Static> = match (negative, number) {
            (true, _) => self.negative_static(),
            (false, true) => self.constant(),
            (false, false) => None,
        };
        value.map(ScalarExpr::Static).ok_or_else(|| {
            self.error(
                "a span set such as { status = error }, an aggregate such as count() or a number",
            )
        })
    }
}

fn has_aggregate(expr: &ScalarExpr) -> bool {
    match expr {
        ScalarExpr::Static(_) => false,
        ScalarExpr::Aggregate(..) | ScalarExpr::Pipeline(..) => true,
        ScalarExpr::Operation { left, right, .. } => has_aggregate(left) || has_aggregate(right),
    }
}

/// Every aggregate is a number; a constant may be none.
fn is_number(expr: &ScalarExpr) -> bool {
    !matches!(
        expr,
        ScalarExpr::Static(
            Static::String(_) | Static::Bool(_) | Static::Status(_) | Static::Kind(_)
        )
    )
}
