//! Whose query runs next: tenants take turns, and the queries of one tenant go in order.
//!
//! Invariants: at most `most` permits are out; while somebody waits none is idle; a permit goes
//! back by being dropped, also where the one who waited for it is gone.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use obs_model::Tenant;
use tokio::sync::oneshot;

/// Gives out permits to run.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Mutex<Waiting>>);

/// The right to run.
#[derive(Debug)]
pub(crate) struct Permit(Option<Turns>);

#[derive(Debug)]
struct Waiting {
    /// Permits that nobody has.
    idle: usize,
    queues: HashMap<Tenant, VecDeque<oneshot::Sender<Permit>>>,
    /// Tenants with a queue; the first is next.
    order: VecDeque<Tenant>,
}

impl Turns {
    /// So many may run at one time.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Waiting {
            idle: most,
            queues: HashMap::new(),
            order: VecDeque::new(),
        })))
    }

    /// Waits for the tenant's turn.
    pub(crate) async fn wait(&self, tenant: &Tenant) -> Permit {
        let (turn, comes) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.idle > 0 {
                waiting.idle -= 1;
                return Permit(Some(self.clone()));
            }
            let Waiting { queues, order, .. } = &mut *waiting;
            let queue = queues.entry(tenant.clone()).or_default();
            if queue.is_empty() {
                order.push_back(tenant.clone());
            }
            queue.push_back(turn);
        }
        // The sender stays in the queue until it sends, and the queue as long as we are.
        comes.await.unwrap_or(Permit(None))
    }

    /// Queries of a tenant that wait.
    pub(crate) fn waiting(&self, tenant: &Tenant) -> usize {
        self.lock().queues.get(tenant).map_or(0, VecDeque::len)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every change is whole, so what a panic left behind is sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a permit to the next one who is still there.
    fn next(&self) {
        let mut waiting = self.lock();
        let mut permit = Permit(Some(self.clone()));
        while let Some(turn) = waiting.pop() {
            match turn.send(permit) {
                Ok(()) => return,
                Err(back) => permit = back,
            }
        }
        permit.0 = None;
        waiting.idle += 1;
    }
}

impl Waiting {
    /// The first query of the tenant whose turn it is; the tenant goes to the end.
    fn pop(&mut self) -> Option<oneshot::Sender<Permit>> {
        let tenant = self.order.pop_front()?;
        let queue = self.queues.get_mut(&tenant)?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&tenant);
        } else {
            self.order.push_back(tenant);
        }
        first
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Wait<'a> = Pin<Box<dyn Future<Output = Permit> + 'a>>;

    fn poll(wait: &mut Wait<'_>) -> Option<Permit> {
        match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    #[test]
    fn tenants_take_turns() {
        let turns = Turns::new(1);
        let [many, few] = ["many", "few"].map(|name| Tenant::new(name).unwrap());
        let asked = [&many, &many, &many, &few];
        let mut waits: Vec<Wait<'_>> = asked
            .iter()
            .map(|tenant| Box::pin(turns.wait(tenant)) as Wait<'_>)
            .collect();
        let mut permits: Vec<Option<Permit>> = waits.iter_mut().map(poll).collect();
        assert!(permits[0].is_some() && permits[1..].iter().all(Option::is_none));
        assert_eq!((turns.waiting(&many), turns.waiting(&few)), (2, 1));
        let mut order = Vec::new();
        let mut running = 0;
        for _ in 1..asked.len() {
            permits[running] = None;
            for (index, wait) in waits.iter_mut().enumerate() {
                if index > 0 && !order.contains(&index) {
                    permits[index] = poll(wait);
                    if permits[index].is_some() {
                        order.push(index);
                        running = index;
                    }
                }
            }
        }
        assert_eq!(order, [1, 3, 2]);
        drop(permits);
        assert_eq!(turns.lock().idle, 1);
    }

    #[test]
    fn who_left_is_skipped() {
        let turns = Turns::new(1);
        let tenant = Tenant::anonymous();
        let first = poll(&mut (Box::pin(turns.wait(&tenant)) as Wait<'_>));
        let mut gone: Wait<'_> = Box::pin(turns.wait(&tenant));
        let mut stays: Wait<'_> = Box::pin(turns.wait(&tenant));
        let mut told: Wait<'_> = Box::pin(turns.wait(&tenant));
        for wait in [&mut gone, &mut stays, &mut told] {
            assert!(poll(wait).is_none());
        }
        drop(gone);
        drop(first);
        let second = poll(&mut stays);
        assert!(second.is_some());
        drop(second);
        // It was given a permit and leaves without having looked.
        drop(told);
        assert_eq!((turns.waiting(&tenant), turns.lock().idle), (0, 1));
    }
}
