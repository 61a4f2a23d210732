//! Records out of lines: pieces of one line are joined, then lines of one record.
//!
//! Invariants: what comes out depends on the lines since the last quiet place and nothing else
//! (but for records that are given up waiting for, told by the caller); nothing grows beyond
//! `bytes_max`; each stream of a container is assembled for itself.

use obs_model::{Pattern, Timestamp};
use tokio::time::Instant;

use super::container::{Line, Out};
use crate::config::{Language, MultilineConfig};

/// How long pieces of a line may wait for the last one, in flush times of lines.
const PIECES_WAIT: u32 = 15;

/// Room for text that a stream keeps between records: there may be thousands of streams.
const KEPT_BYTES: usize = 4 << 10;

/// What an open record waits in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trace {
    #[default]
    None,
    Python,
    /// Behind the last line of one of Python's traces.
    PythonEnd,
    Go,
}

/// One stream.
#[derive(Debug, Default)]
struct Open {
    /// Pieces of a line, and the time of the first.
    pieces: Vec<u8>,
    pieces_time: Option<Timestamp>,
    pieces_begin: u64,
    in_pieces: bool,
    /// Lines of a record.
    text: Vec<u8>,
    time: Option<Timestamp>,
    lines: usize,
    trace: Trace,
    touched: Option<Instant>,
}

impl Open {
    fn is_empty(&self) -> bool {
        !self.in_pieces && self.lines == 0
    }
}

/// A record that is whole.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    pub out: Out,
    pub time: Option<Timestamp>,
    pub text: &'a [u8],
}

/// The state of one file.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    open: [Open; 3],
    /// Everything before was given out, and nothing behind it needs it.
    pub quiet: u64,
    /// Pieces of records that were longer than allowed.
    pub cut: u64,
}

/// How records are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct How<'a> {
    pub multiline: Option<&'a MultilineConfig>,
    /// Longest record.
    pub bytes_max: usize,
}

impl Assembler {
    /// Nothing is open at `quiet`.
    pub(super) fn at(quiet: u64) -> Self {
        Self {
            quiet,
            ..Self::default()
        }
    }

    fn all_empty(&self) -> bool {
        self.open.iter().all(Open::is_empty)
    }

    /// Whether something waits.
    pub(super) fn waits(&self) -> bool {
        !self.all_empty()
    }

    /// Adds the line that has the bytes from `begin` to `end` of the file.
    pub(super) fn push(
        &mut self,
        line: &Line<'_>,
        (begin, end): (u64, u64),
        how: How<'_>,
        give: &mut dyn FnMut(Whole<'_>),
    ) {
        let index = line.out as usize;
        let open = &mut self.open[index];
        if line.partial || open.in_pieces {
            if !open.in_pieces {
                open.pieces_time = line.time;
                open.pieces_begin = begin;
            }
            open.in_pieces = true;
            open.touched = Some(Instant::now());
            open.pieces.extend_from_slice(&line.text);
            if line.partial && open.pieces.len() < how.bytes_max {
                return;
            }
            let pieces = std::mem::take(&mut open.pieces);
            // What follows a piece that was cut belongs to the same line.
            open.in_pieces = line.partial;
            let (time, begin) = (open.pieces_time, open.pieces_begin);
            open.pieces_begin = end;
            let records = pieces.len().div_ceil(how.bytes_max.max(1)).max(1);
            open.pieces_time = nth(time, records);
            self.cut += u64::from(line.partial);
            self.line(index, line.out, time, &pieces, begin, how, give);
            if pieces.capacity() <= KEPT_BYTES {
                let mut pieces = pieces;
                pieces.clear();
                self.open[index].pieces = pieces;
            }
        } else {
            self.line(index, line.out, line.time, &line.text, begin, how, give);
        }
        if self.all_empty() {
            self.quiet = end;
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one step of push, with what it found out"
    )]
    fn line(
        &mut self,
        index: usize,
        out: Out,
        time: Option<Timestamp>,
        text: &[u8],
        begin: u64,
        how: How<'_>,
        give: &mut dyn FnMut(Whole<'_>),
    ) {
        let Some(multiline) = how.multiline else {
            return self.pieces(out, time, text, how.bytes_max, give);
        };
        let open = &mut self.open[index];
        let full =
            open.lines >= multiline.max_lines || open.text.len() + text.len() >= how.bytes_max;
        if open.lines == 0 || full {
            // As after beginning again here.
            open.trace = Trace::None;
        }
        let joins = continues(&mut open.trace, multiline, text);
        if open.lines > 0 && (full || !joins) {
            close(open, out, give);
            if self.all_empty() {
                self.quiet = begin;
            }
        }
        let open = &mut self.open[index];
        open.touched = Some(Instant::now());
        if text.len() >= how.bytes_max {
            return self.pieces(out, time, text, how.bytes_max, give);
        }
        if open.lines == 0 {
            open.time = time;
        } else {
            open.text.push(b'\n');
        }
        open.text.extend_from_slice(text);
        open.lines += 1;
    }

    /// A line as records of at most `max` bytes.
    fn pieces(
        &mut self,
        out: Out,
        time: Option<Timestamp>,
        text: &[u8],
        max: usize,
        give: &mut dyn FnMut(Whole<'_>),
    ) {
        if text.len() <= max {
            return give(Whole { out, time, text });
        }
        for (index, text) in text.chunks(max.max(1)).enumerate() {
            self.cut += 1;
            let time = nth(time, index);
            give(Whole { out, time, text });
        }
    }

    /// Gives out what waits, because nothing more comes, or because it waited long enough (`late`
    /// says since when). Everything up to `end` was pushed.
    pub(super) fn flush(
        &mut self,
        end: u64,
        how: How<'_>,
        late: Option<Instant>,
        give: &mut dyn FnMut(Whole<'_>),
    ) {
        for out in [Out::File, Out::Stdout, Out::Stderr] {
            let open = &mut self.open[out as usize];
            if let Some(now) = late {
                let flush = how
                    .multiline
                    .map_or(std::time::Duration::from_secs(2), |m| m.flush);
                let wait = if open.in_pieces {
                    flush * PIECES_WAIT
                } else {
                    flush
                };
                if open.touched.is_none_or(|t| now.duration_since(t) < wait) {
                    continue;
                }
            }
            let pieces = std::mem::take(&mut open.pieces);
            let (in_pieces, time) = (open.in_pieces, open.pieces_time);
            open.in_pieces = false;
            if in_pieces && !pieces.is_empty() {
                self.line(out as usize, out, time, &pieces, end, how, give);
            }
            close(&mut self.open[out as usize], out, give);
        }
        if self.all_empty() {
            self.quiet = end;
        }
    }
}

/// The time of a piece of a line that was cut: each has one of its own, so that they keep their
/// order and equal ones are not taken for one.
fn nth(time: Option<Timestamp>, index: usize) -> Option<Timestamp> {
    let nanos = i64::try_from(index).unwrap_or(i64::MAX);
    time.map(|time| time.saturating_add(nanos))
}

fn close(open: &mut Open, out: Out, give: &mut dyn FnMut(Whole<'_>)) {
    if open.lines == 0 {
        return;
    }
    let (time, text) = (open.time, &open.text[..]);
    give(Whole { out, time, text });
    open.text.clear();
    open.text.shrink_to(KEPT_BYTES);
    open.lines = 0;
}

/// Whether a line belongs to the record before it.
fn continues(trace: &mut Trace, multiline: &MultilineConfig, line: &[u8]) -> bool {
    if let Some(start) = &multiline.start {
        return !Pattern::is_match(start, line);
    }
    let has = |language| multiline.languages.contains(&language);
    let indented = matches!(line.first(), Some(b' ' | b'\t'));
    if has(Language::Python) {
        if line.starts_with(b"Traceback (most recent call last):") {
            let chained = *trace == Trace::PythonEnd;
            *trace = Trace::Python;
            return chained;
        }
        match *trace {
            Trace::Python if indented => return true,
            Trace::Python => {
                *trace = Trace::PythonEnd;
                return true;
            }
            Trace::PythonEnd => {
                let chain = line.is_empty()
                    || line.starts_with(b"During handling of the above")
                    || line.starts_with(b"The above exception was");
                if chain {
                    return true;
                }
                *trace = Trace::None;
            }
            Trace::None | Trace::Go => {}
        }
    }
    if has(Language::Go) {
        if line.starts_with(b"panic: ") || line.starts_with(b"fatal error: ") {
            let chained = *trace == Trace::Go && line.starts_with(b"panic: ");
            *trace = Trace::Go;
            return chained;
        }
        if *trace == Trace::Go {
            let call = line.ends_with(b")") && line.contains(&b'(') && !line.contains(&b' ');
            let known = [
                &b"goroutine "[..],
                b"[signal ",
                b"created by ",
                b"exit status",
                b"runtime.",
            ];
            if line.is_empty() || indented || call || known.iter().any(|k| line.starts_with(k)) {
                return true;
            }
            *trace = Trace::None;
        }
    }
    if has(Language::Java) {
        let known = [&b"Caused by: "[..], b"Suppressed: ", b"... "];
        if known.iter().any(|k| line.starts_with(k)) {
            return true;
        }
    }
    indented
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;

    type Step<'a> = (Out, bool, &'a str);

    fn assemble(how: How<'_>, lines: &[Step<'_>]) -> Vec<String> {
        let mut all = Vec::new();
        let mut assembler = Assembler::default();
        let mut give = |whole: Whole<'_>| {
            let name = whole.out.as_str().unwrap_or("file");
            all.push(format!("{name}:{}", String::from_utf8_lossy(whole.text)));
        };
        for (at, (out, partial, text)) in lines.iter().enumerate() {
            let line = Line {
                time: None,
                out: *out,
                partial: *partial,
                text: Cow::Borrowed(text.as_bytes()),
            };
            assembler.push(&line, (at as u64, at as u64 + 1), how, &mut give);
        }
        assembler.flush(lines.len() as u64, how, None, &mut give);
        assert_eq!(assembler.quiet, lines.len() as u64);
        all
    }

    const PLAIN: How<'_> = How {
        multiline: None,
        bytes_max: 1000,
    };

    #[test]
    fn pieces_are_joined_by_stream() {
        use Out::{Stderr, Stdout};
        let lines = [
            (Stdout, true, "a"),
            (Stderr, false, "x"),
            (Stdout, true, "b"),
            (Stderr, true, "y"),
            (Stdout, false, "c"),
            (Stderr, false, "z"),
            (Stdout, true, "end"),
        ];
        assert_eq!(
            assemble(PLAIN, &lines),
            ["stderr:x", "stdout:abc", "stderr:yz", "stdout:end"]
        );
        let short = How {
            bytes_max: 4,
            ..PLAIN
        };
        let long = [
            (Stdout, true, "abcd"),
            (Stdout, true, "ef"),
            (Stdout, false, "gh"),
        ];
        assert_eq!(assemble(short, &long), ["stdout:abcd", "stdout:efgh"]);
    }

    fn check(multiline: &str, text: &str, expect: &[&str]) {
        let multiline: MultilineConfig = serde_yaml_ng::from_str(multiline).unwrap();
        let how = How {
            multiline: Some(&multiline),
            bytes_max: 1000,
        };
        let lines: Vec<Step<'_>> = text.lines().map(|line| (Out::File, false, line)).collect();
        let expect: Vec<String> = expect.iter().map(|e| format!("file:{e}")).collect();
        assert_eq!(assemble(how, &lines), expect);
    }

    #[test]
    fn records_of_many_lines() {
        check(
            "{start: '^\\d'}",
            "0 before\n1 a\nb\nc\n2 d",
            &["0 before", "1 a\nb\nc", "2 d"],
        );
        check(
            "{start: '^\\d', max_lines: 2}",
            "1 a\nb\nc",
            &["1 a\nb", "c"],
        );
        check(
            "java",
            "ERROR x\njava.lang.E: y\n\tat a.b(C.java:1)\n\tat d\nCaused by: z\n\t... 1 more\nINFO",
            &[
                "ERROR x",
                "java.lang.E: y\n\tat a.b(C.java:1)\n\tat d\nCaused by: z\n\t... 1 more",
                "INFO",
            ],
        );
        check(
            "python",
            "start\nTraceback (most recent call last):\n  File x\n    y()\nValueError: z\nnext",
            &[
                "start",
                "Traceback (most recent call last):\n  File x\n    y()\nValueError: z",
                "next",
            ],
        );
        check(
            "go",
            "ok\npanic: boom\n\ngoroutine 1 [running]:\nmain.f(0x1)\n\t/x.go:1 +0x1\nexit status 2\nnext",
            &[
                "ok",
                "panic: boom\n\ngoroutine 1 [running]:\nmain.f(0x1)\n\t/x.go:1 +0x1\nexit status 2",
                "next",
            ],
        );
        check(
            "dotnet",
            "Unhandled: x\n   at A.B()\nnext",
            &["Unhandled: x\n   at A.B()", "next"],
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Whatever lines say, and however records are cut: every byte comes out, in its order.
        #[test]
        fn no_byte_is_lost(
            lines in proptest::collection::vec((any::<bool>(), prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..20),
                "(panic: x|Traceback .most recent call last.:|  File y|\tat a.b|goroutine 1 .running.:|Caused by: z)"
                    .prop_map(String::into_bytes),
            ]), 1..30),
            language in prop_oneof![Just(None), Just(Some("java")), Just(Some("python")), Just(Some("go")), Just(Some("dotnet"))],
            bytes_max in 1usize..40,
        ) {
            let multiline = language.map(|name| MultilineConfig::named(name).unwrap());
            let how = How { multiline: multiline.as_ref(), bytes_max };
            let mut assembler = Assembler::default();
            let (mut text, mut times) = (Vec::new(), Vec::new());
            let mut give = |whole: Whole<'_>| {
                text.extend_from_slice(whole.text);
                times.push(whole.time);
            };
            let whole: Vec<u8> = lines.iter().flat_map(|(_, line)| line.clone()).collect();
            for (at, (partial, line)) in lines.iter().enumerate() {
                let begin = at as u64;
                let line = Line {
                    time: Some(Timestamp::from_nanos(begin as i64 * 1000)),
                    out: Out::Stdout,
                    partial: *partial,
                    text: Cow::Borrowed(line),
                };
                assembler.push(&line, (begin, begin + 1), how, &mut give);
            }
            assembler.flush(lines.len() as u64, how, None, &mut give);
            // Newlines join the lines of one record; lines here may have some of their own.
            let plain = |bytes: &[u8]| bytes.iter().copied().filter(|b| *b != b'\n').collect::<Vec<_>>();
            prop_assert_eq!(plain(&text), plain(&whole));
            prop_assert!(times.is_sorted(), "{times:?}");
        }

        /// Beginning again at the quiet place gives what was not given yet.
        #[test]
        fn quiet_places_are_places_to_begin_again(
            lines in proptest::collection::vec((0usize..2, any::<bool>(), "[ a-c1]{0,3}"), 1..40),
            cut in 0usize..40,
            many in any::<bool>(),
        ) {
            let multiline = MultilineConfig::named("java").unwrap();
            let how = How { multiline: many.then_some(&multiline), bytes_max: 1000 };
            let steps: Vec<Step<'_>> = lines
                .iter()
                .map(|(out, partial, text)| ([Out::Stdout, Out::Stderr][*out], *partial, &**text))
                .collect();
            let whole = assemble(how, &steps);
            let mut assembler = Assembler::default();
            for (at, (out, partial, text)) in steps.iter().enumerate().take(cut) {
                let line = Line { time: None, out: *out, partial: *partial, text: Cow::Borrowed(text.as_bytes()) };
                assembler.push(&line, (at as u64, at as u64 + 1), how, &mut |_| {});
            }
            let again = assemble(how, &steps[assembler.quiet as usize..]);
            prop_assert_eq!(&whole[whole.len() - again.len()..], &again[..]);
        }
    }
}
