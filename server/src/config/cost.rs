//! `obs.cost`: what things cost.
//!
//! Invariant: a price that nobody knows is an error, so that nobody believes that it counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use obs_cost::{Book, Prices};
use obs_model::time::parse_rfc3339;
use serde::Deserialize;
use serde_yaml_ng::Value;

/// `obs.cost`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CostConfig {
    /// Prices that are not OpenCost's defaults.
    pub prices: BTreeMap<String, f64>,
    /// A file of prices, as OpenCost's `default.json`; `prices` goes before it.
    pub prices_file: Option<PathBuf>,
    /// Prices that changed.
    pub price_changes: Vec<PriceChange>,
    /// A list of prices in OpenCost's CSV format.
    pub csv_file: Option<PathBuf>,
    /// The name of the cluster where series do not tell it.
    pub cluster: Option<String>,
    /// Whether OpenCost's metrics stand among the server's own.
    pub metrics: bool,
}

impl Default for CostConfig {
    fn default() -> Self {
        Self {
            prices: BTreeMap::new(),
            prices_file: None,
            price_changes: Vec::new(),
            csv_file: None,
            cluster: None,
            metrics: true,
        }
    }
}

/// One of `obs.cost.price_changes`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceChange {
    /// From when on, in RFC 3339.
    pub from: String,
    /// The prices that change.
    pub prices: BTreeMap<String, f64>,
}

fn set_all(prices: &mut Prices, new: &BTreeMap<String, f64>, place: &str) -> Result<(), String> {
    for (name, value) in new {
        let known = prices.set(name, *value);
        match known.map_err(|error| format!("{place}: {error}"))? {
            true => {}
            false => return Err(format!("{place}: no price is called {name:?}")),
        }
    }
    Ok(())
}

/// What OpenCost's file says; it has other keys too.
fn set_from_file(prices: &mut Prices, text: &str) -> Result<(), String> {
    let all: BTreeMap<String, Value> = serde_yaml_ng::from_str(text).map_err(|e| e.to_string())?;
    for (name, value) in all {
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        if let Some(number) = number {
            prices
                .set(&name, number)
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

impl CostConfig {
    /// The files that are read.
    pub(crate) fn files(&self, folder: &Path) -> [Option<PathBuf>; 2] {
        [&self.prices_file, &self.csv_file].map(|file| Some(folder.join(file.as_ref()?)))
    }

    /// The prices; texts are those of the files.
    pub(crate) fn book(&self, texts: [Option<String>; 2]) -> Result<Book, String> {
        let [file, list] = texts;
        let mut prices = Prices::default();
        if let Some(text) = file {
            set_from_file(&mut prices, &text)
                .map_err(|error| format!("obs.cost.prices_file: {error}"))?;
        }
        set_all(&mut prices, &self.prices, "obs.cost.prices")?;
        let mut changes = Vec::new();
        let mut last = prices;
        let mut times = Vec::new();
        for (index, change) in self.price_changes.iter().enumerate() {
            let place = format!("obs.cost.price_changes[{index}]");
            let from = parse_rfc3339(&change.from).ok_or_else(|| {
                let found = &change.from;
                format!(
                    "{place}.from: expected a time such as 2026-01-31T00:00:00Z, found {found:?}"
                )
            })?;
            times.push((from.nanos(), place, &change.prices));
        }
        // Each says only what changes.
        times.sort_by_key(|change| change.0);
        for (from, place, new) in times {
            set_all(&mut last, new, &format!("{place}.prices"))?;
            changes.push((from, last));
        }
        let made = Book::with_csv(prices, changes, &list.unwrap_or_default());
        made.map_err(|error| format!("obs.cost.csv_file: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(text: &str, texts: [Option<&str>; 2]) -> Result<Book, String> {
        let config: CostConfig = serde_yaml_ng::from_str(text).map_err(|e| e.to_string())?;
        config.book(texts.map(|text| text.map(str::to_owned)))
    }

    #[test]
    fn prices_from_everywhere() {
        let text = "prices: {cpu: 1, load_balancer: 2}\n\
             price_changes:\n\
             - {from: '1970-01-01T00:00:20Z', prices: {ram: 9}}\n\
             - {from: '1970-01-01T00:00:10Z', prices: {cpu: 3}}\n";
        let file = r#"{"provider": "custom", "CPU": "7", "RAM": "0.5"}"#;
        let made = book(text, [Some(file), None]).expect("good prices");
        let at = |seconds: i64| {
            let prices = made.at(seconds * 1_000_000_000);
            (prices.cpu, prices.ram, prices.load_balancer)
        };
        assert_eq!(at(0), (1.0, 0.5, 2.0));
        assert_eq!(at(10), (3.0, 0.5, 2.0));
        assert_eq!(at(20), (3.0, 9.0, 2.0));
    }

    #[test]
    fn faults_name_their_place() {
        let check = |text: &str, texts: [Option<&str>; 2], expect: &str| {
            let fault = book(text, texts).expect_err("a fault");
            assert!(fault.contains(expect), "{fault}");
        };
        check(
            "prices: {cup: 1}",
            [None, None],
            "obs.cost.prices: no price is called \"cup\"",
        );
        check("prices: {cpu: -1}", [None, None], "at least 0");
        check("price: {}", [None, None], "unknown field");
        let change = "price_changes: [{from: soon, prices: {}}]";
        check(
            change,
            [None, None],
            "price_changes[0].from: expected a time",
        );
        check(
            "{}",
            [None, Some("a,b")],
            "obs.cost.csv_file: prices, line 1",
        );
        check("{}", [Some("["), None], "obs.cost.prices_file");
    }
}
