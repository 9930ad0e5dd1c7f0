//! A record as people and programs read it: events, one for each thing that a record says. Their serialized form is that of
//! `waypost trace --json`, and stable.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::record::{Fate, Message, Record, Settled, Skip, Skips, Text, Then, What};
use crate::mail::{Mid, Timestamp};

/// What `event` may say.
pub const EVENTS: [&str; 15] = [
    "accepted",
    "routed",
    "held",
    "discarded",
    "refused",
    "skipped",
    "attempt",
    "delivered",
    "deferred",
    "moved",
    "bounced",
    "rerouted",
    "warned",
    "operator",
    "trail",
];

/// One event. A key that says nothing is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// The number of its record; events of one record became true together.
    pub record: u64,
    /// When, in UTC.
    pub at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mid: Option<String>,
    /// accepted, routed, held, discarded, refused, attempt, delivered, deferred, moved, bounced, rerouted, warned, skipped,
    /// operator, trail.
    pub event: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// The reverse-path; empty is the null one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helo: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The message that this one reports on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Of the routing table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The round through the chain, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Of a provider that was skipped: `open`, `half-open`, `paused`, `quota`, `throttled`, `sender`, `missing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Until when it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of an operator's act: what, who, and to what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// All events of a record, in the order in which they became true.
pub fn events(number: u64, record: &Record<'_>) -> Vec<Event> {
    let base =
        Event { record: number, at: time(record.at), mid: record.mid().map(|mid| mid.to_string()), ..Event::default() };
    let named = |event: &str| Event { event: event.to_owned(), ..base.clone() };
    match &record.what {
        What::Accepted(accepted) => {
            let mut events = vec![Event {
                recipients: texts(&accepted.message.recipients),
                ..of_message(named("accepted"), &accepted.message)
            }];
            let mut left: Vec<bool> = vec![true; accepted.message.recipients.len()];
            for routed in &accepted.routed {
                let names = routed.recipients.iter().filter_map(|index| {
                    let index = usize::try_from(*index).ok()?;
                    *left.get_mut(index)? = false;
                    Some(accepted.message.recipients.get(index)?.as_str().to_owned())
                });
                let event = Event {
                    recipients: names.collect(),
                    route: text(&routed.route),
                    revision: text(&accepted.revision),
                    destination: routed.destination.as_ref().and_then(text),
                    ..named("routed")
                };
                let held = routed.held.as_ref().map(|reason| Event {
                    recipients: event.recipients.clone(),
                    route: text(&routed.route),
                    reason: text(reason),
                    ..named("held")
                });
                events.push(event);
                events.extend(held);
            }
            let gone: Vec<String> = accepted
                .message
                .recipients
                .iter()
                .zip(left)
                .filter(|(_, left)| *left)
                .map(|(name, _)| name.as_str().to_owned())
                .collect();
            if !gone.is_empty() {
                events.push(Event { recipients: gone, revision: text(&accepted.revision), ..named("discarded") });
            }
            events
        }
        What::Discarded(discarded) => {
            let route: Vec<&str> = discarded.routes.iter().map(Text::as_str).collect();
            vec![Event {
                recipients: texts(&discarded.message.recipients),
                route: Some(route.join(",")),
                revision: text(&discarded.revision),
                ..of_message(named("discarded"), &discarded.message)
            }]
        }
        What::Refused(refused) => vec![Event {
            recipients: texts(&refused.message.recipients),
            reply: text(&refused.reply),
            ..of_message(named("refused"), &refused.message)
        }],
        What::Settled(settled) => settled.fates.iter().flat_map(|fate| of_fate(&base, settled, fate)).collect(),
        What::Act(act) => vec![Event {
            act: text(&act.act),
            who: text(&act.who),
            reason: text(&act.why),
            to: text(&act.to),
            recipients: texts(&act.recipients),
            ..named("operator")
        }],
        What::Trail(of_trail) => vec![Event { reason: Some(of_trail.to_string()), ..named("trail") }],
        What::Skipped(skips) => skips.providers.iter().map(|skip| of_skip(named("skipped"), skips, skip)).collect(),
    }
}

fn of_skip(event: Event, skips: &Skips<'_>, skip: &Skip<'_>) -> Event {
    let word = match skip.state.as_str() {
        "open" => "its breaker is open",
        "half-open" => "its breaker is half-open, and a probe under way",
        "paused" => "it is paused",
        "quota" => "its quota is spent",
        "throttled" => "it asked for a pause",
        "sender" => "it does not take the sender",
        "missing" => "it is not there",
        other => other,
    };
    let since = skip.since.map(|since| format!(" since {}", time(since))).unwrap_or_default();
    let why = text(&skip.why).map(|why| format!(" ({why})")).unwrap_or_default();
    Event {
        route: text(&skips.route),
        provider: text(&skip.provider),
        state: text(&skip.state),
        until: skip.until.map(time),
        reason: Some(format!("{word}{since}{why}")),
        ..event
    }
}

fn of_message(event: Event, message: &Message<'_>) -> Event {
    Event {
        sender: Some(message.sender.as_ref().map_or_else(String::new, |sender| sender.as_str().to_owned())),
        listener: text(&message.listener),
        client: message.client.map(|client| client.to_string()),
        user: message.user.as_ref().and_then(text),
        helo: message.helo.as_ref().and_then(text),
        protocol: text(&message.protocol),
        message_id: message.message_id.as_ref().and_then(text),
        size: Some(message.size),
        about: message.about.map(|about| Mid::from_bits(u128::from_be_bytes(about)).to_string()),
        duration_ms: Some(message.duration_ms),
        ..event
    }
}

fn of_fate(base: &Event, settled: &Settled<'_>, fate: &Fate<'_>) -> Vec<Event> {
    let base = Event { route: text(&settled.route), recipients: texts(&fate.recipients), ..base.clone() };
    let mut events = Vec::new();
    let said = |event: Event| match &fate.said {
        Some(said) => Event {
            outcome: said.outcome.as_ref().and_then(text),
            code: said.code,
            status: text(&said.status),
            reply: text(&said.text),
            remote: said.remote.as_ref().and_then(text),
            provider_id: said.provider_id.as_ref().and_then(text),
            ..event
        },
        None => event,
    };
    if let Some(attempt) = &settled.attempt {
        events.push(said(Event {
            event: "attempt".to_owned(),
            revision: text(&settled.revision),
            provider: text(&attempt.provider),
            destination: attempt.destination.as_ref().and_then(text),
            attempt: Some(attempt.number),
            probe: attempt.probe.then_some(true),
            duration_ms: Some(attempt.duration_ms),
            ..base.clone()
        }));
    }
    let provider = settled.attempt.as_ref().and_then(|attempt| text(&attempt.provider));
    let named = |event: &str| Event { event: event.to_owned(), ..base.clone() };
    let mut then = match &fate.then {
        Then::Delivered => Event { provider, ..named("delivered") },
        Then::Bounced { why } => Event { reason: why.as_ref().and_then(text), ..named("bounced") },
        Then::Deferred { due } => Event { until: Some(time(*due)), ..named("deferred") },
        Then::Moved => Event { provider, ..named("moved") },
        Then::Held { reason } => Event { reason: text(reason), ..named("held") },
        Then::Rerouted { route } => Event { to: text(route), revision: text(&settled.revision), ..named("rerouted") },
        Then::Discarded => named("discarded"),
        Then::Warned { until } => Event { until: Some(time(*until)), ..named("warned") },
    };
    if settled.attempt.is_none() {
        then = said(then);
    }
    events.push(then);
    events
}

fn text(text: &Text<'_>) -> Option<String> {
    (!text.as_str().is_empty()).then(|| text.as_str().to_owned())
}

fn texts(texts: &[Text<'_>]) -> Vec<String> {
    texts.iter().map(|text| text.as_str().to_owned()).collect()
}

fn time(ms: i64) -> String {
    moment(Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX))
}

pub(super) fn moment(at: Timestamp) -> String {
    format!("{at:.3}")
}
