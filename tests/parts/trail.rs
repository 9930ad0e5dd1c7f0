//! The audit trail of the built relay: it tells what happened, also after kill -9, and who altered it.

use std::collections::HashMap;
use std::time::Duration;

use rand::Rng as _;
use serde_json::Value;

use crate::support::load::{Load, Stream};
use crate::support::relay::{Relay, Setup, waypost};
use crate::support::{alone, marked, until_true};

fn trace(relay: &Relay, args: &[&str]) -> (bool, String) {
    let out = waypost(relay.path(), &[&["trace"], args].concat());
    let told = String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap();
    (out.status.success(), told)
}

fn events(relay: &Relay, args: &[&str]) -> Vec<Value> {
    let out = waypost(relay.path(), &[&["trace", "--json"], args].concat());
    serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"))
}

fn words(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[test]
fn each_thing_that_became_of_a_message_is_told() {
    let mut relay = Setup::new()
        .route("name: dropped, match: {recipient: 'drop@*'}, discard: true")
        .route("name: kept, match: {recipient: 'keep@*'}, hold: to be looked at")
        .route("name: all, deliver: [nowhere, out]")
        .provider("name: nowhere, transport: smtp, host: 127.0.0.1, port: 1, tls: none")
        .provider("name: out, transport: maildir, path: out")
        .start();
    let queued = relay.send(
        "app@shop.example",
        &["bob@customer.example"],
        &marked(1, "app@shop.example", "bob@customer.example", 300),
    );
    relay.send(
        "app@shop.example",
        &["keep@customer.example"],
        &marked(2, "app@shop.example", "keep@customer.example", 300),
    );
    relay.send(
        "app@shop.example",
        &["drop@customer.example"],
        &marked(3, "app@shop.example", "drop@customer.example", 300),
    );
    relay.send(
        "app@shop.example",
        &["eve@customer.example", "drop@partner.example"],
        &marked(4, "app@shop.example", "eve@customer.example", 300),
    );
    until_true("all is delivered", Duration::from_secs(20), || relay.maildir("out").count() == 2);
    // The running relay is asked, and tells what was acknowledged before.
    let running = (events(&relay, &["bob@customer.example"]), events(&relay, &["--since", "1h"]));
    let (whole, told) = trace(&relay, &["--verify"]);
    assert!(whole && told.contains("the trail is whole"), "{told}");
    relay.stop(Duration::from_secs(20));
    assert_eq!(running, (events(&relay, &["bob@customer.example"]), events(&relay, &["--since", "1h"])));

    let bob = events(&relay, &["bob@customer.example"]);
    assert_eq!(words(&bob), ["accepted", "routed", "attempt", "moved", "attempt", "delivered"], "{bob:#?}");
    let mid = bob[0]["mid"].as_str().unwrap();
    assert!(queued.contains(mid), "{queued}");
    assert_eq!(events(&relay, &[mid]), bob);
    assert_eq!(
        (&bob[0]["listener"], &bob[0]["client"], &bob[0]["sender"]),
        (&"apps".into(), &"127.0.0.1".into(), &"app@shop.example".into())
    );
    assert_eq!((&bob[2]["provider"], &bob[2]["outcome"]), (&"nowhere".into(), &"unavailable".into()));
    assert_eq!((&bob[4]["provider"], &bob[4]["outcome"]), (&"out".into(), &"delivered".into()));
    // One of a message's recipients that a route discards.
    let eve = events(&relay, &["drop@partner.example"]);
    assert_eq!(words(&eve)[..4], ["accepted", "routed", "routed", "discarded"], "{eve:#?}");
    assert_eq!((&eve[2]["route"], &eve[3]["route"]), (&"dropped".into(), &"dropped".into()));
    assert_eq!(eve[3]["recipients"], serde_json::json!(["drop@partner.example"]));
    let by_route = events(&relay, &["--since", "1h", "--route", "dropped", "--event", "discarded"]);
    assert_eq!(by_route.len(), 2, "{by_route:#?}");
    let id = bob[0]["message_id"].as_str().unwrap();
    assert_eq!(events(&relay, &[&format!("<{id}>")]), bob);
    let revision = bob[1]["revision"].as_str().unwrap();
    assert_eq!(revision.len(), 12);
    let log = std::fs::read_to_string(relay.log_file()).unwrap();
    assert!(
        log.lines().any(|line| line.contains("waypost is ready") && line.contains(revision)),
        "the log tells the revision"
    );

    let check = waypost(relay.path(), &["check", "--json"]);
    let check: Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(check["revision"], revision, "an operator can match them");

    assert_eq!(words(&events(&relay, &["keep@customer.example"])), ["accepted", "routed", "held"]);
    assert_eq!(words(&events(&relay, &["drop@customer.example"])), ["discarded"]);
    assert_eq!(words(&events(&relay, &["--since", "1h", "--route", "kept"])), ["routed", "held"]);
    let (found, told) = trace(&relay, &["bob@customer.example"]);
    assert!(found && told.contains(mid) && told.contains("moved") && told.contains("round 1 delivered: "), "{told}");
    let (found, told) = trace(&relay, &["nobody@customer.example"]);
    assert!(!found && told.contains("the trail has nothing of nobody@customer.example"), "{told}");

    let (whole, told) = trace(&relay, &["--verify"]);
    assert!(whole && told.contains("the trail is whole"), "{told}");
    // What the log has of the end, the trail must have.
    let head = log.lines().rfind(|line| line.contains("the audit trail's head")).expect("the log tells the head");
    let head = serde_json::from_str::<Value>(head).unwrap()["head"].as_str().unwrap().to_owned();
    assert!(trace(&relay, &["--verify", "--anchor", &head]).0);
    let other = head.replace(&head[head.len() - 4..], "0000");
    let (whole, told) = trace(&relay, &["--verify", "--anchor", &other]);
    assert!(!whole && told.contains("told elsewhere"), "{told}");
}

/// Why it went by another provider than the first, and what it waits for, without a look at the log.
#[test]
fn each_provider_that_was_skipped_is_told_with_its_state() {
    let mut relay = Setup::new()
        .queue("retry: [1h]")
        .route("name: all, deliver: [nowhere, out]")
        .provider("name: nowhere, transport: smtp, host: 127.0.0.1, port: 1, tls: none, breaker: {failures: 1, probe_after: 1h}")
        .provider("name: out, transport: maildir, path: out")
        .start();
    let send = |n: u64, to: &str| relay.send("app@shop.example", &[to], &marked(n, "app@shop.example", to, 300));
    send(1, "first@customer.example");
    until_true("it is delivered", Duration::from_secs(20), || relay.maildir("out").count() == 1);
    send(2, "second@customer.example");
    until_true("it is delivered", Duration::from_secs(20), || relay.maildir("out").count() == 2);
    let second = events(&relay, &["second@customer.example"]);
    assert_eq!(words(&second), ["accepted", "routed", "skipped", "attempt", "delivered"], "{second:#?}");
    let skipped = &second[2];
    assert_eq!(
        (&skipped["provider"], &skipped["state"], &skipped["route"]),
        (&"nowhere".into(), &"open".into(), &"all".into())
    );
    let why = skipped["reason"].as_str().unwrap();
    assert!(why.starts_with("its breaker is open since ") && why.contains("refused"), "{why}");
    assert!(skipped["until"].is_string() && skipped["at"].as_str() <= second[3]["at"].as_str(), "{second:#?}");
    assert_eq!(
        words(&events(&relay, &["first@customer.example"])).iter().filter(|word| **word == "skipped").count(),
        0
    );
    let explain = |mid: &Value| {
        let out = waypost(relay.path(), &["explain", mid.as_str().unwrap()]);
        String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap()
    };
    let told = explain(&second[0]["mid"]);
    assert!(
        told.contains("skipped   by route all provider nowhere until ") && told.contains("provider out revision"),
        "{told}"
    );

    let pause = |name: &str, why: &str| {
        let out = waypost(relay.path(), &["provider", "pause", name, "--for", "1h", "--reason", why]);
        assert!(out.status.success(), "{out:?}");
    };
    pause("nowhere", "it is sold");
    send(4, "fourth@customer.example");
    until_true("it is delivered", Duration::from_secs(20), || relay.maildir("out").count() == 3);
    let fourth = events(&relay, &["fourth@customer.example"]);
    let why = fourth[2]["reason"].as_str().unwrap();
    assert_eq!(&fourth[2]["state"], "paused");
    assert!(why.starts_with("it is paused since ") && why.contains("(by ") && why.ends_with(": it is sold)"), "{why}");

    pause("out", "they move house");
    send(3, "third@customer.example");
    let third = events(&relay, &["third@customer.example"]);
    let told = explain(&third[0]["mid"]);
    for says in [
        "waits in route 'all': for nowhere, out, not to be tried before ",
        "1. provider nowhere: paused since ",
        ": it is sold)",
        "2. provider out: paused since ",
        "they move house",
    ] {
        assert!(told.contains(says), "{says}: {told}");
    }
    assert!(trace(&relay, &["--verify"]).0);
    relay.stop(Duration::from_secs(20));
}

#[test]
fn a_trail_that_is_off_is_not_there() {
    let mut relay = Setup::new()
        .server("audit: off")
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .start();
    relay.send(
        "app@shop.example",
        &["bob@customer.example"],
        &marked(1, "app@shop.example", "bob@customer.example", 300),
    );
    until_true("it is delivered", Duration::from_secs(20), || relay.maildir("out").count() == 1);
    relay.stop(Duration::from_secs(20));
    assert!(!relay.path().join("data/audit.redb").exists());
    let (found, told) = trace(&relay, &["bob@customer.example"]);
    assert!(!found && told.contains("audit: off"), "{told}");
}

#[test]
fn hashed_addresses_are_in_no_file_of_the_trail() {
    let mut relay = Setup::new()
        .server("audit: {addresses: hashed}")
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .start();
    relay.send(
        "app@shop.example",
        &["Bob@customer.example"],
        &marked(1, "app@shop.example", "Bob@customer.example", 300),
    );
    until_true("it is delivered", Duration::from_secs(20), || relay.maildir("out").count() == 1);
    relay.stop(Duration::from_secs(20));
    let found = events(&relay, &["bob@customer.example"]);
    assert_eq!(words(&found), ["accepted", "routed", "attempt", "delivered"]);
    let told = serde_json::to_string(&found).unwrap().to_lowercase();
    assert!(!told.contains("bob@") && !told.contains("app@") && told.contains("@customer.example"), "{told}");
}

/// The trail is what the journal is, and the journal is what happened.
#[test]
fn after_each_kill_9_the_trail_lacks_nothing_and_has_nothing_twice() {
    let _alone = alone();
    let mut relay = Setup::new()
        .queue("retry: [1s], min_free: 0MB")
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .start();
    let mut rng = rand::rng();
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let load = Load::start(Stream {
            to: relay.address,
            from: "app@shop.example".to_owned(),
            recipient: "someone@customer.example".to_owned(),
            rate: None,
            sessions: 16,
            size: 1_000,
            first: round * 1_000_000,
            most: None,
        });
        until_true("the load is taken", Duration::from_secs(30), || load.count() > 10);
        // A random moment, also right behind a commit of the trail: not a wait for anything.
        std::thread::sleep(Duration::from_millis(rng.random_range(0..1500)));
        relay.kill_9();
        acknowledged.extend(load.stop().marks());
        relay.restart();
    }
    until_true("all is delivered", Duration::from_secs(120), || {
        let there = relay.maildir("out").marks();
        acknowledged.iter().all(|mark| there.contains_key(mark))
    });
    relay.stop(Duration::from_secs(60));
    let (whole, told) = trace(&relay, &["--verify"]);
    assert!(whole, "{told}");
    let mut of: HashMap<String, HashMap<String, usize>> = HashMap::new();
    for event in events(&relay, &["--since", "1h"]) {
        let (Some(mid), Some(word)) = (event["mid"].as_str(), event["event"].as_str()) else { continue };
        *of.entry(mid.to_owned()).or_default().entry(word.to_owned()).or_default() += 1;
    }
    assert!(of.len() >= acknowledged.len(), "{} messages in the trail, {} acknowledged", of.len(), acknowledged.len());
    for (mid, words) in of {
        let count = |word: &str| words.get(word).copied().unwrap_or(0);
        assert_eq!((count("accepted"), count("routed"), count("delivered")), (1, 1, 1), "{mid}: {words:?}");
    }
}

/// Why a message went where it went, and what it waits for.
#[test]
fn a_message_is_explained_while_it_waits_and_when_it_is_gone() {
    let mut relay = Setup::new()
        .queue("retry: [1h]")
        .route("name: kept, match: {recipient: 'keep@*'}, hold: to be looked at")
        .route("name: far, match: {recipient: 'far@*'}, deliver: [nowhere]")
        .route("name: all, deliver: [out]")
        .provider("name: nowhere, transport: smtp, host: 127.0.0.1, port: 1, tls: none")
        .provider("name: out, transport: maildir, path: out")
        .start();
    let sent = |name: &str| {
        let to = format!("{name}@customer.example");
        let queued = relay.send("app@shop.example", &[&to], &marked(1, "app@shop.example", &to, 300));
        queued.split_whitespace().last().unwrap().trim_end_matches('.').to_owned()
    };
    let explain = |mid: &str, args: &[&str]| {
        let out = waypost(relay.path(), &[&["explain", mid], args].concat());
        (out.status.success(), String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap())
    };
    let (kept, far, gone) = (sent("keep"), sent("far"), sent("bob"));
    let told = |mid: &str, word: &str| {
        until_true("it is explained", Duration::from_secs(20), || explain(mid, &[]).1.contains(word));
        explain(mid, &[]).1
    };
    let text = told(&kept, "a person must release it");
    assert!(text.contains("it is held: to be looked at") && text.contains("takes route 'kept'"), "{text}");
    let text = told(&far, "it is tried again at");
    assert!(
        text.contains("last said: 4.4.1") && text.contains("earlier routes\n    'kept'") && text.contains("routed"),
        "{text}"
    );
    let text = told(&gone, "it is not queued any more");
    assert!(text.contains("delivered to <bob@customer.example>"), "{text}");
    let object: Value = serde_json::from_str(&explain(&far, &["--json"]).1).unwrap();
    assert_eq!(
        (&object["queued"], &object["waits"][0]["state"], &object["waits"][0]["rounds"]),
        (&true.into(), &"retry".into(), &1.into())
    );
    assert_eq!(object["routed"][0]["revision"], object["revision"]);
    let (known, text) = explain("01ARZ3NDEKTSV4RRFFQ69G5FAV", &[]);
    assert!(!known && text.contains("neither the queue nor the audit trail knows"), "{text}");
    relay.stop(Duration::from_secs(20));
}

/// What cannot be meant is told instead of answered as though nothing were there.
#[test]
fn a_question_that_cannot_be_meant_is_told() {
    let mut relay = Setup::new()
        .route("name: all, deliver: [out]")
        .provider("name: out, transport: maildir, path: out")
        .server("users: [{name: app, password: \"$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$QtXWYkJ1AuL9MoPi2YpR0g2Vcm6tiKFFrqwBaa2tIT0\"}]")
        .start();
    let told = |args: &[&str]| {
        let out = waypost(relay.path(), args);
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let mail = ["explain", "--from", "a@b.example", "--to", "c@d.example"];
    let nobody = told(&[&mail[..], &["--user", "nobody"]].concat());
    assert_eq!(nobody.0, Some(0), "{nobody:?}");
    assert!(nobody.1.contains("--user nobody: the configuration has no such user"), "{nobody:?}");
    let known = told(&[&mail[..], &["--user", "app"]].concat());
    assert!(known.0 == Some(0) && !known.1.contains("--user"), "{known:?}");
    let usage = told(&["explain"]);
    assert!(usage.0 == Some(2) && usage.1.contains("waypost explain [--json] <MID>"), "{usage:?}");
    let none = told(&["trace", "c@d.example", "--limit", "0"]);
    assert!(none.0 == Some(2) && none.1.contains("--limit"), "{none:?}");
    relay.stop(Duration::from_secs(20));
}
