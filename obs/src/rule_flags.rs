//! Flags of `obs serve` about rules, by Prometheus' names.

use anyhow::Context;
use clap::Args;

use crate::arguments::{duration, duration_text};

#[derive(Debug, Args)]
#[command(next_help_heading = "Rules")]
pub(crate) struct RuleFlags {
    /// The longest outage over which `for` of alerts is restored from series
    #[arg(long = "rules.alert.for-outage-tolerance", value_name = "DURATION", default_value = "1h", value_parser = duration_text)]
    outage_tolerance: String,
    /// How long an alert that is restored from series waits at least
    #[arg(long = "rules.alert.for-grace-period", value_name = "DURATION", default_value = "10m", value_parser = duration_text)]
    grace_period: String,
    /// How long an alert that fires is not sent again
    #[arg(long = "rules.alert.resend-delay", value_name = "DURATION", default_value = "1m", value_parser = duration_text)]
    resend_delay: String,
    /// Rules that are evaluated at one time
    #[arg(long = "rules.max-concurrent-evals", value_name = "COUNT", default_value = "4", value_parser = clap::value_parser!(u16).range(1..))]
    concurrent: u16,
    /// Alerts that wait for one Alertmanager elsewhere; where there are more, the oldest go
    #[arg(long = "alertmanager.notification-queue-capacity", value_name = "COUNT", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..))]
    queue: u32,
    /// Alerts of one request to an Alertmanager elsewhere
    #[arg(long = "alertmanager.notification-batch-size", value_name = "COUNT", default_value = "256", value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Send what waits for Alertmanagers elsewhere before the end
    #[arg(long = "alertmanager.drain-notification-queue-on-shutdown", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
    drain: bool,
    /// The same as --alertmanager.drain-notification-queue-on-shutdown=false
    #[arg(
        long = "no-alertmanager.drain-notification-queue-on-shutdown",
        hide = true
    )]
    no_drain: bool,
}

impl RuleFlags {
    pub(crate) fn options(&self) -> anyhow::Result<obs_server::RuleOptions> {
        Ok(obs_server::RuleOptions {
            outage_tolerance: duration(&self.outage_tolerance).context("outage tolerance")?,
            grace_period: duration(&self.grace_period).context("grace period")?,
            resend_delay: duration(&self.resend_delay).context("resend delay")?,
            concurrent: usize::from(self.concurrent),
            notifier: obs_server::NotifierOptions {
                capacity: usize::try_from(self.queue)?,
                batch: usize::try_from(self.batch)?,
                drain: self.drain && !self.no_drain,
            },
        })
    }
}
