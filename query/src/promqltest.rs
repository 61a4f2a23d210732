//! Runs files in the `.test` format of Prometheus' `promqltest` against the parser and evaluator.
//!
//! As Prometheus' own runner does, every instant evaluation is also run at other times with `@` on
//! every selector, and each of these over a range whose middle point must be the same. Series are
//! held in memory: a file tests the language, not the store.

mod command;
mod compare;
mod memory;
mod series;
mod store;
#[cfg(test)]
mod tests;

use obs_model::answer::MatrixSeries;
use obs_model::limits::Limits;
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Answer, Labels, Timestamp, Value};

pub use store::{InputSeries, SeriesStore, histogram, histogram_text, metric};

use command::{CommandKind, Eval, Expected, commands};
use memory::Memory;

use crate::promql::ast::{At, Expr, Kind, Modifiers};
use crate::request::When;

/// Functions whose value depends on the time of evaluation, whatever `@` says.
const UNSAFE: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "end",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
    "year",
];

/// What failed, and at which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The line of the command, from 1.
    pub line: usize,
    /// What was expected and found.
    pub text: String,
}

/// What became of a file. An evaluation with all its re-runs counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Evaluations that are as expected.
    pub passed: usize,
    /// All others, and commands that cannot be read or run.
    pub failures: Vec<Failure>,
}

/// Runs the text of a file, with metric names leaving at the end of evaluation (as the files
/// assume) or at each function.
pub fn run(text: &str, delayed_names: bool, pool: &rayon::ThreadPool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut memory = Memory::default();
    for command in commands(text) {
        let mut line = command.line;
        let result = match command.kind {
            CommandKind::Clear => {
                memory = Memory::default();
                continue;
            }
            CommandKind::Load {
                step_ms,
                custom_buckets,
                lines,
            } => match memory.load(step_ms, &lines, custom_buckets) {
                Ok(()) => continue,
                Err((at, text)) => {
                    line += 1 + at;
                    Err(text)
                }
            },
            CommandKind::Eval(eval) => {
                let runner = Runner {
                    memory: &memory,
                    delayed_names,
                    pool,
                };
                runner.eval(&eval)
            }
            CommandKind::Fault(text) => Err(text),
        };
        match result {
            Ok(()) => outcome.passed += 1,
            Err(text) => outcome.failures.push(Failure { line, text }),
        }
    }
    outcome
}

struct Runner<'a> {
    memory: &'a Memory,
    delayed_names: bool,
    pool: &'a rayon::ThreadPool,
}

impl Runner<'_> {
    fn eval(&self, eval: &Eval<'_>) -> Result<(), String> {
        let When::At(at) = eval.when else {
            return self
                .once(eval, eval.query, eval.when)
                .map(|_| ())
                .map_err(|text| format!("{}: {text}", eval.query));
        };
        self.instant(eval, eval.query, at)?;
        let Some(pinned) = pinned(eval.query, at) else {
            return Ok(());
        };
        let ms = at.millis();
        let others = match ms {
            0 => vec![-1000, 0, 1000],
            _ => vec![-10 * ms, 0, ms / 5, ms, 10 * ms],
        };
        for other in others {
            self.instant(eval, &pinned, Timestamp::from_millis(other))?;
        }
        Ok(())
    }

    /// An instant evaluation, and the same in the middle of a range.
    fn instant(&self, eval: &Eval<'_>, query: &str, at: Timestamp) -> Result<(), String> {
        let place = |text: String| format!("{query} at {at}: {text}");
        let Some(found) = self.once(eval, query, When::At(at)).map_err(place)? else {
            return Ok(());
        };
        let context = ["start()", "end()", "range()", "step()"];
        if eval.only_instant || context.iter().any(|call| query.contains(call)) {
            return Ok(());
        }
        const MINUTE: i64 = 60 * NANOS_PER_SECOND;
        let when = When::Range {
            start: at.saturating_sub(MINUTE),
            end: at.saturating_add(MINUTE),
            step: MINUTE,
        };
        let place = |text: String| format!("{query} at {at} in range mode: {text}");
        let answer = self.memory.run(query, when, self.delayed_names, self.pool);
        let (answer, _) = answer.map_err(place)?;
        if eval.ordered {
            return Ok(());
        }
        self.middle(eval, &found, &answer, at).map_err(place)
    }

    /// Compares the middle point of a range with what is expected of the instant.
    fn middle(
        &self,
        eval: &Eval<'_>,
        instant: &Answer,
        range: &Answer,
        at: Timestamp,
    ) -> Result<(), String> {
        let Answer::Matrix(series) = range else {
            return Err(format!("expected a matrix, found {range:?}"));
        };
        let value = |one: &MatrixSeries| {
            let index = one.samples.times.binary_search(&at).ok()?;
            Some(one.samples.value(index))
        };
        if let Answer::Scalar(..) = instant {
            return match series.first().and_then(value) {
                Some(Value::Float(value)) => compare::answer(eval, &Answer::Scalar(at, value)),
                _ => Err("expected a scalar in the middle, found none".to_owned()),
            };
        }
        let Expected::Series(rows) = &eval.expected else {
            return Err("expected no series".to_owned());
        };
        let points: Vec<(&Labels, Value)> = series
            .iter()
            .filter_map(|one| Some((&one.labels, value(one)?)))
            .collect();
        let points: Vec<(&Labels, &Value)> = points.iter().map(|(l, v)| (*l, v)).collect();
        compare::vector(eval, rows, &points)
    }

    /// Runs a query and compares; gives the answer where none had to fail.
    fn once(&self, eval: &Eval<'_>, query: &str, when: When) -> Result<Option<Answer>, String> {
        let found = self.memory.run(query, when, self.delayed_names, self.pool);
        match (found, &eval.fail) {
            (Err(error), Some(said)) if said.fits(&error) => Ok(None),
            (Err(error), Some(said)) => Err(format!("expected error {said}, found {error:?}")),
            (Err(error), None) => Err(format!("failed: {error}")),
            (Ok(_), Some(_)) => Err("expected error but found none".to_owned()),
            (Ok((answer, annotations)), None) => {
                compare::annotations(eval, &annotations)?;
                compare::answer(eval, &answer)?;
                Ok(Some(answer))
            }
        }
    }
}

/// The query with every selector pinned to a time; nothing where that does not fix its value.
fn pinned(query: &str, at: Timestamp) -> Option<String> {
    let mut expr = crate::promql::parse(query, &Limits::default()).ok()?;
    pin(&mut expr, at).then(|| expr.to_string())
}

/// Pins an expression; `false` where a function depends on the time of evaluation.
fn pin(expr: &mut Expr, at: Timestamp) -> bool {
    let set = |modifiers: &mut Modifiers| {
        if !matches!(modifiers.at, Some(At::Millis(_))) {
            modifiers.at = Some(At::Millis(at.millis()));
        }
    };
    match &mut expr.kind {
        Kind::Selector(selector) | Kind::Range(selector, _) => set(&mut selector.modifiers),
        Kind::Subquery(subquery) => {
            // What is below sees the steps of the subquery, which is pinned.
            set(&mut subquery.modifiers);
            return true;
        }
        Kind::Call(signature, _) if UNSAFE.contains(&signature.name) => return false,
        _ => {}
    }
    let below = expr.kind.children_mut();
    below.into_iter().all(|child| pin(child, at))
}
