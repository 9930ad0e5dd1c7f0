//! Delivery: from a leg that is due to a settlement on disk.
//!
//! The steps, and the function of each:
//! 1. legs come into lanes: `queue.nudged`, `Lanes::nudge`; at a start `Scheduler::resume`;
//! 2. a lane that may send claims a window: `Scheduler::advance`, `Shared::claim`;
//! 3. each leg is routed anew: `resort::destiny` (expired, rejected, held, discarded, moved to another lane, or on);
//! 4. a provider is chosen: `plan::plan`, asking `health::Health::admits`;
//! 5. permits and slots are taken: `Scheduler::place`, `limits::Gate`;
//! 6. the attempt runs: `attempt::run`;
//! 7. its outcomes move the provider's health (`Health::record`, `breaker::Breaker`) and are settled (`settle::settle`);
//! 8. the settlement and its DSNs go to disk in one commit: `writer::write`, `notices`.
//!
//! What waits too long meets `sweep::sweep`, whatever it waits for.

mod attempt;
mod breaker;
mod health;
mod lanes;
mod limits;
mod notices;
mod plan;
mod report;
mod resort;
mod schedule;
mod scheduler;
mod settle;
mod sweep;
mod writer;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Route, Server};
use crate::mail::{Domain, HeaderSection, MidSource, ProviderName, Timestamp};
use crate::os::Clock;
use crate::queue::{Claim, Claimed, Lane, Queue, QueueError};
use crate::routing::Table;
use crate::transport::Transport;
use schedule::{Schedule, after};

pub use scheduler::Scheduler;

/// What the scheduler is built from.
pub struct Deps {
    pub queue: Queue,
    pub table: Arc<Table>,
    pub transports: HashMap<ProviderName, Arc<dyn Transport>>,
    pub clock: Clock,
    pub mids: Arc<MidSource>,
    pub settings: Settings,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// What DSNs call the relay.
    pub hostname: Domain,
    /// Pauses between rounds, where the route has none of its own.
    pub retry: Vec<Duration>,
    pub expire: Duration,
    pub warn_after: Option<Duration>,
    /// What attempts in flight may still take after the stop.
    pub grace: Duration,
}

impl From<&Server> for Settings {
    fn from(server: &Server) -> Self {
        Self {
            hostname: server.hostname.clone(),
            retry: server.queue.retry.clone(),
            expire: server.queue.expire,
            warn_after: server.queue.warn_after,
            grace: server.shutdown_grace,
        }
    }
}

/// What the scheduler's tasks share; nothing of it changes.
struct Shared {
    queue: Queue,
    table: Arc<Table>,
    clock: Clock,
    mids: Arc<MidSource>,
    settings: Settings,
}

impl Shared {
    fn new(deps: &Deps) -> Self {
        Self {
            queue: deps.queue.clone(),
            table: deps.table.clone(),
            clock: deps.clock.clone(),
            mids: deps.mids.clone(),
            settings: deps.settings.clone(),
        }
    }

    fn schedule(&self, route: &Route) -> Schedule {
        Schedule::new(route.retry.as_deref().unwrap_or(&self.settings.retry))
    }

    fn expires_at(&self, claim: &Claim) -> Timestamp {
        let route = self.table.route_named(&claim.leg.lane.route);
        after(claim.envelope.accepted_at, route.and_then(|route| route.expire).unwrap_or(self.settings.expire))
    }

    /// The age below which no message can be expired or late.
    fn youngest(&self) -> Duration {
        let expiries = self.table.routes().filter_map(|route| route.expire).chain([self.settings.expire]);
        expiries.chain(self.settings.warn_after).min().unwrap_or(self.settings.expire)
    }

    /// Claims legs, with their header sections where the table asks for them.
    async fn claim(
        &self,
        lane: &Lane,
        now: Timestamp,
        most: usize,
    ) -> Result<(Claimed, Vec<Option<HeaderSection>>), QueueError> {
        let claimed = self.queue.claim(lane, now, most).await?;
        let mut headers = Vec::with_capacity(claimed.claims.len());
        for claim in &claimed.claims {
            if !self.table.needs_header() {
                headers.push(None);
                continue;
            }
            match self.queue.content(claim.mid, &claim.envelope).header().await {
                Ok(header) => headers.push(Some(HeaderSection::new(header))),
                Err(error) => {
                    for claim in &claimed.claims {
                        self.queue.release(claim.mid, claim.number);
                    }
                    return Err(error);
                }
            }
        }
        Ok((claimed, headers))
    }
}
