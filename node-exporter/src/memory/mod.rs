//! Collectors of memory: use, paging, zones, slabs, pressure.

mod buddyinfo;
mod ksmd;
mod meminfo;
mod meminfo_numa;
mod pressure;
mod slabinfo;
mod swap;
mod vmstat;
mod zoneinfo;

pub(crate) use buddyinfo::collect as buddyinfo;
pub(crate) use ksmd::collect as ksmd;
pub(crate) use meminfo::collect as meminfo;
pub(crate) use meminfo_numa::collect as meminfo_numa;
pub(crate) use pressure::{collect as pressure, total as stalled_micros};
pub(crate) use slabinfo::collect as slabinfo;
pub(crate) use swap::collect as swap;
pub(crate) use vmstat::collect as vmstat;
pub(crate) use zoneinfo::collect as zoneinfo;
