//! A large backlog for a dead destination: memory stays small, and live mail flows as before.

use std::time::Duration;

use crate::support::load::{Acknowledged, Load, Stream};
use crate::support::relay::{Relay, Setup};
use crate::support::sink::Sink;
use crate::support::{BOUND, alone, free_port, long, until_true};

const MOST_GROWTH: u64 = 150 * 1024 * 1024;

fn send(relay: &Relay, recipient: &str, rate: Option<u32>, first: u64, count: u64) -> Acknowledged {
    Load::start(Stream {
        to: relay.address,
        from: "app@shop.example".to_owned(),
        recipient: recipient.to_owned(),
        rate,
        sessions: if rate.is_some() { 8 } else { 32 },
        size: 2_000,
        first,
        most: Some(count),
    })
    .finish()
}

/// Sends live mail, waits for the last of it, and gives how long the whole took and how long clients waited.
fn live(relay: &Relay, sink: &Sink, first: u64, count: u64) -> (Duration, Duration) {
    let (start, before) = (std::time::Instant::now(), sink.count());
    let acknowledged = send(relay, "someone@live.example", None, first, count);
    assert_eq!(acknowledged.count() as u64, count);
    until_true("live mail arrives", BOUND, || sink.count() == before + count as usize);
    (start.elapsed(), acknowledged.latency(0.5))
}

#[test]
fn a_dead_destination_costs_no_memory_and_holds_back_nobody() {
    let _alone = alone();
    let (backlog, probe) = long((100_000, 5_000), (5_000, 1_000));
    let sink = Sink::start();
    let mut relay = Setup::new()
        .queue("retry: [2s, 5s], min_free: 0MB")
        .route("name: dead, match: {recipient_domain: dead.example}, deliver: [dead]")
        .route("name: live, deliver: [live]")
        // Nobody listens on the port.
        .provider(&format!(
            "name: dead, transport: smtp, host: 127.0.0.9, port: {}, tls: none, breaker: {{failures: 5, within: 10s, \
             probe_after: 1s, probe_max: 2s}}",
            free_port()
        ))
        .provider(&format!("name: live, transport: smtp, {}, concurrency: 32", sink.as_host()))
        .start();
    // Twice: the first run warms what only a first run pays for.
    live(&relay, &sink, 0, probe);
    let (before, latency_before) = live(&relay, &sink, probe, probe);
    let resident_before = relay.process().resident();

    assert_eq!(send(&relay, "someone@dead.example", None, 1_000_000, backlog).count() as u64, backlog);
    let (during, latency_during) = live(&relay, &sink, 2 * probe, probe);
    let resident = relay.process().resident();
    println!(
        "backlog {backlog}: memory {} to {} MiB; {probe} live messages took {before:?} before, {during:?} during; clients \
         waited {latency_before:?} before, {latency_during:?} during (median)",
        resident_before >> 20,
        resident >> 20
    );
    let growth = resident.saturating_sub(resident_before);
    assert!(growth < MOST_GROWTH, "memory grew by {} MiB", growth >> 20);
    // Wide enough for another's load on the machine, narrow enough for mail that waits behind the backlog.
    assert!(during < before * 2 + Duration::from_secs(2), "live mail took {before:?} before and {during:?} during");

    // A restart resumes the backlog without reading it all, and live mail flows at once.
    relay.stop(Duration::from_secs(60));
    relay.restart();
    live(&relay, &sink, 3 * probe, 100);
    let resident = relay.process().resident();
    assert!(resident < resident_before + MOST_GROWTH, "{} MiB after a restart", resident >> 20);
}
