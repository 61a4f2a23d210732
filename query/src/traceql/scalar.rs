//! TraceQL's parser for aggregates and their comparisons: `avg(duration) > 1s`.

use super::ast::{Aggregate, Operator, ScalarExpr, ScalarFilter, Static};
use super::lexer::Token;
use super::parser::{Parsed, Parser};
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

    fn scalar_operand(&mut self) -> Parsed<ScalarExpr> {
        if self.sign("(") {
            let inner = self.nested(|parser| parser.scalar(2))?;
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
            let at = self.cursor.position();
            let expr = self.field_expr()?;
            if !types::is_numeric(&expr) || !types::speaks_of_span(&expr) {
                return Err(self.cursor.error_from(at, "a number of the span"));
            }
            self.expect_sign(")")?;
            return Ok(ScalarExpr::Aggregate(aggregate, Some(expr)));
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
        ScalarExpr::Aggregate(..) => true,
        ScalarExpr::Operation { left, right, .. } => has_aggregate(left) || has_aggregate(right),
    }
}
