//! lnstat: caches of the network stack per CPU, from `/proc/net/stat`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let files = match source.entries("proc/net/stat") {
        Err(fault) if fault.is_absent() => return Ok(()),
        files => files?,
    };
    for file in files {
        let path = format!("proc/net/stat/{file}");
        parse(&path, &file, &source.read(&path)?, sheet)?;
    }
    Ok(())
}

fn parse(path: &str, subsystem: &str, text: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    let mut lines = text.lines().enumerate();
    let head = lines.next().map_or("", |(_, line)| line);
    let names: Vec<&str> = head.split_ascii_whitespace().collect();
    for (index, line) in lines {
        let fault = || CollectError::form(path, index, "a hexadecimal number per name");
        // The lines of the body are those of the CPUs, in order.
        let cpu = (index - 1).to_string();
        for (at, word) in line.split_ascii_whitespace().enumerate() {
            let name = names.get(at).ok_or_else(fault)?;
            let value = u64::from_str_radix(word, 16).map_err(|_| fault())?;
            sheet.counter(
                &format!("node_lnstat_{name}_total"),
                "linux network cache stats",
                &[("subsystem", subsystem), ("cpu", &cpu)],
                value as f64,
            );
        }
    }
    Ok(())
}
