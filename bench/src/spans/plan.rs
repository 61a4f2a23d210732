//! What services do for a request: trees of calls that are the same each time but for what is
//! skipped, as code makes them.

use crate::random::Random;

/// Different requests.
const PLANS: usize = 48;

pub(super) const SERVICES: &[&str] = &[
    "gateway",
    "checkout",
    "cart",
    "payment",
    "catalog",
    "search",
    "auth",
    "orders",
    "inventory",
    "shipping",
    "pricing",
    "recommender",
    "profile",
    "reviews",
    "mailer",
    "ledger",
    "fraud",
    "coupons",
    "media",
    "geo",
    "tax",
    "notifier",
    "sessions",
    "audit",
];

/// What a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Server,
    Client,
    Database,
    Internal,
    Producer,
    Consumer,
}

/// A span of each trace of a plan.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// An earlier call of the plan.
    pub(super) parent: Option<usize>,
    pub(super) service: usize,
    /// The service that a client calls; else its own.
    pub(super) peer: usize,
    pub(super) work: Work,
    /// What is always the same of it: its route, statement, function.
    pub(super) code: u64,
    /// When it begins and how long it lasts, as parts of its parent's duration.
    pub(super) late: f64,
    pub(super) part: f64,
    /// Nothing else comes from it, so that it may be missing.
    pub(super) leaf: bool,
}

/// One kind of request.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) calls: Vec<Call>,
    /// The usual duration, in nanoseconds.
    pub(super) middle_ns: f64,
}

/// All of them: the same for all seeds.
pub(super) fn plans() -> Vec<Plan> {
    (0..PLANS).map(|n| plan(n as u64)).collect()
}

fn plan(number: u64) -> Plan {
    let mut random = Random::of(90, number);
    let wanted = 13 + random.below(26) as usize;
    let middle_ns = random.skewed(1.5e8) + 1e6;
    let mut plan = Plan {
        calls: Vec::with_capacity(wanted + 1),
        middle_ns,
    };
    plan.add(None, 0, Work::Server, &mut random);
    // Each service is behind one of the doors.
    let first = 1 + number as usize % (SERVICES.len() - 1);
    plan.call(0, first, &mut random);
    while plan.calls.len() < wanted {
        let callers: Vec<usize> = (0..plan.calls.len())
            .filter(|c| {
                let work = plan.calls[*c].work;
                matches!(work, Work::Server | Work::Internal | Work::Consumer)
            })
            .collect();
        // Late calls first: chains are deeper than a random tree's.
        let caller = callers[callers.len() - 1 - random.popular(callers.len())];
        let service = plan.calls[caller].service;
        // A service knows three others.
        let other = (service * 5 + 1 + random.popular(3) * 7) % SERVICES.len();
        match random.below(20) {
            0..8 => {
                plan.call(caller, other, &mut random);
            }
            8..13 => {
                plan.add(Some(caller), service, Work::Database, &mut random);
            }
            13..19 => {
                plan.add(Some(caller), service, Work::Internal, &mut random);
            }
            _ => {
                let sent = plan.add(Some(caller), service, Work::Producer, &mut random);
                plan.add(Some(sent), other, Work::Consumer, &mut random);
            }
        }
    }
    plan
}

impl Plan {
    /// Both sides of a call to another service.
    fn call(&mut self, caller: usize, other: usize, random: &mut Random) {
        let service = self.calls[caller].service;
        let client = self.add(Some(caller), service, Work::Client, random);
        self.calls[client].peer = other;
        self.add(Some(client), other, Work::Server, random);
    }

    fn add(
        &mut self,
        parent: Option<usize>,
        service: usize,
        work: Work,
        random: &mut Random,
    ) -> usize {
        if let Some(parent) = parent {
            self.calls[parent].leaf = false;
        }
        let (late, part) = match work {
            Work::Server => (0.02, 0.95),
            _ => (random.unit() * 0.4, random.between(0.1, 0.9)),
        };
        self.calls.push(Call {
            parent,
            service,
            peer: service,
            work,
            code: random.next(),
            late,
            part,
            leaf: parent.is_some(),
        });
        self.calls.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_have_pairs_and_the_promised_size() {
        for plan in plans() {
            assert!((13..40).contains(&plan.calls.len()), "{}", plan.calls.len());
            for call in &plan.calls {
                let parent = call.parent.map(|p| &plan.calls[p]);
                let before = parent.map(|p| (p.work, p.service));
                match call.work {
                    Work::Server => {
                        assert!(before.is_none_or(|(work, _)| work == Work::Client));
                    }
                    Work::Consumer => {
                        assert!(before.is_some_and(|(work, _)| work == Work::Producer));
                    }
                    _ => assert!(before.is_some_and(|(_, service)| service == call.service)),
                }
            }
        }
    }
}
