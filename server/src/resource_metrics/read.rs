//! Questions to the store, in PromQL.

use obs_model::sample::Value;
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Answer, Labels, Timestamp};
use obs_query::promql::quote;
use obs_query::{Language, When};

use super::Served;
use super::status::Status;
use crate::enforced::Visible;
use crate::{api, clock};

/// One series of an answer at one time.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) labels: Labels,
    pub(super) value: f64,
}

/// How fast a counter went between its last two samples.
#[derive(Clone, Debug)]
pub(super) struct Speed {
    pub(super) labels: Labels,
    /// When the last sample was taken.
    pub(super) at: Timestamp,
    /// Nanoseconds between the two.
    pub(super) window: i64,
    /// Per second.
    pub(super) value: f64,
}

async fn ask(served: &Served, text: &str) -> Result<Answer, Status> {
    let when = When::At(clock::now());
    let mut request = served.app.features.request(when);
    request.cached = false;
    // Kubernetes said that the asker may, for what it asks.
    let seen = Visible::all_of(served.tenant.clone());
    let asked = api::evaluate(&served.app, &seen, Language::Promql, text, request, None);
    let reply = asked.await.map_err(|error| Status::of(&error))?;
    Ok(reply.answer)
}

/// The series of an instant query; those that are histograms are left out.
pub(super) async fn vector(served: &Served, text: &str) -> Result<Vec<Found>, Status> {
    match ask(served, text).await? {
        Answer::Vector(samples) => Ok(samples
            .into_iter()
            .filter_map(|sample| match sample.value {
                Value::Float(value) => Some(Found {
                    labels: sample.labels,
                    value,
                }),
                Value::Histogram(_) => None,
            })
            .collect()),
        Answer::Scalar(_, value) => Ok(vec![Found {
            labels: Labels::default(),
            value,
        }]),
        _ => Err(Status::bad_request(format!(
            "{text:?} is no instant vector"
        ))),
    }
}

/// How fast counters went between their last two samples within the window.
pub(super) async fn speeds(served: &Served, selector: &str) -> Result<Vec<Speed>, Status> {
    let seconds = served.settings.window.0 / NANOS_PER_SECOND;
    let text = format!("{selector}[{}s]", seconds.max(1));
    let Answer::Matrix(series) = ask(served, &text).await? else {
        return Err(Status::bad_request(format!("{text:?} is no range vector")));
    };
    let speed = |series: obs_model::answer::MatrixSeries| {
        let count = series.samples.len();
        let point = |back: usize| {
            let index = count.checked_sub(back)?;
            match series.samples.value(index) {
                Value::Float(value) => Some((*series.samples.times.get(index)?, value)),
                Value::Histogram(_) => None,
            }
        };
        let ((at, last), (before, first)) = (point(1)?, point(2)?);
        let window = at - before;
        // A counter that fell has begun anew: what it was before is not known.
        (window > 0 && last >= first).then(|| Speed {
            labels: series.labels.clone(),
            at,
            window,
            value: (last - first) * NANOS_PER_SECOND as f64 / window as f64,
        })
    };
    Ok(series.into_iter().filter_map(speed).collect())
}

/// A selector's part for one label, escaped.
pub(super) fn matcher(name: &str, operator: &str, value: &str) -> String {
    format!("{name}{operator}{}", quote(value))
}
