//! filefd: open file handles, from `/proc/sys/fs/file-nr`.

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options) -> Result<Vec<Family>, CollectError> {
    families(&source.proc("sys/fs/file-nr")?)
}

fn families(file_nr: &str) -> Result<Vec<Family>, CollectError> {
    let fault = || CollectError::form("/proc/sys/fs/file-nr", 0, "allocated, unused, maximum");
    let numbers: Result<Vec<f64>, _> = file_nr.split_ascii_whitespace().map(str::parse).collect();
    let numbers = numbers.map_err(|_| fault())?;
    let [allocated, _, maximum] = numbers[..] else {
        return Err(fault());
    };
    let gauge = |name: &str, value| {
        let help = format!("File descriptor statistics: {name}.");
        Family::new(format!("node_filefd_{name}"), MetricKind::Gauge, help).with(value)
    };
    Ok(vec![
        gauge("allocated", allocated),
        gauge("maximum", maximum),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles() {
        let all = families("593\t0\t2466170\n").unwrap();
        assert_eq!(all[0].points[0].value, 593.0);
        assert_eq!(all[1].name, "node_filefd_maximum");
        assert!(families("593\n").is_err());
    }
}
