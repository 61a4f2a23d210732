//! vmstat: paging and out-of-memory kills, from `/proc/vmstat`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    parse(&source.read("proc/vmstat")?, options, sheet)
}

fn parse(text: &str, options: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    for (index, line) in text.lines().enumerate() {
        let fault = || CollectError::form("/proc/vmstat", index, "a name and a number");
        let (name, value) = line.split_once(' ').ok_or_else(fault)?;
        let value: f64 = value.trim().parse().map_err(|_| fault())?;
        if options.vmstat_fields.is_match(name.as_bytes()) {
            let help = format!("/proc/vmstat information field {name}.");
            sheet.untyped(&format!("node_vmstat_{name}"), &help, &[], value);
        }
    }
    Ok(())
}
