//! All that talks to the API server of Kubernetes: client, watches, discovery of targets, metadata
//! of pods, metrics of the state of objects, events.
//!
//! Invariants: every request has a deadline and every body a bound; what is kept of an object is
//! only what is read of it, and how many objects are kept has a limit; a watch that fails is tried
//! again with growing pauses, and what it holds stays until a new list is complete.

pub mod audit;
pub mod client;
mod clock;
pub mod discovery;
pub mod error;
pub mod events;
pub mod metrics;
pub mod node;
pub mod object;
pub mod operator;
pub mod pods;
pub mod resource;
pub mod selector;
pub mod state;
pub mod watch;

pub use client::{Access, Client};
pub use error::Error;
pub use metrics::Counters;
pub use object::{Key, Meta, Owner, Pairs};
pub use resource::{Query, Resource};
pub use watch::{Event, Watch};
