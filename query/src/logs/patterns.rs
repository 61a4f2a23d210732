//! What lines have in common: templates such as `GET <_> took <_>`, mined from lines as they are
//! scanned, in the manner of Drain, and counted over time.
//!
//! Lines of a part are not put together for it: the store tells what the lines of each of its own
//! templates share, and how many there are; only lines that share nothing are looked at.
//! A line is cut into words and what stands between them. Lines with the same separators, level
//! and first word meet in one bucket; a line joins the template there that it shares most words
//! with, and the words in which they differ become `<_>`.
//! Invariants: memory is bounded by [`TEMPLATES_MAX`] templates of [`WORDS_MAX`] words each, whatever
//! the lines are; a pattern that is told is one that `|>` takes, and matches the lines it counts.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use memchr::memmem;
use obs_logstore::enrich::DETECTED_LEVEL;
use obs_logstore::{
    Direction, LogFilter, Logs, Rows, SelectError, ShapeVisitor, Snapshot, Visitor, scan,
};
use obs_model::{Budget, BudgetError, HeldBytes, Labels, TimeRange, Timestamp};

use super::live::Sieve;
use super::pattern::LinePattern;
use crate::error::QueryError;
use crate::logql::ast::LogExpr;

/// Most templates that are kept; the rarest make room.
pub const TEMPLATES_MAX: usize = 2048;
/// Most patterns of an answer.
pub const PATTERNS_MAX: usize = 300;
/// Bytes of shapes that are remembered from one stream to the next.
const SHAPES_BYTES_MAX: usize = 4 << 20;
/// Words of a line that are looked at; what follows is one `<_>`.
const WORDS_MAX: usize = 96;
/// Bytes of a line that are looked at.
const LINE_BYTES_MAX: usize = 4096;
/// Of ten words, so many must be the same for a line to join a template.
const ALIKE_OF_TEN: usize = 5;
const HOLE: &str = "<_>";
/// What the store puts in place of what differs.
const HOLE_BYTE: u8 = obs_logstore::HOLE;
/// Members of a JSON line that hold its text, as Loki knows them.
const MESSAGE_KEYS: [&str; 6] = ["log", "message", "msg", "msg_", "_msg", "content"];

/// A pattern and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPattern {
    /// The pattern, as `|>` takes it.
    pub pattern: String,
    /// `detected_level` of its lines; empty where they have none.
    pub level: String,
    /// Lines in each step that has any, by the begin of the step.
    pub counts: BTreeMap<Timestamp, u64>,
}

impl FoundPattern {
    /// Lines in all.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// The patterns of the lines that a query gives, the most frequent first.
pub fn patterns(
    snapshot: &Snapshot<Logs>,
    logs: &LogExpr,
    range: TimeRange,
    step: i64,
    budget: &Budget,
) -> Result<Vec<FoundPattern>, QueryError> {
    let sieve = Sieve::new(logs, range.end)?;
    let mut visitor = Mining {
        sieve: &sieve,
        plain: logs.stages.is_empty(),
        range,
        miner: Miner::new(step, budget),
        budget,
    };
    let filter = LogFilter {
        matchers: &logs.matchers,
        range,
        lines: &[],
        labels: &[],
        direction: Direction::Forward,
    };
    scan(snapshot, &filter, budget, &mut visitor)?;
    Ok(visitor.miner.finish())
}

struct Mining<'a> {
    sieve: &'a Sieve,
    /// Whether every line passes as it is.
    plain: bool,
    range: TimeRange,
    miner: Miner<'a>,
    budget: &'a Budget,
}

impl Visitor for Mining<'_> {
    fn slice(&mut self, _: TimeRange) -> bool {
        true
    }

    fn stream(&mut self, labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError> {
        self.budget.check()?;
        if self.plain {
            let mut shapes = Shapes {
                miner: &mut self.miner,
                range: self.range,
                // The label of the stream counts where the line has none.
                level: labels.get(DETECTED_LEVEL).unwrap_or(""),
            };
            shapes.miner.make_room_for_shapes();
            return rows.for_shapes(&mut shapes);
        }
        for index in 0..rows.len() {
            let record = rows.record(index)?;
            if !self.range.contains(record.time) {
                continue;
            }
            if let Some(sifted) = self.sieve.sift(labels, &record) {
                let record = &sifted.record;
                let level = record.metadata.get(DETECTED_LEVEL);
                let level = level.or_else(|| labels.get(DETECTED_LEVEL)).unwrap_or("");
                self.miner.line(&record.line, record.time, level)?;
            }
        }
        Ok(())
    }
}

/// What the lines of a template of the store share.
#[derive(Debug)]
struct Shape {
    text: String,
    /// By level the template that its lines belong to, once it was looked for.
    templates: Vec<(String, usize)>,
}

/// Takes the shapes of the lines of one stream.
struct Shapes<'m, 'a> {
    miner: &'m mut Miner<'a>,
    range: TimeRange,
    level: &'m str,
}

impl ShapeVisitor for Shapes<'_, '_> {
    fn shape(&mut self, text: &[u8]) -> Option<usize> {
        let text = std::str::from_utf8(text).ok()?;
        if let Some(known) = self.miner.known_shapes.get(text) {
            return *known;
        }
        // What has no word of its own says something only with its variables.
        let told = cut_shape(text).words.iter().any(|word| !is_hole(word));
        let shape = told.then_some(self.miner.shapes.len());
        if told {
            self.miner.shapes.push(Shape {
                text: text.to_owned(),
                templates: Vec::new(),
            });
        }
        self.miner.shape_bytes += text.len() + size_of::<Shape>();
        self.miner.known_shapes.insert(text.to_owned(), shape);
        shape
    }

    fn row(&mut self, shape: usize, time: Timestamp, level: &str) -> Result<(), SelectError> {
        if !self.range.contains(time) {
            return Ok(());
        }
        let level = if level.is_empty() { self.level } else { level };
        Ok(self.miner.shaped_line(shape, time, level)?)
    }

    fn line(&mut self, line: &[u8], time: Timestamp, level: &str) -> Result<(), SelectError> {
        if !self.range.contains(time) {
            return Ok(());
        }
        let level = if level.is_empty() { self.level } else { level };
        Ok(self.miner.line(line, time, level)?)
    }
}

/// A template that grows.
#[derive(Debug)]
struct Template {
    /// Its bucket.
    bucket: u64,
    level: String,
    /// What stands before each word, and behind the last.
    separators: Vec<String>,
    /// `None` is a hole.
    words: Vec<Option<String>>,
    /// Whether something follows that was not looked at.
    cut: Cut,
    counts: BTreeMap<i64, u64>,
    total: u64,
}

/// What a template leaves out at the ends of its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Cut {
    before: bool,
    behind: bool,
}

/// Mines templates.
struct Miner<'a> {
    step: i64,
    templates: Vec<Template>,
    buckets: HashMap<u64, Vec<usize>>,
    /// Shapes that were met, and by text which one it is; nothing for those that say nothing.
    shapes: Vec<Shape>,
    known_shapes: HashMap<String, Option<usize>>,
    shape_bytes: usize,
    held: HeldBytes<'a>,
}

/// A line, cut.
struct Words<'l> {
    separators: Vec<&'l str>,
    words: Vec<&'l str>,
    cut: Cut,
}

impl<'a> Miner<'a> {
    fn new(step: i64, budget: &'a Budget) -> Self {
        Self {
            step: step.max(1),
            templates: Vec::new(),
            buckets: HashMap::new(),
            shapes: Vec::new(),
            known_shapes: HashMap::new(),
            shape_bytes: 0,
            held: budget.holding(),
        }
    }

    /// The begin of the step that a time lies in.
    fn begin(&self, time: Timestamp) -> i64 {
        time.nanos().div_euclid(self.step) * self.step
    }

    fn line(&mut self, line: &[u8], time: Timestamp, level: &str) -> Result<(), BudgetError> {
        let Ok(text) = std::str::from_utf8(line) else {
            return Ok(());
        };
        let Some(at) = self.template_of(&cut_line(text), level)? else {
            return Ok(());
        };
        self.count(at, time)
    }

    /// A line of a shape.
    fn shaped_line(
        &mut self,
        shape: usize,
        time: Timestamp,
        level: &str,
    ) -> Result<(), BudgetError> {
        let known = &self.shapes[shape].templates;
        let known = known.iter().find(|(known, _)| known == level);
        if let Some((_, at)) = known {
            return self.count(*at, time);
        }
        let text = std::mem::take(&mut self.shapes[shape].text);
        let found = self.template_of(&cut_shape(&text), level);
        self.shapes[shape].text = text;
        let Some(at) = found? else {
            return Ok(());
        };
        self.shapes[shape].templates.push((level.to_owned(), at));
        self.count(at, time)
    }

    /// Forgets shapes where there are too many; their numbers are new from here on.
    fn make_room_for_shapes(&mut self) {
        if self.shape_bytes > SHAPES_BYTES_MAX {
            self.shapes.clear();
            self.known_shapes.clear();
            self.shape_bytes = 0;
        }
    }

    /// The template that a line with these words belongs to, which it joins; nothing where it has
    /// no words.
    fn template_of(
        &mut self,
        words: &Words<'_>,
        level: &str,
    ) -> Result<Option<usize>, BudgetError> {
        if words.words.is_empty() {
            return Ok(None);
        }
        let bucket = bucket(level, words);
        let known = self.buckets.get(&bucket).into_iter().flatten();
        let best = known
            .filter_map(|at| Some((self.templates.get(*at)?.alike(words, level)?, *at)))
            .max_by_key(|(alike, at)| (*alike, std::cmp::Reverse(*at)));
        let at = match best {
            Some((_, at)) => at,
            None => self.add(bucket, level, words)?,
        };
        if let Some(template) = self.templates.get_mut(at) {
            template.join(words);
        }
        Ok(Some(at))
    }

    /// Counts a line of a template.
    fn count(&mut self, at: usize, time: Timestamp) -> Result<(), BudgetError> {
        let begin = self.begin(time);
        if let Some(template) = self.templates.get_mut(at) {
            template.total += 1;
            let count = template.counts.entry(begin).or_insert(0);
            *count += 1;
            if *count == 1 {
                self.held.add(48)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, bucket: u64, level: &str, words: &Words<'_>) -> Result<usize, BudgetError> {
        if self.templates.len() >= TEMPLATES_MAX {
            self.thin();
        }
        let template = Template {
            bucket,
            level: level.to_owned(),
            separators: words.separators.iter().map(|s| (*s).to_owned()).collect(),
            words: words
                .words
                .iter()
                .map(|w| (!is_hole(w)).then(|| (*w).to_owned()))
                .collect(),
            cut: words.cut,
            counts: BTreeMap::new(),
            total: 0,
        };
        self.held.add(template.bytes())?;
        let at = self.templates.len();
        self.templates.push(template);
        self.buckets.entry(bucket).or_default().push(at);
        Ok(at)
    }

    /// Drops the rarer half of the templates.
    fn thin(&mut self) {
        self.templates.sort_by_key(|t| std::cmp::Reverse(t.total));
        for gone in self.templates.drain(TEMPLATES_MAX / 2..) {
            self.held
                .give_back(gone.bytes() + 48 * gone.counts.len() as u64);
        }
        self.buckets.clear();
        self.shapes
            .iter_mut()
            .for_each(|shape| shape.templates.clear());
        for (at, template) in self.templates.iter().enumerate() {
            self.buckets.entry(template.bucket).or_default().push(at);
        }
    }

    /// The patterns; templates that print alike are one.
    fn finish(self) -> Vec<FoundPattern> {
        let mut all: BTreeMap<(String, String), BTreeMap<Timestamp, u64>> = BTreeMap::new();
        for template in self.templates {
            let Some(pattern) = template.print() else {
                continue;
            };
            let counts = all.entry((pattern, template.level)).or_default();
            for (begin, count) in template.counts {
                *counts.entry(Timestamp::from_nanos(begin)).or_default() += count;
            }
        }
        let found = all
            .into_iter()
            .map(|((pattern, level), counts)| FoundPattern {
                pattern,
                level,
                counts,
            });
        let mut found: Vec<FoundPattern> = found.collect();
        found.sort_by_key(|p| std::cmp::Reverse(p.total()));
        found.truncate(PATTERNS_MAX);
        found
    }
}

impl Template {
    fn bytes(&self) -> u64 {
        let words = self.words.iter().flatten().map(String::len);
        let text: usize = words.chain(self.separators.iter().map(String::len)).sum();
        (size_of::<Self>() + text + 48 * self.words.len()) as u64
    }

    /// How many words a line has in common with this, where that is enough.
    fn alike(&self, line: &Words<'_>, level: &str) -> Option<usize> {
        let same_form = self.words.len() == line.words.len()
            && self.cut == line.cut
            && self.level == level
            && self
                .separators
                .iter()
                .zip(&line.separators)
                .all(|(a, b)| a == b);
        if !same_form {
            return None;
        }
        let pairs = self.words.iter().zip(&line.words);
        let same = pairs.filter(|(own, word)| own.as_deref() == Some(**word));
        let same = same.count();
        // Holes count half, so that a template with holes keeps drawing its lines.
        let holes = self.words.iter().filter(|w| w.is_none()).count();
        (2 * same + holes >= 2 * self.words.len() * ALIKE_OF_TEN / 10).then_some(2 * same + holes)
    }

    fn join(&mut self, line: &Words<'_>) {
        for (own, word) in self.words.iter_mut().zip(&line.words) {
            if own.as_deref().is_some_and(|own| own != *word) {
                *own = None;
            }
        }
    }

    /// The pattern; `None` where nothing but holes is left, or where the text of the lines would
    /// be read as a capture.
    fn print(&self) -> Option<String> {
        let mut out = String::new();
        if self.cut.before {
            out.push_str(HOLE);
        }
        for (separator, word) in self.separators.iter().zip(&self.words) {
            out.push_str(separator);
            match word {
                Some(word) => out.push_str(word),
                None if out.ends_with(HOLE) => {}
                None => out.push_str(HOLE),
            }
        }
        let last = self.separators.get(self.words.len());
        out.push_str(last.map_or("", String::as_str));
        if self.cut.behind && !out.ends_with(HOLE) {
            out.push_str(HOLE);
        }
        let told = out.replace(HOLE, "").chars().any(char::is_alphanumeric);
        (told && LinePattern::new(&out).is_ok()).then_some(out)
    }
}

/// Where a line may meet others: the same level, separators and number of words; and the same
/// first word, where it is no number or id.
fn bucket(level: &str, words: &Words<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    level.hash(&mut hasher);
    words.separators.hash(&mut hasher);
    words.cut.hash(&mut hasher);
    let first = words.words.first().copied().unwrap_or("");
    let varies = first.bytes().any(|b| b.is_ascii_digit()) || is_hole(first);
    if !varies {
        first.hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether a word of a shape differs from line to line.
fn is_hole(word: &str) -> bool {
    word.bytes().any(|byte| byte == HOLE_BYTE)
}

/// Cuts what lines share as [`cut_line`] cuts lines.
fn cut_shape(text: &str) -> Words<'_> {
    // A digit may stand in JSON wherever a variable may, and takes one byte as well.
    let likely: String = text
        .chars()
        .map(|c| if c == char::from(HOLE_BYTE) { '0' } else { c })
        .collect();
    let message = message(&likely).map(|message| {
        let start = message.as_ptr().addr() - likely.as_ptr().addr();
        &text[start..start + message.len()]
    });
    cut(message, text)
}

/// Cuts a line into words and separators. Of a JSON line the message is taken where it stands in
/// the line as it is.
fn cut_line(text: &str) -> Words<'_> {
    cut(message(text), text)
}

fn cut<'t>(message: Option<&'t str>, text: &'t str) -> Words<'t> {
    match message {
        Some(message) => {
            let mut words = split(message);
            words.cut = Cut {
                before: true,
                behind: true,
            };
            words
        }
        None => split(text),
    }
}

/// The message inside of a JSON line, with text before and behind it.
fn message(text: &str) -> Option<&str> {
    if !text.starts_with('{') {
        return None;
    }
    let mut found: Option<(usize, String)> = None;
    let read = super::json::members(text.as_bytes(), &mut |key, value| {
        let rank = MESSAGE_KEYS.iter().position(|k| *k == key);
        if let Some(rank) = rank
            && !value.is_empty()
            && found.as_ref().is_none_or(|(best, _)| rank < *best)
        {
            found = Some((rank, value.to_owned()));
        }
    });
    let (_, value) = found.filter(|_| read.is_ok())?;
    let at = memmem::find(text.as_bytes(), value.as_bytes())?;
    let end = at + value.len();
    (at > 0 && end < text.len())
        .then(|| text.get(at..end))
        .flatten()
}

fn split(text: &str) -> Words<'_> {
    let mut out = Words {
        separators: Vec::new(),
        words: Vec::new(),
        cut: Cut::default(),
    };
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let begin = rest.find(is_word).unwrap_or(rest.len());
        let (separator, rest) = rest.split_at(begin);
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let full = out.words.len() >= WORDS_MAX || at > LINE_BYTES_MAX;
        if full && !rest.is_empty() {
            // What is left begins with a word, so the last `<_>` stands for something.
            out.separators.push(separator);
            out.cut.behind = true;
            return out;
        }
        out.separators.push(separator);
        if end == 0 {
            return out;
        }
        out.words.push(&rest[..end]);
        at += begin + end;
    }
}

/// What belongs to words: everything but blanks and the punctuation that lines are built with.
fn is_word(c: char) -> bool {
    !(c.is_whitespace()
        || matches!(
            c,
            '=' | ',' | ';' | '"' | '\'' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '&'
        ))
}

#[cfg(test)]
mod tests {
    use obs_model::limits::Limits;
    use proptest::prelude::*;

    use super::*;

    fn mine(lines: &[String]) -> Vec<FoundPattern> {
        let budget = Budget::new(&Limits::default());
        let mut miner = Miner::new(10_000_000_000, &budget);
        for (second, line) in lines.iter().enumerate() {
            let time = Timestamp::from_seconds(second as i64);
            miner.line(line.as_bytes(), time, "info").unwrap();
        }
        miner.finish()
    }

    fn check(lines: &[&str], expect: &[(&str, u64)]) {
        let lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
        let found = mine(&lines);
        let told: Vec<(&str, u64)> = found
            .iter()
            .map(|p| (p.pattern.as_str(), p.total()))
            .collect();
        assert_eq!(told, expect);
    }

    #[test]
    fn templates() {
        check(
            &[
                "user 17 logged in from 10.0.0.1",
                "user 4 logged in from 10.0.0.7",
                "cache miss for key a/b",
                "user 5 logged in from 10.0.0.9",
            ],
            &[
                ("user <_> logged in from <_>", 3),
                ("cache miss for key a/b", 1),
            ],
        );
        check(
            &["level=info took=5ms path=/a", "level=info took=7ms path=/b"],
            &[("level=info took=<_> path=<_>", 2)],
        );
        check(
            &[
                r#"{"level":"info","msg":"job 1 is done","n":1}"#,
                r#"{"level":"info","msg":"job 2 is done","n":22}"#,
            ],
            &[("<_>job <_> is done<_>", 2)],
        );
        check(&["", "  ", "<a> b", "<a> b"], &[]);
    }

    #[test]
    fn counts_by_step() {
        let lines: Vec<String> = (0..25).map(|n| format!("tick {n} of the clock")).collect();
        let found = mine(&lines);
        let counts: Vec<(i64, u64)> = found[0]
            .counts
            .iter()
            .map(|(at, n)| (at.nanos() / 1_000_000_000, *n))
            .collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].level, "info");
        assert_eq!(counts, [(0, 10), (10, 10), (20, 5)]);
    }

    #[test]
    fn many_templates_and_long_lines_are_bounded() {
        let mut lines: Vec<String> = (0..3 * TEMPLATES_MAX)
            .map(|n| "w=".repeat(n % 90 + 1) + &"x".repeat(n))
            .collect();
        lines.extend((0..50).map(|n| format!("begin {n} {}", "word ".repeat(500))));
        let found = mine(&lines);
        assert!(found.len() <= PATTERNS_MAX);
        let long = found
            .iter()
            .find(|p| p.pattern.starts_with("begin <_> word"));
        let long = long.expect("frequent patterns stay");
        assert!(
            long.pattern.ends_with(HOLE) && long.total() == 50,
            "{long:?}"
        );
        let filter = LinePattern::new(&long.pattern).unwrap();
        assert!(filter.is_match(lines.last().unwrap().as_bytes()));
    }

    #[test]
    fn shapes_are_cut_as_lines_are() {
        let check = |shape: &str, words: &[&str], cut: bool| {
            let shape = shape.replace('#', "\u{1}");
            let found = cut_shape(&shape);
            let shown: Vec<&str> = found
                .words
                .iter()
                .map(|word| if is_hole(word) { HOLE } else { word })
                .collect();
            assert_eq!(
                (shown.as_slice(), found.cut.before),
                (words, cut),
                "{shape}"
            );
        };
        check(
            "took #ms for x# a",
            &["took", HOLE, "for", HOLE, "a"],
            false,
        );
        check(
            r##"{"n":#,"msg":"job # is done","t":"#-#"}"##,
            &["job", HOLE, "is", "done"],
            true,
        );
        check(r##"{"n":#,"msg":"#"}"##, &[HOLE], true);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn lines_match_their_pattern(numbers in proptest::collection::vec((0u32..50, 0u32..3), 1..20)) {
            let words = ["alpha", "beta", "gamma"];
            let lines: Vec<String> = numbers
                .iter()
                .map(|(n, w)| format!("took {n}ms, for {} (k={n})", words[*w as usize]))
                .collect();
            let found = mine(&lines);
            prop_assert_eq!(found.iter().map(FoundPattern::total).sum::<u64>(), lines.len() as u64);
            for line in &lines {
                let matches = |p: &FoundPattern| LinePattern::new(&p.pattern).unwrap().is_match(line.as_bytes());
                prop_assert!(found.iter().any(matches), "{} {:?}", line, found);
            }
        }

        #[test]
        fn any_line_is_taken(lines in proptest::collection::vec("[<_>{}a1 =\":]{0,40}", 0..30)) {
            for found in mine(&lines) {
                prop_assert!(LinePattern::new(&found.pattern).is_ok(), "{}", found.pattern);
            }
        }
    }
}
