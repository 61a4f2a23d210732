//! Queries with a window that is said later, and how selectors become numbers of events.
//!
//! Invariant: a [`Windowed`] has at least one place for its window and nothing else to fill in.

use obs_model::limits::Limits;
use obs_query::operators::AggregateOp;
use obs_query::promql;
use obs_query::promql::ast::{Aggregate, Expr, Kind, Modifiers};

/// Where the window stands, as Sloth writes it.
const WINDOW: &str = "{{.window}}";

/// A query with a window that is said later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windowed(String);

impl Windowed {
    /// Takes a text with `{{.window}}` at least once.
    pub fn template(text: &str) -> Result<Self, String> {
        let mut taken = String::with_capacity(text.len());
        let mut rest = text.trim();
        let mut windows = 0;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inner, tail) = after
                .split_once("}}")
                .ok_or_else(|| "expected }} behind {{".to_owned())?;
            if inner.trim() != ".window" {
                return Err(format!("expected {WINDOW}, found {{{{{inner}}}}}"));
            }
            taken.push_str(before);
            taken.push_str(WINDOW);
            windows += 1;
            rest = tail;
        }
        taken.push_str(rest);
        match windows {
            0 => Err(format!("expected {WINDOW} where the window stands")),
            _ => Ok(Self(taken)),
        }
    }

    /// The query over a window such as `5m`.
    pub fn at(&self, window: &str) -> String {
        self.0.replace(WINDOW, window)
    }

    /// What is in one but not in the other; the other may lack series.
    pub(super) fn minus(&self, other: &Self) -> Self {
        let (all, part) = (&self.0, &other.0);
        Self(format!("({all}) - (({part}) or 0 * ({all}))"))
    }

    /// What is left of a share.
    pub(super) fn complement(&self) -> Self {
        Self(format!("1 - ({})", self.0))
    }

    /// A query of ours.
    pub(super) fn own(text: String) -> Self {
        debug_assert!(text.contains(WINDOW), "{text}");
        Self(text)
    }
}

/// How a metric counts events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// It is a counter.
    Counter,
    /// Each sample is a number of events.
    Deltas,
    /// Each sample is an event.
    Samples,
}

impl Counting {
    fn function(self) -> &'static str {
        match self {
            Self::Counter => "increase",
            Self::Deltas => "sum_over_time",
            Self::Samples => "count_over_time",
        }
    }
}

/// The number of events of a query in a window, summed. A query with `{{.window}}` is taken as it
/// is; a selector, or a sum of one, gets the window; anything else is asked every minute.
pub(super) fn events(text: &str, counting: Counting, limits: &Limits) -> Result<Windowed, String> {
    if text.contains("{{") {
        return Windowed::template(text);
    }
    let expr = read(text, limits)?;
    let function = counting.function();
    let own = |text: String| Ok(Windowed::own(text));
    match &expr.bare().kind {
        kind if is_plain(kind) => own(format!("sum({function}({}[{WINDOW}]))", expr.bare())),
        Kind::Aggregate(sum) if is_sum_of_selector(sum) => {
            let inner = sum.expr.bare();
            let by = match &sum.grouping {
                Some(grouping) => format!("sum {grouping} "),
                None => "sum".to_owned(),
            };
            own(format!("{by}({function}({inner}[{WINDOW}]))"))
        }
        _ => own(format!("sum({function}(({expr})[{WINDOW}:1m]))")),
    }
}

/// The number of events of a selector in a window, by labels.
pub(super) fn events_by(
    selector: &str,
    counting: Counting,
    by: &[String],
    limits: &Limits,
) -> Result<Windowed, String> {
    let selector = plain_selector(selector, limits)?;
    let (sum, function) = (sum_by(by), counting.function());
    Ok(Windowed::own(format!(
        "{sum}({function}({selector}[{WINDOW}]))"
    )))
}

/// `sum` or `sum by (…) `.
pub(super) fn sum_by(by: &[String]) -> String {
    match by {
        [] => "sum".to_owned(),
        by => format!("sum by ({}) ", by.join(", ")),
    }
}

/// A selector without range and modifiers, as the printer writes it.
pub(super) fn plain_selector(text: &str, limits: &Limits) -> Result<String, String> {
    let expr = read(text, limits)?;
    match is_plain(&expr.bare().kind) {
        true => Ok(expr.bare().to_string()),
        false => Err(format!("expected a selector of a metric, found {text:?}")),
    }
}

/// An expression, as the printer writes it.
pub(super) fn printed(text: &str, limits: &Limits) -> Result<String, String> {
    read(text, limits).map(|expr| expr.to_string())
}

fn read(text: &str, limits: &Limits) -> Result<Expr, String> {
    promql::parse(text, limits).map_err(|error| format!("could not parse {text:?}: {error}"))
}

fn is_plain(kind: &Kind) -> bool {
    matches!(kind, Kind::Selector(selector) if selector.modifiers == Modifiers::default())
}

fn is_sum_of_selector(sum: &Aggregate) -> bool {
    sum.op == AggregateOp::Sum && is_plain(&sum.expr.bare().kind)
}
