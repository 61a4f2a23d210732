//! Notifications, as Alertmanager decides them: routes, groups, inhibition, silences, times, and
//! the log of what was told.
//!
//! Invariant: nothing here waits or sends. Alerts, requests and the time come in; what is to be
//! told comes out, and whether it was told comes back.

pub mod acks;
pub mod alert;
pub mod config;
pub mod data;
mod decide;
pub mod dependency;
pub mod escalation;
mod extras;
pub mod flapping;
pub mod groups;
pub mod heartbeat;
pub mod inhibit;
pub mod interval;
mod lifetime;
pub mod log;
pub mod matchers;
mod plan;
pub mod receivers;
pub mod requests;
pub mod route;
pub mod silence;
pub mod storm;
pub mod texts;

pub use acks::{Ack, Acks};
pub use alert::{Fingerprint, Received};
pub use config::Config;
pub use extras::Extras;
pub use flapping::History;
pub use groups::{Group, GroupId, Groups, Notification, Quiet, Suppressed};
pub use log::{Log, LogEntry, LogKey, Reason};
pub use plan::{Plans, Telling};
pub use silence::{Silence, SilenceError, SilenceState, Silences};

#[cfg(test)]
mod tests;
