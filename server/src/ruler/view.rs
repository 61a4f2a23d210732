//! Groups, rules and alerts as the API shows them.

use obs_alerting::rules::group::Health;
use obs_alerting::rules::{AlertState, RuleKind};
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
    pub(crate) alerts: Vec<AlertView>,
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
        let running = lock(&self.rules[rule]);
        let alerting = running.alerting().map(|alerting| {
            let (hold, keep_firing, annotations) = match &running.rule.kind {
                RuleKind::Alert {
                    hold,
                    keep_firing,
                    annotations,
                    ..
                } => (*hold, *keep_firing, Labels::from_pairs(annotations)),
                RuleKind::Record { .. } => (0, 0, Labels::empty()),
            };
            let live = alerting
                .alerts()
                .filter(|a| a.state != AlertState::Inactive);
            AlertingView {
                state: alerting.state(),
                hold,
                keep_firing,
                annotations,
                alerts: live
                    .map(|alert| AlertView {
                        labels: alert.labels.clone(),
                        annotations: alert.annotations.clone(),
                        state: alert.state,
                        active_at: alert.active_at,
                        keep_firing_since: alert.keep_firing_since,
                        value: alert.value,
                    })
                    .collect(),
            }
        });
        RuleView {
            name: running.rule.name().to_owned(),
            query: running.rule.expression.query.to_string(),
            language: running.rule.expression.language,
            labels: Labels::from_pairs(running.rule.labels_in(&self.group)),
            health: running.health.clone(),
            last_evaluation: running.last_evaluation,
            evaluation_seconds: running.evaluation_seconds,
            alerting,
        }
    }
}
