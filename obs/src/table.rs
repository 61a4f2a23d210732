//! Tables for terminals and CSV for everything else.

mod bars;

use std::fmt::Write as _;

use serde_json::{Map, Value};

pub(crate) use bars::shortened;

/// Rows of cells under a head.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            head: head.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// The head.
    pub(crate) fn head(&self) -> &[String] {
        &self.head
    }

    /// The rows.
    pub(crate) fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn push(&mut self, mut row: Vec<String>) {
        row.resize(self.head.len(), String::new());
        self.rows.push(row);
    }

    /// The table with these columns alone, in this order.
    pub(crate) fn only(&self, names: &[&str]) -> Self {
        let places = names
            .iter()
            .map(|name| self.head.iter().position(|h| h == name));
        let places: Vec<usize> = places.flatten().collect();
        let pick = |row: &Vec<String>| places.iter().map(|place| row[*place].clone()).collect();
        Self {
            head: pick(&self.head),
            rows: self.rows.iter().map(pick).collect(),
        }
    }

    /// One object for each row; all values are texts.
    pub(crate) fn json(&self) -> Value {
        let object = |row: &Vec<String>| -> Value {
            let cells = row.iter().map(|cell| Value::from(cell.as_str()));
            let pairs: Map<String, Value> = self.head.iter().cloned().zip(cells).collect();
            pairs.into()
        };
        self.rows.iter().map(object).collect()
    }

    /// Columns two blanks apart; columns of numbers are aligned to the right.
    pub(crate) fn text(&self) -> String {
        let cells = || std::iter::once(&self.head).chain(&self.rows);
        let column = |index: usize| self.rows.iter().map(move |row| row[index].as_str());
        let widths: Vec<usize> = (0..self.head.len())
            .map(|index| {
                cells()
                    .map(|row| width(&one_line(&row[index])))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let numeric: Vec<bool> = (0..self.head.len())
            .map(|index| {
                !self.rows.is_empty() && column(index).all(|c| c.is_empty() || is_quantity(c))
            })
            .collect();
        let mut out = String::new();
        for row in cells() {
            let mut line = String::new();
            for (index, cell) in row.iter().enumerate() {
                let cell = one_line(cell);
                let pad = " ".repeat(widths[index].saturating_sub(width(&cell)));
                let gap = if index == 0 { "" } else { "  " };
                if numeric[index] {
                    line.extend([gap, &pad, &cell]);
                } else {
                    line.extend([gap, &cell, &pad]);
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    /// RFC 4180 with line feeds.
    pub(crate) fn csv(&self) -> String {
        let mut out = String::new();
        for row in std::iter::once(&self.head).chain(&self.rows) {
            let cells: Vec<String> = row.iter().map(|cell| csv_cell(cell)).collect();
            out.push_str(&cells.join(","));
            out.push('\n');
        }
        out
    }
}

/// A number, possibly with a unit: `12`, `3.5k`, `12 %`, `1.5 MiB`, `250m`.
fn is_quantity(cell: &str) -> bool {
    const UNITS: [&str; 14] = [
        "", "%", "m", "k", "M", "G", "T", "ms", "s", "B", "KiB", "MiB", "GiB", "TiB",
    ];
    let end = cell
        .find(|c: char| c.is_ascii_alphabetic() && c != 'e' || c == '%')
        .unwrap_or(cell.len());
    let (number, unit) = cell.split_at(end);
    cell.parse::<f64>().is_ok()
        || (number.trim_end().parse::<f64>().is_ok() && UNITS.contains(&unit))
}

fn csv_cell(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

/// Columns on a terminal; good enough for text without wide characters.
pub(crate) fn width(text: &str) -> usize {
    text.chars().count()
}

/// Control characters escaped, so that data cannot move the cursor or ring the bell.
pub(crate) fn one_line(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\t' => out.push_str("  "),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                write!(out, "{}", c.escape_default()).expect("strings grow");
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_numbers_right_and_text_left() {
        let mut table = Table::new(["name", "value"]);
        table.push(vec!["a".into(), "1".into()]);
        table.push(vec!["long\x1b[31m".into(), "10.5".into()]);
        let lines: Vec<String> = table.text().lines().map(str::to_owned).collect();
        assert_eq!(lines[1], "a                   1");
        assert_eq!(lines[2], "long\\u{1b}[31m   10.5");
    }

    #[test]
    fn quantities_are_numbers_with_units() {
        for (cell, expect) in [
            ("1", true),
            ("-1.5e-7", true),
            ("12 %", true),
            ("1.5 MiB", true),
            ("250m", true),
            ("NaN", true),
            ("1m ago", false),
            ("m", false),
            ("7b1f", false),
            ("1.2.3.4", false),
            ("2026-11-22", false),
            ("", false),
        ] {
            assert_eq!(is_quantity(cell), expect, "{cell}");
        }
    }

    #[test]
    fn columns_are_picked_and_told_as_json() {
        let mut table = Table::new(["a", "b", "c"]);
        table.push(vec!["1".into(), "2".into(), "3".into()]);
        assert_eq!(table.only(&["c", "a"]).csv(), "c,a\n3,1\n");
        assert_eq!(
            table.json(),
            serde_json::json!([{"a": "1", "b": "2", "c": "3"}])
        );
    }

    #[test]
    fn csv_quotes_what_it_must() {
        let mut table = Table::new(["a", "b"]);
        table.push(vec!["x,\"y\"".into()]);
        assert_eq!(table.csv(), "a,b\n\"x,\"\"y\"\"\",\n");
    }
}
