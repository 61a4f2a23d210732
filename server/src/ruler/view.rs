//! Groups, rules and alerts as the API shows them.
//!
//! Invariant: what is shown was published whole behind an evaluation and is never changed, so that
//! nobody who looks waits for one.

use std::sync::Arc;

use obs_alerting::rules::group::{Health, Running};
use obs_alerting::rules::{Alert, AlertState, RuleKind};
use obs_model::{Labels, Timestamp};

use super::{Member, lock};

/// A group.
#[derive(Clone, Debug)]
pub(crate) struct GroupView {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) interval: i64,
    pub(crate) limit: usize,
    pub(crate) last: Option<(Timestamp, f64)>,
    pub(crate) rules: Vec<RuleView>,
}

/// A rule.
#[derive(Clone, Debug)]
pub(crate) struct RuleView {
    pub(crate) name: String,
    pub(crate) query: String,
    pub(crate) language: obs_query::Language,
    pub(crate) labels: Labels,
    pub(crate) health: Health,
    pub(crate) last_evaluation: Option<Timestamp>,
    pub(crate) evaluation_seconds: f64,
    /// What an alerting rule has besides.
    pub(crate) alerting: Option<AlertingView>,
}

/// What an alerting rule has besides.
#[derive(Clone, Debug)]
pub(crate) struct AlertingView {
    pub(crate) state: AlertState,
    pub(crate) hold: i64,
    pub(crate) keep_firing: i64,
    pub(crate) annotations: Labels,
    /// Those that are pending or fire.
    pub(crate) alerts: Arc<[AlertView]>,
}

/// An alert.
#[derive(Clone, Debug)]
pub(crate) struct AlertView {
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    pub(crate) state: AlertState,
    pub(crate) active_at: Timestamp,
    pub(crate) keep_firing_since: Option<Timestamp>,
    pub(crate) value: f64,
}

/// How a rule stood behind its last evaluation.
#[derive(Debug)]
pub(super) struct Shown {
    health: Health,
    last_evaluation: Option<Timestamp>,
    evaluation_seconds: f64,
    /// The state of an alerting rule, and its alerts that are pending or fire.
    alerting: Option<(AlertState, Arc<[AlertView]>)>,
}

impl Shown {
    pub(super) fn of(running: &Running) -> Self {
        let alerting = running.alerting().map(|alerting| {
            let live = alerting.alerts();
            let live = live.filter(|alert| alert.state != AlertState::Inactive);
            (alerting.state(), live.map(AlertView::of).collect())
        });
        Self {
            health: running.health.clone(),
            last_evaluation: running.last_evaluation,
            evaluation_seconds: running.evaluation_seconds,
            alerting,
        }
    }
}

impl AlertView {
    fn of(alert: &Alert) -> Self {
        Self {
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            state: alert.state,
            active_at: alert.active_at,
            keep_firing_since: alert.keep_firing_since,
            value: alert.value,
        }
    }
}

impl Member {
    /// How it stands now.
    pub(crate) fn view(&self) -> GroupView {
        GroupView {
            file: self.key.file.clone(),
            name: self.key.name.clone(),
            interval: self.times.interval,
            limit: self.group.limit,
            last: *lock(&self.last),
            rules: (0..self.rules.len())
                .map(|rule| self.rule_view(rule))
                .collect(),
        }
    }

    fn rule_view(&self, rule: usize) -> RuleView {
        let (shown, rule) = (self.rules[rule].shown(), &self.group.rules[rule]);
        let alerting = shown.alerting.as_ref().map(|(state, alerts)| {
            let (hold, keep_firing, annotations) = match &rule.kind {
                RuleKind::Alert {
                    hold,
                    keep_firing,
                    annotations,
                    ..
                } => (*hold, *keep_firing, Labels::from_pairs(annotations)),
                RuleKind::Record { .. } => (0, 0, Labels::empty()),
            };
            AlertingView {
                state: *state,
                hold,
                keep_firing,
                annotations,
                alerts: Arc::clone(alerts),
            }
        });
        RuleView {
            name: rule.name().to_owned(),
            query: rule.expression.query.to_string(),
            language: rule.expression.language,
            labels: Labels::from_pairs(rule.labels_in(&self.group)),
            health: shown.health.clone(),
            last_evaluation: shown.last_evaluation,
            evaluation_seconds: shown.evaluation_seconds,
            alerting,
        }
    }
}
