//! A route's rate holds, and hinders nobody else.

use std::time::{Duration, Instant};

use crate::support::load::{Load, Stream};
use crate::support::relay::{Relay, Setup};
use crate::support::sink::Sink;
use crate::support::{BOUND, alone, until, until_true};

fn stream(relay: &Relay, sender: &str, most: u64, first: u64) -> Load {
    Load::start(Stream {
        to: relay.address,
        from: sender.to_owned(),
        recipient: "someone@customer.example".to_owned(),
        rate: None,
        sessions: 4,
        size: 1_000,
        first,
        most: Some(most),
    })
}

/// Arrivals within `window` after the first second, a second.
fn pace(sink: &Sink, window: Duration) -> f64 {
    let times: Vec<Instant> = sink.mails().iter().map(|mail| mail.at).collect();
    let start = *times.iter().min().unwrap() + Duration::from_secs(1);
    times.iter().filter(|at| **at >= start && **at < start + window).count() as f64 / window.as_secs_f64()
}

#[test]
fn fifty_a_second_are_fifty_a_second() {
    let _alone = alone();
    let (slow, fast) = (Sink::start(), Sink::start());
    let relay = Setup::new()
        .route("name: slow, match: {sender: \"slow@*\"}, rate: 50/s, deliver: [slow]")
        .route("name: fast, deliver: [fast]")
        .provider(&format!("name: slow, transport: smtp, {}", slow.as_host()))
        .provider(&format!("name: fast, transport: smtp, {}", fast.as_host()))
        .start();
    let slow_load = stream(&relay, "slow@shop.example", 800, 0);
    slow_load.finish();
    // The other route's mail comes while the first one's waits for its permits, and overtakes it.
    let before = slow.count();
    stream(&relay, "app@shop.example", 1_000, 10_000).finish();
    until_true("the unlimited route is done", BOUND, || fast.count() == 1_000);
    assert!(slow.count() < 800, "the limited route was done before the unlimited one: {before} of 800");
    let window = Duration::from_secs(10);
    until("eleven seconds of the limited route", BOUND, || {
        let mails = slow.mails();
        let first = mails.iter().map(|mail| mail.at).min()?;
        (mails.len() >= 800 || first.elapsed() > window + Duration::from_secs(1)).then_some(())
    });
    let pace = pace(&slow, window);
    println!("the limited route passed {pace:.1} a second over 10 s");
    assert!((pace - 50.0).abs() <= 2.0, "{pace:.1} a second over 10 s, not 50 ± 2");
    until_true("all of the limited route's mail arrives", BOUND, || slow.count() == 800);
}

#[test]
fn a_rate_counts_recipients_where_it_says_so() {
    let _alone = alone();
    let sink = Sink::start();
    let relay = Setup::new()
        .route("name: all, rate: 20/s, per: recipient, deliver: [out]")
        .provider(&format!("name: out, transport: smtp, {}", sink.as_host()))
        .start();
    let to: Vec<String> = (0..5).map(|n| format!("r{n}@customer.example")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let start = Instant::now();
    for mark in 0..20 {
        relay.send("a@shop.example", &to, &crate::support::marked(mark, "a@shop.example", "x@y.example", 300));
    }
    until_true("a hundred recipients are served", BOUND, || {
        sink.mails().iter().map(|mail| mail.to.len()).sum::<usize>() == 100
    });
    // 100 recipients at 20 a second, less the burst of a second.
    assert!(start.elapsed() > Duration::from_millis(3_500), "{:?}", start.elapsed());
}
