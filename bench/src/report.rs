//! The numbers of all systems beside each other: as a table, as JSON, as a page of Markdown.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};

use crate::measure::Measured;

/// One workload on all systems.
#[derive(Debug)]
pub(crate) struct Report {
    /// `metrics`, `logs` or `traces`.
    pub(crate) signal: &'static str,
    pub(crate) title: String,
    pub(crate) systems: Vec<Column>,
}

/// One system.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) caveat: &'static str,
    pub(crate) measured: Measured,
}

/// One row: a number of each system that has it.
struct Row<'a> {
    name: &'a str,
    unit: &'static str,
    values: Vec<Option<f64>>,
}

impl Report {
    fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for (place, system) in self.systems.iter().enumerate() {
            for value in &system.measured.values {
                let at = rows.iter().position(|r| r.name == value.name);
                let at = at.unwrap_or_else(|| {
                    rows.push(Row {
                        name: &value.name,
                        unit: value.unit,
                        values: vec![None; self.systems.len()],
                    });
                    rows.len() - 1
                });
                rows[at].values[place] = Some(value.value);
            }
        }
        rows
    }

    /// Head, then cells of each row. obs is the first system; the others get a ratio.
    fn cells(&self) -> Vec<Vec<String>> {
        let mut head = vec![String::new(), "unit".to_owned()];
        head.extend(self.systems.iter().map(|s| s.name.clone()));
        head.extend(
            self.systems
                .iter()
                .skip(1)
                .map(|s| format!("obs / {}", s.name)),
        );
        let mut all = vec![head];
        for row in self.rows() {
            let mut cells = vec![row.name.to_owned(), row.unit.to_owned()];
            cells.extend(row.values.iter().map(|v| v.map_or("-".to_owned(), number)));
            for peer in row.values.iter().skip(1) {
                let ratio = row.values[0].zip(*peer).filter(|(_, peer)| *peer > 0.0);
                cells.push(ratio.map_or("-".to_owned(), |(obs, peer)| number(obs / peer)));
            }
            all.push(cells);
        }
        all
    }

    /// Faults and the proof that all got the same bytes.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(first) = self.systems.first() {
            let (bytes, hash) = (first.measured.sent_bytes, first.measured.sent_hash);
            let same = self.systems.iter().all(|s| s.measured.sent_hash == hash);
            let to = if same {
                "each system"
            } else {
                "obs; OTHERS GOT OTHER BYTES"
            };
            notes.push(format!("{bytes} bytes of bodies to {to}, xxh3 {hash:016x}"));
        }
        for system in &self.systems {
            notes.push(format!(
                "{}: {}; {}",
                system.name, system.version, system.caveat
            ));
            let faults = system.measured.faults.iter();
            notes.extend(faults.map(|f| format!("{}: no number for {f}", system.name)));
        }
        notes
    }

    /// For a terminal.
    pub(crate) fn table(&self) -> String {
        let cells = self.cells();
        let widths: Vec<usize> = (0..cells[0].len())
            .map(|c| {
                cells
                    .iter()
                    .map(|r| r[c].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut out = format!("{}: {}\n", self.signal, self.title);
        for row in &cells {
            let mut line = String::new();
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let padding = " ".repeat(width - cell.chars().count());
                let (left, right) = if at < 2 {
                    ("", &*padding)
                } else {
                    (&*padding, "")
                };
                line.push_str(&format!("{left}{cell}{right}  "));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        for note in self.notes() {
            out.push_str(&format!("# {note}\n"));
        }
        out
    }

    /// For a page.
    fn markdown(&self) -> String {
        let cells = self.cells();
        let mut out = format!("\n## {}\n\n{}\n\n", self.signal, self.title);
        for (at, row) in cells.iter().enumerate() {
            out.push_str(&format!("| {} |\n", row.join(" | ")));
            if at == 0 {
                let rule: Vec<&str> = (0..row.len())
                    .map(|c| if c < 2 { "---" } else { "---:" })
                    .collect();
                out.push_str(&format!("| {} |\n", rule.join(" | ")));
            }
        }
        out.push('\n');
        for note in self.notes() {
            out.push_str(&format!("- {note}\n"));
        }
        out
    }

    /// For programs.
    pub(crate) fn json(&self) -> Json {
        let systems: Vec<Json> = self
            .systems
            .iter()
            .map(|s| {
                let values = s.measured.values.iter();
                let values: Vec<Json> = values
                    .map(|v| json!({"name": v.name, "unit": v.unit, "value": v.value}))
                    .collect();
                json!({
                    "name": s.name,
                    "version": s.version,
                    "caveat": s.caveat,
                    "values": values,
                    "faults": s.measured.faults,
                    "sentBytes": s.measured.sent_bytes,
                    "sentXxh3": format!("{:016x}", s.measured.sent_hash),
                })
            })
            .collect();
        json!({"signal": self.signal, "title": self.title, "systems": systems})
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Where and from what the numbers come.
#[derive(Debug)]
pub(crate) struct Origin {
    machine: String,
    commit: String,
    command: String,
    load: String,
    note: Option<String>,
}

impl Origin {
    /// Reads the machine; to be made before the first run, for its load.
    pub(crate) fn new(note: Option<String>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let line = |text: &str, name: &str| {
            let line = text
                .lines()
                .find(|l| l.starts_with(name))
                .unwrap_or_default();
            line.split_once(':')
                .map_or(String::new(), |(_, v)| v.trim().to_owned())
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let machine = format!(
            "{cores} cores {}, memory {}, Linux {}",
            line(&read("/proc/cpuinfo"), "model name"),
            line(&read("/proc/meminfo"), "MemTotal"),
            read("/proc/sys/kernel/osrelease").trim()
        );
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let load = read("/proc/loadavg");
        let load: Vec<&str> = load.split(' ').take(3).collect();
        Self {
            machine,
            commit: commit(),
            command: format!(
                "cargo run --release -p obs-bench -- {}",
                arguments.join(" ")
            ),
            load: load.join(" "),
            note,
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> Json {
        json!({
            "machine": self.machine,
            "commit": self.commit,
            "command": self.command,
            "loadBefore": self.load,
            "note": self.note,
        })
    }
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => head,
        _ => format!("{head} with changes"),
    }
}

/// Writes the page.
pub(crate) fn save(path: &Path, origin: &Origin, reports: &[Report]) -> anyhow::Result<()> {
    let mut page = String::from("# Benchmark result\n\n");
    let rows = [
        ("machine", &origin.machine),
        ("load average before", &origin.load),
        ("commit", &origin.commit),
    ];
    for (name, value) in rows {
        writeln!(page, "- {name}: {value}")?;
    }
    writeln!(page, "- command: `{}`", origin.command)?;
    if let Some(note) = &origin.note {
        writeln!(page, "\n{note}")?;
    }
    for report in reports {
        page.push_str(&report.markdown());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, page)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Value;

    fn column(name: &str, values: &[(&str, f64)]) -> Column {
        let values = values.iter().map(|(name, value)| Value {
            name: (*name).to_owned(),
            unit: "s",
            value: *value,
        });
        Column {
            name: name.to_owned(),
            version: "1".to_owned(),
            caveat: "none",
            measured: Measured {
                values: values.collect(),
                ..Measured::default()
            },
        }
    }

    #[test]
    fn ratios_stand_beside_numbers_and_gaps_stay_gaps() {
        let report = Report {
            signal: "metrics",
            title: "few".to_owned(),
            systems: vec![
                column("obs", &[("wall", 1.0), ("merge", 0.25)]),
                column("peer", &[("wall", 4.0), ("other", 1234.0)]),
            ],
        };
        let cells: Vec<String> = report.cells().iter().map(|r| r.join(" ")).collect();
        assert_eq!(
            cells,
            [
                " unit obs peer obs / peer",
                "wall s 1.00 4.00 0.250",
                "merge s 0.250 - -",
                "other s - 1234 -",
            ]
        );
        assert!(report.table().contains("0.250"));
        assert!(
            report
                .markdown()
                .contains("| wall | s | 1.00 | 4.00 | 0.250 |")
        );
        assert_eq!(report.json()["systems"][1]["values"][1]["value"], 1234.0);
    }
}
