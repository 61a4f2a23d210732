//! The metric store: samples, native histograms, exemplars and metadata, by labelled series.
//!
//! It is a [`Kind`](obs_storage::Kind) of the storage engine, which owns the journal, the parts and
//! their life cycle; here is what a batch looks like in the journal ([`MetricDraft`]), in memory
//! ([`Memory`]) and in a part ([`Part`]), and how all of them are read ([`select()`]).
//!
//! Invariants: times have millisecond resolution; one series has one sample at a time, the one that
//! arrived first; all bits of a value are kept; samples may arrive in any order; the answer of a
//! read does not depend on which flushes and merges ran.

mod error;

mod draft;
mod record;

mod column;
mod histograms;
mod summary;
mod tier;

mod head;
mod postings;

mod build;
mod dictionary;
mod part;

mod kind;

mod deletion;

mod admit;
mod cardinality;
mod gather;
mod growth;
mod select;
mod selection;

#[cfg(test)]
mod tests;

pub use admit::{EXEMPLAR_BYTES_MAX, Reason, Refusal, Refused, active_series, admit, weight};
pub use build::write_part;
pub use cardinality::{Cardinality, cardinality};
pub use deletion::{Selector, delete, selector};
pub use draft::{Buffers, MetricDraft, encode};
pub use error::SelectError;
pub use gather::TimesTable;
pub use growth::{Growth, growth};
pub use head::Memory;
pub use kind::Metrics;
pub use obs_storage::{Hidden, OpenPart, Snapshot};
pub use part::Part;
pub use record::RECORD_SAMPLES_MAX;
pub use select::{
    SelectedSeries, exemplars, has_family, label_names, label_values, metadata, recent, select,
    series,
};
pub use selection::{Borders, Estimate, Need, Samples, Selection};
pub use summary::{Fallen, Summary};
pub use tier::Resolution;
