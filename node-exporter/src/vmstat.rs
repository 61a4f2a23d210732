//! vmstat: paging and out-of-memory kills, from `/proc/vmstat`.

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, options: &Options) -> Result<Vec<Family>, CollectError> {
    families(&source.proc("vmstat")?, options)
}

fn families(vmstat: &str, options: &Options) -> Result<Vec<Family>, CollectError> {
    let mut all = Vec::new();
    for (index, line) in vmstat.lines().enumerate() {
        let fault = || CollectError::form("/proc/vmstat", index, "a name and a number");
        let (name, value) = line.split_once(' ').ok_or_else(fault)?;
        let value = value.parse().map_err(|_| fault())?;
        if options.vmstat_fields.is_match(name.as_bytes()) {
            let help = format!("/proc/vmstat information field {name}.");
            let family = Family::new(format!("node_vmstat_{name}"), MetricKind::Unknown, help);
            all.push(family.with(value));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_asked_for() {
        let all = families(
            "nr_free_pages 1\npgfault 2\noom_kill 3\n",
            &Options::default(),
        )
        .unwrap();
        let values: Vec<(&str, f64)> = all
            .iter()
            .map(|f| (f.name.as_str(), f.points[0].value))
            .collect();
        assert_eq!(
            values,
            [("node_vmstat_pgfault", 2.0), ("node_vmstat_oom_kill", 3.0)]
        );
        assert!(families("pgfault x", &Options::default()).is_err());
    }
}
