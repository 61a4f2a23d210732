//! Collectors of hardware: sensors, power, firmware, buses.

mod dmi;
mod drm;
mod edac;
mod hwmon;
mod pci_names;
mod pcidevice;
mod powersupply;
mod rapl;
mod thermal;
mod watchdog;

pub(crate) use dmi::collect as dmi;
pub(crate) use drm::collect as drm;
pub(crate) use edac::collect as edac;
pub(crate) use hwmon::collect as hwmon;
pub(crate) use pcidevice::collect as pcidevice;
pub(crate) use powersupply::collect as powersupplyclass;
pub(crate) use rapl::collect as rapl;
pub(crate) use thermal::collect as thermal_zone;
pub(crate) use watchdog::collect as watchdog;
