//! loadavg: the three load averages, from `/proc/loadavg`.

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options) -> Result<Vec<Family>, CollectError> {
    families(&source.proc("loadavg")?)
}

fn families(loadavg: &str) -> Result<Vec<Family>, CollectError> {
    let mut words = loadavg.split_ascii_whitespace();
    ["1", "5", "15"]
        .iter()
        .map(|minutes| {
            let value = words.next().and_then(|w| w.parse().ok());
            let value = value
                .ok_or_else(|| CollectError::form("/proc/loadavg", 0, "three load averages"))?;
            let help = format!("{minutes}m load average.");
            Ok(Family::new(format!("node_load{minutes}"), MetricKind::Gauge, help).with(value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_averages() {
        let all = families("0.10 0.20 0.30 1/80 123\n").unwrap();
        let values: Vec<f64> = all.iter().map(|f| f.points[0].value).collect();
        assert_eq!(values, [0.1, 0.2, 0.3]);
        assert_eq!(all[2].name, "node_load15");
        assert!(families("0.1 0.2").is_err());
    }
}
