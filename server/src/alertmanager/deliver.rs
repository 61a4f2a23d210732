//! Sending one notification: tried again while its group has time, with what was told kept on disk.
//!
//! Invariants: what was told counts once that is durable, and what is not known to have arrived is
//! sent again; a delivery ends, however it does, and its group hears of it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use obs_alerting::notify::data::Data;
use obs_alerting::notify::requests::Kept;
use obs_alerting::notify::{Config, Notification};
use obs_model::Tenant;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rows;
use super::{Alertmanager, Loaded, lock};
use crate::clock;

/// The least time that a notification has, as in Alertmanager.
const TIME_MIN: Duration = Duration::from_secs(10);
/// Between the first two tries; each pause is half as long again.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Classes of failures, as Alertmanager calls them.
pub(super) const CLASSES: [&str; 7] = [
    "authError",
    "clientError",
    CANCELED,
    DEADLINE,
    "other",
    "rateLimited",
    "serverError",
];
const CANCELED: &str = "contextCanceled";
const DEADLINE: &str = "contextDeadlineExceeded";
/// Borders of the buckets of the time that a request takes, in seconds; as in Alertmanager.
pub(super) const LATENCIES: [f64; 5] = [1.0, 5.0, 10.0, 15.0, 20.0];

/// Why a receiver was not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Whether another try can help.
    pub(crate) retry: bool,
    /// Whose fault it is, in the words of the metrics.
    pub(crate) class: &'static str,
    pub(crate) reason: String,
}

/// A request to a receiver; gives what the next notification of the group needs.
pub(crate) type Telling<'a> = Pin<Box<dyn Future<Output = Result<Kept, Refused>> + Send + 'a>>;

/// Who tells receivers: the senders of `notify`, and simulated ones.
pub(crate) trait Tell: fmt::Debug + Send + Sync {
    /// Tells one integration of a receiver, once; `kept` is what the notification before gave.
    fn tell<'a>(
        &'a self,
        receiver: &'a str,
        integration: usize,
        data: &'a Data<'a>,
        kept: &'a Kept,
    ) -> Telling<'a>;
}

/// A notification that is to be sent.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) tenant: Tenant,
    pub(super) notification: Notification,
    /// What else is told by it: a summary stands for many.
    pub(super) of: Vec<Notification>,
    pub(super) loaded: Arc<Loaded>,
    /// Ends the tries.
    pub(super) cancelled: CancellationToken,
}

impl Delivery {
    /// All that is told by it.
    fn all(&self) -> impl Iterator<Item = &Notification> {
        self.of.iter().chain([&self.notification])
    }
}

/// A delivery on its way. However it ends, its group hears of it.
#[derive(Debug)]
pub(super) struct Flight {
    alertmanager: Arc<Alertmanager>,
    delivery: Delivery,
    ended: bool,
}

impl Flight {
    pub(super) fn new(alertmanager: Arc<Alertmanager>, delivery: Delivery) -> Self {
        Self {
            alertmanager,
            delivery,
            ended: false,
        }
    }

    /// Sends, and notes what came of it.
    pub(super) async fn run(mut self) {
        let told = self.alertmanager.deliver(&mut self.delivery).await;
        self.ended = true;
        self.alertmanager.done(&self.delivery, told);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.ended {
            tracing::error!(
                receiver = self.delivery.notification.key.receiver,
                group = self.delivery.notification.key.group,
                "a notification was not brought to its end"
            );
            self.alertmanager.done(&self.delivery, false);
        }
    }
}

/// What happened so far, by the kind of the integration.
#[derive(Debug, Default)]
pub(super) struct DeliveryCounts(Mutex<BTreeMap<&'static str, KindCounts>>);

/// The same of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct KindCounts {
    pub(super) notifications: u64,
    /// By reason.
    pub(super) failed: BTreeMap<&'static str, u64>,
    pub(super) requests: u64,
    pub(super) requests_failed: u64,
    /// Requests that took at most so long, by [`LATENCIES`].
    pub(super) latencies: [u64; LATENCIES.len()],
    pub(super) seconds: f64,
}

impl DeliveryCounts {
    fn note(&self, kind: &'static str, note: impl FnOnce(&mut KindCounts)) {
        note(lock(&self.0).entry(kind).or_default());
    }

    pub(super) fn snapshot(&self) -> BTreeMap<&'static str, KindCounts> {
        lock(&self.0).clone()
    }
}

impl Alertmanager {
    /// Sends one; whether it was told is on disk then.
    async fn deliver(&self, delivery: &mut Delivery) -> bool {
        if !delivery.notification.silent {
            match self.try_tell(delivery).await {
                Some(kept) => delivery.notification.entry.kept = kept,
                None => return false,
            }
        }
        let told = delivery.all();
        let told = told.map(|one| rows::told(&delivery.tenant, &one.key, &one.entry));
        // Where the disk refuses, the memory knows it all the same.
        self.keep(
            told.collect(),
            "what was told is not kept on disk: a restart tells it again",
        )
        .await;
        true
    }

    fn done(&self, delivery: &Delivery, told: bool) {
        let mut state = lock(&self.state);
        if let Some(room) = state.rooms.get_mut(&delivery.tenant) {
            for one in delivery.all() {
                room.groups.done(one, told, &mut room.log, clock::now());
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Tries until it is told, cannot be told, or time is over.
    async fn try_tell(&self, delivery: &Delivery) -> Option<Kept> {
        let notification = &delivery.notification;
        let kind = notification.key.kind;
        self.counts.note(kind, |counts| counts.notifications += 1);
        let outcome = self.tries(delivery).await;
        if let Err((reason, error)) = &outcome {
            self.counts.note(kind, |counts| {
                *counts.failed.entry(*reason).or_default() += 1;
            });
            tracing::error!(
                receiver = notification.key.receiver,
                integration = format!("{kind}[{}]", notification.key.index),
                group = notification.key.group,
                alerts = notification.alerts.len(),
                error,
                "notify for alerts failed"
            );
        }
        outcome.ok()
    }

    async fn tries(&self, delivery: &Delivery) -> Result<Kept, (&'static str, String)> {
        let notification = &delivery.notification;
        let (config, key) = (&delivery.loaded.config, &notification.key);
        let place = place(config, &key.receiver, key.kind, key.index);
        let permits = place.and_then(|place| delivery.loaded.permits(&key.receiver, place));
        let (Some(place), Some(permits)) = (place, permits) else {
            return Err(("other", "the receiver is gone".to_owned()));
        };
        let deadline = Instant::now() + time_of(config, &notification.group.route);
        let route = config.route.by_id(&notification.group.route);
        let route_labels = route.map_or(&[][..], |route| &route.options.labels);
        let route_labels: BTreeMap<String, String> = route_labels.iter().cloned().collect();
        let data = Data::of(notification, route_labels, &self.external_url);
        let (mut pause, mut last, mut count) = (PAUSE, String::new(), 0usize);
        loop {
            let ended = || match delivery.cancelled.is_cancelled() {
                true => (CANCELED, "canceled"),
                false => (DEADLINE, "its time is over"),
            };
            let permit = tokio::select! {
                // What can begin begins, also at the end.
                biased;
                permit = Arc::clone(&permits).acquire_owned() => permit,
                () = delivery.cancelled.cancelled() => return Err(gave_up(ended(), count, &last)),
                () = tokio::time::sleep_until(deadline) => return Err(gave_up(ended(), count, &last)),
            };
            count += 1;
            let refused = match self.request(delivery, place, &data, deadline).await {
                Ok(kept) => return Ok(kept),
                Err(refused) => refused,
            };
            drop(permit);
            if !refused.retry {
                let text = format!("{} after {count} tries", refused.reason);
                return Err((refused.class, text));
            }
            if refused.reason != last {
                tracing::warn!(
                    receiver = key.receiver,
                    group = key.group,
                    error = refused.reason,
                    "notify attempt failed, will retry later"
                );
                last = refused.reason;
            }
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                () = delivery.cancelled.cancelled() => return Err(gave_up(ended(), count, &last)),
                () = tokio::time::sleep_until(deadline) => return Err(gave_up(ended(), count, &last)),
            }
            pause = (pause * 3 / 2).min(PAUSE_MAX);
        }
    }

    /// One request.
    async fn request(
        &self,
        delivery: &Delivery,
        place: usize,
        data: &Data<'_>,
        deadline: Instant,
    ) -> Result<Kept, Refused> {
        let (key, kept) = (
            &delivery.notification.key,
            &delivery.notification.entry.kept,
        );
        let watch = clock::Stopwatch::start();
        let telling = delivery.loaded.tell.tell(&key.receiver, place, data, kept);
        let outcome = tokio::select! {
            outcome = tokio::time::timeout_at(deadline, telling) => outcome.unwrap_or_else(|_| {
                Err(Refused {
                    retry: true,
                    class: DEADLINE,
                    reason: "no answer in the time of the group".to_owned(),
                })
            }),
            () = self.cut.cancelled() => Err(Refused {
                retry: false,
                class: CANCELED,
                reason: "no answer before the server ended".to_owned(),
            }),
        };
        let seconds = watch.elapsed_seconds();
        self.counts.note(key.kind, |counts| {
            counts.requests += 1;
            counts.requests_failed += u64::from(outcome.is_err());
            counts.seconds += seconds;
            for (most, count) in LATENCIES.iter().zip(&mut counts.latencies) {
                *count += u64::from(seconds <= *most);
            }
        });
        outcome
    }
}

fn gave_up(
    (reason, what): (&'static str, &str),
    count: usize,
    last: &str,
) -> (&'static str, String) {
    (
        reason,
        format!("given up after {count} tries, {what}: {last}"),
    )
}

/// Where an integration stands among those of its receiver.
fn place(config: &Config, receiver: &str, kind: &str, index: usize) -> Option<usize> {
    let receiver = config.receivers.iter().find(|r| r.name == receiver)?;
    let of_kind = receiver.integrations.iter();
    let mut of_kind = of_kind.map(|integration| (integration.kind(), integration.index));
    of_kind.position(|found| found == (kind, index))
}

/// How long a group tries: until it is due again.
fn time_of(config: &Config, route: &str) -> Duration {
    // Heartbeats and summaries are of no route.
    let route = config.route.by_id(route).unwrap_or(&config.route);
    let nanos = u64::try_from(route.options.group_interval).unwrap_or(0);
    Duration::from_nanos(nanos).max(TIME_MIN)
}

/// Between half of it and half as long again, so that many do not try at one time.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let share = RandomState::new().hash_one(0u8) % 1000;
    pause / 2 + pause * u32::try_from(share).unwrap_or(0) / 1000
}
