//! Collectors of storage: block devices, file systems, arrays, network file systems.

mod bcache;
mod bcachefs;
mod btrfs;
mod diskstats;
mod dmmultipath;
mod drbd;
mod filesystem;
mod mdadm;
mod mountstats;
mod nfs;
mod nvme;
mod nvmesubsystem;
mod tapestats;
mod xfs;
mod zfs;

pub(crate) use bcache::collect as bcache;
pub(crate) use bcachefs::collect as bcachefs;
pub(crate) use btrfs::collect as btrfs;
pub(crate) use diskstats::collect as diskstats;
pub(crate) use dmmultipath::collect as dmmultipath;
pub(crate) use drbd::collect as drbd;
pub(crate) use filesystem::collect as filesystem;
pub(crate) use mdadm::collect as mdadm;
pub(crate) use mountstats::collect as mountstats;
pub(crate) use nfs::{collect as nfs, collect_server as nfsd};
pub(crate) use nvme::collect as nvme;
pub(crate) use nvmesubsystem::collect as nvmesubsystem;
pub(crate) use tapestats::collect as tapestats;
pub(crate) use xfs::collect as xfs;
pub(crate) use zfs::collect as zfs;

/// Bytes of the kernel's sectors, whatever the device's are.
const SECTOR_BYTES: f64 = 512.0;

/// Bytes of a number as the kernel rounds it for people: `1.5k`, `12M`.
fn human_bytes(text: &str) -> Option<f64> {
    let text = text.trim();
    let letters = ['k', 'm', 'g', 't', 'p', 'e', 'z', 'y'];
    let last = text.chars().next_back()?.to_ascii_lowercase();
    let Some(power) = letters.iter().position(|letter| *letter == last) else {
        return text.parse().ok();
    };
    let mantissa = text.get(..text.len() - 1)?.trim();
    let exponent = i32::try_from(power).ok()? + 1;
    Some(mantissa.parse::<f64>().ok()? * 1024_f64.powi(exponent))
}
