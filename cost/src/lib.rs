//! Cost: prices and what was observed of a cluster become who pays, what is idle and what to save.
//!
//! Everything here is a pure function of typed input. Observations ([`observe`]) become a
//! [`Cluster`]: nodes, pods, containers and volumes with the times at which they began and ended.
//! With a [`Book`] of prices, [`ledger`] makes the accounts of a window. Invariant: for each
//! resource of each node, what is allocated and what is idle add up to what the node cost.

mod aggregate;
mod allocation;
mod asset;
mod cluster;
mod csv;
mod error;
mod exported;
mod filter;
mod forecast;
mod ledger;
pub mod observe;
mod prices;
pub mod savings;
mod span;
mod usage;
mod what_if;
mod window;

pub use aggregate::{Accumulate, Aggregate, Property, ShareSplit, accumulate, properties};
pub use allocation::{
    Allocation, BalancerShare, Properties, Proportion, Resource, SharedBreakdown, VolumeKey,
    VolumeShare,
};
pub use asset::{Asset, AssetKind, Breakdown};
pub use cluster::{
    Balancer, Budget, Cluster, Container, Controller, Flow, Names, Node, Pod, Volume,
};
pub use error::CostError;
pub use exported::exported;
pub use filter::{Filter, Target};
pub use forecast::{Forecast, forecast};
pub use ledger::{Ledger, ledger};
pub use prices::{Book, Prices, Rates, is_spot, split};
pub use span::{Span, Steps, hours};
pub use usage::{Segment, Usage};
pub use what_if::{Change, Estimate, what_if};
pub use window::{HOUR, parse_duration, parse_window};

/// The part of a name that stands for what nothing used.
pub const IDLE: &str = "__idle__";
/// The part of a name that stands for what has no such property.
pub const UNALLOCATED: &str = "__unallocated__";
/// The part of a name that stands for volumes and load balancers that no pod used.
pub const UNMOUNTED: &str = "__unmounted__";
/// Bytes of a GiB, by which memory and volumes are priced.
pub const GIB: f64 = 1_073_741_824.0;
/// Hours of the month by which prices are quoted.
pub const MONTH_HOURS: f64 = 730.0;
