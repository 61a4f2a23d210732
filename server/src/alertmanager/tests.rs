//! Alertmanagers over simulated disks and receivers: what is told, once, whatever ends them when.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use obs_alerting::notify::data::Data;
use obs_alerting::notify::requests::Kept as Remembered;
use obs_alerting::notify::{Ack, Config, Fingerprint, SilenceState};
use obs_model::{Labels, Matcher};
use obs_storage::{Disk, SimDisk};
use tokio::task::JoinHandle;

use super::deliver::{Refused, Telling};
use super::*;

const CONFIG: &str = "
route:
  receiver: hook
  group_by: [alertname]
  group_wait: 0s
  group_interval: 10ms
  repeat_interval: never
  resolve_wait: 0s
receivers:
- name: hook
  webhook_configs:
  - url: http://127.0.0.1:1/
";

/// A receiver that notes what it is told.
#[derive(Debug)]
struct Simulated {
    disk: SimDisk,
    /// Group labels and status of each notification that arrived.
    told: Mutex<Vec<(String, &'static str)>>,
    /// What they are known by, of each group.
    deliveries: Mutex<Vec<(String, String)>>,
    /// The server is killed while a notification of this status is answered.
    kill_on: Mutex<Option<&'static str>>,
    /// Requests that fail before one succeeds.
    fails: AtomicUsize,
    /// The first integration does not answer.
    hangs: AtomicBool,
    /// Ends the process' task at the next request.
    panics: AtomicBool,
    /// Requests that were begun, by integration.
    begun: [AtomicUsize; 2],
    /// Requests that are on their way, and the most that ever were.
    running: [AtomicUsize; 2],
    most: [AtomicUsize; 2],
    /// What notifications were given of those before them.
    given: Mutex<Vec<Remembered>>,
}

/// A request that is on its way, however it ends.
struct Running<'a>(&'a AtomicUsize);

impl<'a> Running<'a> {
    fn new(running: &'a AtomicUsize, most: &AtomicUsize) -> Self {
        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
        most.fetch_max(now, Ordering::SeqCst);
        Self(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Tell for Simulated {
    fn tell<'a>(
        &'a self,
        _: &'a str,
        place: usize,
        data: &'a Data<'a>,
        kept: &'a Remembered,
    ) -> Telling<'a> {
        Box::pin(async move {
            let _running = Running::new(&self.running[place], &self.most[place]);
            self.begun[place].fetch_add(1, Ordering::SeqCst);
            assert!(
                !self.panics.swap(false, Ordering::SeqCst),
                "as it is told to"
            );
            let mut tick = tokio::time::interval(Duration::from_millis(1));
            while place == 0 && self.hangs.load(Ordering::SeqCst) {
                tick.tick().await;
            }
            lock(&self.given).push(kept.clone());
            self.take(data)?;
            let count = lock(&self.told).len().to_string();
            Ok(Remembered::from([("message".to_owned(), count)]))
        })
    }
}

impl Simulated {
    fn take(&self, data: &Data<'_>) -> Result<(), Refused> {
        let left = |fails: usize| fails.checked_sub(1);
        let failed = self
            .fails
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left);
        match failed {
            Ok(_) => Err(Refused {
                retry: true,
                class: "serverError",
                reason: "not now".to_owned(),
            }),
            Err(_) => {
                let status = data.status();
                let group = data.group_labels.to_string();
                lock(&self.deliveries).push((group.clone(), data.delivery.clone()));
                lock(&self.told).push((group, status));
                if *lock(&self.kill_on) == Some(status) {
                    self.disk.kill_after(0);
                }
                Ok(())
            }
        }
    }
}

impl Simulated {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            disk: SimDisk::new(seed),
            told: Mutex::default(),
            deliveries: Mutex::default(),
            kill_on: Mutex::default(),
            fails: AtomicUsize::new(0),
            hangs: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            begun: Default::default(),
            running: Default::default(),
            most: Default::default(),
            given: Mutex::default(),
        })
    }

    fn count(&self, alert: &str, status: &str) -> usize {
        let told = lock(&self.told);
        let name = format!("{alert:?}");
        let same = |(labels, found): &&(String, &str)| labels.contains(&name) && *found == status;
        told.iter().filter(same).count()
    }
}

/// How long anything may take before a test gives up. Long, because machines may be busy.
const DEADLINE: Duration = Duration::from_secs(180);
/// How long the end waits for answers.
const PATIENCE: Duration = Duration::from_millis(50);

/// An Alertmanager that runs.
struct Life {
    alertmanager: Arc<Alertmanager>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

fn open(tell: &Arc<Simulated>) -> Arc<Alertmanager> {
    open_as(CONFIG, tell)
}

fn loaded(text: &str, tell: &Arc<Simulated>) -> Loaded {
    let config = Arc::new(Config::parse(text).expect("valid"));
    Loaded::new(text, config, Arc::clone(tell) as Arc<dyn Tell>)
}

fn open_as(text: &str, tell: &Arc<Simulated>) -> Arc<Alertmanager> {
    let loaded = loaded(text, tell);
    let disk: Arc<dyn Disk> = Arc::new(tell.disk.clone());
    let kept = Kept::open(&disk, 7).expect("opened");
    Alertmanager::new(loaded, kept, "http://here".to_owned(), clock::now())
}

fn start(tell: &Arc<Simulated>) -> Life {
    start_as(CONFIG, tell)
}

fn start_as(text: &str, tell: &Arc<Simulated>) -> Life {
    let alertmanager = open_as(text, tell);
    let stop = CancellationToken::new();
    let running = Arc::clone(&alertmanager).run(stop.clone(), PATIENCE);
    Life {
        running: TaskTracker::new().spawn(running),
        alertmanager,
        stop,
    }
}

impl Life {
    /// A planned stop.
    async fn end(self) {
        self.stop.cancel();
        self.running.await.expect("ended");
        // A process would be gone now; here nothing of it may reach the disk of the next one.
        until("what was on its way", || self.alertmanager.tasks.is_empty()).await;
    }

    /// Kills the process: nothing reaches the disk any more.
    async fn kill(self, tell: &Simulated) {
        tell.disk.kill_after(0);
        self.end().await;
        *lock(&tell.kill_on) = None;
        tell.disk.kill();
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let waited = tokio::time::timeout(DEADLINE, async {
        while !holds() {
            tick.tick().await;
        }
    });
    assert!(waited.await.is_ok(), "gave up waiting for {what}");
}

fn alert(name: &str, over: bool) -> Received {
    let labels = Labels::from_pairs([("alertname", name)]);
    let now = clock::now();
    let second = obs_model::time::NANOS_PER_SECOND;
    Received {
        fingerprint: Fingerprint::of(&labels),
        labels,
        annotations: Labels::empty(),
        starts_at: now.saturating_sub(100 * second),
        ends_at: if over {
            now
        } else {
            now.saturating_add(300 * second)
        },
        updated_at: now,
        generator_url: String::new(),
        guessed_end: false,
    }
}

fn tenant() -> Tenant {
    Tenant::anonymous()
}

impl Life {
    async fn say(&self, name: &str, over: bool) {
        let said = vec![alert(name, over)];
        self.alertmanager.receive(&tenant(), said).await;
    }

    /// Whether the log knows that so many alerts of a group fire.
    fn logged(&self, name: &str, firing: usize) -> bool {
        let name = format!("{name:?}");
        self.alertmanager.look(&tenant(), |room, _| {
            let mut entries = room.log.iter();
            entries.any(|(key, entry)| key.group.contains(&name) && entry.firing.len() == firing)
        })
    }

    /// Another alert comes and goes, so that all that was due was decided on.
    async fn settle(&self, tell: &Simulated, name: &str) {
        self.say(name, false).await;
        until("the other alert", || tell.count(name, "firing") == 1).await;
        self.say(name, true).await;
        until("its end", || tell.count(name, "resolved") == 1).await;
    }
}

/// Where the server is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Never,
    Received,
    /// The receiver has it, and its answer comes to nobody.
    Answering(&'static str),
    Told(&'static str),
    ReceivedEnd,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_when_it_fires_and_once_when_it_is_over_through_kills() {
    let phases = [
        Phase::Never,
        Phase::Received,
        Phase::Answering("firing"),
        Phase::Told("firing"),
        Phase::ReceivedEnd,
        Phase::Answering("resolved"),
        Phase::Told("resolved"),
    ];
    for (seed, phase) in phases.into_iter().enumerate() {
        let tell = Simulated::new(seed as u64);
        if let Phase::Answering(status) = phase {
            *lock(&tell.kill_on) = Some(status);
        }
        let mut life = start(&tell);
        life.say("A", false).await;
        if phase == Phase::Received {
            life.kill(&tell).await;
            life = start(&tell);
        }
        until("firing", || tell.count("A", "firing") >= 1).await;
        until("the log", || life.logged("A", 1)).await;
        let [mut firing, mut resolved] = [1, 1];
        if [Phase::Answering("firing"), Phase::Told("firing")].contains(&phase) {
            life.kill(&tell).await;
            life = start(&tell);
            if phase == Phase::Told("firing") {
                // It is known, and goes on firing.
                assert!(life.logged("A", 1), "{phase:?}");
            } else {
                // Nobody can say whether it arrived: rather twice than never.
                firing = 2;
                until("firing again", || tell.count("A", "firing") == 2).await;
                until("the log", || life.logged("A", 1)).await;
            }
            life.settle(&tell, "first").await;
        }
        life.say("A", true).await;
        if phase == Phase::ReceivedEnd {
            life.kill(&tell).await;
            life = start(&tell);
        }
        until("resolved", || tell.count("A", "resolved") >= 1).await;
        until("the log", || life.logged("A", 0)).await;
        if [Phase::Answering("resolved"), Phase::Told("resolved")].contains(&phase) {
            life.kill(&tell).await;
            life = start(&tell);
            if phase == Phase::Answering("resolved") {
                resolved = 2;
                until("resolved again", || tell.count("A", "resolved") == 2).await;
                until("the log", || life.logged("A", 0)).await;
            }
        }
        // What is told again and again while it lasts changes nothing.
        life.say("A", true).await;
        life.settle(&tell, "last").await;
        let counts = (tell.count("A", "firing"), tell.count("A", "resolved"));
        // The kill may have come between what was heard and the note of it.
        let expect = match phase {
            Phase::Received => (counts.0.clamp(1, 2), resolved),
            Phase::ReceivedEnd => (firing, counts.1.clamp(1, 2)),
            _ => (firing, resolved),
        };
        assert_eq!(counts, expect, "{phase:?}: {:?}", lock(&tell.told));
        // Who knows what it was told before hears each once, whatever happens.
        let deliveries = lock(&tell.deliveries).clone();
        let own = deliveries
            .iter()
            .filter(|(group, _)| group.contains("\"A\""));
        let once: BTreeSet<&String> = own.map(|(_, delivery)| delivery).collect();
        assert_eq!(once.len(), 2, "{phase:?}: {deliveries:?}");
        life.kill(&tell).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_tried_again_also_by_the_next_server() {
    let tell = Simulated::new(1);
    tell.fails.store(usize::MAX, Ordering::SeqCst);
    let life = start(&tell);
    life.say("A", false).await;
    let begun = || tell.begun[0].load(Ordering::SeqCst);
    until("a second try", || begun() >= 2).await;
    life.kill(&tell).await;
    assert_eq!(tell.count("A", "firing"), 0);
    tell.fails.store(0, Ordering::SeqCst);
    let life = start(&tell);
    until("firing", || tell.count("A", "firing") == 1).await;
    until("the log", || life.logged("A", 1)).await;
    let failed = life.alertmanager.families();
    let requests = failed
        .iter()
        .find(|f| f.name == "alertmanager_notification_requests_total");
    let points = requests.map(|f| f.points.iter().map(|p| p.value).sum::<f64>());
    assert_eq!(points, Some(1.0));
    life.kill(&tell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_told_although_the_disk_is_full() {
    let tell = Simulated::new(2);
    let life = start(&tell);
    tell.disk.set_capacity(Some(0));
    life.say("A", false).await;
    until("firing", || tell.count("A", "firing") == 1).await;
    let tenant = tenant();
    let refused = life
        .alertmanager
        .silence(&tenant, silence(60), clock::now());
    assert!(matches!(refused.await, Err(NotSet::NotKept(_))));
    life.kill(&tell).await;
}

fn silence(seconds: i64) -> Silence {
    let now = clock::now();
    Silence {
        id: String::new(),
        matchers: vec![Matcher::equal("alertname", "A")],
        starts_at: now,
        ends_at: now.saturating_add(seconds * obs_model::time::NANOS_PER_SECOND),
        updated_at: now,
        created_by: "me".to_owned(),
        comment: "quiet".to_owned(),
        annotations: BTreeMap::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silences_last_and_end_through_kills() {
    let tell = Simulated::new(3);
    let life = start(&tell);
    let own = tenant();
    let set = life.alertmanager.silence(&own, silence(600), clock::now());
    let id = set.await.expect("set");
    assert_eq!(id.len(), 36);
    life.kill(&tell).await;
    let life = start(&tell);
    life.say("A", false).await;
    life.settle(&tell, "other").await;
    assert_eq!(tell.count("A", "firing"), 0);
    let now = clock::now();
    for _ in 0..2 {
        let ended = life.alertmanager.expire_silence(&tenant(), &id, now).await;
        assert_eq!(ended, Ok(()));
    }
    let missing = life.alertmanager.expire_silence(&tenant(), "x", now).await;
    assert_eq!(missing, Err(NotSet::Wrong(SilenceError::Missing)));
    until("firing", || tell.count("A", "firing") == 1).await;
    life.kill(&tell).await;
    let state = open(&tell).look(&tenant(), |room, _| {
        room.silences
            .get(&id)
            .map(|silence| silence.state(clock::now()))
    });
    assert_eq!(state, Some(SilenceState::Expired));
}

/// Asks for a change, and leaves before it is made.
fn leave(change: impl Future) {
    let mut change = std::pin::pin!(change);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    drop(change.as_mut().poll(&mut context));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_does_not_part_disk_and_memory() {
    let tell = Simulated::new(14);
    let alertmanager = open(&tell);
    let own = tenant();
    leave(alertmanager.receive(&own, vec![alert("A", false)]));
    let known = |of: &Arc<Alertmanager>| of.look(&own, |room, _| room.groups.len());
    until("the alert", || known(&alertmanager) == 1).await;
    leave(alertmanager.silence(&own, silence(600), clock::now()));
    let silences = |of: &Arc<Alertmanager>| of.look(&own, |room, _| room.silences.len());
    until("the silence", || silences(&alertmanager) == 1).await;
    let print = alert("A", false).fingerprint;
    let ack = Ack {
        by: "me".to_owned(),
        comment: String::new(),
        at: clock::now(),
        until: None,
    };
    let acks = |of: &Arc<Alertmanager>| {
        of.look(&own, |room, _| {
            usize::from(room.groups.acks().contains(print))
        })
    };
    leave(alertmanager.acknowledge(&own, print, ack));
    until("the acknowledgement", || acks(&alertmanager) == 1).await;
    drop(alertmanager);
    let next = open(&tell);
    assert_eq!((known(&next), silences(&next), acks(&next)), (1, 1, 1));
    leave(next.unacknowledge(&own, print));
    until("no acknowledgement", || acks(&next) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_tell_nobody_twice() {
    let tell = Simulated::new(4);
    let life = start(&tell);
    life.say("A", false).await;
    until("the log", || life.logged("A", 1)).await;
    let text = format!("{CONFIG}\n# another text\n");
    life.alertmanager.reload(loaded(&text, &tell)).await;
    life.settle(&tell, "other").await;
    assert_eq!(tell.count("A", "firing"), 1);
    assert!(
        life.alertmanager
            .loaded()
            .original
            .contains("receiver: hook")
    );
    life.kill(&tell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_receiver_is_told_by_the_next_server() {
    let tell = Simulated::new(6);
    tell.hangs.store(true, Ordering::SeqCst);
    let life = start(&tell);
    life.say("A", false).await;
    let begun = || tell.begun[0].load(Ordering::SeqCst);
    until("a request", || begun() >= 1).await;
    // It ends although nobody answers, and its disk is as it left it.
    life.end().await;
    assert_eq!(tell.count("A", "firing"), 0);
    tell.hangs.store(false, Ordering::SeqCst);
    let life = start(&tell);
    until("firing", || tell.count("A", "firing") == 1).await;
    until("the log", || life.logged("A", 1)).await;
    life.kill(&tell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_during_a_slow_request_tells_once() {
    let tell = Simulated::new(7);
    tell.hangs.store(true, Ordering::SeqCst);
    // A request has the time of its group: longer than any machine stands still.
    let patient = CONFIG.replace("group_interval: 10ms", "group_interval: 1h");
    let life = start_as(&patient, &tell);
    life.say("A", false).await;
    let begun = || tell.begun[0].load(Ordering::SeqCst);
    until("a request", || begun() == 1).await;
    let text = format!("{patient}\n# another text\n");
    life.alertmanager.reload(loaded(&text, &tell)).await;
    // Another round has seen the group as it is now.
    life.alertmanager.wake.notify_one();
    life.alertmanager.dispatch().await;
    assert_eq!(begun(), 1);
    tell.hangs.store(false, Ordering::SeqCst);
    until("the log", || life.logged("A", 1)).await;
    life.settle(&tell, "other").await;
    assert_eq!(tell.count("A", "firing"), 1);
    life.say("A", true).await;
    until("resolved", || tell.count("A", "resolved") == 1).await;
    life.kill(&tell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_panics_is_tried_again() {
    let tell = Simulated::new(8);
    tell.panics.store(true, Ordering::SeqCst);
    let life = start(&tell);
    life.say("A", false).await;
    until("firing", || tell.count("A", "firing") == 1).await;
    assert_eq!(tell.begun[0].load(Ordering::SeqCst), 2);
    life.kill(&tell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hangs_holds_up_nobody_beside_it() {
    const ALERTS: usize = 40;
    let tell = Simulated::new(9);
    tell.hangs.store(true, Ordering::SeqCst);
    let text = format!("{CONFIG}  - url: http://127.0.0.1:2/\n");
    let life = start_as(&text, &tell);
    let names: Vec<String> = (0..ALERTS).map(|i| format!("A{i}")).collect();
    for name in &names {
        life.say(name, false).await;
    }
    let told = || {
        names
            .iter()
            .filter(|name| tell.count(name, "firing") == 1)
            .count()
    };
    until("all of them", || told() == ALERTS).await;
    // As many as may be on their way at one time; what is given up makes room for others.
    let most = || tell.most[0].load(Ordering::SeqCst);
    until("those that hang", || most() >= 16).await;
    assert_eq!(most(), 16);
    life.kill(&tell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_without_a_word_has_ended_after_a_start() {
    let tell = Simulated::new(10);
    let life = start(&tell);
    let mut long = alert("A", false);
    long.guessed_end = true;
    let mut short = long.clone();
    life.alertmanager.receive(&tenant(), vec![long]).await;
    until("the log", || life.logged("A", 1)).await;
    // Its time is over, and nobody says so.
    short.ends_at = clock::now();
    short.updated_at = short
        .ends_at
        .saturating_sub(obs_model::time::NANOS_PER_SECOND);
    life.alertmanager.receive(&tenant(), vec![short]).await;
    until("resolved", || tell.count("A", "resolved") == 1).await;
    until("the log", || life.logged("A", 0)).await;
    life.kill(&tell).await;
    let before = (tell.count("A", "firing"), tell.count("A", "resolved"));
    let life = start(&tell);
    life.settle(&tell, "other").await;
    let after = (tell.count("A", "firing"), tell.count("A", "resolved"));
    assert_eq!((before, after), ((1, 1), (1, 1)));
    life.kill(&tell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_receiver_gave_is_known_to_the_next_server() {
    let tell = Simulated::new(11);
    let life = start(&tell);
    life.say("A", false).await;
    until("the log", || life.logged("A", 1)).await;
    life.kill(&tell).await;
    let life = start(&tell);
    life.say("A", true).await;
    until("resolved", || tell.count("A", "resolved") == 1).await;
    let message = Remembered::from([("message".to_owned(), "1".to_owned())]);
    assert_eq!(*lock(&tell.given), [Remembered::new(), message]);
    life.kill(&tell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_alerts_come_and_go_is_known_to_the_next_server() {
    let text = format!("{CONFIG}obs: {{flapping: {{window: 1h, starts: 4, ends: 2}}}}\n");
    let tell = Simulated::new(12);
    let life = start_as(&text, &tell);
    let flaps = |life: &Life| {
        let print = alert("A", false).fingerprint;
        life.alertmanager
            .look(&tenant(), |room, _| room.groups.is_flapping(print))
    };
    for over in [false, true, false] {
        life.say("A", over).await;
    }
    assert!(flaps(&life));
    life.kill(&tell).await;
    let life = start_as(&text, &tell);
    assert!(flaps(&life));
    life.kill(&tell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silences_are_bounded_also_where_they_are_changed() {
    let tell = Simulated::new(13);
    let alertmanager = open(&tell);
    let own = tenant();
    let mut full = silence(600);
    full.comment = "x".repeat(SILENCE_BYTES_MAX);
    let refused = alertmanager.silence(&own, full, clock::now()).await;
    assert!(matches!(refused, Err(NotSet::Size { .. })), "{refused:?}");
    let base = silence(600);
    let now = base.starts_at;
    let id = alertmanager.silence(&own, base.clone(), now).await;
    let id = id.expect("set");
    for n in 1..SILENCES_MAX {
        let one = Silence {
            id: n.to_string(),
            ..base.clone()
        };
        lock(&alertmanager.state).room(&own).silences.restore(one);
    }
    let other = Silence {
        id: id.clone(),
        matchers: vec![Matcher::equal("alertname", "B")],
        ..base.clone()
    };
    let refused = alertmanager.silence(&own, other, now).await;
    assert!(matches!(refused, Err(NotSet::Limit { .. })), "{refused:?}");
    // The one that was to be changed is as it was, and may last longer.
    let longer = Silence {
        id: id.clone(),
        ends_at: base.ends_at.saturating_add(1),
        ..base
    };
    let same = alertmanager.silence(&own, longer, now).await;
    assert_eq!(same, Ok(id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_are_bounded_and_forgotten() {
    let tell = Simulated::new(5);
    let life = start(&tell);
    life.say("A", false).await;
    life.say("A", true).await;
    let other = Tenant::new("other").expect("valid");
    life.alertmanager
        .receive(&other, vec![alert("B", false)])
        .await;
    // Tenants do not see each other's.
    let names = |tenant: &Tenant| -> Vec<String> {
        life.alertmanager.look(tenant, |room, _| {
            room.groups.alerts().map(|a| a.labels.to_string()).collect()
        })
    };
    assert_eq!(names(&other).len(), 1);
    until("A to leave its group", || {
        let groups = |room: &Room| room.groups.iter().count();
        life.alertmanager
            .look(&tenant(), |room, _| groups(room) == 0)
    })
    .await;
    life.alertmanager.forget().await;
    assert!(names(&tenant()).is_empty());
    life.kill(&tell).await;
    let again = open(&tell);
    assert_eq!(again.look(&other, |room, _| room.groups.len()), 1);
    assert_eq!(again.look(&tenant(), |room, _| room.groups.len()), 0);
}

#[test]
fn ids_are_uuids() {
    let (a, b) = (uuid(), uuid());
    assert_ne!(a, b);
    let bytes = a.as_bytes();
    assert_eq!((bytes[14], bytes.len()), (b'4', 36));
    assert!(b"89ab".contains(&bytes[19]), "{a}");
}

/// An Alertmanager over a simulated disk, for tests of the API.
pub(crate) fn simulated(text: &str) -> Arc<Alertmanager> {
    let tell = Simulated::new(9);
    let config = Arc::new(Config::parse(text).expect("valid"));
    let disk: Arc<dyn Disk> = Arc::new(tell.disk.clone());
    let loaded = Loaded::new(text, config, tell);
    let kept = Kept::open(&disk, 7).expect("opened");
    Alertmanager::new(loaded, kept, "http://here".to_owned(), clock::now())
}
