//! What a queued part of a message waits for, of the providers of its route: how each of them stands at this moment, and the one
//! cause among them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ProviderStatus, RouteStatus, Standing, Status};
use crate::mail::Timestamp;
use crate::queue::Lane;

/// A provider of a chain, at this moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProviderNow {
    pub name: String,
    /// Its place in the chain, from 1; those of one tier share.
    pub tier: usize,
    /// It takes mail now.
    pub usable: bool,
    pub state: Standing,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Who ordered that and why, or what was said last that counted against it.
    pub why: Option<String>,
    /// Attempts under way, and as many as may be.
    pub under_way: usize,
    pub allowed: usize,
    /// Of its rate: `500/s`.
    pub limit: Option<String>,
    /// All of it in words.
    pub text: String,
}

/// Those that a lane's mail may go to, in order.
pub fn providers(status: &Status, lane: &Lane) -> Vec<ProviderNow> {
    let chain = match (&lane.via, route(status, lane)) {
        // A person moved it to this one.
        (Some(via), _) => vec![vec![via.to_string()]],
        (None, Some(route)) => route.chain.clone(),
        (None, None) => Vec::new(),
    };
    let mut all = Vec::new();
    for (tier, members) in (1..).zip(&chain) {
        for name in members {
            let found = status.providers.iter().find(|provider| provider.name == *name);
            all.extend(found.map(|provider| one(provider, tier, lane, status.now)));
        }
    }
    all
}

/// Why mail that is due is not in an attempt, and until when that holds where it is known.
pub fn cause(status: &Status, lane: &Lane, providers: &[ProviderNow]) -> (String, Option<Timestamp>) {
    let Some(route) = route(status, lane) else {
        return ("its route is in the table no more: it is routed anew".to_owned(), None);
    };
    if !route.held_back_by.is_empty() {
        let by = route.held_back_by.join(" and ");
        return (format!("its route has reached its {by}: it goes when there is room"), None);
    }
    let Some(next) = providers.iter().find(|provider| provider.usable) else {
        let until = providers.iter().filter_map(|provider| provider.until).min();
        let until_text = until.map(|until| format!(" before {until:.0}")).unwrap_or_default();
        return (format!("no provider of its chain may be tried{until_text}"), until);
    };
    let ProviderNow { name, under_way, allowed, limit, .. } = next;
    if under_way >= allowed {
        return (
            format!("provider {name} has {under_way} of {allowed} attempts under way: it goes when one ends"),
            None,
        );
    }
    let limit = limit.as_ref().map(|limit| format!(", at most {limit}")).unwrap_or_default();
    (format!("its turn: it goes to provider {name}, behind what came before it{limit}"), None)
}

fn route<'a>(status: &'a Status, lane: &Lane) -> Option<&'a RouteStatus> {
    status.routes.iter().find(|route| route.name == lane.route.as_str() && route.action != "gone")
}

fn one(provider: &ProviderStatus, tier: usize, lane: &Lane, now: Timestamp) -> ProviderNow {
    let (mut state, mut since, mut until) = (provider.state, provider.since, provider.until);
    let mut why = match (&provider.order, &provider.last_error) {
        (Some(order), _) if order.reason.is_empty() => Some(format!("by {}", order.by)),
        (Some(order), _) => Some(format!("by {}: {}", order.by, order.reason)),
        (None, Some(error)) if state != Standing::Closed => Some(error.text.clone()),
        (None, _) => None,
    };
    // Of one that delivers by destination, what counts is how it stands with this one.
    let domain = lane.destination.as_ref().map(|domain| domain.as_str());
    if let Some(of) = provider.destinations.iter().find(|of| state == Standing::Closed && Some(&*of.domain) == domain) {
        (state, since, until) = (of.state, of.since, of.until);
        why.clone_from(&of.last_error);
    }
    let over = until.is_some_and(|until| until <= now);
    let usable = match state {
        Standing::Closed | Standing::Drill => true,
        Standing::Open | Standing::Throttled | Standing::QuotaSpent | Standing::Paused => over,
        Standing::HalfOpen => false,
    };
    let word = match state {
        Standing::Paused => "paused",
        Standing::Drill => "up, in a drill of an outage",
        Standing::Open if over => "out, and the next message probes it",
        Standing::Open => "out, its breaker is open",
        Standing::HalfOpen => "out, and being probed now",
        Standing::QuotaSpent => "its quota is spent",
        Standing::Throttled => "asked for a pause",
        Standing::Closed => "up",
    };
    let mut text = word.to_owned();
    if let Some(since) = since {
        text.push_str(&format!(" since {since:.0}"));
    }
    if let Some(until) = until.filter(|_| !over) {
        text.push_str(&format!(", until {until:.0}"));
    }
    if let Some(why) = &why {
        text.push_str(&format!(" ({why})"));
    }
    if usable {
        text.push_str(&format!(", {} of {} attempts under way", provider.under_way, provider.allowed));
        if let Some(limit) = &provider.limit {
            text.push_str(&format!(", at most {limit}"));
        }
        if let Some(quota) = &provider.quota {
            text.push_str(&format!(", {} left of its quota", quota.left));
        }
    }
    ProviderNow {
        name: provider.name.clone(),
        tier,
        usable,
        state,
        since,
        until,
        why,
        under_way: provider.under_way,
        allowed: provider.allowed,
        limit: provider.limit.clone(),
        text,
    }
}
