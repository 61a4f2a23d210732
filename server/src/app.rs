//! What handlers share.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use obs_collector::enrich;
use obs_collector::metrics::Counters;
use obs_collector::notifier::Notifier;
use obs_collector::scrape::Scraper;
use obs_collector::{Decoder, ErrorKind, External, HttpError, Shipper, Sink};
use obs_model::{Budget, Tenant, Timestamp};
use obs_query::QueryError;
use obs_storage::Progress;
use rayon::ThreadPool;

use crate::about::About;
use crate::alertmanager::Alertmanager;
use crate::api::Deletions;
use crate::auth::Auth;
use crate::backup::Copies;
use crate::dashboards::Dashboards;
use crate::features::Features;
use crate::read::{Reader, budget_error};
use crate::reload::Reload;
use crate::ruler::Ruler;
use crate::stores::Stores;
use crate::write::{Rules, WriteStats};

/// Seconds after which a client should ask a starting server again.
const RETRY_WHILE_STARTING: u64 = 1;

/// How far the start is, for those who ask meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Opening(Mutex<Option<(&'static str, Progress)>>);

impl Opening {
    /// The store of a signal came this far.
    pub(crate) fn note(&self, store: &'static str, progress: Progress) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((store, progress));
    }

    /// The store that was told of last, and how far it is.
    pub(crate) fn last(&self) -> Option<(&'static str, Progress)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For people.
    pub(crate) fn tell(&self) -> String {
        let last = self.last();
        let mut text = "obs is starting: the journal is replayed".to_owned();
        if let Some((store, progress)) = last {
            let (done, total) = (progress.journal_bytes, progress.journal_bytes_total);
            text.push_str(&format!(" ({store}: {done} of {total} bytes)"));
        }
        text
    }
}

/// The server as its handlers see it. HTTP is served while the journals are still replayed: until
/// then [`App::stores`] is an error that says so.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) stores: OnceLock<Stores>,
    /// Set when all that needs the stores has begun too.
    pub(crate) begun: OnceLock<()>,
    pub(crate) opening: Opening,
    pub(crate) sink: Sink,
    /// What the UI draws.
    pub(crate) dashboards: Arc<Dashboards>,
    /// Who pods are, where they are watched.
    pub(crate) pods: enrich::Pods,
    /// Where everything goes besides the stores.
    pub(crate) shipper: Option<Shipper>,
    pub(crate) reader: Reader,
    pub(crate) scraper: Scraper,
    pub(crate) counters: Arc<Counters>,
    pub(crate) decoder: Decoder,
    pub(crate) rules: Rules,
    /// Put on what leaves this server.
    pub(crate) external_labels: External,
    /// Where users reach this server, without a slash at the end.
    pub(crate) external_url: String,
    pub(crate) started: Timestamp,
    pub(crate) about: About,
    /// How the configuration is taken anew.
    pub(crate) reload: Reload,
    pub(crate) features: Features,
    /// Log lines that were deleted.
    pub(crate) deletions: Deletions,
    pub(crate) writes: OnceLock<Arc<WriteStats>>,
    /// Who evaluates rules, once the stores are open.
    pub(crate) ruler: OnceLock<Arc<Ruler>>,
    /// Who groups alerts and has people told of them.
    pub(crate) alertmanager: OnceLock<Arc<Alertmanager>>,
    /// What things cost.
    pub(crate) cost: crate::cost::Costs,
    /// Who may ask what, where anybody is asked.
    pub(crate) auth: Option<Arc<Auth>>,
    /// Copies for backups.
    pub(crate) copies: Copies,
    /// Who tells Alertmanagers elsewhere.
    pub(crate) notifier: OnceLock<Notifier>,
}

impl App {
    /// The stores, once they are open.
    pub(crate) fn stores(&self) -> Result<&Stores, HttpError> {
        self.stores
            .get()
            .ok_or_else(|| HttpError::unavailable(self.opening.tell(), RETRY_WHILE_STARTING))
    }

    /// Whether every route answers from now on.
    pub(crate) fn ready(&self) -> Result<(), HttpError> {
        self.stores()?;
        let text = "obs is starting: rules and what brings data in begin";
        let starting = || HttpError::unavailable(text.to_owned(), RETRY_WHILE_STARTING);
        self.begun.get().copied().ok_or_else(starting)
    }

    /// Runs a tenant's read in the query pool. A read that meets damage has the parts checked, so
    /// that the damaged ones are set aside and the next read goes on without them.
    pub(crate) async fn read_for<T, F>(
        &self,
        tenant: &Tenant,
        timeout: Option<Duration>,
        work: F,
    ) -> Result<T, HttpError>
    where
        T: Send + 'static,
        F: FnOnce(&Budget, &ThreadPool) -> Result<T, QueryError> + Send + 'static,
    {
        let stores = self.stores()?.clone();
        let checked = move |budget: &Budget, pool: &ThreadPool| {
            work(budget, pool).map_err(|error| {
                if let QueryError::Corrupt(finding) = &error {
                    tracing::error!(finding, "a query met damage");
                    stores.scrub();
                }
                query_error(&error)
            })
        };
        self.reader.run(tenant, timeout, checked).await
    }
}

/// What a query's error means to an HTTP client; Prometheus' classes.
pub(crate) fn query_error(error: &QueryError) -> HttpError {
    let kind = match error {
        QueryError::Parse(_) | QueryError::Unsuitable(_) => ErrorKind::BadData,
        QueryError::Budget(budget) => return budget_error(budget),
        QueryError::Execution(_) => ErrorKind::Execution,
        QueryError::Corrupt(_) => ErrorKind::Internal,
    };
    HttpError::new(kind, error.to_string())
}
