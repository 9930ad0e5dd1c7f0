//! Delivery: what is queued goes out, by the route's chain, within its limits, until each recipient is settled.
//!
//! The steps of a delivery, with the function of each:
//!
//! 1. The queue tells which lanes have mail (`Queue::nudged`); a lane stands in line when some is due (`Board::nudge`).
//! 2. A window of its legs is claimed, each recipient routed anew, those that go elsewhere written down (`Desk::read`).
//! 3. The lane gets its turn (`Scheduler::look_at`); a leg that is too old bounces.
//! 4. The chain is asked which provider takes it, or what it waits for (`plan::plan`), from the providers' health
//!    (`Health::standing`) and quotas (`Quotas::spent`).
//! 5. Concurrency is looked at and permits are taken, the route's and then the provider's (`Scheduler::admit`). What is
//!    shut parks the lane there (`Board::park`), and nobody else.
//! 6. The attempt runs in a task of its own (`Scheduler::launch`, `attempt::run`).
//! 7. Its outcomes, whatever way it ended (`Flight::end`), go to the provider's health (`Health::record`) and are settled,
//!    recipient by recipient (`settle::settle`).
//! 8. The settlement is written with the reports it calls for (`Desk::write`); new legs nudge their lanes: step 1.
//!
//! A changed configuration takes over between two of these steps (`Scheduler::change`); attempts under way end by the old one.
//!
//! Beside that, the sweep finds what expires or is delayed while it waits (`sweep::sweep`).
//!
//! `breaker`, `schedule`, `plan` and `settle` are pure: time and randomness are arguments. All state has one owner, the
//! scheduler's task (`Scheduler::run`).

mod attempt;
mod backlog;
mod board;
mod breaker;
mod change;
mod control;
mod desk;
mod finish;
mod health;
mod lately;
mod limits;
pub mod operate;
mod orders;
mod order;
mod pending;
pub mod plan;
mod pulse;
mod quota;
mod recall;
pub mod schedule;
mod scheduler;
pub mod settle;
mod skipped;
mod snapshot;
mod span;
mod start;
mod stations;
mod status;
mod sweep;
mod trail;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::Notes;
use crate::config::Server;
use crate::mail::{Domain, MidSource, ProviderName};
use crate::os::Clock;
use crate::queue::Queue;
use crate::routing::Table;
use crate::transport::Transport;

pub use backlog::Backlog;
pub use change::Change;
pub use control::{Control, OrderError, Stopped, Wish};
pub use desk::{fresh_leg, lane};
pub use lately::{OUTCOMES, Recent};
pub use order::{Order, OrderKind};
pub use pulse::Pulse;
pub use quota::QuotaNow;
pub use scheduler::Scheduler;
pub use snapshot::{DestinationSnapshot, LastError, ProviderSnapshot, ProviderState, RouteSnapshot, Snapshot};
pub use status::{Meter, ProviderMeter, RouteMeter};

/// What the scheduler is built from.
pub struct Deps<Q = Queue> {
    pub queue: Q,
    pub table: Arc<Table>,
    /// One for each provider of the table.
    pub transports: HashMap<ProviderName, Arc<dyn Transport>>,
    pub clock: Clock,
    pub mids: Arc<MidSource>,
    pub settings: Settings,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// What the relay calls itself in reports.
    pub hostname: Domain,
    /// Pauses between rounds, where the route has none of its own.
    pub retry: Vec<Duration>,
    pub expire: Duration,
    /// When a sender is told of a delay; `None`: never.
    pub warn_after: Option<Duration>,
    /// What attempts under way may still take when delivery is told to stop.
    pub grace: Duration,
    /// What the trail is told.
    pub notes: Notes,
}

impl From<&Server> for Settings {
    fn from(server: &Server) -> Self {
        Self {
            hostname: server.hostname.clone(),
            retry: server.queue.retry.clone(),
            expire: server.queue.expire,
            warn_after: server.queue.warn_after,
            grace: server.shutdown_grace,
            notes: Notes::new(server.audit.is_some()),
        }
    }
}
