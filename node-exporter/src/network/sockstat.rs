//! sockstat: sockets in use per protocol, from `/proc/net/{sockstat,sockstat6}`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let page_bytes = rustix::param::page_size() as f64;
    for file in ["sockstat", "sockstat6"] {
        let path = format!("proc/net/{file}");
        if let Some(text) = source.find(&path)? {
            parse(&path, &text, page_bytes, sheet)?;
        }
    }
    Ok(())
}

/// `TCP: inuse 1 orphan 0 tw 2 alloc 3 mem 4`
fn parse(path: &str, text: &str, page_bytes: f64, sheet: &mut Sheet) -> Result<(), CollectError> {
    for (index, line) in text.lines().enumerate() {
        let fault = || CollectError::form(path, index, "a protocol and pairs of name and number");
        let (protocol, rest) = line.split_once(':').ok_or_else(fault)?;
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        for pair in words.chunks(2) {
            let [state, value] = pair else {
                return Err(fault());
            };
            let value: f64 = value.parse::<i64>().map_err(|_| fault())? as f64;
            let mut push = |state: &str, value: f64| {
                let name = format!("node_sockstat_{protocol}_{state}");
                let help = if protocol == "sockets" {
                    "Number of IPv4 sockets in use.".to_owned()
                } else {
                    format!("Number of {protocol} sockets in state {state}.")
                };
                sheet.gauge(&name, &help, &[], value);
            };
            push(state, value);
            if *state == "mem" {
                push("mem_bytes", value * page_bytes);
            }
        }
    }
    Ok(())
}
