//! Groups that change while others look at them, over a server's stores.

use std::fmt::Write as _;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use obs_alerting::rules::{Parsing, RuleFile};
use obs_storage::{Disk, SimDisk};

use super::*;
use crate::api::tests::Rig;
use crate::config::Config;

struct Ruled {
    rig: Rig,
    ruler: Arc<Ruler>,
    inbox: Inbox,
    stop: CancellationToken,
}

fn setting(config: &str) -> Setting {
    let config: Config = crate::config::parse(config).expect("valid");
    let external = config.external_labels();
    Setting::new(&RuleOptions::default(), &config, (&external, "http://here"))
}

impl Ruled {
    fn start() -> Self {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(3));
        let kept = Kept::open(&disk, 1).expect("a disk that works");
        let stop = CancellationToken::new();
        let (ruler, inbox) = Ruler::new(setting(""), kept, stop.clone());
        Self {
            rig: Rig::start(),
            ruler,
            inbox,
            stop,
        }
    }

    async fn put(&self, name: &str) {
        let text = format!("{{name: {name}, interval: 1h, rules: [{{record: r, expr: '1'}}]}}");
        let limits = &self.rig.app.rules.limits;
        let group = Group::parse(&text, &parsing(Origin::Api, limits)).expect("valid");
        let key = GroupKey {
            tenant: Tenant::anonymous(),
            file: "space".to_owned(),
            name: name.to_owned(),
            origin: Origin::Api,
        };
        let put = self.ruler.put(&self.rig.app, key, text, group).await;
        put.expect("taken");
    }

    async fn end(self) {
        self.stop.cancel();
        self.ruler.ended().await;
    }
}

fn groups(text: &str) -> Vec<(GroupKey, Group)> {
    let file = RuleFile::parse(text, &Parsing::default()).expect("valid");
    let groups = file.groups.into_iter();
    groups
        .map(|group| (load::key("f.yml", &group), group))
        .collect()
}

fn names(members: &[Arc<Member>]) -> Vec<&str> {
    members
        .iter()
        .map(|member| member.key.name.as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_lose_no_group_that_is_written_meanwhile() {
    let ruled = Arc::new(Ruled::start());
    let done = Arc::new(AtomicBool::new(false));
    let (other, ended) = (Arc::clone(&ruled), Arc::clone(&done));
    let reloading = TaskTracker::new().spawn(async move {
        let mut reloads = 0;
        while !ended.load(Ordering::Relaxed) {
            let files = groups("groups: [{name: file, rules: [{record: r, expr: '1'}]}]");
            let reloaded = other.ruler.reload(&other.rig.app, setting(""), files);
            reloaded.await.expect("it runs");
            reloads += 1;
            tokio::task::yield_now().await;
        }
        reloads
    });
    for n in 0..150 {
        ruled.put(&format!("g{n:03}")).await;
        let own = ruled.ruler.managed(&Tenant::anonymous(), Origin::Api);
        assert_eq!(own.len(), n + 1, "{:?}", names(&own));
    }
    done.store(true, Ordering::Relaxed);
    assert!(reloading.await.expect("no panic") > 0);
    let own = ruled.ruler.managed(&Tenant::anonymous(), Origin::Api);
    assert_eq!(own.len(), 150);
    let ruled = Arc::into_inner(ruled).expect("nobody else has it");
    ruled.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_reaches_groups_that_say_no_interval() {
    let ruled = Ruled::start();
    ruled.put("own").await;
    let text = "{name: default, rules: [{record: r, expr: '1'}]}";
    let group = Group::parse(text, &Parsing::default()).expect("valid");
    let key = GroupKey {
        tenant: Tenant::anonymous(),
        file: "space".to_owned(),
        name: "default".to_owned(),
        origin: Origin::Loki,
    };
    let app = &ruled.rig.app;
    let put = ruled.ruler.put(app, key, text.to_owned(), group).await;
    put.expect("taken");
    let before = ruled.ruler.groups();
    assert_eq!(names(&before), ["default", "own"]);
    let global = setting("global: {evaluation_interval: 7s, external_labels: {a: b}}");
    let reloaded = ruled.ruler.reload(app, global, Vec::new()).await;
    reloaded.expect("it runs");
    let after = ruled.ruler.groups();
    assert_eq!(after[0].times.interval, 7_000_000_000);
    assert!(Arc::ptr_eq(&before[1], &after[1]), "it goes on undisturbed");
    let known = ruled.ruler.setting();
    assert_eq!(known.surroundings.external_labels.get("a"), Some("b"));
    ruled.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::disallowed_methods,
    reason = "a thread that may hang, and is left then"
)]
async fn who_looks_waits_for_no_evaluation() {
    let ruled = Ruled::start();
    let text = |hold: &str| {
        format!(
            "groups: [{{name: g, interval: 1h, rules: [{{alert: A, expr: '1', for: {hold}}}]}}]"
        )
    };
    let app = &ruled.rig.app;
    let begun = ruled.ruler.begin(app, groups(&text("1m"))).await;
    begun.expect("it runs");
    let member = ruled.ruler.groups().remove(0);
    // As an evaluation holds it while its templates ask.
    let held = lock(&member.rules[0].running);
    let (ruler, other) = (Arc::clone(&ruled.ruler), Arc::clone(app));
    let (sender, looked) = std::sync::mpsc::channel();
    let looking = std::thread::spawn(move || {
        let views: Vec<GroupView> = ruler.groups().iter().map(|m| m.view()).collect();
        drop((sender.send((views, ruler.families().len())), other));
    });
    let (views, families) = looked
        .recv_timeout(Duration::from_secs(180))
        .expect("who looks does not wait");
    assert_eq!((views[0].rules[0].name.as_str(), families), ("A", 11));
    drop(held);
    looking.join().expect("no panic");
    drop(member);
    ruled.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_last_round_told_is_taken_before_the_end() {
    let mut ruled = Ruled::start();
    let told = |name: &str| Told {
        tenant: Tenant::anonymous(),
        expression: name.to_owned(),
        alerts: Vec::new(),
    };
    let sent = ruled.ruler.outbox.try_send(told("before"));
    sent.expect("there is room");
    // Without groups there is nothing to wait for, but some may come.
    let waits = pin!(ruled.ruler.ended()).poll(&mut Context::from_waker(Waker::noop()));
    assert!(waits.is_pending());
    ruled.stop.cancel();
    assert_eq!(
        ruled.inbox.next().await.map(|t| t.expression).as_deref(),
        Some("before")
    );
    // The stop alone ends nothing: a round may still be on its way.
    let sent = ruled.ruler.outbox.try_send(told("last"));
    sent.expect("there is room");
    ruled.ruler.ended().await;
    assert_eq!(
        ruled.inbox.next().await.map(|t| t.expression).as_deref(),
        Some("last")
    );
    assert!(ruled.inbox.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_that_nobody_took_are_told_by_the_next_evaluation() {
    let mut ruled = Ruled::start();
    let app = Arc::clone(&ruled.rig.app);
    // Else it is told again after a minute.
    let setting = Setting {
        resend_delay: 3600 * obs_model::time::NANOS_PER_SECOND,
        ..setting("")
    };
    let reloaded = ruled.ruler.reload(&app, setting, Vec::new()).await;
    reloaded.expect("it runs");
    let told = || Told {
        tenant: Tenant::anonymous(),
        expression: "before".to_owned(),
        alerts: Vec::new(),
    };
    while ruled.ruler.outbox.try_send(told()).is_ok() {}
    let rules = "groups: [{name: g, interval: 50ms, rules: [{alert: A, expr: vector(1)}]}]";
    let begun = ruled.ruler.begin(&app, groups(rules)).await;
    begun.expect("it runs");
    let waited = tokio::time::timeout(Duration::from_secs(180), async {
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        while ruled.ruler.counts.alerts_dropped.load(Ordering::Relaxed) == 0 {
            tick.tick().await;
        }
        while ruled.inbox.next().await.expect("more").expression == "before" {}
    });
    waited.await.expect("it is told by a further evaluation");
    drop(app);
    ruled.end().await;
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "whether there is a thread for those who block"
)]
fn groups_that_end_hold_no_thread_while_they_wait() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let ruled = Ruled::start();
        let turn = Arc::clone(&ruled.ruler.changing).lock_owned().await;
        let tasks = TaskTracker::new();
        for n in 0..50 {
            let key = GroupKey {
                tenant: Tenant::anonymous(),
                file: "f".to_owned(),
                name: n.to_string(),
                origin: Origin::File,
            };
            lock(&ruled.ruler.gone).push(key);
            let ruler = Arc::clone(&ruled.ruler);
            tasks.spawn(async move { ruler.forget().await });
        }
        let free = tokio::time::timeout(
            Duration::from_secs(180),
            tokio::task::spawn_blocking(|| "free"),
        );
        let free = free.await.expect("a thread is free").expect("no panic");
        assert_eq!((free, tasks.len()), ("free", 50));
        drop(turn);
        tasks.close();
        tasks.wait().await;
        assert!(lock(&ruled.ruler.gone).is_empty());
        ruled.end().await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_groups_are_loaded_at_once() {
    const COUNT: usize = 10_000;
    let ruled = Ruled::start();
    let mut text = "groups:\n".to_owned();
    for n in 0..COUNT {
        let rules = format!("[{{record: 'r:{n}', expr: 'sum(m{{n=\"{n}\"}})'}}]");
        writeln!(text, "- {{name: g{n}, interval: 1h, rules: {rules}}}").expect("a text");
    }
    let read = groups(&text);
    let app = &ruled.rig.app;
    ruled.ruler.begin(app, read.clone()).await.expect("it runs");
    assert_eq!(ruled.ruler.groups().len(), COUNT);
    let first = ruled.ruler.groups().remove(0);
    // The same once more, then one group that changed, then nothing.
    let reloaded = ruled.ruler.reload(app, setting(""), read.clone()).await;
    reloaded.expect("it runs");
    assert!(Arc::ptr_eq(&first, &ruled.ruler.groups()[0]));
    let keys: Vec<GroupKey> = read.into_iter().map(|(key, _)| key).collect();
    let gone = ruled.ruler.apply(app, Replaced::These(keys), Vec::new());
    gone.await.expect("it runs");
    assert_eq!(ruled.ruler.groups().len(), 0);
    ruled.end().await;
}
