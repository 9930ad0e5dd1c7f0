//! The configuration changes while the relay runs: by SIGHUP, by `waypost reload`, by changed files.

use std::collections::HashSet;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::api::{Api, Mode};
use crate::support::load::{Load, Stream};
use crate::support::relay::{Relay, Setup, waypost, waypost_with_input};
use crate::support::sink::Sink;
use crate::support::smtp::Client;
use crate::support::{BOUND, free_port, loopback, marked, until, until_true};

const IN_FORCE: &str = "the configuration was loaded anew and is in force";
const REFUSED: &str = "the configuration is not loaded anew: it has errors; the old one stays in force";

fn write(relay: &Relay, file: &str, text: &str) {
    std::fs::write(relay.path().join(file), text).unwrap();
}

fn routes(relay: &Relay, list: &str) {
    write(relay, "routes/50-test.yaml", &format!("routes:\n{list}"));
}

/// Puts something else into a file, once.
fn replace(relay: &Relay, file: &str, old: &str, new: &str) {
    let text = std::fs::read_to_string(relay.path().join(file)).unwrap();
    assert!(text.contains(old), "{file} has no {old:?}:\n{text}");
    write(relay, file, &text.replacen(old, new, 1));
}

fn count(relay: &Relay, message: &str) -> usize {
    relay.log().lines().iter().filter(|line| line.message() == message).count()
}

/// `waypost reload --json`, with its exit status.
fn reload(relay: &Relay, args: &[&str]) -> (i32, Value) {
    let args: Vec<&str> = ["reload", "--config", ".", "--json"].iter().chain(args).copied().collect();
    let out = waypost(relay.path(), &args);
    let told = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| {
        panic!("{e}: {}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    });
    (out.status.code().unwrap(), told)
}

/// It must be in force; gives the changes in words.
fn reloaded(relay: &Relay) -> Vec<String> {
    let (status, told) = reload(relay, &[]);
    assert_eq!((status, &told["applied"]), (0, &Value::Bool(true)), "{told:#}");
    texts(&told["changes"])
}

/// The only error among the problems.
fn error(told: &Value) -> String {
    let problems = told["problems"].as_array().unwrap();
    let mut errors =
        problems.iter().filter(|one| one["severity"] == "error").map(|one| one["message"].as_str().unwrap());
    let error = errors.next().unwrap_or_else(|| panic!("no error: {told:#}"));
    assert_eq!(errors.next(), None, "{told:#}");
    error.to_owned()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap().to_owned()).collect()
}

/// One sink a provider; `reload: manual`, so that nothing else reloads.
fn between(setup: Setup, sinks: &[(&str, &Sink)]) -> Setup {
    sinks.iter().fold(setup.server("reload: manual"), |setup, (name, sink)| {
        setup.provider(&format!("name: {name}, transport: smtp, {}", sink.as_host()))
    })
}

#[test]
fn a_reload_under_traffic_loses_and_refuses_nothing() {
    let (first, second) = (Sink::start(), Sink::start());
    let relay =
        between(Setup::new(), &[("first", &first), ("second", &second)]).route("name: all, deliver: [first]").start();
    let load = Load::start(Stream {
        to: relay.address,
        from: "app@shop.example".to_owned(),
        recipient: "someone@customer.example".to_owned(),
        rate: None,
        sessions: 8,
        size: 2_000,
        first: 0,
        most: None,
    });
    until_true("mail flows", BOUND, || first.count() > 200);
    // A session that was there before.
    let mut open = relay.client();
    assert_eq!(open.say("MAIL FROM:<a@shop.example>").unwrap().code, 250);
    assert_eq!(open.say("RCPT TO:<one@customer.example>").unwrap().code, 250);
    for n in 0..10 {
        let to = if n % 2 == 0 { "second" } else { "first" };
        routes(
            &relay,
            &format!(
                "  - {{name: closed, match: {{recipient_domain: closed.example}}, reject: {{text: closed {n}}}}}\n  - {{name: all, deliver: [{to}]}}\n"
            ),
        );
        reloaded(&relay);
        // The next RCPT of the open session hears the new table.
        let reply = open.say("RCPT TO:<x@closed.example>").unwrap();
        assert_eq!((reply.code, reply.text.contains(&format!("closed {n}"))), (550, true), "{reply:?}");
        let (at_first, at_second) = (first.count(), second.count());
        until_true("mail goes the new way", BOUND, || {
            (if n % 2 == 0 { second.count() - at_second } else { first.count() - at_first }) > 100
        });
    }
    assert_eq!(load.refused(), Vec::<String>::new());
    let acknowledged = load.stop();
    let there = || -> HashSet<u64> {
        first.mails().iter().chain(&second.mails()).filter_map(crate::support::sink::Mail::mark).collect()
    };
    until_true("all that was acknowledged arrives", BOUND, || {
        let there = there();
        acknowledged.marks().all(|mark| there.contains(&mark))
    });
    assert_eq!(first.count() + second.count(), acknowledged.count(), "none came twice");
    println!("{} messages, {:.0} a second, through 10 reloads", acknowledged.count(), acknowledged.rate());
}

#[test]
fn a_bad_configuration_changes_nothing_and_is_told() {
    let sink = Sink::start();
    let relay = between(Setup::new(), &[("out", &sink)]).route("name: all, deliver: [out]").start();
    routes(&relay, "  - {name: all, deliver: [oute]}\n  - {name: all, rate: often, deliver: [out]}\n");
    let (status, told) = reload(&relay, &[]);
    assert_eq!((status, &told["applied"]), (1, &Value::Bool(false)));
    let problems = told["problems"].as_array().unwrap();
    let message = |n: usize| problems[n]["message"].as_str().unwrap();
    assert!(message(0).contains("unknown provider 'oute', did you mean 'out'?"), "{told:#}");
    assert_eq!(problems[0]["line"], 2);
    assert!(problems.len() >= 2, "all of it is told: {told:#}");
    until_true("the log has it", BOUND, || count(&relay, REFUSED) == 1);
    let line = relay.log().lines().into_iter().find(|line| line.message().contains("'oute'")).unwrap();
    assert!(line.text("place").unwrap().ends_with("routes/50-test.yaml:2:27"), "{line:?}");
    relay.send("a@shop.example", &["b@customer.example"], &marked(1, "a@shop.example", "b@customer.example", 300));
    sink.wait_for(1);
    // `status` knows, although the files are bad.
    let out = waypost(relay.path(), &["status", "--config", ".", "--json"]);
    let status: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(status["last_reload"]["applied"], false, "{status:#}");
    routes(&relay, "  - {name: all, deliver: [out]}\n");
    assert_eq!(reloaded(&relay), Vec::<String>::new());
    // A directory without a configuration, too.
    std::fs::rename(relay.path().join("routes"), relay.path().join("elsewhere")).unwrap();
    relay_hears(&relay, 1, REFUSED);
    relay.send("a@shop.example", &["b@customer.example"], &marked(2, "a@shop.example", "b@customer.example", 300));
    sink.wait_for(2);
}

/// SIGHUP, and the message so many times more than before.
fn relay_hears(relay: &Relay, more: usize, message: &str) {
    let before = count(relay, message);
    relay.signal("HUP");
    until_true(message, BOUND, || count(relay, message) >= before + more);
}

#[test]
fn the_diff_tells_and_changes_nothing() {
    let sink = Sink::start();
    let relay =
        between(Setup::new(), &[("out", &sink), ("spare", &sink)]).route("name: all, deliver: [out, spare]").start();
    routes(&relay, "  - {name: all, rate: 5/s, deliver: [spare]}\n");
    let before = count(&relay, IN_FORCE);
    let (status, told) = reload(&relay, &["--diff"]);
    assert_eq!((status, &told["applied"]), (0, &Value::Bool(false)));
    let changes = ["route 'all': chain out, spare → spare", "route 'all': rate 5/s, was not set"];
    assert_eq!(texts(&told["changes"])[..2], changes);
    let shown = waypost(relay.path(), &["reload", "--config", ".", "--diff"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.ends_with("4 changes; `waypost reload` makes them\n"), "{shown}");
    assert_eq!(count(&relay, IN_FORCE), before);
    let again = reload(&relay, &["--diff"]).1;
    assert_eq!(texts(&again["changes"]).len(), 4, "it is not in force");
    assert_eq!(reloaded(&relay).len(), 4);
    assert_eq!(reload(&relay, &["--diff"]).1["changes"], Value::Array(Vec::new()));
    // What was only looked at is no act.
    let acts = until("the act is in the log", BOUND, || {
        let acts = relay.log().lines().into_iter().filter(|line| line.message() == "operator");
        Some(acts.collect::<Vec<_>>()).filter(|acts| !acts.is_empty())
    });
    assert!(acts.len() == 1 && acts[0].is("act", "reload") && acts[0].is("detail", "in force, changes: 4"), "{acts:?}");
    let trail = waypost(relay.path(), &["trace", "--config", ".", "--since", "1h"]).stdout;
    let trail = String::from_utf8(trail).unwrap();
    assert!(trail.contains("in force, changes: 4"), "{trail}");
}

fn hears(port: u16) -> Option<Client> {
    Client::connect(loopback(1, port)).ok()
}

#[test]
fn listeners_come_stay_and_go() {
    let sink = Sink::start();
    let (old, new) = (free_port(), free_port());
    let relay = between(Setup::new(), &[("out", &sink)])
        .other_listener(&format!("name: old, address: \"127.0.0.1:{old}\""))
        .route("name: all, deliver: [out]")
        .start();
    let (mut stays, mut goes) = (relay.client(), hears(old).unwrap());
    assert_eq!(goes.say("MAIL FROM:<a@shop.example>").unwrap().code, 250);
    replace(
        &relay,
        "waypost.yaml",
        &format!("name: old, address: \"127.0.0.1:{old}\""),
        &format!("name: new, address: \"127.0.0.1:{new}\", max_message_size: 1MiB, deny: [127.0.0.2]"),
    );
    replace(&relay, "waypost.yaml", "name: apps,", "name: apps, tls: starttls, max_recipients: 2,");
    let changes = reloaded(&relay);
    for change in [
        "listener 'old' removed",
        "listener 'new' added",
        "listener 'apps': tls none → starttls",
        "listener 'apps': max_recipients 1000 → 2",
    ] {
        assert!(changes.iter().any(|told| told == change), "{change}: {changes:?}");
    }
    // The one that is gone says so to its client and listens no more.
    assert_eq!(goes.reply().unwrap().code, 421);
    until_true("the old port is closed", BOUND, || TcpStream::connect(loopback(1, old)).is_err());
    assert!(hears(new).unwrap().extensions.text.contains("SIZE 1048576"));
    // Who is connected goes on as greeted; who comes finds TLS, and the new bound.
    assert_eq!(
        stays
            .mail(
                "a@shop.example",
                &["b@customer.example", "c@customer.example", "d@customer.example"],
                b"A: b\r\n\r\nx\r\n"
            )
            .unwrap()
            .code,
        250
    );
    let mut fresh = relay.client();
    assert!(fresh.extensions.text.contains("STARTTLS"), "{:?}", fresh.extensions);
    fresh.say("MAIL FROM:<a@shop.example>").unwrap();
    let codes: Vec<u16> =
        ["b", "c", "d"].iter().map(|to| fresh.say(&format!("RCPT TO:<{to}@customer.example>")).unwrap().code).collect();
    assert_eq!(codes, [250, 250, 452]);
    // A port that another has: nothing is changed.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    replace(&relay, "waypost.yaml", &format!("127.0.0.1:{new}"), &taken.local_addr().unwrap().to_string());
    replace(&relay, "waypost.yaml", "max_recipients: 2", "max_recipients: 3");
    let (status, told) = reload(&relay, &[]);
    assert_eq!(status, 1);
    assert!(error(&told).contains("listener 'new' cannot listen on"), "{told:#}");
    assert!(hears(new).is_some(), "the old one serves");
    // So is one of our own: it is told how.
    replace(&relay, "waypost.yaml", &taken.local_addr().unwrap().to_string(), &format!("0.0.0.0:{new}"));
    let told = reload(&relay, &[]).1;
    assert!(error(&told).contains("while this relay itself listens on"), "{told:#}");
}

#[test]
fn who_may_relay_changes_for_open_sessions_too() {
    let sink = Sink::start();
    let hash = |password: &str| waypost_with_input(&["hash-password"], password).trim().to_owned();
    let relay = between(Setup::new().listener("authentication: optional, allow: [127.0.0.1]"), &[("out", &sink)])
        .server(&format!(
            "users:\n  - {{name: billing, password: \"{}\"}}\n  - {{name: shop, password: \"{}\"}}",
            hash("right"),
            hash("other")
        ))
        .route("name: all, deliver: [out]")
        .start();
    let mut from_network = relay.client();
    let sign_in = |client: &mut Client, plain: &str| client.say(&format!("AUTH PLAIN {plain}")).unwrap().code;
    // billing/right and shop/other
    let (billing, shop) = ("AGJpbGxpbmcAcmlnaHQ=", "AHNob3AAb3RoZXI=");
    let (mut as_billing, mut as_shop) = (relay.client(), relay.client());
    assert_eq!((sign_in(&mut as_billing, billing), sign_in(&mut as_shop, shop)), (235, 235));
    replace(&relay, "waypost.yaml", "allow: [127.0.0.1]", "allow: [127.0.0.9]");
    let text = std::fs::read_to_string(relay.path().join("waypost.yaml")).unwrap();
    let without: String =
        text.lines().filter(|line| !line.contains("name: billing")).map(|line| format!("{line}\n")).collect();
    write(&relay, "waypost.yaml", &without);
    let changes = reloaded(&relay);
    assert!(changes.contains(&"user 'billing' removed".to_owned()), "{changes:?}");
    from_network.say("MAIL FROM:<a@shop.example>").unwrap();
    assert_eq!(from_network.say("RCPT TO:<b@customer.example>").unwrap().code, 530);
    assert_eq!(as_billing.say("MAIL FROM:<a@shop.example>").unwrap().code, 421);
    assert_eq!(as_shop.mail("a@shop.example", &["b@customer.example"], b"A: b\r\n\r\nx\r\n").unwrap().code, 250);
    assert_eq!(sign_in(&mut relay.client(), billing), 535);
    // Another password: who has signed in with the old one signs in anew.
    let line = without.lines().find(|line| line.contains("name: shop")).unwrap().to_owned();
    replace(&relay, "waypost.yaml", &line, &format!("  - {{name: shop, password: \"{}\"}}", hash("newer")));
    assert_eq!(reloaded(&relay), ["user 'shop': password changed"]);
    assert_eq!(as_shop.say("MAIL FROM:<a@shop.example>").unwrap().code, 421);
    assert_eq!(sign_in(&mut relay.client(), shop), 535);
}

#[test]
fn queued_mail_goes_by_the_new_table() {
    let (dead, sink) = (free_port(), Sink::start());
    for (after, providers) in [
        // The provider is gone, and the route by another chain; the route has another name; the provider leads elsewhere.
        ("  - {name: all, deliver: [out]}\n", format!("  - {{name: out, transport: smtp, {}}}\n", sink.as_host())),
        ("  - {name: renamed, deliver: [out]}\n", format!("  - {{name: out, transport: smtp, {}}}\n", sink.as_host())),
        ("  - {name: all, deliver: [gone]}\n", format!("  - {{name: gone, transport: smtp, {}}}\n", sink.as_host())),
    ] {
        let relay = between(Setup::new(), &[])
            .route("name: all, deliver: [gone]")
            .provider(&format!("name: gone, transport: smtp, host: 127.0.0.1, port: {dead}, tls: none, breaker: {{probe_after: 1h, probe_max: 1h}}"))
            .start();
        let before = sink.count();
        for mark in 0..50 {
            relay.send(
                "a@shop.example",
                &["b@customer.example"],
                &marked(mark, "a@shop.example", "b@customer.example", 300),
            );
        }
        until_true("the breaker is open", BOUND, || !relay.log().breaker("gone", "open").is_empty());
        assert_eq!(sink.count(), before);
        routes(&relay, after);
        write(&relay, "providers/50-test.yaml", &format!("providers:\n{providers}"));
        reloaded(&relay);
        sink.wait_for(before + 50);
    }
}

#[test]
fn a_changed_secret_is_used_at_once_and_never_told() {
    let api = Api::start();
    api.set(Mode::Key("Bearer SG.right"));
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "SG.wrong\n").unwrap();
    let relay = Setup::new()
        .server("reload: manual")
        .route("name: all, deliver: [sendgrid]")
        .provider(&format!(
            "name: sendgrid, transport: sendgrid, api_key: \"${{file:{}}}\", endpoint: \"{}\", breaker: {{probe_after: 1h, probe_max: 1h}}",
            key.display(),
            api.endpoint()
        ))
        .start();
    for mark in 0..10 {
        let content = marked(mark, "a@shop.example", "b@customer.example", 300);
        relay.send("a@shop.example", &["b@customer.example"], &content);
    }
    until_true("the key is refused", BOUND, || !relay.log().breaker("sendgrid", "open").is_empty());
    std::fs::write(&key, "SG.right\n").unwrap();
    assert_eq!(reloaded(&relay), ["provider 'sendgrid': api_key changed"]);
    until_true("all is taken", BOUND, || api.taken().len() == 10);
    assert!(!relay.log().raw().contains("SG."), "{}", relay.log().raw());
}

#[test]
fn storms_of_sighup_and_changed_files_are_taken_once() {
    let sink = Sink::start();
    let relay = Setup::new()
        .route("name: all, deliver: [out]")
        .provider(&format!("name: out, transport: smtp, {}", sink.as_host()))
        .start();
    for _ in 0..200 {
        relay.signal("HUP");
    }
    until_true("it is loaded anew", BOUND, || count(&relay, IN_FORCE) >= 1);
    relay.send("a@shop.example", &["b@customer.example"], &marked(1, "a@shop.example", "b@customer.example", 300));
    // Two files, one after the other, half a file first: taken as one, once.
    let quiet = || {
        until("no reload is under way", BOUND, || {
            let before = count(&relay, IN_FORCE);
            std::thread::sleep(Duration::from_millis(300));
            (count(&relay, IN_FORCE) == before).then_some(before)
        })
    };
    let before = quiet();
    routes(&relay, "  - {name: all, del");
    write(
        &relay,
        "providers/60-more.yaml",
        &format!("providers:\n  - {{name: more, transport: smtp, {}}}\n", sink.as_host()),
    );
    routes(&relay, "  - {name: all, deliver: [more]}\n");
    until_true("the changed files are in force", BOUND, || count(&relay, IN_FORCE) > before);
    let line = relay.log().lines().into_iter().rev().find(|line| line.message() == IN_FORCE).unwrap();
    assert!(line.is("by", "changed files"), "{line:?}");
    // Further looks find nothing: a bad file, then, is told once as well, and mended by itself.
    routes(&relay, "  - {name: all, deliver: [nobody]}\n");
    until_true("the bad file is told", BOUND, || count(&relay, REFUSED) == 1);
    routes(&relay, "  - {name: all, deliver: [out]}\n");
    until_true("the good one is in force", BOUND, || count(&relay, IN_FORCE) == before + 2);
    assert_eq!(count(&relay, REFUSED), 1);
    relay.send("a@shop.example", &["b@customer.example"], &marked(2, "a@shop.example", "b@customer.example", 300));
    sink.wait_for(2);
}

#[test]
fn what_needs_a_restart_is_told_and_the_rest_is_applied() {
    let sink = Sink::start();
    let relay = between(Setup::new(), &[("out", &sink)]).route("name: all, deliver: [out]").start();
    replace(&relay, "waypost.yaml", "path: data/queue.redb, retry: [1s]", "path: data/other.redb, retry: [7s]");
    for _ in 0..2 {
        // Each time, until it is done.
        let (status, told) = reload(&relay, &[]);
        assert_eq!(status, 0);
        let path = told["changes"].as_array().unwrap().iter().find(|one| one["key"] == "queue.path").unwrap();
        assert_eq!(path["restart"], true);
        assert!(path["text"].as_str().unwrap().ends_with("data/other.redb (needs a restart)"), "{path}");
    }
    assert!(!relay.path().join("data/other.redb").exists());
    until_true("the log has it", BOUND, || {
        relay.log().lines().iter().any(|line| line.message().contains("only after a restart"))
    });
    relay.send("a@shop.example", &["b@customer.example"], &marked(1, "a@shop.example", "b@customer.example", 300));
    sink.wait_for(1);
}
