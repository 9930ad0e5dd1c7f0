//! What a queued part of a message waits for, of the providers of its route: how each of them stands at this moment, and the one
//! cause among them. The queue alone does not know: with the relay stopped, mail that is due waits for its turn.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ProviderStatus, RouteStatus, Shared, Standing, Status};
use crate::delivery::operate::{Filter, Message, OperateError, Page, State};
use crate::mail::Timestamp;
use crate::queue::Lane;

/// A lane, by its names.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub route: &'a str,
    pub destination: Option<&'a str>,
    /// The provider that a person moved it to.
    pub via: Option<&'a str>,
}

impl<'a> From<&'a Lane> for Place<'a> {
    fn from(lane: &'a Lane) -> Self {
        let Lane { route, destination, via, .. } = lane;
        Self {
            route: route.as_str(),
            destination: destination.as_ref().map(|domain| domain.as_str()),
            via: via.as_ref().map(|provider| provider.as_str()),
        }
    }
}

/// A part of the queue's list; what is due says what it waits for.
pub async fn list(deps: &Shared, filter: &Filter, after: Option<&str>, most: usize) -> Result<Page, OperateError> {
    let mut page = deps.operator.list(filter, after, most).await?;
    let Some(status) = status(deps, page.entries.iter().map(|entry| (entry.state, entry.due))).await else {
        return Ok(page);
    };
    for entry in page.entries.iter_mut().filter(|entry| entry.state == State::Waiting && entry.due <= status.now) {
        let place = Place {
            route: &entry.route,
            destination: entry.destination.as_deref(),
            via: entry.moved_to_provider.as_deref(),
        };
        (entry.waits, entry.until) =
            due(&status, place, entry.in_hand).map_or((None, None), |(cause, until)| (Some(cause), until));
    }
    Ok(page)
}

/// The same for one message.
pub async fn message(deps: &Shared, mid: &str) -> Result<Message, OperateError> {
    let mut message = deps.operator.show(mid).await?;
    let Some(status) = status(deps, message.legs.iter().map(|leg| (leg.state, leg.due))).await else {
        return Ok(message);
    };
    for leg in message.legs.iter_mut().filter(|leg| leg.state == State::Waiting && leg.due <= status.now) {
        let place =
            Place { route: &leg.route, destination: leg.destination.as_deref(), via: leg.moved_to_provider.as_deref() };
        if let Some((cause, until)) = due(&status, place, leg.in_hand) {
            (leg.waits, leg.until) = (cause, until);
        }
    }
    Ok(message)
}

/// Where something is due. `None` also where delivery has ended: then nobody knows more than the queue.
async fn status(deps: &Shared, mut waiting: impl Iterator<Item = (State, Timestamp)>) -> Option<Status> {
    let now = deps.clock.now();
    if waiting.any(|(state, due)| state == State::Waiting && due <= now) {
        super::status::of(deps).await.ok()
    } else {
        None
    }
}

/// `None`: it is in an attempt, as far as can be told.
fn due(status: &Status, place: Place<'_>, in_hand: bool) -> Option<(String, Option<Timestamp>)> {
    let providers = providers(status, place);
    let attempt = in_hand && providers.iter().any(|provider| provider.under_way > 0);
    (!attempt).then(|| cause(status, place, &providers))
}

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
pub fn providers(status: &Status, place: Place<'_>) -> Vec<ProviderNow> {
    let chain = match (place.via, route(status, place)) {
        // A person moved it to this one.
        (Some(via), _) => vec![vec![via.to_owned()]],
        (None, Some(route)) => route.chain.clone(),
        (None, None) => Vec::new(),
    };
    let mut all = Vec::new();
    for (tier, members) in (1..).zip(&chain) {
        for name in members {
            let found = status.providers.iter().find(|provider| provider.name == *name);
            all.extend(found.map(|provider| one(provider, tier, place, status.now)));
        }
    }
    all
}

/// What mail that is due and in no attempt waits for, as the end of a sentence, and until when, where that is known.
pub fn cause(status: &Status, place: Place<'_>, providers: &[ProviderNow]) -> (String, Option<Timestamp>) {
    let Some(route) = route(status, place) else {
        return ("to be routed anew: its route is in the table no more".to_owned(), None);
    };
    if !route.held_back_by.is_empty() {
        let by = route.held_back_by.join(" and ");
        return (format!("for room in its route, which has reached its {by}"), None);
    }
    // One that asked for a pause may be waited for although the next of the chain is well: the route says where its mail goes,
    // where no person has said so. A destination may be out although its provider is well.
    let chosen = |of: &&ProviderNow| place.via.is_some() || route.goes_to.contains(&of.name);
    let Some(next) = providers.iter().filter(chosen).find(|of| of.usable) else {
        let mut of: Vec<&ProviderNow> = providers.iter().filter(chosen).collect();
        if of.is_empty() {
            of = providers.iter().filter(|of| route.waits_for.contains(&of.name)).collect();
        }
        let names = of.iter().map(|of| of.name.as_str()).collect::<Vec<_>>().join(", ");
        let to = place.destination.map(|domain| format!(" to {domain}")).unwrap_or_default();
        return match of.iter().filter_map(|of| of.until).min() {
            Some(until) if until <= status.now => (format!("for its turn: the next message tries {names}"), None),
            Some(until) => (format!("for {names}, not to be tried{to} before {until:.0}"), Some(until)),
            None => (format!("for {names}, where a probe is under way"), None),
        };
    };
    let ProviderNow { name, under_way, allowed, limit, .. } = next;
    if under_way >= allowed {
        return (format!("for room at provider {name}: {under_way} of {allowed} attempts are under way"), None);
    }
    let limit = limit.as_ref().map(|limit| format!(", at most {limit}")).unwrap_or_default();
    (format!("for its turn: it goes to provider {name}, behind what came before it{limit}"), None)
}

fn route<'a>(status: &'a Status, place: Place<'_>) -> Option<&'a RouteStatus> {
    status.routes.iter().find(|route| route.name == place.route && route.action != "gone")
}

fn one(provider: &ProviderStatus, tier: usize, place: Place<'_>, now: Timestamp) -> ProviderNow {
    let (mut state, mut since, mut until) = (provider.state, provider.since, provider.until);
    let mut why = match (&provider.order, &provider.last_error) {
        (Some(order), _) if order.reason.is_empty() => Some(format!("by {}", order.by)),
        (Some(order), _) => Some(format!("by {}: {}", order.by, order.reason)),
        (None, Some(error)) if state != Standing::Closed => Some(error.text.clone()),
        (None, _) => None,
    };
    // Of one that delivers by destination, what counts is how it stands with this one.
    let destination = |of: &&super::DestinationStatus| Some(&*of.domain) == place.destination;
    if let Some(of) = provider.destinations.iter().filter(|_| state == Standing::Closed).find(destination) {
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
