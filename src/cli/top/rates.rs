//! How much mail moves a second, from what two statuses have counted since the start. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::admin::{RouteStatus, Status};

/// Recipients a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Flow {
    pub accepted: f64,
    pub delivered: f64,
    pub deferred: f64,
    pub bounced: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Rates {
    pub all: Flow,
    pub routes: BTreeMap<String, Flow>,
}

impl Rates {
    /// `None`: the relay was started anew between the two, or no time went by.
    pub fn between(before: &Status, after: &Status) -> Option<Self> {
        let seconds = after.now.duration_since(before.now).as_secs_f64();
        if before.started != after.started || seconds <= 0.0 {
            return None;
        }
        let mut rates = Self::default();
        for route in &after.routes {
            let Some(earlier) = before.routes.iter().find(|earlier| earlier.name == route.name) else { continue };
            let of = |count: fn(&RouteStatus) -> u64| count(route).saturating_sub(count(earlier)) as f64 / seconds;
            let flow = Flow {
                accepted: of(|route| route.accepted),
                delivered: of(|route| route.delivered),
                deferred: of(|route| route.deferred),
                bounced: of(|route| route.bounced),
            };
            rates.all.accepted += flow.accepted;
            rates.all.delivered += flow.delivered;
            rates.all.deferred += flow.deferred;
            rates.all.bounced += flow.bounced;
            rates.routes.insert(route.name.clone(), flow);
        }
        Some(rates)
    }
}
