//! SIGTERM ends the relay in order, a second one at once; nothing is lost either way.

use std::time::{Duration, Instant};

use crate::support::load::{Load, Stream};
use crate::support::relay::{Relay, Setup};
use crate::support::sink::{AfterDot, Sink};
use crate::support::{BOUND, marked, until_true};

fn relay(sink: &Sink) -> Relay {
    Setup::new()
        .queue("retry: [1s], min_free: 0MB")
        .route("name: all, deliver: [out]")
        .provider(&format!("name: out, transport: smtp, {}, timeout: 60s", sink.as_host()))
        .start()
}

#[test]
fn an_idle_relay_exits_with_0() {
    let sink = Sink::start();
    let mut relay = relay(&sink);
    assert_eq!(relay.stop(BOUND).code(), Some(0));
}

#[test]
fn open_sessions_are_told() {
    let sink = Sink::start();
    let mut relay = relay(&sink);
    let mut client = relay.client();
    relay.process().signal("TERM");
    let reply = client.reply().or_else(|_| client.say("NOOP"));
    // 421 (RFC 5321, 3.8), to a client that waits for it.
    assert_eq!(reply.map(|reply| reply.code).ok(), Some(421));
    assert_eq!(relay.process().wait(BOUND).code(), Some(0));
}

#[test]
fn nothing_is_lost_under_load() {
    let sink = Sink::start();
    let mut relay = relay(&sink);
    let load = Load::start(Stream {
        to: relay.address,
        from: "app@shop.example".to_owned(),
        recipient: "someone@customer.example".to_owned(),
        rate: None,
        sessions: 8,
        size: 4_000,
        first: 0,
        most: None,
    });
    until_true("mail flows", BOUND, || sink.count() > 50);
    assert_eq!(relay.stop(BOUND).code(), Some(0), "{}", relay.log().raw());
    let acknowledged = load.stop();
    relay.restart();
    let there = || {
        let marks: std::collections::HashSet<_> = sink.mails().iter().filter_map(|mail| mail.mark()).collect();
        acknowledged.marks().all(|mark| marks.contains(&mark))
    };
    until_true("all that was acknowledged arrives", BOUND, there);
    // An end in order makes no duplicates either.
    let mut marks: Vec<_> = sink.mails().iter().filter_map(|mail| mail.mark()).collect();
    let arrived = marks.len();
    marks.sort_unstable();
    marks.dedup();
    assert_eq!(arrived, marks.len(), "duplicates after an orderly end");
}

#[test]
fn a_second_signal_ends_it_now() {
    let sink = Sink::start();
    sink.behave(|manners| manners.after_dot = AfterDot::Silent);
    let mut relay = relay(&sink);
    let content = marked(1, "a@shop.example", "b@customer.example", 500);
    relay.send("a@shop.example", &["b@customer.example"], &content);
    sink.wait_for(1);
    // The attempt hangs, and is given its time.
    let start = Instant::now();
    relay.process().signal("TERM");
    until_true("the doors are closed", BOUND, || std::net::TcpStream::connect(relay.address).is_err());
    assert!(relay.process().exited().is_none(), "it ended without waiting for the attempt");
    relay.process().signal("TERM");
    relay.process().wait(Duration::from_secs(5));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    // The message is still there, and is tried again.
    relay = again(relay);
    sink.behave(|manners| manners.after_dot = AfterDot::Take);
    sink.wait_for(2);
    drop(relay);
}

fn again(mut relay: Relay) -> Relay {
    relay.kill_9();
    relay.restart();
    relay
}
