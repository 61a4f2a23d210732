//! meminfo_numa: memory per NUMA node, from `/sys/devices/system/node`.

use super::meminfo::without_parentheses;
use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const NODES: &str = "sys/devices/system/node";

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    for node in source.numbered(NODES, "node") {
        let path = format!("{NODES}/node{node}/meminfo");
        let text = source.read(&path)?;
        for (index, line) in text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty())
        {
            let fault = || source.form(&path, index, "Node, its number, a key and a number");
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let (node, key, value, unit) = match words[..] {
                ["Node", node, key, value] => (node, key, value, 1.0),
                ["Node", node, key, value, "kB"] => (node, key, value, 1024.0),
                _ => return Err(fault()),
            };
            let value: f64 = value.parse().map_err(|_| fault())?;
            let key = without_parentheses(key.trim_end_matches(':'));
            let help = format!("Memory information field {key}.");
            let name = format!("node_memory_numa_{key}");
            sheet.gauge(&name, &help, &[("node", node)], value * unit);
        }
        let path = format!("{NODES}/node{node}/numastat");
        let text = source.read(&path)?;
        for (index, line) in text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty())
        {
            let fault = || source.form(&path, index, "a key and a number");
            let (key, value) = line.trim().split_once(' ').ok_or_else(fault)?;
            let value: f64 = value.trim().parse().map_err(|_| fault())?;
            let help = format!("Memory information field {key}_total.");
            let name = format!("node_memory_numa_{key}_total");
            sheet.counter(&name, &help, &[("node", &node)], value);
        }
    }
    Ok(())
}
