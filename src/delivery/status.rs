//! What delivery counts, readable while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::pending::{Draft, What};
use super::span::until;
use crate::mail::{ProviderName, RouteName, Timestamp};
use crate::metrics::{Counter, Family, Spread};
use crate::queue::LegState;
use crate::transport::Outcome;

/// Ends of the buckets of attempts, microseconds: a local hand-over to a provider that hangs.
const ATTEMPT: &[u64] = &[
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];
/// And of the time from acceptance to delivery: at once, to days.
const QUEUED: &[u64] = &[
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    15_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
    14_400_000_000,
    86_400_000_000,
    432_000_000_000,
];

/// Of one provider.
#[derive(Debug)]
pub struct ProviderMeter {
    /// Attempts that ended so, in the order of `OUTCOMES`; one that its recipients fared differently in has several.
    pub outcomes: [Counter; 7],
    pub took: Spread,
}

impl Default for ProviderMeter {
    fn default() -> Self {
        Self { outcomes: Default::default(), took: Spread::new(ATTEMPT) }
    }
}

impl ProviderMeter {
    pub(super) fn ended(&self, kinds: [bool; 7], took: Duration) {
        for (counter, had) in self.outcomes.iter().zip(kinds) {
            if had {
                counter.add(1);
            }
        }
        self.took.observe(took);
    }
}

/// Recipients of one route.
#[derive(Debug)]
pub struct RouteMeter {
    pub delivered: Counter,
    pub bounced: Counter,
    /// Put off or moved on by an attempt.
    pub deferred: Counter,
    pub held: Counter,
    /// From acceptance to delivery, of messages.
    pub queued: Spread,
}

impl Default for RouteMeter {
    fn default() -> Self {
        Self {
            delivered: Counter::default(),
            bounced: Counter::default(),
            deferred: Counter::default(),
            held: Counter::default(),
            queued: Spread::new(QUEUED),
        }
    }
}

/// Counts since the start. Recipients, where nothing else is said.
#[derive(Debug, Default)]
pub struct Meter {
    attempts: AtomicU64,
    delivered: AtomicU64,
    bounced: AtomicU64,
    held: AtomicU64,
    possible_duplicates: AtomicU64,
    pub providers: Family<ProviderName, ProviderMeter>,
    pub routes: Family<RouteName, RouteMeter>,
}

impl Meter {
    /// Attempts begun.
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub fn bounced(&self) -> u64 {
        self.bounced.load(Ordering::Relaxed)
    }

    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Recipients that were sent to once more although a provider may have had the message.
    pub fn possible_duplicates(&self) -> u64 {
        self.possible_duplicates.load(Ordering::Relaxed)
    }

    pub(super) fn began(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, outcomes: &[Outcome]) {
        let delivered = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Delivered { .. })).count();
        add(&self.delivered, delivered);
    }

    /// What a settlement does, by its route.
    pub(super) fn settled(&self, draft: &Draft, now: Timestamp) {
        let route = self.routes.of(&draft.lane.route);
        let (mut delivered, mut bounced) = (0, 0);
        for told in &draft.told {
            match told.what {
                What::Relayed | What::PassedOn | What::Delivered => delivered += 1,
                What::Failed => bounced += 1,
                What::Delayed { .. } => {}
            }
        }
        if delivered > 0 {
            route.delivered.add(delivered);
            route.queued.observe(until(draft.envelope.accepted_at, now));
        }
        if bounced > 0 {
            route.bounced.add(bounced);
        }
        for leg in &draft.legs {
            match leg.state {
                LegState::Held { .. } => route.held.add(leg.recipients.len()),
                LegState::Waiting if draft.last_attempt.is_some() => route.deferred.add(leg.recipients.len()),
                LegState::Waiting => {}
            }
        }
    }

    pub(super) fn add_bounced(&self, recipients: usize) {
        add(&self.bounced, recipients);
    }

    pub(super) fn add_held(&self, recipients: usize) {
        add(&self.held, recipients);
    }

    pub(super) fn add_possible_duplicates(&self, recipients: usize) {
        add(&self.possible_duplicates, recipients);
    }
}

fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(more as u64, Ordering::Relaxed);
}
