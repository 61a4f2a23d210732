//! All ways in: scraping, receivers, file tailing. Each ends at [`sink::Sink`].
//!
//! Invariant: nothing is acknowledged to a sender, and no checkpoint moves, before the sink said
//! that the data is durable.

pub mod aws;
mod batch;
mod clock;
pub mod cluster;
pub mod config;
pub mod decode;
pub mod derive;
pub mod discovery;
mod durable;
pub mod enrich;
pub mod external;
pub mod forward;
pub mod glob;
pub mod http_client;
pub mod http_error;
pub mod metrics;
pub mod notifier;
pub mod outgoing;
pub mod probe;
pub mod problems;
pub mod push;
pub mod receive;
pub mod redact;
pub mod relabel;
mod renaming;
pub mod scrape;
mod sender;
pub mod ship;
pub mod sink;
mod spool;
mod statsd;
mod supervise;
pub mod tail;

pub use decode::Decoder;
pub use derive::Deriver;
pub use external::External;
pub use forward::Forwarder;
pub use http_error::{Dialect, ErrorKind, HttpError};
pub use redact::Redactor;
pub use ship::{Elsewhere, Shipper};
pub use sink::{Accepted, Inbox, Sink, SinkError, Write};
