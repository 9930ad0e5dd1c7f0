//! A stream of mail while its primary provider fails in every way a provider can.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::support::api::{Api, Mode};
use crate::support::load::{Load, Stream};
use crate::support::relay::{Relay, Setup};
use crate::support::sink::Sink;
use crate::support::{BOUND, alone, long, until, until_true};

/// The ways in which the primary fails, and what the log must call it.
const CUTS: [(&str, Mode); 5] = [
    ("connection refused", Mode::Refuse),
    ("accepts and hangs", Mode::Hang),
    ("503", Mode::Answer(503, "", "")),
    (
        "401",
        Mode::Answer(
            401,
            "",
            "{\"errors\":[{\"message\":\"The provided authorization grant is invalid, expired, or revoked\"}]}",
        ),
    ),
    (
        "429 with Retry-After",
        Mode::Answer(429, "Retry-After: 1\r\n", "{\"errors\":[{\"message\":\"too many requests\"}]}"),
    ),
];

#[test]
fn every_kind_of_outage_loses_nothing() {
    let _alone = alone();
    let (rate, phase, timeout) = long((200, Duration::from_secs(20), "5s"), (100, Duration::from_secs(3), "1s"));
    let primary = Api::start();
    let secondary = Sink::start();
    let relay = Setup::new()
        .env("WAYPOST_TEST_KEY", "SG.test")
        .route("name: all, deliver: [primary, secondary], on_throttle: failover")
        .provider(&format!(
            "name: primary, transport: sendgrid, api_key: \"${{env:WAYPOST_TEST_KEY}}\", endpoint: \"{}\", timeout: {timeout}, \
             concurrency: 64, breaker: {{failures: 5, within: 10s, probe_after: 1s, probe_max: 2s}}",
            primary.endpoint()
        ))
        .provider(&format!("name: secondary, transport: smtp, {}, concurrency: 64", secondary.as_host()))
        .start();
    let load = Load::start(Stream {
        to: relay.address,
        from: "app@shop.example".to_owned(),
        recipient: "someone@customer.example".to_owned(),
        rate: Some(rate),
        sessions: 8,
        size: 1_000,
        first: 1,
        most: None,
    });
    until_true("mail flows through the primary", BOUND, || primary.taken().len() > 20);

    for (name, mode) in CUTS {
        let before = secondary.count();
        primary.set(mode);
        let cut = Instant::now();
        until_true(&format!("{name}: mail flows through the secondary"), BOUND, || secondary.count() > before + 20);
        // The outage lasts on: that is the phase's measure, and not a wait for something.
        std::thread::sleep(phase.saturating_sub(cut.elapsed()));
        primary.set(Mode::Take);
        let back = Instant::now();
        until_true(&format!("{name}: traffic returns to the primary"), BOUND, || primary.taken_since(back) > 20);
        println!("{name}: through the secondary {}, back after {:?}", secondary.count() - before, back.elapsed());
    }

    let refused = load.refused();
    let acknowledged = load.stop();
    assert_eq!(refused, Vec::<String>::new(), "the stream was refused");
    let arrived = || {
        let mut arrived = primary.taken();
        for mark in secondary.mails().iter().filter_map(|mail| mail.mark()) {
            *arrived.entry(mark).or_default() += 1;
        }
        arrived
    };
    let all_there = || {
        let arrived = arrived();
        acknowledged.marks().all(|mark| arrived.contains_key(&mark))
    };
    until_true("all mail has arrived", long(Duration::from_secs(120), BOUND), all_there);
    duplicates_only_after_unknown(&relay, arrived(), &primary.unanswered());
    first_through_the_secondary(&relay);
    println!("{} messages, {:.0} a second", acknowledged.count(), acknowledged.rate());
}

/// A message that arrived twice had an attempt of outcome `unknown`. What the hanging provider had read whole counts as
/// arrived there as well, as it may have been.
fn duplicates_only_after_unknown(relay: &Relay, mut arrived: HashMap<u64, usize>, unanswered: &HashMap<u64, usize>) {
    for (mark, count) in unanswered {
        *arrived.entry(*mark).or_default() += count;
    }
    let duplicates: usize = arrived.values().map(|count| count - 1).sum();
    // The last attempts arrive a moment before the log tells them.
    let unknown = until("an attempt of unknown outcome for each duplicate", BOUND, || {
        let attempts = relay.log().attempts();
        Some(attempts.iter().filter(|attempt| attempt.is("outcome", "unknown")).count()).filter(|n| *n >= duplicates)
    });
    println!("duplicates at most: {duplicates}; attempts of unknown outcome: {unknown}");
    let twice_answered: Vec<_> =
        arrived.iter().filter(|(mark, count)| **count > 1 + unanswered.get(mark).copied().unwrap_or(0)).collect();
    assert!(twice_answered.is_empty(), "sent twice though a provider had answered: {twice_answered:?}");
}

/// After each opening of the primary's breaker, the secondary has delivered within a second.
fn first_through_the_secondary(relay: &Relay) {
    let opened = relay.log().breaker("primary", "open");
    assert!(opened.len() >= 4, "the breaker opened {} times:\n{opened:?}", opened.len());
    let delivered: Vec<_> = relay
        .log()
        .attempts()
        .iter()
        .filter(|attempt| attempt.is("provider", "secondary") && attempt.is("outcome", "delivered"))
        .map(super::support::log::Line::at)
        .collect();
    for line in &opened {
        let first = delivered.iter().find(|at| **at >= line.at());
        let after = first.map(|at| at.duration_since(line.at()));
        assert!(
            after.is_some_and(|after| after.as_millis() <= 1_000),
            "the breaker opened at {}, the first through the secondary came {after:?} later",
            line.at()
        );
    }
    relay.log().once("that the breaker closes", |line| line.is_breaker("primary", "closed"));
}

#[test]
fn a_refused_key_moves_mail_at_the_first_attempt() {
    let primary = Api::start();
    primary.set(Mode::Answer(401, "", "{\"errors\":[{\"message\":\"authorization required\"}]}"));
    let secondary = Sink::start();
    let relay = Setup::new()
        .env("WAYPOST_TEST_KEY", "SG.revoked")
        .route("name: all, deliver: [primary, secondary]")
        .provider(&format!(
            "name: primary, transport: sendgrid, api_key: \"${{env:WAYPOST_TEST_KEY}}\", endpoint: \"{}\", \
             breaker: {{failures: 5, within: 30s, probe_after: 1h}}",
            primary.endpoint()
        ))
        .provider(&format!("name: secondary, transport: smtp, {}", secondary.as_host()))
        .start();
    for mark in 0..5 {
        let content = crate::support::marked(mark, "a@shop.example", "b@customer.example", 500);
        relay.send("a@shop.example", &["b@customer.example"], &content);
        secondary.wait_for(mark as usize + 1);
    }
    // The breaker opened at once: the primary saw the first message alone.
    assert_eq!(primary.requests(), 1);
    until("the log tells it", BOUND, || relay.log().breaker("primary", "open").into_iter().next());
    // No secret is in the log.
    assert!(!relay.log().raw().contains("SG.revoked"));
}
