//! Recording rules: the answer under another name.

use std::collections::BTreeMap;

use obs_model::labels::METRIC_NAME;
use obs_model::{Labels, Value};

use super::group::{Sample, Scene};
use crate::error::RuleError;

/// A recording rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The name of its series.
    pub name: String,
    /// Labels that it sets; an empty text takes one away.
    pub labels: BTreeMap<String, String>,
}

impl Recording {
    /// The samples that the elements become.
    pub fn evaluate(
        &self,
        scene: &Scene<'_>,
        elements: Vec<(Labels, Value)>,
        limit: usize,
    ) -> Result<Vec<Sample>, RuleError> {
        let mut made: BTreeMap<Labels, Value> = BTreeMap::new();
        for (labels, value) in elements {
            let mut labels = labels.to_builder();
            labels.set(METRIC_NAME, &self.name);
            for (name, value) in &self.labels {
                labels.set(name, value);
            }
            let labels = labels.build();
            if made.insert(labels.clone(), value).is_some() {
                return Err(RuleError::SameSeries(labels));
            }
        }
        if limit > 0 && made.len() > limit {
            return Err(RuleError::Limit {
                limit,
                found: made.len(),
                what: "series",
            });
        }
        let time = scene.asked_at();
        let samples = made.into_iter();
        Ok(samples
            .map(|(labels, value)| Sample {
                labels,
                time,
                value,
            })
            .collect())
    }
}
