//! Price lists in OpenCost's CSV format.
//!
//! Columns: `EndTimestamp,InstanceID,Region,AssetClass,InstanceIDField,InstanceType,
//! MarketPriceHourly,Version`. Of rows about one thing the price with the earliest end that is still
//! to come holds; the last one goes on holding. Invariant: no line is left out in silence.

use obs_model::time::{days_from_civil, parse_rfc3339};

use crate::cluster::{Node, Volume};
use crate::error::CostError;

/// Most rows of a list.
const ROWS_MAX: usize = 100_000;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A node without its GPUs, or with them where no row is about these.
    Node,
    /// A GPU.
    Gpu,
    /// A GiB of a volume.
    Volume,
}

/// A price.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub(crate) class: Class,
    pub(crate) id: String,
    /// Where the id is found: `metadata.name`, `metadata.labels.NAME`, `spec.providerID`, …
    pub(crate) field: String,
    pub(crate) region: String,
    pub(crate) instance_type: String,
    pub(crate) price: f64,
    /// Until when it holds.
    pub(crate) end: Option<i64>,
}

impl Row {
    pub(crate) fn names_node(&self, node: &Node) -> bool {
        let here = self.region.is_empty() || self.region.eq_ignore_ascii_case(node.region());
        let found = match self.field.as_str() {
            "metadata.name" => node.name.as_str(),
            "spec.providerID" => {
                let whole = node.provider_id.as_str();
                let last = whole.rsplit('/').next().unwrap_or(whole);
                if self.id.eq_ignore_ascii_case(last) {
                    return here;
                }
                whole
            }
            field => label(field, &node.labels),
        };
        here && !found.is_empty() && self.id.eq_ignore_ascii_case(found)
    }

    pub(crate) fn names_volume(&self, volume: &Volume) -> bool {
        let found = match self.field.as_str() {
            "metadata.name" => &volume.name,
            "spec.storageClassName" => &volume.class,
            _ => return false,
        };
        self.id.eq_ignore_ascii_case(found)
    }
}

/// The value of `metadata.labels.NAME`; labels are named as in metrics.
fn label<'n>(field: &str, labels: &'n crate::cluster::Names) -> &'n str {
    let Some(name) = field.strip_prefix("metadata.labels.") else {
        return "";
    };
    let name = sanitized(name);
    let found = labels.iter().find(|(n, _)| n.eq_ignore_ascii_case(&name));
    found.map_or("", |(_, value)| value)
}

/// A name of a label as metrics write it.
pub(crate) fn sanitized(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(fit).collect()
}

/// Reads a list.
pub(crate) fn parse(text: &str) -> Result<Vec<Row>, CostError> {
    let mut order: Vec<usize> = (0..8).collect();
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = |message: String| CostError::Prices {
            line: index + 1,
            message,
        };
        let cells = cells(line).ok_or_else(|| fault("expected a closing quote".to_owned()))?;
        if cells.iter().any(|cell| cell == "InstanceID") {
            order = header(&cells).map_err(fault)?;
            continue;
        }
        if cells.len() < 7 {
            let message = format!("expected 8 cells, found {}", cells.len());
            return Err(fault(message));
        }
        if rows.len() == ROWS_MAX {
            return Err(fault(format!("expected at most {ROWS_MAX} prices")));
        }
        let cell = |column: usize| {
            let cell = order.get(column).and_then(|at| cells.get(*at));
            cell.map_or("", |text| text.trim())
        };
        rows.push(row(cell).map_err(fault)?);
    }
    // Those that end come in order of their ends and before those that do not.
    rows.sort_by_key(|row: &Row| row.end.unwrap_or(i64::MAX));
    Ok(rows)
}

/// Where the columns stand.
fn header(cells: &[String]) -> Result<Vec<usize>, String> {
    const NAMES: [&str; 8] = [
        "EndTimestamp",
        "InstanceID",
        "Region",
        "AssetClass",
        "InstanceIDField",
        "InstanceType",
        "MarketPriceHourly",
        "Version",
    ];
    let place = |name: &str| cells.iter().position(|cell| cell.trim() == name);
    let places = NAMES.iter().map(|name| {
        let found = place(name).or((*name == "Version").then_some(usize::MAX));
        found.ok_or_else(|| format!("expected a column {name}"))
    });
    places.collect()
}

fn row<'c>(cell: impl Fn(usize) -> &'c str) -> Result<Row, String> {
    let price = cell(6);
    let value: Option<f64> = price.parse().ok();
    let value = value.filter(|value| value.is_finite() && *value >= 0.0);
    let class = match cell(3) {
        "" | "node" => Class::Node,
        "gpu" => Class::Gpu,
        "pv" => Class::Volume,
        other => return Err(format!("expected node, gpu or pv, found {other:?}")),
    };
    let end = cell(0);
    Ok(Row {
        class,
        id: cell(1).to_owned(),
        region: cell(2).to_owned(),
        field: match cell(4) {
            "" => "metadata.name".to_owned(),
            field => field.to_owned(),
        },
        instance_type: cell(5).to_owned(),
        price: value.ok_or_else(|| format!("expected a price of at least 0, found {price:?}"))?,
        end: match end {
            "" => None,
            text => Some(time(text).ok_or_else(|| format!("expected a time, found {text:?}"))?),
        },
    })
}

/// `2019-04-17 23:34:22 UTC` or RFC 3339.
fn time(text: &str) -> Option<i64> {
    if let Some(time) = parse_rfc3339(text) {
        return Some(time.nanos());
    }
    let text = text.strip_suffix("UTC").unwrap_or(text).trim();
    let (date, clock) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let numbers = |text: &str, by: char| -> Option<Vec<i64>> {
        text.split(by).map(|part| part.parse().ok()).collect()
    };
    let (date, clock) = (numbers(date, '-')?, numbers(clock.trim(), ':')?);
    let ([year, month, day], [hour, minute, second]) = (&date[..], &clock[..]) else {
        return None;
    };
    let fits = (1970..2262).contains(year)
        && (1..=12).contains(month)
        && (1..=31).contains(day)
        && (0..24).contains(hour)
        && (0..60).contains(minute)
        && (0..61).contains(second);
    let seconds = |days: i64| days * 86_400 + hour * 3600 + minute * 60 + second;
    fits.then(|| seconds(days_from_civil(*year, *month, *day)) * 1_000_000_000)
}

/// The cells of a line; quotes may surround a cell and stand twice in it.
fn cells(line: &str) -> Option<Vec<String>> {
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                cell.push('"');
                chars.next();
            }
            '"' if quoted || cell.is_empty() => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    cells.push(cell);
    (!quoted).then_some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn faults_name_their_line() {
        let check = |text: &str, expect: &str| {
            let fault = parse(text).unwrap_err().to_string();
            assert!(fault.contains(expect), "{fault}");
        };
        check("a,b\n", "line 1: expected 8 cells, found 2");
        check("\n,a,,node,,,x,\n", "line 2: expected a price");
        check(",a,,boat,,,1,\n", "found \"boat\"");
        check("soon,a,,node,,,1,\n", "expected a time, found \"soon\"");
        check(",\"a,,node,,,1,\n", "closing quote");
        check("EndTimestamp,InstanceID\n", "a column Region");
    }

    #[test]
    fn the_documented_row() {
        let text = "2019-04-17 23:34:22 UTC,gke-node-1,,node,metadata.name,,0.1337,\n";
        let rows = parse(text).unwrap();
        let node = |name: &str| Node {
            name: name.to_owned(),
            ..Node::default()
        };
        assert!(rows[0].names_node(&node("gke-node-1")) && !rows[0].names_node(&node("b")));
        assert_eq!(
            (rows[0].price, rows[0].end),
            (0.1337, Some(1_555_544_062_000_000_000))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_text_is_a_list_or_an_error(text in "[a-z0-9,\"\n# .:-]{0,200}") {
            if let Ok(rows) = parse(&text) {
                prop_assert!(rows.len() <= text.len());
            }
        }
    }
}
