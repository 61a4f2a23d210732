//! Tables as bars: the last column of numbers is the length of a bar, all others name it.
//!
//! Invariant: no line is wider than asked for, but for the narrowest of terminals.

use super::{Table, one_line, width};
use crate::graph;

/// Bars that are drawn; more would scroll away.
const ROWS_MAX: usize = 50;
/// Columns of the numbers behind the names.
const NUMBER: usize = 9;
/// Parts of a whole block, from none to seven eighths.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

impl Table {
    /// Bars in so many columns. Without a column of numbers, rows are counted by their first cell.
    pub(crate) fn bars(&self, columns: usize, colour: bool) -> String {
        let all = self.measured();
        if all.is_empty() {
            return String::new();
        }
        let finite = || {
            all.iter()
                .map(|(_, value)| value.abs())
                .filter(|v| v.is_finite())
        };
        let most = finite().fold(0.0, f64::max);
        let columns = columns.clamp(40, 200);
        let names = all.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
        let names = names.min((columns - NUMBER - 2) / 2).max(1);
        let room = columns - names - NUMBER - 2;
        let mut out = String::new();
        for (name, value) in all.iter().take(ROWS_MAX) {
            let name = shortened(name, names);
            let pad = " ".repeat(names - width(&name));
            let number = graph::number(*value);
            let bar = bar(value.abs(), most, room);
            let paint = match (colour && !bar.is_empty(), *value < 0.0) {
                (false, _) => ("", ""),
                (true, false) => ("\x1b[36m", "\x1b[0m"),
                (true, true) => ("\x1b[31m", "\x1b[0m"),
            };
            let line = format!("{name}{pad} {number:>NUMBER$} {}{bar}{}", paint.0, paint.1);
            out.push_str(line.trim_end());
            out.push('\n');
        }
        if all.len() > ROWS_MAX {
            let more = all.len() - ROWS_MAX;
            out.push_str(&format!("and {more} more (-o table lists all)\n"));
        }
        out
    }

    /// Names and lengths.
    fn measured(&self) -> Vec<(String, f64)> {
        let number = |cell: &str| cell.trim_end_matches(['%', ' ']).parse::<f64>().ok();
        let is_number = |index: &usize| {
            let mut cells = self.rows.iter().map(|row| row[*index].as_str());
            let filled = self.rows.iter().any(|row| !row[*index].is_empty());
            filled && cells.all(|cell| cell.is_empty() || number(cell).is_some())
        };
        let Some(length) = (0..self.head.len()).rfind(is_number) else {
            return self.counted();
        };
        let one = |row: &Vec<String>| {
            let cells = row.iter().enumerate();
            let names = cells.filter(|(index, cell)| *index != length && !cell.is_empty());
            let names: Vec<String> = names.map(|(_, cell)| one_line(cell)).collect();
            Some((names.join(" "), number(&row[length])?))
        };
        self.rows.iter().filter_map(one).collect()
    }

    /// How many rows have each first cell, in the order in which those come.
    fn counted(&self) -> Vec<(String, f64)> {
        let mut found: Vec<(String, f64)> = Vec::new();
        for first in self.rows.iter().filter_map(|row| row.first()) {
            let name = one_line(first);
            match found.iter_mut().find(|(own, _)| *own == name) {
                Some((_, count)) => *count += 1.0,
                None => found.push((name, 1.0)),
            }
        }
        found
    }
}

/// At most so many columns; the end tells pods of one deployment apart, so the middle is left out.
pub(crate) fn shortened(text: &str, columns: usize) -> String {
    let count = width(text);
    if count <= columns {
        return text.to_owned();
    }
    let keep = columns.saturating_sub(1);
    let (front, back) = (keep.div_ceil(2), keep / 2);
    let front: String = text.chars().take(front).collect();
    let back: String = text.chars().skip(count - back).collect();
    format!("{front}…{back}")
}

fn bar(value: f64, most: f64, room: usize) -> String {
    if !value.is_finite() || most <= 0.0 {
        return String::new();
    }
    let eighths = (value / most * (room * 8) as f64).round() as usize;
    // What is not nothing is seen.
    let eighths = if value > 0.0 { eighths.max(1) } else { 0 };
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[&str; 3]]) -> Table {
        let mut table = Table::new(["name", "code", "value"]);
        for row in rows {
            table.push(row.iter().map(|cell| (*cell).to_owned()).collect());
        }
        table
    }

    #[test]
    fn bars_have_the_length_of_their_numbers() {
        let rows = [
            ["a", "x", "10"],
            ["bb", "y", "-5"],
            ["c", "z", "NaN"],
            ["d", "z", "0"],
        ];
        let text = table(&rows).bars(40, false);
        let lines: Vec<&str> = text.lines().collect();
        let blocks = |line: &str| line.matches('█').count();
        assert_eq!(blocks(lines[0]), 25, "{text}");
        assert_eq!(blocks(lines[1]), 12, "{text}");
        assert!(lines[1].starts_with("bb y        -5 █"), "{text}");
        assert_eq!(lines[2], "c z        NaN", "{text}");
        assert_eq!(lines[3], "d z          0", "{text}");
        assert!(table(&rows).bars(40, true).contains("\x1b[31m"));
        for columns in [60, 80, 200] {
            let long = "n".repeat(300);
            let text = table(&[[long.as_str(), "x", "1"]]).bars(columns, false);
            assert!(text.lines().all(|line| width(line) <= columns), "{text}");
        }
    }

    #[test]
    fn rows_without_numbers_are_counted() {
        let rows = [["a", "x", "y"], ["b", "x", "y"], ["a", "x", "y"]];
        let text = table(&rows).bars(40, false);
        assert!(text.starts_with("a         2 █"), "{text}");
        let many: Vec<[String; 3]> = (0..60)
            .map(|i| [format!("n{i}x"), "x".to_owned(), i.to_string()])
            .collect();
        let many: Vec<[&str; 3]> = many
            .iter()
            .map(|row| row.each_ref().map(String::as_str))
            .collect();
        assert!(
            table(&many)
                .bars(80, false)
                .ends_with("and 10 more (-o table lists all)\n")
        );
        assert_eq!(table(&[]).bars(80, false), "");
    }

    #[test]
    fn the_middle_of_long_names_is_left_out() {
        assert_eq!(shortened("shop-7d9f-x2x9q", 9), "shop…2x9q");
        assert_eq!(shortened("shop", 9), "shop");
    }
}
