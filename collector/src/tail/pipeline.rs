//! From whole lines to records: parser, level, what is dropped, what is kept with a line.
//!
//! Invariant: whether a line is dropped, and the record that it becomes, depend on the line, its
//! time and the settings only, so that reading it again gives the same.

use obs_model::limits::Limits;
use obs_model::{Labels, LogRecord, Timestamp};

use super::parse::{Parser, detect_level};
use crate::config::{DropConfig, FileFormat, MultilineConfig, ParserConfig, ParserKind};

/// The metadata that holds the level.
const LEVEL: &str = "detected_level";

/// What is made of the lines of a file.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    pub format: FileFormat,
    pub multiline: Option<MultilineConfig>,
    parser: Option<Parser>,
    drop: Vec<DropConfig>,
    detect_level: bool,
}

/// The settings of a pipeline.
#[derive(Clone, Debug, Default)]
pub(super) struct Setting {
    pub format: FileFormat,
    pub parser: Option<ParserConfig>,
    pub multiline: Option<MultilineConfig>,
    pub drop: Vec<DropConfig>,
    pub detect_level: bool,
}

impl Pipeline {
    pub(super) fn new(setting: Setting) -> Self {
        let parser = match setting.parser.map(Parser::new) {
            Some(Ok(parser)) => parser,
            Some(Err(error)) => {
                // Patterns were compiled when the configuration was read.
                tracing::error!(error, "a parser of log lines is left out");
                None
            }
            None => None,
        };
        Self {
            format: setting.format,
            multiline: setting.multiline,
            parser,
            drop: setting.drop,
            detect_level: setting.detect_level,
        }
    }

    /// The record of a line; `None` where it is dropped. `time` is the line's own by its wrapping,
    /// `assigned` the one it gets otherwise.
    pub(super) fn record(
        &self,
        text: &[u8],
        time: Option<Timestamp>,
        assigned: Timestamp,
        metadata: &Labels,
        limits: &Limits,
    ) -> Option<LogRecord> {
        let mut record = LogRecord {
            time: time.unwrap_or(assigned),
            line: Vec::new(),
            metadata: metadata.clone(),
        };
        let mut level = None;
        let parsed = self
            .parser
            .as_ref()
            .and_then(|p| p.parse(text, assigned, limits));
        if let Some(parsed) = parsed {
            record.time = parsed.time.or(time).unwrap_or(assigned);
            level = parsed.level;
            if !parsed.fields.is_empty() || level.is_some() {
                let mut builder = metadata.to_builder();
                for (name, value) in &parsed.fields {
                    builder.set(name, value);
                }
                if let Some(level) = level {
                    builder.set(LEVEL, level);
                }
                record.metadata = builder.build();
            }
            if let Some(message) = parsed.message {
                record.line = message;
            }
        }
        if level.is_none() && (self.detect_level || self.drop.iter().any(|d| !d.levels.is_empty()))
        {
            level = detect_level(text);
            if let Some(level) = level.filter(|_| self.detect_level) {
                let mut builder = record.metadata.to_builder();
                builder.set(LEVEL, level);
                record.metadata = builder.build();
            }
        }
        if record.line.is_empty() {
            record.line = text.to_vec();
        }
        (!self.drops(text, record.time, level)).then_some(record)
    }

    fn drops(&self, text: &[u8], time: Timestamp, level: Option<&str>) -> bool {
        self.drop.iter().any(|rule| {
            let by_pattern = rule.pattern.as_ref().is_none_or(|p| p.is_match(text));
            let by_level = rule.levels.is_empty()
                || level.is_some_and(|l| rule.levels.iter().any(|r| r.eq_ignore_ascii_case(l)));
            let fits = (by_pattern && by_level) != rule.invert;
            fits && !kept(rule.keep_one_in, text, time)
        })
    }
}

/// One of so many, the same one each time the line is read.
fn kept(one_in: u64, text: &[u8], time: Timestamp) -> bool {
    if one_in == 0 {
        return false;
    }
    let seed = u64::from_le_bytes(time.nanos().to_le_bytes());
    xxhash_rust::xxh3::xxh3_64_with_seed(text, seed).is_multiple_of(one_in)
}

/// By the names that annotations of pods have: a parser, and what joins lines.
pub(super) fn by_names(setting: &mut Setting, parser: Option<&str>, multiline: Option<&str>) {
    if let Some(name) = parser {
        match ParserKind::from_name(name.trim()) {
            Some(kind) => setting.parser = Some(ParserConfig::plain(kind)),
            None => tracing::warn!(parser = name, "an annotation names an unknown parser"),
        }
    }
    if let Some(name) = multiline {
        match MultilineConfig::named(name.trim()) {
            Ok(multiline) => setting.multiline = Some(multiline),
            Err(error) => tracing::warn!(error, "an annotation names unknown stack traces"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_and_what_is_kept() {
        let check = |drop: &str, line: &str, expect: bool| {
            let drop: Vec<DropConfig> = serde_yaml_ng::from_str(drop).unwrap();
            let pipeline = Pipeline::new(Setting {
                drop,
                ..Setting::default()
            });
            let made = pipeline.record(
                line.as_bytes(),
                None,
                Timestamp::from_seconds(5),
                &Labels::empty(),
                &Limits::default(),
            );
            assert_eq!(made.is_some(), expect, "{line}");
        };
        check("[]", "x", true);
        check("[{pattern: health}]", "GET /healthz", false);
        check("[{pattern: health}]", "GET /", true);
        check("[{levels: [debug]}]", "DEBUG x", false);
        check("[{levels: [debug]}]", "INFO x", true);
        check("[{pattern: x, levels: [debug]}]", "DEBUG y", true);
        check("[{pattern: error, invert: true}]", "fine", false);
        check("[{pattern: health, keep_one_in: 1}]", "health", true);
    }

    #[test]
    fn one_in_many_is_kept() {
        let drop: Vec<DropConfig> =
            serde_yaml_ng::from_str("[{pattern: a, keep_one_in: 10}]").unwrap();
        let pipeline = Pipeline::new(Setting {
            drop,
            ..Setting::default()
        });
        let kept = |n: i64| {
            let at = Timestamp::from_nanos(n);
            let made = pipeline.record(b"a", None, at, &Labels::empty(), &Limits::default());
            made.is_some()
        };
        let count = (0..1000).filter(|n| kept(*n)).count();
        assert!((50..200).contains(&count), "{count}");
        assert_eq!(kept(7), kept(7));
    }

    #[test]
    fn parsers_add_metadata() {
        let mut setting = Setting::default();
        by_names(&mut setting, Some("json"), Some("java"));
        assert!(setting.multiline.is_some());
        let pipeline = Pipeline::new(setting);
        let base = Labels::from_pairs([("restart", "0")]);
        let line = br#"{"level":"error","trace_id":"ab"}"#;
        let made = pipeline
            .record(
                line,
                None,
                Timestamp::from_seconds(1),
                &base,
                &Limits::default(),
            )
            .unwrap();
        assert_eq!(made.line, line);
        let expect = [
            ("detected_level", "error"),
            ("restart", "0"),
            ("trace_id", "ab"),
        ];
        assert_eq!(made.metadata, Labels::from_pairs(expect));
    }
}
