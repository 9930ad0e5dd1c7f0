//! What spans tell, and what they keep to themselves.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;

use super::span::span;
use crate::audit::record::{
    Accepted, Act, Attempt, Fate, Message, OfTrail, Record, Refused, Routed, Said, Settled, Skip, Skips, Then, What,
    octets,
};
use crate::mail::{Mid, Timestamp};

const AT: i64 = 1_700_000_000_000;

fn at() -> Timestamp {
    Timestamp::from_millisecond(AT).unwrap()
}

fn mid(n: u128) -> Mid {
    Mid::new(at(), n)
}

/// As the exporter makes it of the trail's octets.
fn of(mid: Option<Mid>, what: What<'_>, sample: u8) -> Option<Span> {
    let record = Record::new(at(), mid, what);
    let mut octets = Vec::new();
    record.push(&mut octets);
    span(&octets[4..], &record, sample)
}

fn message() -> Message<'static> {
    Message {
        listener: "apps".into(),
        client: Some("192.0.2.7".parse().unwrap()),
        user: Some("shop@apps.example".into()),
        protocol: "ESMTPS".into(),
        sender: Some("app@shop.example".into()),
        recipients: vec!["bob@customer.example".into(), "eve@customer.example".into()],
        message_id: Some("1.abc@shop.example".into()),
        size: 1000,
        duration_ms: 20,
        ..Message::default()
    }
}

fn accepted(about: Option<Mid>) -> What<'static> {
    let held =
        Routed { route: "kept".into(), destination: None, recipients: vec![1], held: Some("to be looked at".into()) };
    let routed = Routed { route: "all".into(), destination: None, recipients: vec![0], held: None };
    let message = Message { about: about.map(octets), ..message() };
    What::Accepted(Accepted { message, revision: "0123456789ab".into(), routed: vec![routed, held] })
}

fn attempt(then: Then<'static>, reply: &'static str) -> What<'static> {
    let said = Said {
        outcome: Some("rejected".into()),
        code: Some(550),
        status: "5.1.1".into(),
        text: reply.into(),
        remote: Some("mx.customer.example".into()),
        provider_id: None,
    };
    What::Settled(Settled {
        revision: "0123456789ab".into(),
        route: "all".into(),
        attempt: Some(Attempt {
            provider: "out".into(),
            destination: Some("customer.example".into()),
            number: 1,
            probe: true,
            duration_ms: 300,
        }),
        fates: vec![Fate { recipients: vec!["bob@customer.example".into()], said: Some(said), then }],
    })
}

fn skips() -> Skips<'static> {
    let skip = Skip {
        provider: "out".into(),
        state: "open".into(),
        since: Some(AT),
        until: None,
        why: "550 bob@customer.example is unknown".into(),
    };
    Skips { route: "all".into(), providers: vec![skip] }
}

fn said<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

#[test]
fn a_message_is_a_trace_and_its_attempts_are_below_its_acceptance() {
    let first = of(Some(mid(1)), accepted(None), 100).unwrap();
    assert_eq!(first.trace_id, octets(mid(1)));
    assert_eq!((first.name.as_str(), first.kind(), first.parent_span_id.len()), ("accept", SpanKind::Server, 0));
    assert_eq!(first.end_time_unix_nano - first.start_time_unix_nano, 20_000_000);
    assert_eq!(first.end_time_unix_nano, 1_700_000_000_000_000_000);
    assert_eq!(said(&first, "waypost.mid"), Some(&Value::StringValue(mid(1).to_string())));
    assert_eq!(said(&first, "waypost.recipients"), Some(&Value::IntValue(2)));
    let events: Vec<_> = first.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["held"]);

    let bounced = of(Some(mid(1)), attempt(Then::Bounced { why: None }, "no such user"), 100).unwrap();
    assert_eq!((&bounced.trace_id, &bounced.parent_span_id), (&first.trace_id, &first.span_id));
    assert_eq!((bounced.name.as_str(), bounced.kind(), bounced.span_id.len()), ("attempt", SpanKind::Client, 8));
    assert_ne!(bounced.span_id, first.span_id);
    assert_eq!(bounced.end_time_unix_nano - bounced.start_time_unix_nano, 300_000_000);
    let status = bounced.status.clone().unwrap();
    assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "bounced"));
    assert_eq!(bounced.events[0].name, "bounced");

    let skipped = of(Some(mid(1)), What::Skipped(skips()), 100).unwrap();
    assert_eq!((skipped.name.as_str(), &skipped.parent_span_id), ("skip", &first.span_id));
    assert_eq!(skipped.events[0].attributes[1].key, "waypost.provider.state");

    let delivered = of(Some(mid(1)), attempt(Then::Delivered, "queued"), 100).unwrap();
    assert_eq!(delivered.status, None);
    assert_ne!(delivered.span_id, bounced.span_id);
    // Told twice, it is the same one.
    assert_eq!(of(Some(mid(1)), attempt(Then::Delivered, "queued"), 100), Some(delivered));
}

#[test]
fn a_report_is_linked_to_what_it_reports_on() {
    let first = of(Some(mid(1)), accepted(None), 100).unwrap();
    let report = of(Some(mid(2)), accepted(Some(mid(1))), 100).unwrap();
    assert_ne!(report.trace_id, first.trace_id);
    assert_eq!((&report.links[0].trace_id, &report.links[0].span_id), (&first.trace_id, &first.span_id));
}

#[test]
fn no_address_and_no_words_that_may_hold_one_leave_the_relay() {
    let refused = Refused { message: message(), reply: "550 5.7.1 eve@customer.example is not wanted".into() };
    let act = Act {
        act: "delete".into(),
        who: "ann".into(),
        recipients: vec!["bob@customer.example".into()],
        ..Act::default()
    };
    let whats = [
        accepted(Some(mid(7))),
        attempt(
            Then::Bounced { why: Some("bob@customer.example is unknown".into()) },
            "<bob@customer.example>: no such user",
        ),
        attempt(Then::Held { reason: "mail to bob@customer.example".into() }, "bob@customer.example"),
        What::Refused(refused),
        What::Skipped(skips()),
        What::Act(act),
    ];
    for what in whats {
        let span = of(Some(mid(1)), what, 100).unwrap();
        let octets = span.encode_to_vec();
        let text = String::from_utf8_lossy(&octets);
        assert!(!text.contains('@') && !text.contains("bob") && !text.contains("eve"), "{span:#?}");
    }
}

#[test]
fn what_is_about_no_message_has_no_span() {
    assert_eq!(of(None, What::Act(Act { act: "pause".into(), ..Act::default() }), 100), None);
    assert_eq!(of(None, What::Trail(OfTrail::Begun { lost: 0 }), 100), None);
}

#[test]
fn a_share_of_the_messages_is_traced_whole() {
    let traced = |n| of(Some(mid(n)), accepted(None), 10).is_some();
    let count = (0..2000).filter(|n| traced(*n)).count();
    assert!((120..280).contains(&count), "{count} of 2000");
    for n in 0..200 {
        assert_eq!(traced(n), of(Some(mid(n)), attempt(Then::Delivered, ""), 10).is_some());
    }
}
