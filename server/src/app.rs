//! What handlers share.

use std::sync::{Arc, OnceLock};

use obs_collector::metrics::Counters;
use obs_collector::scrape::Scraper;
use obs_collector::{Decoder, HttpError, Sink};
use obs_model::Timestamp;

use crate::read::Reader;
use crate::stores::Stores;
use crate::write::{Rules, WriteStats};

/// Seconds after which a client should ask a starting server again.
const RETRY_WHILE_STARTING: u64 = 1;

/// The server as its handlers see it. HTTP is served while the journals are still replayed: until
/// then [`App::stores`] is an error that says so.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) stores: OnceLock<Stores>,
    pub(crate) sink: Sink,
    pub(crate) reader: Reader,
    pub(crate) scraper: Scraper,
    pub(crate) counters: Arc<Counters>,
    pub(crate) decoder: Decoder,
    pub(crate) rules: Rules,
    pub(crate) started: Timestamp,
    pub(crate) writes: OnceLock<Arc<WriteStats>>,
}

impl App {
    /// The stores, once they are open.
    pub(crate) fn stores(&self) -> Result<&Stores, HttpError> {
        self.stores.get().ok_or_else(|| {
            HttpError::unavailable(
                "obs is starting: the journal is replayed",
                RETRY_WHILE_STARTING,
            )
        })
    }
}
