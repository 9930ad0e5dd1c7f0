//! All was sent and no answer came: the one case where a duplicate is possible.

use crate::support::relay::{Relay, Setup};
use crate::support::sink::{AfterDot, Sink};
use crate::support::{BOUND, marked, until};

fn relay(on_unknown: &str, silent: &Sink, next: &Sink) -> Relay {
    Setup::new()
        .route(&format!("name: all, deliver: [silent, next], on_unknown: {on_unknown}"))
        .provider(&format!("name: silent, transport: smtp, {}, timeout: 1s", silent.as_host()))
        .provider(&format!("name: next, transport: smtp, {}", next.as_host()))
        .start()
}

fn send(relay: &Relay, mark: u64) {
    let content = marked(mark, "a@shop.example", "b@customer.example", 2_000);
    relay.send("a@shop.example", &["b@customer.example"], &content);
}

/// The outcome of the first attempt at the silent provider.
fn outcome(relay: &Relay) -> String {
    let attempt = until("the attempt at the silent provider ends", BOUND, || {
        relay.log().attempts().into_iter().find(|attempt| attempt.is("provider", "silent"))
    });
    attempt.text("outcome").unwrap()
}

#[test]
fn hold_keeps_it_and_says_so() {
    for after_dot in [AfterDot::Silent, AfterDot::Close] {
        let (silent, next) = (Sink::start(), Sink::start());
        silent.behave(|manners| manners.after_dot = after_dot);
        let mut relay = relay("hold", &silent, &next);
        send(&relay, 1);
        assert_eq!(outcome(&relay), "unknown", "{after_dot:?}");
        until("the log tells that it is held", BOUND, || {
            relay.log().lines().into_iter().find(|line| {
                line.message().contains("held") || line.is("settlement", "held") || line.is("then", "held")
            })
        });
        // Neither the next provider nor a restart gets it out of its hold.
        relay.stop(BOUND);
        relay.restart();
        send_elsewhere(&relay, &silent, &next);
        assert_eq!(silent.mails().iter().filter(|mail| mail.mark() == Some(1)).count(), 1);
        assert_eq!(next.mails().iter().filter(|mail| mail.mark() == Some(1)).count(), 0);
    }
}

/// A second message passes both hosts: what was queued before it would have been tried by then.
fn send_elsewhere(relay: &Relay, silent: &Sink, next: &Sink) {
    silent.behave(|manners| manners.after_dot = AfterDot::Reply("421 4.3.2 going down"));
    send(relay, 2);
    until("the second message arrives", BOUND, || next.mails().into_iter().find(|mail| mail.mark() == Some(2)));
}

#[test]
fn next_sends_it_on_and_counts_it() {
    for after_dot in [AfterDot::Silent, AfterDot::Close] {
        let (silent, next) = (Sink::start(), Sink::start());
        silent.behave(|manners| manners.after_dot = after_dot);
        let relay = relay("next", &silent, &next);
        send(&relay, 1);
        assert_eq!(outcome(&relay), "unknown", "{after_dot:?}");
        next.wait_for(1);
        assert_eq!((silent.count(), next.count()), (1, 1));
        let unknown = relay.log().attempts().into_iter().filter(|attempt| attempt.is("outcome", "unknown")).count();
        assert_eq!(unknown, 1, "each possible duplicate is one log line");
    }
}

#[test]
fn silence_before_the_last_octet_is_no_unknown() {
    let (silent, next) = (Sink::start(), Sink::start());
    silent.behave(|manners| manners.rcpt = Some("421 4.3.2 going down"));
    let relay = relay("hold", &silent, &next);
    send(&relay, 1);
    next.wait_for(1);
    assert_ne!(outcome(&relay), "unknown");
}
