//! Templates of labels and annotations: Prometheus' functions and variables over Go's language.
//!
//! Invariant: expanding never fails a rule. A text that cannot be expanded becomes
//! `<error expanding template: …>`, as in Prometheus, and rules go on.

mod functions;
mod numbers;

use obs_model::{Labels, Timestamp};
use obs_query::template::{Template, TemplateError, Value};

use functions::RuleFunctions;
pub use functions::{Asked, Asking, link};
pub(crate) use numbers::duration as human_duration;

/// Prometheus puts these in front of every text.
const VARIABLES: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                         {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// What all templates of a server know.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The labels that the server adds to what it sends.
    pub external_labels: Labels,
    /// Where users reach the server, without a slash at the end.
    pub external_url: String,
}

/// What the templates of one element of an answer see.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// The labels of the element.
    pub labels: &'a Labels,
    /// Its value.
    pub value: f64,
    /// The time of the evaluation.
    pub now: Timestamp,
}

/// Fails where the text is no template; the words are Go's.
pub fn check(alert: &str, text: &str) -> Result<(), TemplateError> {
    parse(alert, text).map(drop)
}

fn parse(alert: &str, text: &str) -> Result<Template, TemplateError> {
    let text = format!("{VARIABLES}{text}");
    Template::parse(&format!("__alert_{alert}"), &text, &RuleFunctions::unable())
}

/// A template of a rule, parsed once.
#[derive(Clone, Debug)]
pub struct Text {
    written: String,
    program: Option<Result<Template, TemplateError>>,
}

impl Text {
    /// Takes a text as it stands in the file.
    pub fn new(alert: &str, text: &str) -> Self {
        // Most texts have nothing to expand.
        let program = text.contains("{{").then(|| parse(alert, text));
        Self {
            written: text.to_owned(),
            program,
        }
    }

    /// The text as it was written.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// The text for an element.
    pub fn expand(
        &self,
        element: &Element<'_>,
        surroundings: &Surroundings,
        asking: Asking<'_>,
    ) -> String {
        let wrong = |what: &str, error: &TemplateError| {
            format!("<error expanding template: error {what}: {error}>")
        };
        match &self.program {
            None => self.written.clone(),
            Some(Err(error)) => wrong("parsing template", error),
            Some(Ok(program)) => {
                let data = Value::map([
                    ("Labels", Value::texts(element.labels.iter())),
                    (
                        "ExternalLabels",
                        Value::texts(surroundings.external_labels.iter()),
                    ),
                    ("ExternalURL", surroundings.external_url.as_str().into()),
                    ("Value", Value::Float(element.value)),
                ]);
                let functions = RuleFunctions {
                    asking,
                    now: element.now,
                    external_url: &surroundings.external_url,
                };
                let done = program.execute(&data, &functions);
                done.unwrap_or_else(|error| wrong("executing template", &error))
            }
        }
    }
}

#[cfg(test)]
mod tests;
