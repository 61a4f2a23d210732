//! How rules are evaluated: what the command line and the configuration say of it.

use std::time::Duration;

use obs_alerting::template::Surroundings;
use obs_collector::notifier::NotifierOptions;
use obs_model::Labels;
use obs_model::time::NANOS_PER_SECOND;

use crate::config::Config;

const MINUTE: i64 = 60 * NANOS_PER_SECOND;

/// What the command line says of rules, by Prometheus' flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleOptions {
    /// The longest outage in nanoseconds over which `for` is restored from series.
    pub outage_tolerance: i64,
    /// Nanoseconds that an alert that is restored from series waits at least.
    pub grace_period: i64,
    /// Nanoseconds for which an alert that fires is not sent again.
    pub resend_delay: i64,
    /// Rules that are evaluated at one time.
    pub concurrent: usize,
    /// How alerts wait for Alertmanagers elsewhere.
    pub notifier: NotifierOptions,
}

impl Default for RuleOptions {
    fn default() -> Self {
        Self {
            outage_tolerance: 60 * MINUTE,
            grace_period: 10 * MINUTE,
            resend_delay: MINUTE,
            concurrent: 4,
            notifier: NotifierOptions::default(),
        }
    }
}

/// How rules are evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// Nanoseconds between evaluations where a group says nothing.
    pub(crate) interval: i64,
    /// How much earlier queries ask where a group says nothing.
    pub(crate) query_offset: i64,
    /// How long an alert that fires is not sent again.
    pub(crate) resend_delay: i64,
    /// The longest time of which `for` is restored from series.
    pub(crate) outage_tolerance: i64,
    /// How long an alert that is restored from series waits at least.
    pub(crate) grace: i64,
    /// Rules that are evaluated at one time, over all groups.
    pub(crate) concurrent: usize,
    /// What templates know.
    pub(crate) surroundings: Surroundings,
}

impl Setting {
    /// What the command line and a configuration say; labels and URL are those of the server.
    pub(crate) fn new(
        options: &RuleOptions,
        config: &Config,
        (external_labels, external_url): (&Labels, &str),
    ) -> Self {
        let nanos = |span: Option<Duration>, default: i64| {
            let nanos = span.and_then(|span| i64::try_from(span.as_nanos()).ok());
            nanos.filter(|nanos| *nanos > 0).unwrap_or(default)
        };
        let global = &config.global;
        Self {
            interval: nanos(global.evaluation_interval.as_ref().map(|s| s.0), MINUTE),
            query_offset: nanos(global.rule_query_offset.as_ref().map(|s| s.0), 0),
            resend_delay: options.resend_delay,
            outage_tolerance: options.outage_tolerance,
            grace: options.grace_period,
            concurrent: options.concurrent.max(1),
            surroundings: Surroundings {
                external_labels: external_labels.clone(),
                external_url: external_url.to_owned(),
            },
        }
    }
}
