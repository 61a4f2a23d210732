//! Alerts of this server's rules on their way: with the external labels, relabelled, to the
//! Alertmanager in this process and to those elsewhere.
//!
//! Invariants: what goes to all of them is the same; they end once what the rules told last is with
//! them.

use std::sync::Arc;

use obs_alerting::notify::{Fingerprint, Received};
use obs_collector::notifier::{Alert, Notifier};
use obs_model::{Labels, Tenant};
use tokio_util::sync::CancellationToken;

use super::Alertmanager;
use crate::clock;
use crate::ruler::{Inbox, Told};

/// Who takes the alerts of rules.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) alertmanager: Arc<Alertmanager>,
    pub(crate) notifier: Notifier,
    /// Where users reach this server.
    pub(crate) external_url: String,
    /// All that was told is with those who tell.
    pub(super) drained: CancellationToken,
}

impl Outgoing {
    /// Takes what the rules tell, that of their last round included.
    pub(crate) async fn run(self, mut inbox: Inbox) {
        let _drained = self.drained.clone().drop_guard();
        self.alertmanager.ready();
        while let Some(told) = inbox.next().await {
            self.take(told).await;
        }
    }

    async fn take(&self, told: Told) {
        let link = link(&self.external_url, &told.expression);
        let alerts = told.alerts.into_iter().map(|sent| Alert {
            labels: sent.labels,
            annotations: sent.annotations,
            starts_at: sent.starts_at,
            ends_at: sent.ends_at,
            generator_url: link.clone(),
        });
        let alerts = self.notifier.prepared(alerts);
        if alerts.is_empty() {
            return;
        }
        self.notifier.send(&alerts);
        self.receive(&told.tenant, alerts).await;
    }

    async fn receive(&self, tenant: &Tenant, alerts: Vec<Alert>) {
        let now = clock::now();
        let received = alerts.into_iter().map(|alert| Received {
            fingerprint: Fingerprint::of(&alert.labels),
            labels: alert.labels,
            annotations: alert.annotations,
            starts_at: alert.starts_at,
            ends_at: alert.ends_at,
            updated_at: now,
            generator_url: alert.generator_url,
            guessed_end: false,
        });
        let known = |alert: &Received| alert.labels != Labels::empty();
        let received = received.filter(known).collect();
        self.alertmanager.receive(tenant, received).await;
    }
}

/// Where an expression can be seen.
fn link(external_url: &str, expression: &str) -> String {
    let expression: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
    format!("{external_url}/graph?g0.expr={expression}&g0.tab=1")
}
