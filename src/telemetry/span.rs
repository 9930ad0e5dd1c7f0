//! Spans of a record of the audit trail.
//!
//! Ids are made of what they stand for: the trace's is the mid, a span's a hash of its record. Attributes without a name in
//! OpenTelemetry's conventions begin with `waypost.`.

use aws_lc_rs::digest::{SHA256, digest};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use crate::audit::record::{
    Accepted, Act, Discarded, Fate, Message, Record, Refused, Settled, Skips, Text, Then, What,
};
use crate::mail::Mid;

/// The span of a record, for `sample` per cent of the messages; `None` also for what is about no message.
pub(super) fn span(octets: &[u8], record: &Record<'_>, sample: u8) -> Option<Span> {
    let mid = record.mid()?;
    if !is_sampled(&record.mid, sample) {
        return None;
    }
    let mut span = Span {
        trace_id: record.mid.to_vec(),
        end_time_unix_nano: nanos(record.at),
        start_time_unix_nano: nanos(record.at),
        // The trace is sampled (W3C Trace Context, 3.2.2.5.1).
        flags: 1,
        ..Span::default()
    };
    span.attributes.push(text("waypost.mid", &mid.to_string()));
    match &record.what {
        What::Accepted(accepted) => of_accepted(&mut span, record, accepted),
        What::Discarded(discarded) => of_discarded(&mut span, record, discarded),
        What::Refused(refused) => of_refused(&mut span, record, refused),
        What::Settled(settled) => {
            below(&mut span, octets, record);
            of_settled(&mut span, record, settled);
        }
        What::Skipped(skips) => {
            below(&mut span, octets, record);
            of_skips(&mut span, record, skips);
        }
        What::Act(act) => {
            below(&mut span, octets, record);
            of_act(&mut span, act);
        }
        What::Trail(_) => return None,
    }
    Some(span)
}

/// The same for every record of a message, and after every restart.
fn is_sampled(mid: &[u8; 16], percent: u8) -> bool {
    let hash = id(&[b"sample", mid]);
    u64::from_be_bytes(hash) % 100 < u64::from(percent)
}

fn id(parts: &[&[u8]]) -> [u8; 8] {
    let hash = digest(&SHA256, &parts.concat());
    let mut id = [0; 8];
    id.copy_from_slice(&hash.as_ref()[..8]);
    id
}

/// The span that a message's trace begins with.
fn first(mid: &[u8; 16]) -> Vec<u8> {
    id(&[b"message", mid]).to_vec()
}

fn below(span: &mut Span, octets: &[u8], record: &Record<'_>) {
    span.span_id = id(&[b"record", octets]).to_vec();
    span.parent_span_id = first(&record.mid);
}

fn of_message(span: &mut Span, record: &Record<'_>, message: &Message<'_>, name: &str) {
    span.span_id = first(&record.mid);
    span.name = name.to_owned();
    span.set_kind(SpanKind::Server);
    span.start_time_unix_nano = nanos(record.at - i64::from(message.duration_ms));
    span.attributes.push(text("waypost.listener", message.listener.as_str()));
    if !message.protocol.as_str().is_empty() {
        span.attributes.push(text("network.protocol.name", "smtp"));
        span.attributes.push(text("waypost.protocol", message.protocol.as_str()));
    }
    if let Some(client) = message.client {
        span.attributes.push(text("client.address", &client.to_string()));
    }
    span.attributes.push(number("waypost.size", message.size));
    span.attributes.push(number("waypost.recipients", message.recipients.len() as u64));
    if let Some(about) = message.about {
        let mid = Mid::from_bits(u128::from_be_bytes(about)).to_string();
        span.links.push(Link {
            trace_id: about.to_vec(),
            span_id: first(&about),
            attributes: vec![text("waypost.reports_on", &mid)],
            ..Link::default()
        });
    }
}

fn of_accepted(span: &mut Span, record: &Record<'_>, accepted: &Accepted<'_>) {
    of_message(span, record, &accepted.message, "accept");
    span.attributes.push(text("waypost.revision", accepted.revision.as_str()));
    span.attributes.push(texts("waypost.routes", accepted.routed.iter().map(|routed| &routed.route)));
    for routed in &accepted.routed {
        if let Some(held) = &routed.held {
            let attributes = vec![
                text("waypost.route", routed.route.as_str()),
                text("waypost.reason", held.as_str()),
                number("waypost.recipients", routed.recipients.len() as u64),
            ];
            span.events.push(event(record.at, "held", attributes));
        }
    }
}

fn of_discarded(span: &mut Span, record: &Record<'_>, discarded: &Discarded<'_>) {
    of_message(span, record, &discarded.message, "discard");
    span.attributes.push(text("waypost.revision", discarded.revision.as_str()));
    span.attributes.push(texts("waypost.routes", discarded.routes.iter()));
}

fn of_refused(span: &mut Span, record: &Record<'_>, refused: &Refused<'_>) {
    of_message(span, record, &refused.message, "refuse");
    // Its text may name an address.
    span.attributes.extend(refused.reply.as_str().get(..3).map(|code| text("waypost.reply.code", code)));
    fails(span, "refused");
}

fn of_settled(span: &mut Span, record: &Record<'_>, settled: &Settled<'_>) {
    span.attributes.push(text("waypost.route", settled.route.as_str()));
    span.attributes.push(text("waypost.revision", settled.revision.as_str()));
    match &settled.attempt {
        Some(attempt) => {
            span.name = "attempt".to_owned();
            span.set_kind(SpanKind::Client);
            span.start_time_unix_nano = nanos(record.at - i64::from(attempt.duration_ms));
            span.attributes.push(text("waypost.provider", attempt.provider.as_str()));
            span.attributes.push(number("waypost.round", u64::from(attempt.number)));
            if let Some(destination) = &attempt.destination {
                span.attributes.push(text("waypost.destination", destination.as_str()));
            }
            if attempt.probe {
                let value = Some(AnyValue { value: Some(Value::BoolValue(true)) });
                span.attributes.push(KeyValue { key: "waypost.probe".to_owned(), value, ..KeyValue::default() });
            }
            let said = settled.fates.iter().find_map(|fate| fate.said.as_ref());
            if let Some(remote) = said.and_then(|said| said.remote.as_ref()) {
                span.attributes.push(text("server.address", remote.as_str()));
            }
        }
        None => {
            span.name = "settle".to_owned();
            span.set_kind(SpanKind::Internal);
        }
    }
    for fate in &settled.fates {
        let (word, failed) = word(&fate.then);
        span.events.push(event(record.at, word, of_fate(fate)));
        if failed {
            fails(span, word);
        }
    }
}

fn of_fate(fate: &Fate<'_>) -> Vec<KeyValue> {
    let mut attributes = vec![number("waypost.recipients", fate.recipients.len() as u64)];
    if let Some(said) = &fate.said {
        attributes.extend(said.outcome.as_ref().map(|outcome| text("waypost.outcome", outcome.as_str())));
        attributes.extend(said.code.map(|code| number("waypost.reply.code", u64::from(code))));
        attributes.push(text("waypost.reply.status", said.status.as_str()));
        attributes.extend(said.provider_id.as_ref().map(|id| text("waypost.provider.id", id.as_str())));
    }
    if let Then::Rerouted { route } = &fate.then {
        attributes.push(text("waypost.route", route.as_str()));
    }
    attributes
}

/// As `waypost trace` has it, and whether something went wrong.
fn word(then: &Then<'_>) -> (&'static str, bool) {
    match then {
        Then::Delivered => ("delivered", false),
        Then::Bounced { why: _ } => ("bounced", true),
        Then::Deferred { due: _ } => ("deferred", true),
        Then::Moved => ("moved", true),
        Then::Held { reason: _ } => ("held", false),
        Then::Rerouted { route: _ } => ("rerouted", false),
        Then::Discarded => ("discarded", false),
        Then::Warned { until: _ } => ("warned", false),
    }
}

/// Providers that were passed over for the attempt that follows; why is in words that may name an address.
fn of_skips(span: &mut Span, record: &Record<'_>, skips: &Skips<'_>) {
    span.name = "skip".to_owned();
    span.set_kind(SpanKind::Internal);
    span.attributes.push(text("waypost.route", skips.route.as_str()));
    for skip in &skips.providers {
        let attributes =
            vec![text("waypost.provider", skip.provider.as_str()), text("waypost.provider.state", skip.state.as_str())];
        span.events.push(event(record.at, "skipped", attributes));
    }
}

fn of_act(span: &mut Span, act: &Act<'_>) {
    span.name = "operator".to_owned();
    span.set_kind(SpanKind::Internal);
    span.attributes.push(text("waypost.act", act.act.as_str()));
    span.attributes.push(text("waypost.who", act.who.as_str()));
}

fn fails(span: &mut Span, message: &str) {
    span.status = Some(Status { message: message.to_owned(), code: StatusCode::Error.into() });
}

fn event(at: i64, name: &str, attributes: Vec<KeyValue>) -> Event {
    Event { time_unix_nano: nanos(at), name: name.to_owned(), attributes, ..Event::default() }
}

/// Before 1970 there was no mail of ours.
fn nanos(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000)
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn number(key: &str, value: u64) -> KeyValue {
    let value = Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX));
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn texts<'a>(key: &str, values: impl Iterator<Item = &'a Text<'a>>) -> KeyValue {
    let values = values.map(|value| AnyValue { value: Some(Value::StringValue(value.as_str().to_owned())) });
    let value = Value::ArrayValue(ArrayValue { values: values.collect() });
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
