//! The lives of containers, and what they used.
//!
//! Invariant: lives do not overlap, lie within the pod's, and begin and end at times that the API
//! server told, where it told any.

use std::collections::BTreeMap;

use obs_model::Labels;

use super::answers::Series;
use crate::cluster::Container;
use crate::span::Span;
use crate::usage::Usage;

/// What is known of a container.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft<'a> {
    pub(super) container: Container,
    /// When it was started, each time.
    pub(super) started: Vec<i64>,
    /// When it ended before it was started again.
    pub(super) ended: Vec<i64>,
    /// Whether it has ended, and when that was seen first.
    pub(super) terminated: Option<(bool, i64)>,
    pub(super) cpu: Vec<&'a Series>,
    pub(super) ram: Vec<&'a Series>,
    pub(super) gpu: Vec<&'a Series>,
}

/// What is known of the pod around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) life: Span,
    /// When its containers ended: when it was seen, and when that was.
    pub(super) completed: &'a [(i64, i64)],
    /// Whether anything tells of starts of containers.
    pub(super) starts_are_told: bool,
}

/// How points become usage in lives.
type Make = fn(&[(i64, f64)], &[Span]) -> Usage;

impl Draft<'_> {
    /// The container with its lives and its usage.
    pub(super) fn finish(mut self, around: Around<'_>) -> Container {
        let lives = self.lives(around);
        let used = |series: &[&Series], make: Make| {
            let chosen = one_source(series, &["id", "name", "image", "cpu"]);
            Usage::joined(
                chosen
                    .into_iter()
                    .map(|series| make(&series.points, &lives)),
            )
        };
        self.container.cpu_usage = used(&self.cpu, Usage::of_counter);
        self.container.ram_usage = used(&self.ram, Usage::of_gauge);
        self.container.gpu_usage = used(&self.gpu, Usage::of_gauge);
        self.container.lives = lives;
        self.container
    }

    fn lives(&mut self, around: Around<'_>) -> Vec<Span> {
        for times in [&mut self.started, &mut self.ended] {
            times.sort_unstable();
            times.dedup();
        }
        let used = !self.cpu.is_empty() || !self.ram.is_empty();
        if self.started.is_empty() {
            // It waits, and so costs nothing; but what uses something is there.
            if around.starts_are_told && !used && self.terminated.is_none_or(|t| !t.0) {
                return Vec::new();
            }
            self.started.push(around.life.start);
        }
        let mut lives = Vec::new();
        // It ran before the first start that is known.
        let first = self.started[0];
        let before = self.ended.iter().filter(|end| **end <= first).max();
        if let Some(end) = before
            && self.started.len() == 1
            && *end > around.life.start
        {
            lives.push(Span::new(around.life.start, *end));
        }
        for (index, start) in self.started.iter().enumerate() {
            let next = self.started.get(index + 1).copied();
            let bound = next.unwrap_or(i64::MAX);
            let mut ends = self
                .ended
                .iter()
                .filter(|end| **end >= *start && **end <= bound);
            let end = ends.next().copied().or(next);
            let end = end.unwrap_or_else(|| self.end(*start, around));
            lives.push(Span::new(*start, end).intersect(around.life));
        }
        lives.retain(|life| !life.is_empty());
        lives
    }

    /// When it ended for good, or the end of its pod.
    fn end(&self, start: i64, around: Around<'_>) -> i64 {
        let Some((true, since)) = self.terminated else {
            return around.life.end;
        };
        // Containers of a pod end at different times: what was told when this one had just ended.
        let told = around.completed.iter().find(|(seen, _)| *seen >= since);
        let told = told.or(around.completed.last());
        let end = told.map(|(_, end)| *end).filter(|end| *end >= start);
        end.unwrap_or(around.life.end)
    }
}

/// The series of one source, where several jobs tell of the same: that with the most points.
pub(super) fn one_source<'a>(series: &[&'a Series], within: &[&str]) -> Vec<&'a Series> {
    let mut sources: BTreeMap<Labels, (usize, Vec<&'a Series>)> = BTreeMap::new();
    for one in series {
        let source = one.labels.without(|name| within.contains(&name));
        let found = sources.entry(source).or_default();
        found.0 += one.points.len();
        found.1.push(one);
    }
    let best = sources.into_values().max_by_key(|source| source.0);
    best.map_or_else(Vec::new, |source| source.1)
}
