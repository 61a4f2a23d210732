//! Line graphs in braille for terminals.
//!
//! A character cell has 2 × 4 dots; a series is drawn as connected dots in one colour. Gaps in the
//! data are gaps in the line.

use std::fmt::Write as _;

use obs_model::Timestamp;

use crate::table::{one_line, shortened, width};

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
/// Columns of a series' own line in the legend.
const SPARK: usize = 16;
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

/// A number beside the axis. Where values hardly move it has as many digits as tell one label from
/// the next, as far as there is room.
fn label(value: f64, apart: f64) -> String {
    let text = number(value);
    let told = if text.contains(['e', 'k', 'M', 'G', 'T']) {
        // Three digits behind the point of the prefix.
        value.abs() * 1e-4
    } else {
        1e-3
    };
    if apart >= told || !value.is_finite() || apart <= 0.0 {
        return text;
    }
    let digits = (-apart.log10()).ceil().clamp(0.0, 9.0) as usize;
    let full = format!("{value:.digits$}");
    if full.len() <= AXIS { full } else { text }
}

fn plot(cells: &Cells, (low, high): (f64, f64), colour: bool) -> String {
    let mut out = String::new();
    let apart = (high - low) * 4.0 / cells.height.max(1) as f64;
    for row in 0..cells.height {
        let share = row as f64 / (cells.height - 1).max(1) as f64;
        let labelled = row % 4 == 0 || row + 1 == cells.height;
        let label = if labelled {
            label(high - (high - low) * share, apart)
        } else {
            String::new()
        };
        // The row of zero, where values lie on both sides of it.
        let below = high - (high - low) * (row + 1) as f64 / cells.height.max(1) as f64;
        let above = high - (high - low) * row as f64 / cells.height.max(1) as f64;
        let axis = if low < 0.0 && high > 0.0 && below < 0.0 && above >= 0.0 {
            '┼'
        } else {
            '┤'
        };
        out.push_str(&format!("{label:>AXIS$} {axis}"));
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
            format!("{}Z", text.get(11..19).unwrap_or_default())
        } else {
            format!("{}Z", text.get(5..16).unwrap_or_default().replace('T', " "))
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

/// Names with their last, lowest and highest values; where there is room, each with its own line.
fn legend(out: &mut String, lines: &[Line], canvas: Canvas) {
    let numbers: Vec<[String; 3]> = lines.iter().take(LEGEND_MAX).map(summary).collect();
    let widest = |of: usize| numbers.iter().map(|n| n[of].len()).max().unwrap_or(0);
    let widths = [widest(0), widest(1), widest(2)];
    let spark_columns = if canvas.columns >= 80 && lines.len() > 1 {
        SPARK
    } else {
        0
    };
    let gap = if spark_columns > 0 { 2 } else { 0 };
    // The mark, the words before the numbers, the numbers, and the line.
    let taken = 5 + 19 + widths.iter().sum::<usize>() + gap + spark_columns;
    let room = canvas.columns.saturating_sub(taken).max(8);
    let names = lines
        .iter()
        .take(LEGEND_MAX)
        .map(|line| shortened(&one_line(&line.name), room));
    let names: Vec<String> = names.collect();
    let longest = names.iter().map(|name| width(name)).max().unwrap_or(0);
    for (series, (line, name)) in lines.iter().zip(&names).enumerate() {
        let (on, off) = match canvas.colour {
            true => (escape(series), "\x1b[0m"),
            false => (String::new(), ""),
        };
        let pad = " ".repeat(longest - width(name));
        let [last, low, high] = &numbers[series];
        let mut row = format!(
            "  {on}──{off} {name}{pad}  last {last:>a$}  min {low:>b$}  max {high:>c$}",
            a = widths[0],
            b = widths[1],
            c = widths[2]
        );
        if spark_columns > 0 {
            let points = over_time(&line.points, canvas.range, SPARK);
            row.push_str(&format!("  {on}{}{off}", spark(&points)));
        }
        out.push_str(row.trim_end());
        out.push('\n');
    }
    if lines.len() > LEGEND_MAX {
        let more = lines.len() - LEGEND_MAX;
        // Writing to a String cannot fail.
        writeln!(out, "     and {more} more series (-o table lists all)").expect("strings grow");
    }
}

/// The last value, the lowest and the highest.
fn summary(line: &Line) -> [String; 3] {
    let finite = || {
        line.points
            .iter()
            .map(|(_, v)| *v)
            .filter(|v| v.is_finite())
    };
    let last = line.points.last().map(|(_, value)| number(*value));
    let bound = |value: Option<f64>| value.map_or("-".to_owned(), number);
    [
        last.unwrap_or_else(|| "-".to_owned()),
        bound(finite().reduce(f64::min)),
        bound(finite().reduce(f64::max)),
    ]
}

/// The mean of the points in each of so many parts of a range; none where there is no point.
pub(crate) fn over_time(
    points: &[(f64, f64)],
    (start, end): (f64, f64),
    parts: usize,
) -> Vec<Option<f64>> {
    let mut sums = vec![(0.0, 0u32); parts];
    let span = (end - start).max(1e-9);
    for (time, value) in points.iter().filter(|(_, value)| value.is_finite()) {
        let part = ((time - start) / span * parts as f64).max(0.0) as usize;
        if let Some((sum, count)) = sums.get_mut(part.min(parts.saturating_sub(1))) {
            *sum += value;
            *count += 1;
        }
    }
    let mean = |(sum, count): (f64, u32)| (count > 0).then(|| sum / f64::from(count));
    sums.into_iter().map(mean).collect()
}

/// A line of blocks, from the lowest value (or zero, where that is near) to the highest.
pub(crate) fn spark(points: &[Option<f64>]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite = || points.iter().flatten().copied().filter(|v| v.is_finite());
    let low = finite().fold(f64::INFINITY, f64::min);
    let high = finite().fold(f64::NEG_INFINITY, f64::max);
    let low = if low > 0.0 && low < high * 0.5 {
        0.0
    } else {
        low
    };
    let block = |value: f64| {
        if high <= low {
            // A level line, at the bottom where it is zero.
            return BLOCKS[if high == 0.0 { 0 } else { 3 }];
        }
        let level = ((value - low) / (high - low) * 7.0).round() as usize;
        BLOCKS[level.min(7)]
    };
    let cell = |point: &Option<f64>| point.filter(|v| v.is_finite()).map_or(' ', block);
    points.iter().map(cell).collect()
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

    #[test]
    fn labels_tell_values_apart_that_hardly_move() {
        assert_eq!(label(1234.5678, 100.0), "1234.568");
        assert_eq!(label(100_000.25, 0.5), "100000.2");
        assert_eq!(label(100_000.75, 0.5), "100000.8");
        assert_eq!(label(1.000_016, 0.000_01), "1.00002");
        assert_eq!(label(12_000_000.0, 4_000_000.0), "12M");
        assert_eq!(label(0.0, 0.0), "0");
        // Where there is no room for them, there is none.
        assert_eq!(label(123_456_789_012.0, 0.001), "123.457G");
    }

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
            text.contains("00:00:00Z") && text.contains("── rise  last 6  min 0  max 6"),
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
    fn graphs_fit_whatever_they_hold() {
        let points =
            |of: fn(f64) -> f64| (0..=60).map(|i| (f64::from(i), of(f64::from(i)))).collect();
        type Shape = (&'static str, fn(f64) -> f64);
        let shapes: [Shape; 6] = [
            ("negative", |i| -i),
            ("both", |i| (i / 9.0).sin() * 1e4),
            ("nothing", |_| f64::NAN),
            ("infinite", |i| if i > 30.0 { f64::INFINITY } else { i }),
            ("level", |_| 0.0),
            ("tiny", |i| i * 1e-9),
        ];
        let mut lines: Vec<Line> = shapes
            .iter()
            .map(|(name, of)| Line {
                name: (*name).to_owned(),
                points: points(*of),
            })
            .collect();
        lines.push(Line {
            name: "n".repeat(300),
            points: Vec::new(),
        });
        lines.extend((0..20).map(|i| Line {
            name: format!("pod=\"{i}\""),
            points: points(|i| i),
        }));
        for columns in [60, 80, 200] {
            for colour in [false, true] {
                let canvas = Canvas {
                    columns,
                    colour,
                    rows: 8,
                    step: 1.0,
                    ..CANVAS
                };
                for count in [1, 2, 7, 27] {
                    let text = draw(&lines[..count], canvas);
                    let mut plain = text.clone();
                    for code in COLOURS.iter().chain(&["0"]) {
                        plain = plain.replace(&format!("\x1b[{code}m"), "");
                    }
                    assert!(
                        plain.lines().all(|line| width(line) <= columns),
                        "{columns}\n{text}"
                    );
                    assert_eq!(plain == text, !colour, "{text}");
                }
                for line in &lines {
                    let text = draw(std::slice::from_ref(line), canvas);
                    let around_zero = ["both", "level"].contains(&line.name.as_str());
                    assert_eq!(text.contains('┼'), around_zero, "{text}");
                }
            }
        }
    }

    #[test]
    fn sparks() {
        let spark = |values: &[f64]| spark(&values.iter().map(|v| Some(*v)).collect::<Vec<_>>());
        assert_eq!(spark(&[0.0, 1.0, 2.0, 3.5, 7.0]), "▁▂▃▅█");
        assert_eq!(spark(&[5.0, 5.0]), "▄▄");
        assert_eq!(spark(&[0.0, 0.0]), "▁▁");
        assert_eq!(spark(&[-1.0, f64::NAN, 1.0]), "▁ █");
        assert_eq!(spark(&[]), "");
        let points = [(0.0, 1.0), (1.0, 3.0), (9.0, 8.0)];
        assert_eq!(
            over_time(&points, (0.0, 10.0), 5),
            [Some(2.0), None, None, None, Some(8.0)]
        );
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
