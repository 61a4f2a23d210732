//! Line graphs in braille for terminals.
//!
//! A character cell has 2 × 4 dots; a series is drawn as connected dots in one colour. Gaps in the
//! data are gaps in the line.

use std::fmt::Write as _;

use obs_model::Timestamp;

use crate::table::one_line;

/// A series to draw: points in order of time.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Where and how to draw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Canvas {
    /// Columns, with the axis.
    pub(crate) columns: usize,
    /// Rows of the plot without axis and legend.
    pub(crate) rows: usize,
    /// Begin and end in seconds.
    pub(crate) range: (f64, f64),
    /// Seconds between points; a larger distance is a gap.
    pub(crate) step: f64,
    /// Whether to use colours.
    pub(crate) colour: bool,
}

/// ANSI colours that are readable on dark and light grounds.
const COLOURS: [&str; 6] = ["36", "33", "35", "32", "31", "34"];
/// Series in the legend; more would scroll the graph away.
const LEGEND_MAX: usize = 12;
/// Columns for the numbers at the left.
const AXIS: usize = 11;

/// Bits of the dots in a braille cell by row and column.
const DOTS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

struct Cells {
    width: usize,
    height: usize,
    bits: Vec<u8>,
    owner: Vec<usize>,
}

impl Cells {
    fn dot(&mut self, x: usize, y: usize, series: usize) {
        let (column, row) = (x / 2, y / 4);
        if column < self.width && row < self.height {
            let cell = row * self.width + column;
            self.bits[cell] |= DOTS[y % 4][x % 2];
            self.owner[cell] = series;
        }
    }

    fn line(&mut self, from: (usize, usize), to: (usize, usize), series: usize) {
        let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
        for step in 0..=steps {
            let along = |a: usize, b: usize| {
                (a as f64 + (b as f64 - a as f64) * step as f64 / steps as f64).round() as usize
            };
            self.dot(along(from.0, to.0), along(from.1, to.1), series);
        }
    }
}

/// The graph as lines of text, with axes and legend.
pub(crate) fn draw(lines: &[Line], canvas: Canvas) -> String {
    let width = canvas.columns.saturating_sub(AXIS + 2).max(16);
    let (low, high) = bounds(lines);
    let mut cells = Cells {
        width,
        height: canvas.rows,
        bits: vec![0; width * canvas.rows],
        owner: vec![0; width * canvas.rows],
    };
    let (dots_x, dots_y) = ((width * 2 - 1) as f64, (canvas.rows * 4 - 1) as f64);
    let span = (canvas.range.1 - canvas.range.0).max(1e-9);
    for (series, line) in lines.iter().enumerate() {
        let mut last: Option<(f64, (usize, usize))> = None;
        for (time, value) in line.points.iter().filter(|(_, v)| v.is_finite()) {
            let x = ((time - canvas.range.0) / span * dots_x)
                .clamp(0.0, dots_x)
                .round() as usize;
            let y = ((high - value) / (high - low) * dots_y)
                .clamp(0.0, dots_y)
                .round() as usize;
            match last {
                Some((before, from)) if time - before <= canvas.step * 1.5 => {
                    cells.line(from, (x, y), series);
                }
                _ => cells.dot(x, y, series),
            }
            last = Some((*time, (x, y)));
        }
    }
    let mut out = plot(&cells, (low, high), canvas.colour);
    time_axis(&mut out, width, canvas.range);
    legend(&mut out, lines, canvas);
    out
}

/// Lowest and highest value; never equal, and from zero where that costs little room.
fn bounds(lines: &[Line]) -> (f64, f64) {
    let values = || {
        lines
            .iter()
            .flat_map(|l| &l.points)
            .map(|(_, v)| *v)
            .filter(|v| v.is_finite())
    };
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return (0.0, 1.0);
    }
    let low = if low > 0.0 && low < high * 0.5 {
        0.0
    } else {
        low
    };
    if low == high {
        (low - 0.5, high + 0.5)
    } else {
        (low, high)
    }
}

fn plot(cells: &Cells, (low, high): (f64, f64), colour: bool) -> String {
    let mut out = String::new();
    for row in 0..cells.height {
        let share = row as f64 / (cells.height - 1).max(1) as f64;
        let labelled = row % 4 == 0 || row + 1 == cells.height;
        let label = if labelled {
            number(high - (high - low) * share)
        } else {
            String::new()
        };
        out.push_str(&format!("{label:>AXIS$} ┤"));
        let mut painted = None;
        for cell in row * cells.width..(row + 1) * cells.width {
            let paint = (colour && cells.bits[cell] != 0).then(|| cells.owner[cell]);
            if paint != painted {
                out.push_str(&paint.map_or("\x1b[0m".to_owned(), escape));
                painted = paint;
            }
            let braille = char::from_u32(0x2800 + u32::from(cells.bits[cell]));
            out.push(braille.expect("U+2800 to U+28FF are characters"));
        }
        if painted.is_some() {
            out.push_str("\x1b[0m");
        }
        out.push('\n');
    }
    out
}

fn escape(series: usize) -> String {
    format!("\x1b[{}m", COLOURS[series % COLOURS.len()])
}

fn time_axis(out: &mut String, width: usize, (start, end): (f64, f64)) {
    let clock = |seconds: f64| {
        let text = Timestamp::from_seconds_f64(seconds)
            .unwrap_or_default()
            .to_string();
        // HH:MM:SS within a day, else MM-DD HH:MM.
        if end - start < 86_400.0 {
            text.get(11..19).unwrap_or_default().to_owned()
        } else {
            text.get(5..16).unwrap_or_default().replace('T', " ")
        }
    };
    let (left, middle, right) = (clock(start), clock(f64::midpoint(start, end)), clock(end));
    let room = width.saturating_sub(left.len() + middle.len() + right.len());
    let (before, after) = (room / 2, room - room / 2);
    let pad = " ".repeat(AXIS + 2);
    let line = format!(
        "{pad}{left}{}{middle}{}{right}\n",
        " ".repeat(before),
        " ".repeat(after)
    );
    out.push_str(&line);
}

fn legend(out: &mut String, lines: &[Line], canvas: Canvas) {
    for (series, line) in lines.iter().take(LEGEND_MAX).enumerate() {
        let last = line
            .points
            .last()
            .map_or(String::new(), |(_, value)| number(*value));
        let name: String = one_line(&line.name)
            .chars()
            .take(canvas.columns.max(30) - 16)
            .collect();
        let (on, off) = if canvas.colour {
            (escape(series), "\x1b[0m")
        } else {
            (String::new(), "")
        };
        // Writing to a String cannot fail.
        writeln!(out, "  {on}──{off} {name}  {last}").expect("strings grow");
    }
    if lines.len() > LEGEND_MAX {
        let more = lines.len() - LEGEND_MAX;
        writeln!(out, "     and {more} more series (-o table lists all)").expect("strings grow");
    }
}

/// A number in at most eight characters with an SI prefix.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    let (scale, unit) = match magnitude {
        m if !m.is_finite() => return value.to_string(),
        m if m >= 1e15 => return format!("{value:.2e}"),
        m if m >= 1e12 => (1e12, "T"),
        m if m >= 1e9 => (1e9, "G"),
        m if m >= 1e6 => (1e6, "M"),
        m if m >= 1e4 => (1e3, "k"),
        m if m > 0.0 && m < 1e-3 => return format!("{value:.1e}"),
        _ => (1.0, ""),
    };
    let text = format!("{:.3}", value / scale);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{}{unit}", if text == "-0" { "0" } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANVAS: Canvas = Canvas {
        columns: 40,
        rows: 5,
        range: (0.0, 60.0),
        step: 10.0,
        colour: false,
    };

    #[test]
    fn a_rising_line_goes_from_bottom_left_to_top_right() {
        let points = (0..=6)
            .map(|i| (f64::from(i) * 10.0, f64::from(i)))
            .collect();
        let text = draw(
            &[Line {
                name: "rise".into(),
                points,
            }],
            CANVAS,
        );
        let rows: Vec<&str> = text.lines().collect();
        let blank = |row: &str, at: usize| row.chars().nth(AXIS + 2 + at) == Some('\u{2800}');
        assert!(blank(rows[0], 0) && !blank(rows[0], 24), "{text}");
        assert!(!blank(rows[4], 0) && blank(rows[4], 24), "{text}");
        assert!(rows[0].starts_with("          6 ┤"), "{text}");
        assert!(
            text.contains("00:00:00") && text.contains("── rise  6"),
            "{text}"
        );
    }

    #[test]
    fn a_gap_is_not_bridged() {
        let points = vec![(0.0, 1.0), (60.0, 1.0)];
        let text = draw(
            &[Line {
                name: "gap".into(),
                points,
            }],
            CANVAS,
        );
        let dots = text
            .chars()
            .filter(|c| ('\u{2801}'..='\u{28ff}').contains(c))
            .count();
        assert_eq!(dots, 2, "{text}");
    }

    #[test]
    fn numbers() {
        for (value, expect) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (12345.0, "12.345k"),
            (2.5e9, "2.5G"),
            (1e-5, "1.0e-5"),
        ] {
            assert_eq!(number(value), expect);
        }
    }
}
