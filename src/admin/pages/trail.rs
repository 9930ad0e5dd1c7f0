//! The audit trail: what became of messages, as a timeline.

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use maud::{Markup, html};

use super::fields::Fields;
use super::layout::{Place, Trouble, View};
use super::show::{Tone, duration, number, path, plural};
use crate::admin::{Fault, Shared, trace};
use crate::audit::{Event, Found};

/// Messages that one search shows, the newest.
const MESSAGES: usize = 20;
/// Recipients of one event that are named.
const NAMED: usize = 5;

pub fn routes() -> Router<Shared> {
    Router::new().route("/trail", get(page))
}

async fn page(State(deps): State<Shared>, RawQuery(query): RawQuery, view: View) -> Result<Markup, Trouble> {
    let asked = Fields::read(query.unwrap_or_default().as_bytes());
    let wanted = asked.get("wanted");
    let found = match wanted {
        Some(wanted) => Some(find(&deps, wanted).await?),
        None => None,
    };
    Ok(view.page(
        Place::Trail,
        "Trail",
        &html! {
            h1 { "Trail" }
            form.acts method="get" action="/trail" role="search" {
                div {
                    label for="wanted" { "Message id, address, Message-ID or provider's id" }
                    input #wanted name="wanted" value=[wanted] required;
                }
                button.primary type="submit" { "Trace" }
            }
            @if let (Some(found), Some(wanted)) = (&found, wanted) {
                @if found.events.is_empty() { p.none { "The trail has nothing of " strong { (wanted) } "." } }
                @if found.left_out > 0 { p.muted { (plural(found.left_out as u64, "older message")) " left out." } }
                // The newest first.
                @for events in found.events.chunk_by(|a, b| a.mid == b.mid).collect::<Vec<_>>().into_iter().rev() { (of_one(events)) }
            }
        },
    ))
}

/// What the trail has under a name.
async fn find(deps: &Shared, wanted: &str) -> Result<Found, Fault> {
    let wanted = wanted.to_owned();
    trace::reading(deps, move |trail| trail.find(&wanted, MESSAGES)).await
}

/// What became of one message; `None`: no trail is kept.
pub async fn of_message(deps: &Shared, mid: &str) -> Result<Option<Vec<Event>>, Fault> {
    if deps.trail.is_none() {
        return Ok(None);
    }
    Ok(Some(find(deps, mid).await?.events))
}

fn of_one(events: &[Event]) -> Markup {
    let mid = events.first().and_then(|event| event.mid.as_deref());
    html! {
        section.card {
            h2 { @match mid { Some(mid) => a.break href={ "/message/" (mid) } { code { (mid) } }, None => "No message" } }
            (timeline(events))
        }
    }
}

pub fn timeline(events: &[Event]) -> Markup {
    html! { ol.timeline { @for event in events { (line(event)) } } }
}

fn tone(event: &Event) -> Tone {
    match (event.event.as_str(), event.outcome.as_deref()) {
        ("delivered", _) | ("attempt", Some("delivered")) => Tone::Good,
        ("bounced" | "refused", _) | ("attempt", Some("rejected" | "unavailable" | "unknown")) => Tone::Bad,
        ("deferred" | "held" | "warned" | "moved" | "skipped", _) | ("attempt", _) => Tone::Warn,
        _ => Tone::Calm,
    }
}

fn line(event: &Event) -> Markup {
    let Event { at, event: what, recipients, sender, reply, reason, outcome, .. } = event;
    let word = |label: &str, text: &Option<String>| {
        html! { @if let Some(text) = text { span.muted { " " (label) " " } (text) } }
    };
    let code = event.code.map(|code| format!("{code} ")).unwrap_or_default();
    let status = event.status.as_ref().map(|status| format!("{status} ")).unwrap_or_default();
    html! {
        li class=(tone(event).class()) {
            div {
                strong { (what) }
                @if let Some(outcome) = outcome { ": " (outcome) }
                @if let Some(act) = &event.act { ": " (act) }
                (word("by", &event.who)) (word("to", &event.to))
                (word("route", &event.route)) (word("provider", &event.provider)) (word("until", &event.until))
                @if let Some(attempt) = event.attempt { span.muted { " round " } (attempt) @if event.probe == Some(true) { " (a probe)" } }
                " " time.muted.small datetime=(at) { (at) }
            }
            @if let Some(reply) = reply {
                div.break { (code) (status) (reply) @if let Some(remote) = &event.remote { span.muted { " (" (remote) ")" } } }
            }
            @if let Some(reason) = reason { div.break { (reason) } }
            div.small.break {
                @if let Some(sender) = sender { span.muted { "from " } (path(Some(sender.as_str()).filter(|from| !from.is_empty()))) " " }
                @if !recipients.is_empty() {
                    span.muted { "to " } (recipients.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "))
                    @if recipients.len() > NAMED { " and " (plural((recipients.len() - NAMED) as u64, "other")) }
                }
                (word("listener", &event.listener)) (word("client", &event.client)) (word("user", &event.user))
                (word("for", &event.destination)) (word("id", &event.provider_id)) (word("revision", &event.revision))
                (word("Message-ID", &event.message_id))
                @if let Some(about) = &event.about { span.muted { " reports on " } a href={ "/message/" (about) } { (about) } }
                @if let Some(size) = event.size { span.muted { ", " (number(size)) " octets" } }
                @if let Some(ms) = event.duration_ms.filter(|ms| *ms > 0) {
                    span.muted { ", took " (duration(std::time::Duration::from_millis(u64::from(ms)))) }
                }
            }
        }
    }
}
