//! The start of the ruler, with Prometheus' defaults.

use std::net::SocketAddr;
use std::sync::Arc;

use obs_alerting::rules::Group;
use obs_alerting::template::Surroundings;
use obs_collector::config::Span;
use obs_model::time::NANOS_PER_SECOND;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Options;
use crate::app::App;
use crate::config::Config;
use crate::ruler::{self, GroupKey, Kept, Ruler};

const MINUTE: i64 = 60 * NANOS_PER_SECOND;

/// Where users reach the server: as told, or by the name of the machine as Prometheus does.
pub(super) fn external_url(options: &Options, http: SocketAddr, host: &str) -> String {
    let own = || format!("http://{host}:{}{}", http.port(), options.route_prefix);
    let url = options.external_url.clone().unwrap_or_else(own);
    url.trim_end_matches('/').to_owned()
}

/// Evaluates rules from now on.
pub(super) fn start_ruler(
    config: &Config,
    app: &Arc<App>,
    (groups, kept): (Vec<(GroupKey, Group)>, Kept),
    (tasks, stop): (&TaskTracker, &CancellationToken),
) -> anyhow::Result<Arc<Ruler>> {
    let nanos = |span: &Option<Span>, default: i64| {
        let nanos = span
            .as_ref()
            .and_then(|span| i64::try_from(span.0.as_nanos()).ok());
        nanos.filter(|nanos| *nanos > 0).unwrap_or(default)
    };
    let setting = ruler::Setting {
        interval: nanos(&config.global.evaluation_interval, MINUTE),
        query_offset: nanos(&config.global.rule_query_offset, 0),
        resend_delay: MINUTE,
        outage_tolerance: 60 * MINUTE,
        grace: 10 * MINUTE,
        surroundings: Surroundings {
            external_labels: app.external_labels.clone(),
            external_url: app.external_url.clone(),
        },
    };
    let (ruler, mut told) = Ruler::new(setting, kept, stop.clone());
    // Alerts without anybody to tell are dropped, as Prometheus does.
    tasks.spawn(async move {
        while let Some(told) = told.recv().await {
            let (tenant, alerts) = (told.tenant.as_str(), told.alerts.len());
            tracing::debug!(
                tenant,
                alerts,
                expression = told.expression,
                "alerts without a receiver"
            );
        }
    });
    ruler.apply(app, |_| true, groups);
    anyhow::ensure!(
        app.ruler.set(Arc::clone(&ruler)).is_ok(),
        "the ruler starts once"
    );
    Ok(ruler)
}
