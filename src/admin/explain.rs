//! `GET /api/v1/explain/{mid}`: why a message went where it went, and what it waits for.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::{ErrorBody, Fault, ProviderNow, Shared, Status, trace, waiting};
use crate::audit::Event;
use crate::mail::{Diagnosis, Envelope, Mid, Timestamp};
use crate::queue::{Leg, LegState, Listed, PassedWhy};
use crate::routing::{Explanation, Facts};

/// Attempts that are told.
const ATTEMPTS: usize = 10;

#[derive(OpenApi)]
#[openapi(paths(explain))]
pub(super) struct Described;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/explain/{mid}", get(explain))
}

/// Why a message went where it went, and what it waits for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Explained {
    pub mid: String,
    /// Some of it is in the queue.
    pub queued: bool,
    /// Of the table in force now.
    pub revision: String,
    /// How it was routed when it came, from the audit trail: each event names the table's revision then.
    pub routed: Vec<Event>,
    /// Its last attempts, and in front of each the providers of the chain that could not be chosen then, and why.
    pub attempts: Vec<Event>,
    /// The last event of the trail.
    pub last: Option<Event>,
    /// Of what is queued: what each part waits for.
    pub waits: Vec<Wait>,
    /// Of what is queued: what the table in force says of each recipient, as `waypost explain --json` has it.
    #[schema(value_type = Vec<Object>)]
    pub recipients: Vec<serde_json::Value>,
    /// The whole, for people.
    pub text: String,
}

/// Recipients that wait together.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Wait {
    pub recipients: Vec<String>,
    pub route: String,
    pub destination: Option<String>,
    /// held, attempt, retry or turn.
    pub state: String,
    /// In words.
    pub cause: String,
    /// When it falls due by itself; `null`: a person must act, or it is under way.
    #[schema(value_type = Option<String>)]
    pub due: Option<Timestamp>,
    /// Rounds through the chain that ended in a deferral.
    pub rounds: u32,
    /// How the providers of its chain stand now.
    pub providers: Vec<ProviderNow>,
}

/// Why a message went where it went, and what it waits for
#[utoipa::path(
    get, path = "/api/v1/explain/{mid}", tag = "trail", params(("mid" = String, Path, description = "The message's id")),
    responses(
        (status = 200, body = Explained), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)
    )
)]
async fn explain(State(deps): State<Shared>, Path(mid): Path<String>) -> Result<Json<Explained>, Fault> {
    let mid: Mid = mid.parse().map_err(|error: crate::mail::MidError| Fault::bad_request(error.to_string()))?;
    let events = match &deps.trail {
        Some(_) => trace::reading(&deps, move |trail| Ok(trail.find(&mid.to_string(), 1)?.events)).await?,
        None => Vec::new(),
    };
    let listed = deps.queue.message(mid).await?;
    if listed.is_none() && events.is_empty() {
        return Err(Fault::not_found(format!("neither the queue nor the audit trail knows {mid}")));
    }
    let (mut waits, mut explanations) = (Vec::new(), Vec::new());
    if let Some(Listed { envelope, legs }) = &listed {
        let status = super::status::of(&deps).await?;
        waits = legs.iter().map(|(_, leg, leased)| wait(envelope, leg, *leased, &status)).collect();
        let header = deps.queue.content(mid, envelope).header().await?;
        let header = crate::mail::HeaderSection::new(header);
        let indices = legs.iter().flat_map(|(_, leg, _)| &leg.recipients).map(|recipient| recipient.index);
        for recipient in indices.filter_map(|index| envelope.recipients.get(index as usize)) {
            explanations.push(deps.operator.table().explain(&Facts {
                sender: envelope.reverse_path.as_ref(),
                recipient: &recipient.address,
                listener: &envelope.origin.listener,
                client: envelope.origin.client,
                user: envelope.origin.user.as_deref(),
                header: Some(&header),
                size: Some(envelope.size),
            }));
        }
    }
    let made = events.iter().filter(|event| event.event == "attempt").count();
    let mut explained = Explained {
        mid: mid.to_string(),
        queued: listed.is_some(),
        revision: deps.operator.table().revision().to_owned(),
        routed: events.iter().filter(|event| ["routed", "rerouted"].contains(&&*event.event)).cloned().collect(),
        attempts: attempts(&events),
        last: events.last().cloned(),
        waits,
        recipients: explanations.iter().filter_map(|explanation| serde_json::to_value(explanation).ok()).collect(),
        text: String::new(),
    };
    explained.text = text(&explained, &explanations, made.saturating_sub(ATTEMPTS));
    Ok(Json(explained))
}

/// The last attempts, each with those that were skipped for it.
fn attempts(events: &[Event]) -> Vec<Event> {
    let mut told: Vec<Event> = Vec::new();
    let mut left = ATTEMPTS;
    for event in events.iter().rev() {
        match &*event.event {
            "attempt" if left == 0 => break,
            "attempt" => left -= 1,
            "skipped" => {}
            _ => continue,
        }
        told.push(event.clone());
    }
    told.reverse();
    told
}

/// The one cause.
fn wait(envelope: &Envelope, leg: &Leg, leased: bool, status: &Status) -> Wait {
    let providers = waiting::providers(status, (&leg.lane).into());
    let last: Option<&Diagnosis> = leg.recipients.iter().find_map(|recipient| recipient.last.as_ref());
    let said = last.map_or_else(String::new, |last| format!("; last said: {last}"));
    let passed: Vec<String> = leg
        .passed
        .iter()
        .map(|passed| match passed.why {
            PassedWhy::Tried => format!("{} failed this round", passed.provider),
            PassedWhy::Unsupported => format!("{} cannot carry it", passed.provider),
        })
        .collect();
    let passed = if passed.is_empty() { String::new() } else { format!("; {}", passed.join(", ")) };
    let (state, cause, due) = match &leg.state {
        LegState::Held { reason } => ("held", format!("it is held: {reason}; a person must release it"), None),
        LegState::Waiting if leased && providers.iter().any(|provider| provider.under_way > 0) => {
            ("attempt", format!("an attempt is under way, or about to begin{passed}"), None)
        }
        LegState::Waiting if leg.due > status.now => {
            ("retry", format!("it is tried again at {:.0}{passed}{said}", leg.due), Some(leg.due))
        }
        LegState::Waiting => {
            let (cause, until) = waiting::cause(status, (&leg.lane).into(), &providers);
            ("turn", format!("{cause}{passed}{said}"), Some(until.unwrap_or(leg.due)))
        }
    };
    let address = |index: u32| envelope.recipients.get(index as usize).map(|recipient| recipient.address.to_string());
    Wait {
        recipients: leg.recipients.iter().filter_map(|recipient| address(recipient.index)).collect(),
        route: leg.lane.route.to_string(),
        destination: leg.lane.destination.as_ref().map(ToString::to_string),
        state: state.to_owned(),
        cause,
        due,
        rounds: leg.attempts,
        providers,
    }
}

/// `earlier`: attempts before those that are told.
fn text(explained: &Explained, explanations: &[Explanation], earlier: usize) -> String {
    let mut text = format!("{}\n", explained.mid);
    for event in &explained.routed {
        text.push_str(&format!("  {event}\n"));
    }
    if earlier > 0 {
        let (many, mid) = (earlier, &explained.mid);
        text.push_str(&format!("  earlier attempts, {many}: `waypost trace {mid}` has them\n"));
    }
    for event in &explained.attempts {
        text.push_str(&format!("  {event}\n"));
    }
    match &explained.last {
        Some(last) if !explained.queued => text.push_str(&format!("  it is not queued any more; last:\n  {last}\n")),
        Some(_) | None => {}
    }
    for wait in &explained.waits {
        text.push_str(&format!("  {} waits in route '{}': {}\n", wait.recipients.join(", "), wait.route, wait.cause));
        for provider in &wait.providers {
            text.push_str(&format!("    {}. provider {}: {}\n", provider.tier, provider.name, provider.text));
        }
    }
    if !explanations.is_empty() {
        text.push_str(&format!("by the table in force, revision {}:\n", explained.revision));
    }
    explanations.iter().for_each(|explanation| text.push_str(&explanation.to_string()));
    text
}
