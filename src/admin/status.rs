//! `GET /api/v1/status`: how the relay stands, for people and their programs.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::{ErrorBody, Fault, Reload, Shared};
use crate::delivery::{self, OUTCOMES, ProviderSnapshot, ProviderState, RouteSnapshot, Snapshot};
use crate::mail::Timestamp;
use crate::queue::{Depth, RouteDepth};

#[derive(OpenApi)]
#[openapi(paths(status))]
pub(super) struct Described;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/status", get(status))
}

/// How the relay stands. Times are UTC, spans are seconds.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub version: String,
    /// Where the configuration came from.
    pub configuration: String,
    pub started: Timestamp,
    pub now: Timestamp,
    /// New mail is taken; if not, why.
    pub ready: bool,
    pub not_ready_because: Vec<String>,
    pub queue: QueueStatus,
    /// In the table's order; then routes that are not in it any more and still have mail.
    pub routes: Vec<RouteStatus>,
    /// By name.
    pub providers: Vec<ProviderStatus>,
    pub listeners: Vec<ListenerStatus>,
    /// What the last reload came to; null: there was none since the start.
    pub last_reload: Option<Reload>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueStatus {
    /// Why it cannot be read at this moment; then what waits by route, and what is held, is not known.
    pub unreadable: Option<String>,
    pub messages: u64,
    /// Octets of their content.
    pub size: u64,
    /// Parts of messages that fall due by themselves.
    pub waiting: u64,
    /// Parts of messages that a person must release.
    pub held: u64,
    /// When the oldest that waits was accepted; where hundreds came with it, up to ten seconds too early.
    pub oldest: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RouteStatus {
    pub name: String,
    /// `deliver`, `reject`, `hold`, `discard`; `gone`: no longer in the table.
    pub action: String,
    /// Providers, tier by tier.
    pub chain: Vec<Vec<String>>,
    /// Providers that take its mail at this moment; none: it waits.
    pub goes_to: Vec<String>,
    /// Providers that its mail waits for, where it does.
    #[serde(default)]
    pub waits_for: Vec<String>,
    /// When one of those may be tried again; past: the next message that is due tries it.
    pub waits_until: Option<Timestamp>,
    /// What else holds its mail back at this moment: `rate`, `concurrency`.
    pub held_back_by: Vec<String>,
    /// Parts of messages that wait, and that are held.
    pub waiting: u64,
    pub held: u64,
    /// When the oldest that waits was accepted; where hundreds came with it, up to ten seconds too early.
    pub oldest: Option<Timestamp>,
    /// Recipients since the start: taken in, delivered, put off by an attempt, bounced.
    pub accepted: u64,
    pub delivered: u64,
    pub deferred: u64,
    pub bounced: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProviderStatus {
    pub name: String,
    pub transport: String,
    pub state: Standing,
    /// Since when it is not `closed`.
    pub since: Option<Timestamp>,
    /// When that ends by itself: the next probe of an open breaker, else the end of pause, drill, quota.
    pub until: Option<Timestamp>,
    /// What an operator has ordered of it.
    pub order: Option<OrderStatus>,
    /// What was said last that counted against it, be it well by now.
    pub last_error: Option<ErrorStatus>,
    /// Attempts that failed since one was answered, where it is `closed` all the same.
    #[serde(default)]
    pub failures_in_row: u32,
    /// Attempts under way, as many as may be now, and as many as may be when it is well.
    pub under_way: usize,
    pub allowed: usize,
    pub concurrency: usize,
    /// Attempts a second in the last minute.
    pub rate: f64,
    /// The limit of that: `500/s`.
    pub limit: Option<String>,
    pub quota: Option<QuotaStatus>,
    pub recent: RecentStatus,
    /// Destinations that are out or throttled, of a provider that delivers by destination: how many, and the first of them.
    pub destinations_out: usize,
    pub destinations: Vec<DestinationStatus>,
}

impl ProviderStatus {
    /// Not out yet, and on the way there. One failure alone says little.
    pub fn is_failing(&self) -> bool {
        self.state == Standing::Closed && self.failures_in_row > 1
    }
}

/// What keeps a provider from being used, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ProviderState)]
pub enum Standing {
    /// An operator has paused it.
    Paused,
    /// An operator plays its outage.
    Drill,
    /// Its breaker is open.
    Open,
    /// One message probes.
    HalfOpen,
    QuotaSpent,
    /// It asked for a pause.
    Throttled,
    /// It is used.
    Closed,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OrderStatus {
    /// `pause` or `drill`.
    pub kind: String,
    pub since: Timestamp,
    pub until: Timestamp,
    pub by: String,
    pub reason: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErrorStatus {
    pub at: Timestamp,
    /// `unavailable`, `unknown`, `throttled`.
    pub outcome: String,
    /// What was said, in full.
    pub text: String,
    pub destination: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QuotaStatus {
    pub messages: u64,
    /// The span that they are for, seconds.
    pub span: u64,
    pub used: u64,
    pub left: u64,
    /// When the count begins anew.
    pub until: Option<Timestamp>,
}

/// The last minutes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecentStatus {
    /// How much of the past that is, seconds.
    pub span: u64,
    pub attempts: u64,
    /// Attempts that ended so; an outcome that none had is left out.
    pub outcomes: BTreeMap<String, u64>,
    /// How long half of them took, and all but one in a hundred, seconds.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DestinationStatus {
    pub domain: String,
    pub state: Standing,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub last_error: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ListenerStatus {
    pub name: String,
    pub address: String,
    /// `none`, `starttls`, `implicit`.
    pub tls: String,
    pub listening: bool,
    pub connections: u64,
    pub max_connections: usize,
    /// Of these, under TLS.
    pub tls_connections: u64,
    /// Since the start.
    pub accepted: u64,
    pub refused: u64,
    pub turned_away: u64,
    pub logins: u64,
    pub failed_logins: u64,
}

/// How the relay stands
#[utoipa::path(
    get, path = "/api/v1/status", tag = "status",
    responses((status = 200, body = Status), (status = 401, body = ErrorBody), (status = 503, body = ErrorBody))
)]
async fn status(State(deps): State<Shared>) -> Result<Json<Status>, Fault> {
    Ok(Json(of(&deps).await?))
}

/// How the relay stands.
pub(super) async fn of(deps: &Shared) -> Result<Status, Fault> {
    // A queue that cannot be read is no reason to tell nothing.
    let (mut unreadable, mut depth, mut queued) = (None, Depth::default(), Vec::new());
    match (deps.queue.depth().await, deps.queue.routes().await) {
        (Ok(deep), Ok(routes)) => (depth, queued) = (deep, routes),
        (Err(error), _) | (_, Err(error)) => {
            unreadable = Some(error.to_string());
            depth.messages = deps.queue.messages();
        }
    }
    let snapshot = deps.control.snapshot().await?;
    let reasons = super::health::reasons(deps);
    let Snapshot { providers, routes } = snapshot;
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        configuration: deps.configuration.clone(),
        started: deps.started,
        now: deps.clock.wall(),
        ready: reasons.is_empty(),
        not_ready_because: reasons,
        queue: QueueStatus {
            unreadable,
            messages: depth.messages,
            // What has just come and is about to leave counts here alone.
            size: if depth.messages == 0 { 0 } else { deps.queue.size() },
            waiting: depth.waiting,
            held: depth.held,
            oldest: queued.iter().filter_map(|of| of.oldest).min(),
        },
        routes: all_routes(deps, &routes, queued),
        providers: providers.into_iter().map(provider).collect(),
        listeners: deps.listeners.load().iter().map(|listener| self::listener(deps, listener)).collect(),
        last_reload: deps.reloads.last().map(|last| Reload::clone(&last)),
    })
}

fn all_routes(deps: &Shared, routes: &[RouteSnapshot], queued: Vec<RouteDepth>) -> Vec<RouteStatus> {
    let names = |names: &[crate::mail::ProviderName]| names.iter().map(ToString::to_string).collect();
    let mut all: Vec<RouteStatus> = routes
        .iter()
        .map(|route| RouteStatus {
            action: route.action.to_owned(),
            chain: route.chain.iter().map(|tier| names(tier)).collect(),
            goes_to: names(&route.goes_to),
            waits_for: names(&route.waits_for),
            waits_until: route.waits_until,
            held_back_by: route.held_back_by.iter().map(|&what| what.to_owned()).collect(),
            ..without_traffic(route.name.as_str())
        })
        .collect();
    for of in queued {
        let route = match all.iter().position(|route| route.name == of.route.as_str()) {
            Some(at) => &mut all[at],
            None => {
                all.push(without_traffic(of.route.as_str()));
                let last = all.len() - 1;
                &mut all[last]
            }
        };
        (route.waiting, route.held, route.oldest) = (of.waiting, of.held, of.oldest);
    }
    for route in &mut all {
        let name = crate::mail::RouteName::new(&route.name);
        let out = deps.meter.routes.of(&name);
        route.accepted = deps.counts.routes.of(&name).get();
        (route.delivered, route.deferred, route.bounced) = (out.delivered.get(), out.deferred.get(), out.bounced.get());
    }
    all
}

fn without_traffic(name: &str) -> RouteStatus {
    RouteStatus {
        name: name.to_owned(),
        action: "gone".to_owned(),
        chain: Vec::new(),
        goes_to: Vec::new(),
        waits_for: Vec::new(),
        waits_until: None,
        held_back_by: Vec::new(),
        waiting: 0,
        held: 0,
        oldest: None,
        accepted: 0,
        delivered: 0,
        deferred: 0,
        bounced: 0,
    }
}

fn provider(of: ProviderSnapshot) -> ProviderStatus {
    let outcomes = OUTCOMES.iter().zip(of.recent.outcomes).filter(|(_, count)| *count > 0);
    ProviderStatus {
        name: of.name.to_string(),
        transport: of.transport.to_owned(),
        state: of.state.into(),
        since: of.since,
        until: of.until,
        order: of.order.as_ref().map(OrderStatus::from),
        last_error: of.last_error.map(|error| ErrorStatus {
            at: error.at,
            outcome: error.outcome.to_owned(),
            text: error.text,
            destination: error.destination.map(|domain| domain.to_string()),
        }),
        failures_in_row: of.failures_in_row,
        under_way: of.under_way,
        allowed: of.allowed,
        concurrency: of.concurrency,
        rate: of.rate,
        limit: of.limit.map(|limit| limit.rate.to_string()),
        quota: of.quota.map(|now| QuotaStatus {
            messages: now.quota.messages,
            span: now.quota.span.as_secs(),
            used: now.used,
            left: now.quota.messages.saturating_sub(now.used),
            until: now.until,
        }),
        recent: RecentStatus {
            span: of.recent.span.as_secs(),
            attempts: of.recent.attempts,
            outcomes: outcomes.map(|(name, count)| ((*name).to_owned(), count)).collect(),
            p50: of.recent.p50.as_ref().map(Duration::as_secs_f64),
            p99: of.recent.p99.as_ref().map(Duration::as_secs_f64),
        },
        destinations_out: of.destinations_out,
        destinations: of
            .destinations
            .into_iter()
            .map(|one| DestinationStatus {
                domain: one.domain.to_string(),
                state: one.state.into(),
                since: one.since,
                until: one.until,
                last_error: one.last_error,
            })
            .collect(),
    }
}

fn listener(deps: &Shared, listener: &super::ListenerFacts) -> ListenerStatus {
    let counts = deps.counts.listeners.of(&listener.name);
    ListenerStatus {
        name: listener.name.clone(),
        address: listener.address.to_string(),
        tls: listener.tls.to_owned(),
        listening: counts.up.get() > 0,
        connections: counts.connections.get(),
        max_connections: listener.max_connections,
        tls_connections: counts.tls.get(),
        accepted: counts.accepted.get(),
        refused: counts.refused.get() + counts.refused_for.iter().map(crate::metrics::Counter::get).sum::<u64>(),
        turned_away: counts.turned_away.get(),
        logins: counts.logins.get(),
        failed_logins: counts.failed_logins.get(),
    }
}

impl From<ProviderState> for Standing {
    fn from(state: ProviderState) -> Self {
        match state {
            ProviderState::Paused => Self::Paused,
            ProviderState::Drill => Self::Drill,
            ProviderState::Open => Self::Open,
            ProviderState::HalfOpen => Self::HalfOpen,
            ProviderState::QuotaSpent => Self::QuotaSpent,
            ProviderState::Throttled => Self::Throttled,
            ProviderState::Closed => Self::Closed,
        }
    }
}

impl From<&delivery::Order> for OrderStatus {
    fn from(order: &delivery::Order) -> Self {
        Self {
            kind: order.kind.name().to_owned(),
            since: order.since,
            until: order.until,
            by: order.by.clone(),
            reason: order.reason.clone(),
        }
    }
}
