//! sysctl: settings of the kernel that the user names, from `/proc/sys`.

use crate::sheet::{Sheet, sanitized};
use crate::{CollectError, Options, Source};

/// What a user asked for: `net.ipv4.tcp_rmem:min,default,max`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    name: String,
    keys: Vec<String>,
}

impl Wanted {
    pub(crate) fn parse(text: &str) -> Self {
        let (name, keys) = text.split_once(':').unwrap_or((text, ""));
        let keys = keys.split(',').filter(|key| !key.is_empty());
        Self {
            name: name.to_owned(),
            keys: keys.map(str::to_owned).collect(),
        }
    }

    fn path(&self) -> String {
        // A name does not lead out of the folder: `..` becomes two slashes.
        format!("proc/sys/{}", self.name.replace('.', "/"))
    }
}

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    for wanted in &options.sysctls {
        numbers(source, wanted, sheet)?;
    }
    for wanted in &options.sysctl_infos {
        let path = wanted.path();
        let text = source.read(&path)?;
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        if words.is_empty() || !wanted.keys.is_empty() {
            return Err(source.form(&path, 0, "values, and no keys for them"));
        }
        for (index, value) in words.iter().enumerate() {
            let index = index.to_string();
            let labels = [
                ("name", wanted.name.as_str()),
                ("value", value),
                ("index", &index),
            ];
            sheet.gauge("node_sysctl_info", "sysctl info", &labels, 1.0);
        }
    }
    Ok(())
}

fn numbers(source: &Source, wanted: &Wanted, sheet: &mut Sheet) -> Result<(), CollectError> {
    let path = wanted.path();
    let text = source.read(&path)?;
    let values: Result<Vec<i64>, _> = text.split_ascii_whitespace().map(str::parse).collect();
    let values = values.map_err(|_| source.form(&path, 0, "integers"))?;
    let name = format!("node_sysctl_{}", sanitized(&wanted.name));
    let help = format!("sysctl {}", wanted.name);
    match (&values[..], &wanted.keys[..]) {
        ([value], []) => sheet.untyped(&name, &help, &[], *value as f64),
        ([_, _, ..], []) => {
            for (index, value) in values.iter().enumerate() {
                let labels = [("index", &*index.to_string())];
                sheet.untyped(&name, &help, &labels, *value as f64);
            }
        }
        ([_, _, ..], keys) if keys.len() == values.len() => {
            for (index, (key, value)) in keys.iter().zip(&values).enumerate() {
                let name = format!("{name}_{key}");
                let help = format!("{help}, field {index}");
                sheet.untyped(&name, &help, &[], *value as f64);
            }
        }
        _ => return Err(source.form(&path, 0, "as many values as keys")),
    }
    Ok(())
}
