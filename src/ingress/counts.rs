//! What comes in at the listeners, counted: mail taken and refused, connections, logins. Read by `admin`.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Listener;
use crate::mail::RouteName;
use crate::metrics::{Counter, Entered, Family, Gauge, Spread};
use crate::smtp::reply::Reply;

/// Ends of the buckets of acceptances, microseconds: a sync of a fast disk, to one that is stuck.
const TAKEN: &[u64] =
    &[500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000, 30_000_000];

/// Of all doors.
#[derive(Debug, Default)]
pub struct Counts {
    /// By name; the pickup folder is one of them.
    pub listeners: Family<String, ListenerCounts>,
    /// Recipients taken in, by route.
    pub routes: Family<RouteName, Counter>,
}

/// Of one listener.
#[derive(Debug)]
pub struct ListenerCounts {
    /// Messages taken.
    pub accepted: Counter,
    /// From the end of the content to its `250`.
    pub took: Spread,
    /// Messages refused once their content was in.
    pub refused: Counter,
    /// Envelopes refused before that, in the order of `REASONS`.
    pub refused_for: [Counter; REASONS.len()],
    pub connections: Arc<Gauge>,
    /// Connections under TLS.
    pub tls: Arc<Gauge>,
    /// Connections taken, and turned away by a limit.
    pub connected: Counter,
    pub turned_away: Counter,
    pub logins: Counter,
    pub failed_logins: Counter,
    /// It listens.
    pub up: Arc<Gauge>,
}

/// Why an envelope's sender or recipient was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The sender is not the client's to use.
    Sender,
    /// Strangers may not relay, or must sign in first.
    Relaying,
    /// No route takes the recipient, or one refuses it.
    Route,
    /// Too much mail in a span.
    Rate,
    /// The queue or the memory for content is full.
    Room,
}

/// The words of refusals, in the order in which they are counted.
pub const REASONS: [&str; 5] = ["sender", "relaying", "route", "rate", "room"];

impl Default for ListenerCounts {
    fn default() -> Self {
        Self {
            accepted: Counter::default(),
            took: Spread::new(TAKEN),
            refused: Counter::default(),
            refused_for: Default::default(),
            connections: Arc::default(),
            tls: Arc::default(),
            connected: Counter::default(),
            turned_away: Counter::default(),
            logins: Counter::default(),
            failed_logins: Counter::default(),
            up: Arc::default(),
        }
    }
}

impl Counts {
    /// Of listeners that are to come up: until they do, they are known to be down.
    pub fn expecting(listeners: &[Listener]) -> Self {
        let counts = Self::default();
        for listener in listeners {
            counts.listeners.of(&listener.name);
        }
        counts
    }

    /// A message was taken, for so many recipients of each route.
    pub(super) fn routed(&self, routes: &[(RouteName, usize)]) {
        for (route, recipients) in routes {
            self.routes.of(route).add(*recipients);
        }
    }
}

impl ListenerCounts {
    pub(super) fn took(&self, took: Duration) {
        self.accepted.add(1);
        self.took.observe(took);
    }

    pub(super) fn connected(&self) -> Entered {
        self.connected.add(1);
        self.connections.enter()
    }

    pub(super) fn refused_for(&self, why: Why) {
        let nth = match why {
            Why::Sender => 0,
            Why::Relaying => 1,
            Why::Route => 2,
            Why::Rate => 3,
            Why::Room => 4,
        };
        self.refused_for[nth].add(1);
    }
}

/// A refusal and its reason.
pub(super) type Refusal = (Why, Reply);
