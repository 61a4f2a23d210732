//! The query pool: the only place where a query leaves the event loop.
//!
//! Invariants: at most `query_queue_max` queries run or wait, and of one tenant not so many that
//! others find no room; tenants take turns; each query has a deadline; when the client leaves, the query's budget is cancelled and its threads stop at the next charge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use obs_collector::{ErrorKind, HttpError};
use obs_model::limits::Limits;
use obs_model::{Budget, BudgetError, Tenant};
use rayon::ThreadPool;
use tokio::sync::Semaphore;

use crate::turns::Turns;

/// One part in so many of the queue is kept free for tenants that do not wait yet.
const TENANT_SHARE: usize = 4;

/// What readers did so far.
#[derive(Debug, Default)]
pub(crate) struct ReadStats {
    /// Queries that gave an answer.
    pub(crate) answered: AtomicU64,
    /// Queries that failed.
    pub(crate) failed: AtomicU64,
    /// Queries refused because too many wait.
    pub(crate) refused: AtomicU64,
    /// Samples, rows and spans read.
    pub(crate) samples: AtomicU64,
}

/// Runs queries.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pool: Arc<ThreadPool>,
    running: Turns,
    waiting: Arc<Semaphore>,
    limits: Limits,
    stats: Arc<ReadStats>,
}

/// Cancels the budget when the future that waits for the query is dropped.
struct CancelOnDrop(Arc<Budget>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Reader {
    /// A pool of `threads` workers; as many queries run at one time, the others wait.
    pub(crate) fn new(threads: usize, limits: Limits) -> anyhow::Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("query-{n}"))
            .build()?;
        Ok(Self {
            pool: Arc::new(pool),
            running: Turns::new(threads),
            waiting: Arc::new(Semaphore::new(limits.query_queue_max)),
            limits,
            stats: Arc::default(),
        })
    }

    /// What happened so far.
    pub(crate) fn stats(&self) -> &ReadStats {
        &self.stats
    }

    /// Runs blocking work under a fresh budget and the deadline (the limit's, or a shorter one).
    /// Where too many wait, tenants take turns.
    pub(crate) async fn run<T, F>(
        &self,
        tenant: &Tenant,
        timeout: Option<Duration>,
        work: F,
    ) -> Result<T, HttpError>
    where
        T: Send + 'static,
        F: FnOnce(&Budget, &ThreadPool) -> Result<T, HttpError> + Send + 'static,
    {
        let result = self.run_within(tenant, timeout, work).await;
        let counter = if result.is_ok() {
            &self.stats.answered
        } else {
            &self.stats.failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
        result
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the query pool: one of the doors off the event loop"
    )]
    async fn run_within<T, F>(
        &self,
        tenant: &Tenant,
        timeout: Option<Duration>,
        work: F,
    ) -> Result<T, HttpError>
    where
        T: Send + 'static,
        F: FnOnce(&Budget, &ThreadPool) -> Result<T, HttpError> + Send + 'static,
    {
        let longest = Duration::from_millis(self.limits.query_time_ms_max);
        let timeout = timeout.map_or(longest, |t| t.min(longest));
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        if timeout.is_zero() {
            return Err(budget_error(&BudgetError::TimedOut(0)));
        }
        let refuse = || {
            self.stats.refused.fetch_add(1, Ordering::Relaxed);
            let message = format!(
                "too many queries: {} run or wait (obs.limits.query_queue_max)",
                self.limits.query_queue_max
            );
            HttpError::new(ErrorKind::TooMany, message).retry_after(1)
        };
        let share = self.limits.query_queue_max.div_ceil(TENANT_SHARE);
        if self.running.waiting(tenant) > self.limits.query_queue_max - share {
            return Err(refuse());
        }
        let waits = Arc::clone(&self.waiting).try_acquire_owned();
        let _waits = waits.map_err(|_| refuse())?;
        let budget = Arc::new(Budget::new(&self.limits).with_time_ms(millis));
        let _cancel = CancelOnDrop(Arc::clone(&budget));
        let deadline = tokio::time::sleep(timeout);
        tokio::pin!(deadline);
        let permit = tokio::select! {
            permit = self.running.wait(tenant) => permit,
            () = &mut deadline => return Err(budget_error(&BudgetError::TimedOut(millis))),
        };
        let (mine, pool) = (Arc::clone(&budget), Arc::clone(&self.pool));
        let task = tokio::task::spawn_blocking(move || {
            let _runs = permit;
            work(&mine, &pool)
        });
        tokio::pin!(task);
        let result = tokio::select! {
            done = &mut task => done,
            () = &mut deadline => {
                // The work sees it at its next charge, which is never far; it answers itself.
                budget.time_out();
                task.await
            }
        };
        self.stats
            .samples
            .fetch_add(budget.spent().0, Ordering::Relaxed);
        result.unwrap_or_else(|panic| {
            tracing::error!(%panic, "query worker failed");
            Err(HttpError::internal(
                "the query failed inside the server; its log says why",
            ))
        })
    }
}

/// What a spent budget means to an HTTP client; as Prometheus: 422, 503 and 499.
pub(crate) fn budget_error(error: &BudgetError) -> HttpError {
    let kind = match error {
        BudgetError::Exceeded { .. } => ErrorKind::Execution,
        BudgetError::TimedOut(_) => ErrorKind::Timeout,
        BudgetError::Cancelled => ErrorKind::Canceled,
    };
    HttpError::new(kind, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(limits: Limits) -> Reader {
        Reader::new(1, limits).unwrap()
    }

    /// Charges until the budget says stop.
    fn spin(budget: &Budget) -> HttpError {
        loop {
            if let Err(error) = budget.check() {
                return budget_error(&error);
            }
            std::hint::spin_loop();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_deadline_stops_the_work() {
        let reader = reader(Limits {
            query_time_ms_max: 20,
            ..Limits::default()
        });
        let error = reader
            .run(&Tenant::anonymous(), None, |budget, _| {
                Err::<(), _>(spin(budget))
            })
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
        assert!(error.message.contains("20 ms"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_leaves_stops_the_work() {
        let reader = reader(Limits::default());
        let (told, heard) = std::sync::mpsc::channel();
        let (started, starts) = tokio::sync::oneshot::channel();
        let tenant = Tenant::anonymous();
        let query = reader.run(&tenant, None, move |budget, _| {
            started.send(()).unwrap();
            let error = spin(budget);
            told.send(error.kind).unwrap();
            Err::<(), _>(error)
        });
        tokio::select! {
            _ = query => panic!("the query cannot end by itself"),
            _ = starts => {}
        }
        assert_eq!(heard.recv().unwrap(), ErrorKind::Canceled);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_queue_refuses_and_a_panic_is_an_error() {
        let reader = reader(Limits {
            query_queue_max: 0,
            ..Limits::default()
        });
        let error = reader
            .run(&Tenant::anonymous(), None, |_, _| Ok(()))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.retry_after),
            (ErrorKind::TooMany, Some(1))
        );
        let reader = self::reader(Limits::default());
        let error = reader
            .run::<(), _>(&Tenant::anonymous(), None, |_, _| panic!("broken"))
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Internal);
        assert!(
            reader
                .run(&Tenant::anonymous(), None, |_, _| Ok(1))
                .await
                .is_ok()
        );
    }
}
