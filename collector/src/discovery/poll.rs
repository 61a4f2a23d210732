//! What discoveries that ask a server again and again have in common: they tell what changed.
//!
//! Invariant: groups stay while the server cannot be asked; one that it does not name any more is
//! taken away.

use std::collections::HashMap;
use std::time::Duration;

use obs_model::{Labels, TargetGroup};
use tokio::time::{Interval, MissedTickBehavior};

use super::provider::{BATCH_GROUPS, Groups};
use crate::http_client::shown;

/// Largest answer that is read.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long an answer may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Ticks at once, and then so often.
pub(super) fn every(refresh: Duration) -> Interval {
    let mut ticks = tokio::time::interval(refresh);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Tells of groups.
#[derive(Debug)]
pub(super) struct Feed {
    what: &'static str,
    groups: Groups,
    known: HashMap<Box<str>, TargetGroup>,
    told: bool,
}

impl Feed {
    pub(super) fn new(what: &'static str, groups: Groups) -> Self {
        Self {
            what,
            groups,
            known: HashMap::new(),
            told: false,
        }
    }

    /// Takes all groups that there are now, or why they are not known. Whether anybody listens.
    pub(super) async fn tell(&mut self, found: Result<Vec<TargetGroup>, String>) -> bool {
        let found = match found {
            Ok(found) => found,
            Err(fault) => {
                tracing::warn!(discovery = self.what, error = %fault, "unable to refresh target groups");
                return !self.groups.is_closed();
            }
        };
        let mut before = std::mem::take(&mut self.known);
        let mut news = Vec::new();
        for group in found {
            let old = before.remove(&group.source);
            if old.as_ref() != Some(&group) {
                news.push(group.clone());
            }
            self.known.insert(group.source.clone(), group);
        }
        news.extend(before.into_keys().map(TargetGroup::gone));
        if news.is_empty() && self.told {
            return !self.groups.is_closed();
        }
        self.told = true;
        // A batch that is not full says that this was all.
        loop {
            let rest = news.split_off(news.len().min(BATCH_GROUPS));
            let full = news.len() == BATCH_GROUPS;
            if self.groups.send(news).await.is_err() {
                return false;
            }
            if !full {
                return true;
            }
            news = rest;
        }
    }
}

/// Labels of a target on their way; empty values are no labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Meta(Vec<(String, String)>);

impl Meta {
    /// Sets a label.
    pub(super) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// Sets labels of names that may hold anything: `PREFIX_NAME`.
    pub(super) fn set_all<'a>(
        &mut self,
        prefix: &str,
        pairs: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> &mut Self {
        for (name, value) in pairs {
            self.set(format!("{prefix}_{}", sanitize(name)), value.as_str());
        }
        self
    }

    /// Sets all labels of another one.
    pub(super) fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// The labels; of equal names the last one counts.
    pub(super) fn labels(&self) -> Labels {
        let mut builder = Labels::empty().to_builder();
        for (name, value) in &self.0 {
            builder.set(name, value);
        }
        builder.build()
    }
}

/// A name with `_` for what the old alphabet of label names does not have.
pub(super) fn sanitize(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(legal).collect()
}

/// Tags in one value: separators also stand around them, so that a rule can look for `,tag,`.
pub(super) fn tags(tags: &[String], separator: &str) -> String {
    format!("{separator}{}{separator}", tags.join(separator))
}

/// The address of something below the API of version 1 of a server.
pub(super) fn address(
    base: &str,
    path: &[&str],
    params: &[(String, String)],
) -> Result<reqwest::Url, String> {
    let mut url = reqwest::Url::parse(base).map_err(|e| format!("{:?}: {e}", shown(base)))?;
    url.path_segments_mut()
        .map_err(|()| format!("{:?} has no path", shown(base)))?
        .pop_if_empty()
        .push("v1")
        .extend(path);
    if !params.is_empty() {
        url.query_pairs_mut().extend_pairs(params);
    }
    Ok(url)
}

/// `HOST:PORT`, with brackets where the host is an address of version 6.
pub(super) fn host_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use tokio::sync::mpsc;
    use tokio::task::JoinSet;

    use super::*;

    /// A server that answers what was recorded, by path and query, and remembers what it was asked.
    #[derive(Debug)]
    pub(crate) struct Recorded {
        pub url: String,
        pub asked: Arc<Mutex<Vec<String>>>,
        pub headers: Arc<Mutex<Vec<http::HeaderMap>>>,
        pub bodies: Arc<Mutex<Vec<String>>>,
        answers: Arc<Mutex<HashMap<String, VecDeque<String>>>>,
        _tasks: JoinSet<()>,
    }

    impl Recorded {
        /// Answers of each path come one after the other; the last one stays.
        pub(crate) async fn start(answers: &[(&str, &str)]) -> Self {
            let mut all: HashMap<String, VecDeque<String>> = HashMap::new();
            for (path, answer) in answers {
                let queue = all.entry((*path).to_owned()).or_default();
                queue.push_back((*answer).to_owned());
            }
            let (all, asked) = (Arc::new(Mutex::new(all)), Arc::new(Mutex::new(Vec::new())));
            let (seen, answers) = (Arc::clone(&asked), Arc::clone(&all));
            let (headers, bodies) = (Arc::default(), Arc::default());
            let all_headers: Arc<Mutex<Vec<http::HeaderMap>>> = Arc::clone(&headers);
            let all_bodies: Arc<Mutex<Vec<String>>> = Arc::clone(&bodies);
            let router = Router::new().fallback(
                async move |uri: http::Uri, told: http::HeaderMap, body: String| {
                    seen.lock().expect("not poisoned").push(uri.to_string());
                    all_headers.lock().expect("not poisoned").push(told);
                    all_bodies.lock().expect("not poisoned").push(body);
                    let mut all = all.lock().expect("not poisoned");
                    let Some(queue) = all.get_mut(uri.path()) else {
                        return (
                            http::StatusCode::NOT_FOUND,
                            [("content-type", "text/plain")],
                            String::new(),
                        );
                    };
                    let answer = match queue.len() {
                        1 => queue[0].clone(),
                        _ => queue.pop_front().expect("an answer"),
                    };
                    (
                        http::StatusCode::OK,
                        [("content-type", "application/json")],
                        answer,
                    )
                },
            );
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a port");
            let url = format!("http://{}", listener.local_addr().expect("an address"));
            let mut tasks = JoinSet::new();
            tasks.spawn(async move { axum::serve(listener, router).await.expect("served") });
            Self {
                url,
                asked,
                headers,
                bodies,
                answers,
                _tasks: tasks,
            }
        }

        /// Answers a path so from now on.
        pub(in crate::discovery) fn answer(&self, path: &str, answer: &str) {
            let mut answers = self.answers.lock().expect("not poisoned");
            answers.insert(path.to_owned(), VecDeque::from([answer.to_owned()]));
        }
    }

    /// The settings of the only discovery of a job.
    pub(crate) fn discovery(yaml: &str) -> crate::config::Discovery {
        let mut job = crate::discovery::tests::job(&format!("{{job_name: j, {yaml}}}"));
        job.discovery.remove(0)
    }

    /// Groups as lines: source, then labels of each target.
    pub(in crate::discovery) fn lines(groups: &[TargetGroup]) -> Vec<String> {
        let mut lines: Vec<String> = groups
            .iter()
            .flat_map(TargetGroup::members)
            .map(|labels| labels.to_string())
            .collect();
        lines.sort();
        lines
    }

    fn group(source: &str, address: &str) -> TargetGroup {
        TargetGroup {
            source: source.into(),
            labels: Labels::empty(),
            targets: vec![Labels::from_pairs([("__address__", address)])],
        }
    }

    #[tokio::test]
    async fn only_news_are_told() {
        let (sender, mut receiver) = mpsc::channel(8);
        let mut feed = Feed::new("test", sender);
        assert!(feed.tell(Err("down".to_owned())).await);
        assert!(feed.tell(Ok(vec![group("a", "1"), group("b", "2")])).await);
        assert!(feed.tell(Ok(vec![group("a", "1"), group("b", "2")])).await);
        assert!(feed.tell(Ok(vec![group("a", "3")])).await);
        assert!(feed.tell(Err("down".to_owned())).await);
        let first = receiver.recv().await.expect("a batch");
        assert_eq!(first.len(), 2);
        let second = receiver.recv().await.expect("a batch");
        assert_eq!(second, [group("a", "3"), TargetGroup::gone("b")]);
        assert!(receiver.try_recv().is_err());
        drop(receiver);
        assert!(!feed.tell(Ok(vec![])).await);
    }

    #[tokio::test]
    async fn the_first_batches_end_with_one_that_is_not_full() {
        let (sender, mut receiver) = mpsc::channel(8);
        let mut feed = Feed::new("test", sender);
        let many = (0..BATCH_GROUPS).map(|n| group(&n.to_string(), "x"));
        assert!(feed.tell(Ok(many.collect())).await);
        assert_eq!(receiver.recv().await.expect("a batch").len(), BATCH_GROUPS);
        assert_eq!(receiver.recv().await.expect("a batch").len(), 0);
    }
}
