//! Redaction: secrets are taken out of lines, metadata, attributes and labels before they leave
//! this machine or reach a disk. It sits in [`crate::Sink`], which everything passes.
//!
//! How: one pass of one automaton over a text finds places where a secret may be; a function per
//! kind looks at the bytes around such a place and gives the range that goes. A clean line costs
//! that one pass. The user's own patterns run one by one.
//!
//! Invariants: the same text gives the same result, so that a line that is sent again is
//! recognised; what is redacted has `[REDACTED:NAME]` in its place; time is linear in the text.

mod detect;
mod keys;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use obs_model::family::Family;
use obs_model::metrics::MetricKind;
use obs_model::spans::{Attribute, AttributeValue};
use obs_model::{Labels, LogBatch, LogStream, MetricBatch, SpanBatch, Tenant};
use regex::bytes::Regex;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::{DETECTORS, RedactionConfig, compile_rule};
use detect::Kind;
pub use keys::KeyChanges;
use keys::OpenKeys;

/// A rule of the user.
#[derive(Debug)]
struct Rule {
    pattern: Option<Regex>,
    names: Option<Regex>,
    replacement: String,
    /// Place of its count.
    slot: usize,
}

/// Takes secrets out of batches. Clones share the counts, and what is looked for, which may change.
#[derive(Clone, Debug)]
pub struct Redactor(Arc<RwLock<Arc<Shared>>>);

/// What is looked for next, once it is taken.
#[derive(Debug)]
pub struct Next(Shared);

#[derive(Debug, Default)]
struct Shared {
    literals: Option<AhoCorasick>,
    kinds: Vec<(Kind, usize)>,
    cards: Option<usize>,
    addresses: Option<usize>,
    private_keys: Option<usize>,
    rules: Vec<Rule>,
    /// Names of what is counted, and the counts.
    counts: Vec<(String, Arc<AtomicU64>)>,
    bytes: Arc<AtomicU64>,
    nanos: Arc<AtomicU64>,
    /// Streams (by the hash of whose they are and their labels) that are inside of a private key.
    open_keys: Arc<OpenKeys>,
}

/// What is to be replaced, and by whom.
type Finding = (Range<usize>, usize);

impl Redactor {
    /// By the configuration, whose patterns compile.
    pub fn new(config: &RedactionConfig) -> Result<Self, String> {
        let shared = Shared::new(config, &Shared::default())?;
        Ok(Self(Arc::new(RwLock::new(Arc::new(shared)))))
    }

    /// One that looks for nothing yet. Which streams are inside of a private key is written down in
    /// a file, so that a restart knows it. Blocks.
    pub fn remembering(file: PathBuf) -> Self {
        let shared = Shared {
            open_keys: Arc::new(OpenKeys::at(file)),
            ..Shared::default()
        };
        Self(Arc::new(RwLock::new(Arc::new(shared))))
    }

    /// What another configuration looks for; without one, nothing. What is counted goes on.
    pub fn next(&self, config: Option<&RedactionConfig>) -> Result<Next, String> {
        let now = self.shared();
        match config {
            Some(config) => Shared::new(config, &now).map(Next),
            None => Ok(Next(Shared {
                bytes: Arc::clone(&now.bytes),
                nanos: Arc::clone(&now.nanos),
                open_keys: Arc::clone(&now.open_keys),
                ..Shared::default()
            })),
        }
    }

    /// Looks for something else from now on.
    pub fn take(&self, next: Next) {
        let mut shared = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *shared = Arc::new(next.0);
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it looks for anything.
    pub fn is_on(&self) -> bool {
        !self.shared().counts.is_empty()
    }
}

impl Shared {
    /// By the configuration; what is counted goes on.
    fn new(config: &RedactionConfig, before: &Self) -> Result<Self, String> {
        let mut counts: Vec<(String, Arc<AtomicU64>)> = Vec::new();
        let mut slot = |name: &str| {
            let known = before.counts.iter().find(|(known, _)| known == name);
            let count = known.map(|(_, count)| Arc::clone(count));
            counts.push((name.to_owned(), count.unwrap_or_default()));
            counts.len() - 1
        };
        let on: BTreeMap<&str, usize> = DETECTORS
            .iter()
            .filter(|(name, _)| config.builtin.contains(name))
            .map(|(name, _)| (*name, slot(name)))
            .collect();
        let wanted = detect::LITERALS.iter().filter_map(|(literal, kind)| {
            Some((*literal, *kind, *on.get(detect::detector(*kind))?))
        });
        let wanted: Vec<_> = wanted.collect();
        let literals = match wanted.is_empty() {
            true => None,
            false => Some(automaton(wanted.iter().map(|(literal, ..)| *literal))?),
        };
        let mut rules = Vec::new();
        for rule in &config.rules {
            let regex = |source: &Option<String>| -> Result<Option<Regex>, String> {
                source.as_deref().map(compile_rule).transpose()
            };
            let replacement = format!("[REDACTED:{}]", rule.name.replace('$', "$$"));
            rules.push(Rule {
                pattern: regex(&rule.pattern)?,
                names: regex(&rule.names)?,
                replacement: rule.replacement.clone().unwrap_or(replacement),
                slot: slot(&rule.name),
            });
        }
        Ok(Self {
            literals,
            kinds: wanted
                .iter()
                .map(|(_, kind, slot)| (*kind, *slot))
                .collect(),
            cards: on.get("card_number").copied(),
            addresses: on.get("ip").copied(),
            private_keys: on.get("private_key").copied(),
            rules,
            counts,
            bytes: Arc::clone(&before.bytes),
            nanos: Arc::clone(&before.nanos),
            open_keys: Arc::clone(&before.open_keys),
        })
    }
}

impl Redactor {
    /// A text without its secrets; `None` where there are none.
    pub fn text(&self, text: &[u8]) -> Option<Vec<u8>> {
        self.shared().text(text)
    }

    /// Takes secrets out of lines, metadata and labels. What comes next of a stream that ends
    /// inside of a private key is seen as such when it is told that the batch was taken. Streams
    /// that have the same labels are one behind it.
    pub fn logs(&self, tenant: &Tenant, batch: &mut LogBatch) -> KeyChanges {
        let (shared, began, mut bytes) = (self.shared(), Instant::now(), 0);
        let mut changes = KeyChanges::none(&shared.open_keys);
        for stream in &mut batch.streams {
            bytes += shared.labels(&mut stream.labels);
        }
        if shared.private_keys.is_some() {
            join_equal(&mut batch.streams);
        }
        for stream in &mut batch.streams {
            bytes += shared.stream(tenant, stream, &mut changes);
        }
        shared.took(bytes, began.elapsed());
        changes
    }

    /// Takes secrets out of labels, and of what is said of families.
    pub fn metrics(&self, batch: &mut MetricBatch) {
        let (shared, began, mut bytes) = (self.shared(), Instant::now(), 0);
        for series in &mut batch.series {
            bytes += shared.labels(&mut series.labels);
            for exemplar in &mut series.exemplars {
                bytes += shared.labels(&mut exemplar.labels);
            }
        }
        for metadata in &mut batch.metadata {
            bytes += shared.string(&mut metadata.help);
            bytes += shared.string(&mut metadata.unit);
        }
        shared.took(bytes, began.elapsed());
    }

    /// Takes secrets out of attributes, names and messages.
    pub fn spans(&self, batch: &mut SpanBatch) {
        let (shared, began, mut bytes) = (self.shared(), Instant::now(), 0);
        for from in &mut batch.resources {
            bytes += shared.attributes(&mut from.resource.attributes);
            for scope in &mut from.scopes {
                bytes += shared.attributes(&mut scope.scope.attributes);
                for span in &mut scope.spans {
                    bytes += shared.string(&mut span.name);
                    bytes += shared.string(&mut span.status_message);
                    bytes += shared.attributes(&mut span.attributes);
                    for event in &mut span.events {
                        bytes += shared.string(&mut event.name);
                        bytes += shared.attributes(&mut event.attributes);
                    }
                    for link in &mut span.links {
                        bytes += shared.attributes(&mut link.attributes);
                    }
                }
            }
        }
        shared.took(bytes, began.elapsed());
    }

    /// Takes secrets out of the values of names.
    pub fn pairs(&self, pairs: &mut BTreeMap<String, String>) {
        let (shared, began, mut bytes) = (self.shared(), Instant::now(), 0);
        for (name, value) in pairs {
            bytes += name.len() + value.len();
            let whole = shared.secret_value(name.as_bytes());
            if let Some(new) = whole.or_else(|| shared.redacted(value)) {
                *value = new;
            }
        }
        shared.took(bytes, began.elapsed());
    }

    /// What it did so far; nothing where it looks for nothing.
    pub fn families(&self) -> Vec<Family> {
        let shared = self.shared();
        if shared.counts.is_empty() {
            return Vec::new();
        }
        let mut redacted = Family::new(
            "obs_redacted_total",
            MetricKind::Counter,
            "Secrets that were taken out, by what found them.",
        );
        for (name, count) in &shared.counts {
            let labels = Labels::from_pairs([("detector", name.as_str())]);
            redacted.push(labels, count.load(Ordering::Relaxed) as f64);
        }
        let bytes = Family::new(
            "obs_redaction_bytes_total",
            MetricKind::Counter,
            "Bytes in which secrets were looked for.",
        );
        let seconds = Family::new(
            "obs_redaction_seconds_total",
            MetricKind::Counter,
            "Time that looking for secrets took.",
        );
        vec![
            redacted,
            bytes.with(shared.bytes.load(Ordering::Relaxed) as f64),
            seconds.with(shared.nanos.load(Ordering::Relaxed) as f64 / 1e9),
        ]
    }
}

fn automaton<'a>(literals: impl Iterator<Item = &'a str>) -> Result<AhoCorasick, String> {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(AhoCorasickKind::DFA))
        .build(literals)
        .map_err(|e| e.to_string())
}

impl Shared {
    fn took(&self, bytes: usize, time: Duration) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn count(&self, slot: usize) {
        if let Some((_, count)) = self.counts.get(slot) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn name(&self, slot: usize) -> &str {
        self.counts.get(slot).map_or("secret", |(name, _)| name)
    }

    fn text(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut findings: Vec<Finding> = Vec::new();
        self.find(text, &mut findings);
        let mut out = (!findings.is_empty()).then(|| self.replaced(text, findings));
        for rule in &self.rules {
            let Some(pattern) = &rule.pattern else {
                continue;
            };
            let now = out.as_deref().unwrap_or(text);
            if pattern.is_match(now) {
                self.count(rule.slot);
                let new = pattern
                    .replace_all(now, rule.replacement.as_bytes())
                    .into_owned();
                out = Some(new);
            }
        }
        out
    }

    fn find(&self, text: &[u8], findings: &mut Vec<Finding>) {
        if let Some(literals) = &self.literals {
            for hit in literals.find_iter(text) {
                let Some((kind, slot)) = self.kinds.get(hit.pattern().as_usize()) else {
                    continue;
                };
                if let Some(range) = detect::find(*kind, text, hit.range()) {
                    findings.push((range, *slot));
                }
            }
        }
        if let Some(slot) = self.cards {
            detect::cards(text, &mut |range| findings.push((range, slot)));
        }
        if let Some(slot) = self.addresses {
            detect::addresses(text, &mut |range| findings.push((range, slot)));
        }
    }

    /// The text with the findings replaced; of those that overlap, the first stands for all.
    fn replaced(&self, text: &[u8], mut findings: Vec<Finding>) -> Vec<u8> {
        findings.sort_by_key(|(range, _)| (range.start, usize::MAX - range.end));
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        for (range, slot) in findings {
            if range.start >= at {
                out.extend_from_slice(&text[at..range.start]);
                out.extend_from_slice(format!("[REDACTED:{}]", self.name(slot)).as_bytes());
                self.count(slot);
            }
            at = at.max(range.end);
        }
        out.extend_from_slice(&text[at..]);
        out
    }

    /// Whether the value of a name is secret, whatever it is.
    fn secret_name(&self, name: &[u8]) -> Option<(usize, Option<&str>)> {
        let user = self.rules.iter().find(|rule| {
            let names = rule.names.as_ref();
            names.is_some_and(|names| names.is_match(name))
        });
        if let Some(rule) = user {
            return Some((rule.slot, Some(&rule.replacement)));
        }
        let literals = self.literals.as_ref()?;
        let hit = literals.find_iter(name).find_map(|hit| {
            let (kind, slot) = self.kinds.get(hit.pattern().as_usize())?;
            let secret = *kind == Kind::KeyValue && detect::is_secret_name(name, hit.range());
            secret.then_some(*slot)
        });
        hit.map(|slot| (slot, None))
    }

    fn secret_value(&self, name: &[u8]) -> Option<String> {
        let (slot, replacement) = self.secret_name(name)?;
        self.count(slot);
        Some(match replacement {
            // Groups have no meaning where there is no pattern.
            Some(text) => text.replace("$$", "$"),
            None => format!("[REDACTED:{}]", self.name(slot)),
        })
    }

    fn redacted(&self, text: &str) -> Option<String> {
        let redacted = self.text(text.as_bytes())?;
        Some(String::from_utf8_lossy(&redacted).into_owned())
    }

    fn string(&self, text: &mut String) -> usize {
        let length = text.len();
        if let Some(redacted) = self.redacted(text) {
            *text = redacted;
        }
        length
    }

    /// Whether nothing of a packed set of labels can be secret: the names and values stand behind
    /// each other, so one pass sees all.
    fn clean(&self, packed: &[u8]) -> bool {
        let hit = self.literals.as_ref().is_some_and(|l| l.is_match(packed));
        let mut found = hit || self.addresses.is_some() || !self.rules.is_empty();
        if self.cards.is_some() {
            detect::cards(packed, &mut |_| found = true);
        }
        !found
    }

    fn labels(&self, labels: &mut Labels) -> usize {
        let length = labels.packed().len();
        if self.clean(labels.packed()) {
            return length;
        }
        let mut builder = labels.to_builder();
        let mut changed = false;
        for (name, value) in labels.iter() {
            if name == obs_model::labels::METRIC_NAME {
                continue;
            }
            let whole = self.secret_value(name.as_bytes());
            let new = whole.or_else(|| self.redacted(value));
            if let Some(new) = new.filter(|new| new != value) {
                builder.set(name, &new);
                changed = true;
            }
        }
        if changed {
            *labels = builder.build();
        }
        length
    }

    fn attributes(&self, attributes: &mut [Attribute]) -> usize {
        let mut bytes = 0;
        for attribute in attributes {
            bytes += attribute.key.len();
            match self.secret_value(attribute.key.as_bytes()) {
                Some(_) if matches!(attribute.value, AttributeValue::Empty) => {}
                Some(new) => attribute.value = AttributeValue::String(new),
                None => bytes += self.value(&mut attribute.value),
            }
        }
        bytes
    }

    fn value(&self, value: &mut AttributeValue) -> usize {
        match value {
            AttributeValue::String(text) => self.string(text),
            AttributeValue::Bytes(bytes) => {
                let length = bytes.len();
                if let Some(redacted) = self.text(bytes) {
                    *bytes = redacted;
                }
                length
            }
            AttributeValue::Array(values) => values.iter_mut().map(|v| self.value(v)).sum(),
            AttributeValue::Map(pairs) => self.attributes(pairs),
            AttributeValue::Empty
            | AttributeValue::Bool(_)
            | AttributeValue::Int(_)
            | AttributeValue::Double(_) => 0,
        }
    }

    /// The records of a stream whose labels are clean.
    fn stream(&self, tenant: &Tenant, stream: &mut LogStream, changes: &mut KeyChanges) -> usize {
        let mut bytes = 0;
        // Records of a stream usually share their metadata.
        let mut last: Option<(Labels, Labels)> = None;
        let hash = xxh3_64_with_seed(tenant.as_str().as_bytes(), stream.labels.hash64());
        let now = Instant::now();
        let mut inside = self.private_keys.is_some() && self.open_keys.is_open(hash, now);
        let began_inside = inside;
        for at in 0..stream.records.len() {
            let (before, rest) = stream.records.split_at_mut(at);
            let Some(record) = rest.first_mut() else {
                break;
            };
            bytes += record.line.len();
            if !record.metadata.is_empty() {
                match &last {
                    Some((from, to))
                        if from.packed().as_ptr() == record.metadata.packed().as_ptr() =>
                    {
                        record.metadata = to.clone();
                    }
                    _ => {
                        let from = record.metadata.clone();
                        bytes += self.labels(&mut record.metadata);
                        last = Some((from, record.metadata.clone()));
                    }
                }
            }
            if inside {
                inside = self.key_line(&mut record.line);
                continue;
            }
            if self.private_keys.is_some() && detect::ends_key(&record.line) {
                // The begin went by before this process knew of it, or is not among the lines.
                let inner = |line: &[u8]| !line.is_empty() && detect::is_key_line(line);
                let earlier = before.iter_mut().rev();
                for earlier in earlier.take_while(|earlier| inner(&earlier.line)) {
                    self.key_line(&mut earlier.line);
                }
            }
            inside = self.line(&mut record.line);
        }
        if inside || began_inside {
            changes.add(hash, inside, now);
        }
        bytes
    }

    /// A line behind the first one of a private key: goes, until the key ends.
    fn key_line(&self, line: &mut Vec<u8>) -> bool {
        if detect::is_key_line(line) {
            let slot = self.private_keys.unwrap_or(0);
            *line = format!("[REDACTED:{}]", self.name(slot)).into_bytes();
            self.count(slot);
            return true;
        }
        // Nothing of a key, or the end of it; another one may begin.
        self.line(line)
    }

    /// A line of no key; whether one begins in it that goes on behind it.
    fn line(&self, line: &mut Vec<u8>) -> bool {
        let Some(redacted) = self.text(line) else {
            return false;
        };
        *line = redacted;
        self.private_keys.is_some() && opens_key(line)
    }
}

/// Puts the records of streams with equal labels behind each other.
fn join_equal(streams: &mut Vec<LogStream>) {
    let mut places = HashMap::<u64, usize>::with_capacity(streams.len());
    let mut joined = Vec::<LogStream>::with_capacity(streams.len());
    for stream in std::mem::take(streams) {
        let next = joined.len();
        let place = *places.entry(stream.labels.hash64()).or_insert(next);
        match joined.get_mut(place).filter(|s| s.labels == stream.labels) {
            Some(first) => first.records.extend(stream.records),
            None => joined.push(stream),
        }
    }
    *streams = joined;
}

/// Whether a redacted line has the begin of a private key and not its end.
fn opens_key(redacted: &[u8]) -> bool {
    let begin = memchr::memmem::rfind(redacted, b"PRIVATE KEY-----[REDACTED:");
    begin.is_some_and(|at| memchr::memmem::find(&redacted[at..], detect::KEY_ENDS).is_none())
}

#[cfg(test)]
mod tests;
