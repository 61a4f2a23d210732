//! Collectors of the machine as a whole: the kernel, its services, and what others left to read.

mod cgroups;
mod dbus;
mod kernel;
mod logind;
mod os;
mod processes;
mod runit;
mod supervisord;
mod sysctl;
mod systemd;
mod textfile;
mod time;
mod timex;

pub(crate) use cgroups::collect as cgroups;
pub(crate) use kernel::{entropy, filefd, kernel_hung, loadavg, selinux, stat, uname};
pub(crate) use logind::collect as logind;
pub(crate) use os::collect as os;
pub(crate) use processes::collect as processes;
pub(crate) use runit::collect as runit;
pub(crate) use supervisord::collect as supervisord;
pub(crate) use sysctl::{Wanted, collect as sysctl};
pub(crate) use systemd::collect as systemd;
pub(crate) use textfile::collect as textfile;
pub(crate) use time::collect as time;
pub(crate) use timex::collect as timex;
