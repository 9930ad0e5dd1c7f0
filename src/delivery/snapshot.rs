//! How delivery stands at one moment, for people to look at.

use std::time::Duration;

use super::backlog::Backlog;
use super::board::Gate;
use super::breaker::Shown;
use super::health::{Chart, Patient};
use super::lately::Recent;
use super::order::{Order, OrderKind};
use super::plan::{Standing, chain};
use super::quota::QuotaNow;
use super::scheduler::Scheduler;
use super::stations::Station;
use crate::config::{Action, Limit, OnThrottle, Route};
use crate::mail::{Domain, ProviderName, RouteName, Timestamp};

/// The last minutes that are told.
const LATELY: Duration = Duration::from_secs(300);
/// The span over which a rate is told.
const PACE: Duration = Duration::from_secs(60);
/// Destinations of a provider that are told one by one.
const DESTINATIONS: usize = 20;

#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// By name.
    pub providers: Vec<ProviderSnapshot>,
    /// In the table's order.
    pub routes: Vec<RouteSnapshot>,
}

/// What keeps a provider from being used, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderState {
    /// An operator has paused it.
    Paused,
    /// An operator plays its outage.
    Drill,
    /// Its breaker is open.
    Open,
    /// Its breaker is half-open: one message probes.
    HalfOpen,
    QuotaSpent,
    /// It asked for a pause.
    Throttled,
    /// Its breaker is closed: it is used.
    Closed,
}

/// A provider. One that delivers by destination is as well as its own state says; destinations stand beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderSnapshot {
    pub name: ProviderName,
    pub transport: &'static str,
    pub state: ProviderState,
    pub since: Option<Timestamp>,
    /// When that ends by itself: the next probe, the pause's end, the order's.
    pub until: Option<Timestamp>,
    pub order: Option<Order>,
    /// What was said last that counted against it, be it well by now.
    pub last_error: Option<LastError>,
    /// Attempts that failed since one was answered, where its breaker is closed.
    pub failures_in_row: u32,
    /// Attempts under way, as many as may be now, and as many as may be when it is well.
    pub under_way: usize,
    pub allowed: usize,
    pub concurrency: usize,
    /// Attempts a second of the last minute, and what it is limited to.
    pub rate: f64,
    pub limit: Option<Limit>,
    pub quota: Option<QuotaNow>,
    pub recent: Recent,
    /// Destinations in trouble: the first of them, and how many there are.
    pub destinations: Vec<DestinationSnapshot>,
    pub destinations_out: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    pub at: Timestamp,
    /// The word of the outcome.
    pub outcome: &'static str,
    /// What was said, in full.
    pub text: String,
    pub destination: Option<Domain>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationSnapshot {
    pub domain: Domain,
    pub state: ProviderState,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub last_error: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RouteSnapshot {
    pub name: RouteName,
    /// `deliver`, `reject`, `hold`, `discard`.
    pub action: &'static str,
    /// Tiers in order.
    pub chain: Vec<Vec<ProviderName>>,
    /// Providers that take its mail at this moment; empty where it waits.
    pub goes_to: Vec<ProviderName>,
    /// Those that it waits for, where it does.
    pub waits_for: Vec<ProviderName>,
    /// When one of those may be tried again; past: the next message that is due tries it.
    pub waits_until: Option<Timestamp>,
    /// What else holds its mail back: `rate`, `concurrency`.
    pub held_back_by: Vec<&'static str>,
}

impl<Q: Backlog> Scheduler<Q> {
    pub(super) fn snapshot(&self, now: Timestamp) -> Snapshot {
        let mut stations: Vec<&Station> = self.stations.values().collect();
        stations.sort_by(|a, b| a.settings.name.cmp(&b.settings.name));
        Snapshot {
            providers: stations.into_iter().map(|station| self.provider(station, now)).collect(),
            routes: self.rules.table.routes().map(|route| self.route(route, now)).collect(),
        }
    }

    fn provider(&self, station: &Station, now: Timestamp) -> ProviderSnapshot {
        let name = &station.settings.name;
        let order = self.orders.of(name, now).cloned();
        let quota_until = self.quotas.spent(name, now);
        let mut charts: Vec<Chart> = self.health.charts(name, now).collect();
        let own = charts.iter().position(|chart| chart.destination.is_none()).map(|at| charts.swap_remove(at));
        let (state, since, until) = match (&order, quota_until) {
            (Some(order), _) => {
                let state = match order.kind {
                    OrderKind::Pause => ProviderState::Paused,
                    OrderKind::Drill => ProviderState::Drill,
                };
                (state, Some(order.since), Some(order.until))
            }
            (None, quota) => match own.as_ref().map(|chart| chart.state()) {
                Some((state @ (ProviderState::Open | ProviderState::HalfOpen), since, until)) => (state, since, until),
                _ if quota.is_some() => (ProviderState::QuotaSpent, None, quota),
                Some(other) => other,
                None => (ProviderState::Closed, None, None),
            },
        };
        let mut destinations: Vec<DestinationSnapshot> = charts.into_iter().filter_map(destination).collect();
        destinations.sort_by(|a, b| a.since.cmp(&b.since).then_with(|| a.domain.cmp(&b.domain)));
        let destinations_out = destinations.len();
        destinations.truncate(DESTINATIONS);
        let last_minute = station.lately.recent(PACE, now);
        ProviderSnapshot {
            name: name.clone(),
            transport: station.settings.transport.name(),
            state,
            since,
            until,
            order,
            last_error: station.last_error.clone(),
            failures_in_row: own.as_ref().map_or(0, |chart| chart.failures_in_row),
            under_way: self.board.in_use(&Gate::Provider(name.clone())),
            allowed: station.slots(name, &self.health),
            concurrency: station.settings.concurrency,
            rate: last_minute.attempts as f64 / PACE.as_secs_f64(),
            limit: station.settings.limit,
            quota: self.quotas.now(name, now),
            recent: station.lately.recent(LATELY, now),
            destinations,
            destinations_out,
        }
    }

    fn route(&self, route: &Route, now: Timestamp) -> RouteSnapshot {
        let mut goes_to = Vec::new();
        let mut waits: Vec<(ProviderName, Timestamp)> = Vec::new();
        for tier in chain(route) {
            let mut throttled = Vec::new();
            for (provider, _) in &tier.0 {
                let patient = Patient { provider: provider.clone(), destination: None };
                match self.standing_for(&patient, now) {
                    Standing::Ready => goes_to.push(provider.clone()),
                    // A probe is one message; all others go to whoever is well, or wait for what becomes of it.
                    Standing::Probe => waits.push((provider.clone(), now)),
                    Standing::Out { until } => {
                        let until = self.orders.of(provider, now).map_or(until, |order| order.until);
                        waits.push((provider.clone(), until));
                    }
                    Standing::Throttled { until } => throttled.push((provider.clone(), until)),
                }
            }
            // As the plan has it: one that asked for a pause is waited for, where the route says so.
            let waited_for = route.on_throttle == OnThrottle::Wait && !throttled.is_empty();
            if goes_to.is_empty() && waited_for {
                waits = throttled;
                break;
            }
            waits.extend(throttled);
            if !goes_to.is_empty() {
                waits.clear();
                break;
            }
        }
        let rate = Gate::RouteRate(route.name.clone());
        let slots = route.concurrency.is_some_and(|most| self.board.in_use(&Gate::Route(route.name.clone())) >= most);
        let held_back = [(self.board.is_shut(&rate), "rate"), (slots, "concurrency")];
        RouteSnapshot {
            name: route.name.clone(),
            action: match route.action {
                Action::Deliver(_) => "deliver",
                Action::Reject(_) => "reject",
                Action::Hold { .. } => "hold",
                Action::Discard => "discard",
            },
            chain: chain(route).iter().map(|tier| tier.0.iter().map(|(name, _)| name.clone()).collect()).collect(),
            waits_until: waits.iter().map(|(_, until)| *until).min(),
            waits_for: waits.into_iter().map(|(provider, _)| provider).collect(),
            goes_to,
            held_back_by: held_back.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect(),
        }
    }
}

impl Chart {
    pub(super) fn state(&self) -> (ProviderState, Option<Timestamp>, Option<Timestamp>) {
        match (self.breaker, self.paused_until) {
            (Shown::Open { since, probe_at }, _) => (ProviderState::Open, Some(since), Some(probe_at)),
            (Shown::HalfOpen { since }, _) => (ProviderState::HalfOpen, Some(since), None),
            (Shown::Closed, Some(until)) => {
                (ProviderState::Throttled, self.cause.as_ref().map(|cause| cause.0), Some(until))
            }
            (Shown::Closed, None) => (ProviderState::Closed, None, None),
        }
    }
}

fn destination(chart: Chart) -> Option<DestinationSnapshot> {
    let (state, since, until) = chart.state();
    let domain = chart.destination.filter(|_| state != ProviderState::Closed)?;
    Some(DestinationSnapshot { domain, state, since, until, last_error: chart.cause.map(|(_, text)| text) })
}
