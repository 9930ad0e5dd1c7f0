//! The last hours, for the charts: fed from the counters by a task, read by pages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::show::between;
use crate::admin::history::{Counts, History, Reading};
use crate::admin::{Fault, Shared};
use crate::delivery::OUTCOMES;
use crate::mail::RouteName;

/// So that the minute that is under way shows.
const EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Default)]
pub struct Past(Arc<Mutex<History>>);

impl Past {
    pub fn read<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the counters again and again, until the token is cancelled.
    pub async fn follow(self, deps: Shared, token: CancellationToken) {
        let mut turns = interval(EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while token.run_until_cancelled(turns.tick()).await.is_some() {
            match reading(&deps).await {
                Ok(reading) => {
                    let now = deps.clock.now();
                    self.0.lock().unwrap_or_else(PoisonError::into_inner).take(&reading, now);
                }
                // Whoever looks at a page is told.
                Err(fault) => debug!(error = fault.message, "the counters cannot be read for the charts"),
            }
        }
    }
}

async fn reading(deps: &Shared) -> Result<Reading, Fault> {
    let (depth, queued) = (deps.queue.depth().await?, deps.queue.routes().await?);
    let oldest = queued.iter().filter_map(|of| of.oldest).min();
    let mut routes: BTreeMap<RouteName, Counts> = BTreeMap::new();
    for (name, accepted) in deps.counts.routes.all() {
        routes.entry(name).or_default().accepted = accepted.get();
    }
    for (name, out) in deps.meter.routes.all() {
        let counts = routes.entry(name).or_default();
        (counts.delivered, counts.deferred) = (out.delivered.get(), out.deferred.get());
        counts.bounced = out.bounced.get();
    }
    let providers = deps.meter.providers.all().into_iter().map(|(name, of)| {
        let ended = |words: &[&str]| -> u64 {
            let named = OUTCOMES.iter().zip(&of.outcomes).filter(|(word, _)| words.contains(word));
            named.map(|(_, counter)| counter.get()).sum()
        };
        let counts = Counts {
            accepted: 0,
            delivered: ended(&["delivered"]),
            deferred: ended(&["deferred", "throttled", "unavailable", "unsupported", "unknown"]),
            bounced: ended(&["rejected"]),
        };
        (name.as_str().into(), counts)
    });
    Ok(Reading {
        routes: routes.into_iter().map(|(name, counts)| (name.as_str().into(), counts)).collect(),
        providers: providers.collect(),
        queued: depth.messages,
        oldest: oldest.map(|at| between(at, deps.clock.wall())).unwrap_or_default(),
    })
}
