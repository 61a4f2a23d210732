//! uname: the kernel's name and version, from `uname(2)`.

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source, labels};

pub(crate) fn collect(_: &Source, _: &Options) -> Result<Vec<Family>, CollectError> {
    let uname = rustix::system::uname();
    let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
    let mut family = Family::new(
        "node_uname_info",
        MetricKind::Gauge,
        "Labeled system information as provided by the uname system call.",
    );
    family.push(
        labels([
            ("sysname", text(uname.sysname()).as_str()),
            ("release", text(uname.release()).as_str()),
            ("version", text(uname.version()).as_str()),
            ("machine", text(uname.machine()).as_str()),
            ("nodename", text(uname.nodename()).as_str()),
            ("domainname", text(uname.domainname()).as_str()),
        ]),
        1.0,
    );
    Ok(vec![family])
}
