//! Alerts of a running relay: told once when something begins and once when it is over, to whoever is named, and never a storm.

use std::process::Output;

use serde_json::Value;

use crate::support::api::{Api, Mode};
use crate::support::hook::{Call, Hook};
use crate::support::relay::{Relay, Setup, waypost};
use crate::support::sink::{AfterDot, Sink};
use crate::support::{BOUND, marked, until, until_true};

const SECRET: &str = "s3cret of the hook";

/// Two providers behind each other, breakers and alerts that are quick.
fn relay(primary: &Api, secondary: &Sink, alerts: &str) -> Relay {
    Setup::new()
        .env("WAYPOST_TEST_KEY", "SG.test")
        .env("WAYPOST_TEST_HOOK", SECRET)
        .server(&format!(
            "alerts:\n  rules: {{breaker: 1s, settle: 1s, oldest: never, disk: never}}\n  to: [{alerts}]\n"
        ))
        .route("name: all, deliver: [primary, secondary]")
        .provider(&format!(
            "name: primary, transport: sendgrid, api_key: \"${{env:WAYPOST_TEST_KEY}}\", endpoint: \"{}\", \
             breaker: {{failures: 2, within: 10s, probe_after: 1s, probe_max: 1s}}",
            primary.endpoint()
        ))
        .provider(&format!("name: secondary, transport: smtp, {}", secondary.as_host()))
        .start()
}

fn send(relay: &Relay, mark: u64) {
    relay.send("a@shop.example", &["b@customer.example"], &marked(mark, "a@shop.example", "b@customer.example", 300));
}

fn alerts(relay: &Relay, args: &[&str]) -> Output {
    waypost(relay.path(), &[&["alerts"], args, &["--config", "."]].concat())
}

fn on(relay: &Relay) -> Value {
    serde_json::from_slice(&alerts(relay, &["--json"]).stdout).unwrap()
}

fn of_event<'a>(calls: &'a [Call], event: &str) -> Vec<&'a Call> {
    calls.iter().filter(|call| call.text("event") == event).collect()
}

/// Sends one message after the other until the webhook has so many calls.
fn until_calls(relay: &Relay, hook: &Hook, count: usize, mark: &mut u64) -> Vec<Call> {
    until(&format!("{count} calls of the webhook"), BOUND, || {
        *mark += 1;
        send(relay, *mark);
        let calls = hook.calls();
        (calls.len() >= count).then_some(calls)
    })
}

#[test]
fn an_outage_is_told_once_when_it_begins_and_once_when_it_is_over() {
    let (primary, secondary, hook) = (Api::start(), Sink::start(), Hook::start());
    let relay = relay(
        &primary,
        &secondary,
        &format!("{{webhook: \"{}\", secret: \"${{env:WAYPOST_TEST_HOOK}}\"}}, {{mail: ops@corp.example}}", hook.url()),
    );
    // The first answer says that the receiver is busy: the note comes once more, under its id.
    hook.answer(&["503 Busy", "200 OK"]);
    primary.set(Mode::Answer(503, "", "{\"errors\":[{\"message\":\"try again\"}]}"));
    let mut mark = 0;
    let calls = until_calls(&relay, &hook, 2, &mut mark);
    assert_eq!(calls[0].field("waypost-id"), calls[1].field("waypost-id"));
    assert_eq!(calls[0].body, calls[1].body);
    assert!(calls.iter().all(|call| call.is_signed_with(SECRET)), "{calls:?}");
    assert!(!calls[0].is_signed_with("another secret"));

    let begin = &calls[1];
    assert_eq!((begin.text("event"), begin.text("relay")), ("began".to_owned(), "relay.example".to_owned()));
    let alert = &begin.json()["alerts"][0];
    assert_eq!((alert["rule"].as_str(), alert["subject"].as_str()), (Some("breaker"), Some("primary")));
    let detail = |name: &str| alert["details"][name].as_str().unwrap_or_default().to_owned();
    assert!(detail("last_error").contains("503") && detail("last_error").contains("try again"), "{alert}");
    assert_eq!(detail("mail_goes"), "to secondary (route all)");
    assert!(begin.text("text").starts_with("[relay.example] provider primary is out: "), "{}", begin.text("text"));

    // What is on, for people and programs.
    let list = on(&relay);
    assert_eq!((list[0]["rule"].as_str(), list.as_array().map(Vec::len)), (Some("breaker"), Some(1)), "{list}");
    let listed = alerts(&relay, &[]);
    assert_eq!(listed.status.code(), Some(1), "something is on");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("breaker: provider primary is out: "));

    // A restart forgets nothing and repeats nothing.
    let mut relay = relay;
    relay.stop(BOUND);
    relay.restart();
    until_true("it is on still", BOUND, || on(&relay)[0]["subject"] == "primary");

    primary.set(Mode::Take);
    until_true("primary takes mail again", BOUND, || {
        mark += 1;
        send(&relay, mark);
        !primary.taken().is_empty()
    });
    // The mail of the begin went by the provider that was not out.
    let mail = until("the mail of the alert", BOUND, || {
        secondary.mails().into_iter().find(|mail| mail.to == ["<ops@corp.example>"])
    });
    let text = String::from_utf8(mail.content).unwrap();
    assert!(
        text.contains("Subject: [relay.example] provider primary is out: ")
            && text.contains("Auto-Submitted: auto-generated"),
        "{text}"
    );
    assert!(text.contains("mail goes: to secondary (route all)"), "{text}");
    until("the log tells the begin", BOUND, || {
        relay.log().lines().into_iter().find(|line| line.is("rule", "breaker") && line.message().starts_with("alert: "))
    });
}

#[test]
fn the_end_is_told_and_nothing_in_between() {
    let (primary, secondary, hook) = (Api::start(), Sink::start(), Hook::start());
    let relay = relay(&primary, &secondary, &format!("{{webhook: \"{}\"}}", hook.url()));
    primary.set(Mode::Refuse);
    let mut mark = 0;
    until_calls(&relay, &hook, 1, &mut mark);
    primary.set(Mode::Take);
    let calls = until_calls(&relay, &hook, 2, &mut mark);
    let (begun, ended) = (of_event(&calls, "began"), of_event(&calls, "ended"));
    assert_eq!((begun.len(), ended.len()), (1, 1), "{calls:?}");
    assert!(ended[0].text("text").contains("provider primary is back, after "), "{}", ended[0].text("text"));
    assert!(ended[0].text("text").contains("It was: provider primary is out: "), "{}", ended[0].text("text"));
    assert_eq!(begun[0].field("waypost-signature"), None, "no secret, no signature");
    assert_eq!(on(&relay), Value::Array(Vec::new()));
    assert_eq!(alerts(&relay, &[]).status.code(), Some(0));
}

#[test]
fn ten_routes_whose_mail_ages_at_once_are_one_message() {
    let (secondary, hook) = (Sink::start(), Hook::start());
    secondary.behave(|manners| manners.after_dot = AfterDot::Reply("450 4.2.0 Not now"));
    let mut setup = Setup::new()
        .queue("retry: [1h]")
        .server(&format!(
            "alerts:\n  rules: {{oldest: 12s, growth: never, disk: never}}\n  to: [{{webhook: \"{}\"}}]\n",
            hook.url()
        ))
        .provider(&format!("name: out, transport: smtp, {}", secondary.as_host()));
    for n in 0..10 {
        setup = setup.route(&format!("name: route-{n}, match: {{recipient: \"r{n}@*\"}}, deliver: [out]"));
    }
    let relay = setup.start();
    for n in 0..10 {
        let to = format!("r{n}@customer.example");
        relay.send("a@shop.example", &[&to], &marked(n, "a@shop.example", &to, 300));
    }
    // All of them are on before it is counted how many messages told it.
    until_true("all ten are on", BOUND, || on(&relay).as_array().is_some_and(|on| on.len() == 10));
    let told =
        |calls: &[Call]| calls.iter().map(|call| call.json()["alerts"].as_array().map_or(0, Vec::len)).sum::<usize>();
    let calls = until("all ten were told", BOUND, || Some(hook.calls()).filter(|calls| told(calls) == 10));
    // Queued within moments, they may come of age in two looks; ten messages they are not.
    assert!(calls.len() <= 3, "{} messages", calls.len());
}

#[test]
fn a_test_tells_what_each_target_answers() {
    let (primary, secondary, hook) = (Api::start(), Sink::start(), Hook::start());
    primary.set(Mode::Refuse);
    let relay = relay(
        &primary,
        &secondary,
        &format!(
            "{{webhook: \"{}\", secret: \"${{env:WAYPOST_TEST_HOOK}}\"}}, {{name: pager, mail: ops@corp.example, via: primary}}",
            hook.url()
        ),
    );
    let out = alerts(&relay, &["test"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(0), "{text}");
    // By the provider that takes it, though another was named first.
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("webhook 127.0.0.1") && lines[0].ends_with("ok: 200 OK ok"), "{text}");
    assert!(
        lines[1].starts_with("mail    pager") && lines[1].contains("ok: ops@corp.example by secondary: 250"),
        "{text}"
    );
    assert!(hook.wait_for(1)[0].is_signed_with(SECRET));
    let mail = secondary.wait_for(1).remove(0);
    assert!(String::from_utf8_lossy(&mail.content).contains("Subject: [relay.example] a test of waypost's alerts"));

    hook.answer(&["404 Not Found"]);
    let out = alerts(&relay, &["test", "--json"]);
    assert_eq!(out.status.code(), Some(1));
    let came: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((came[0]["ok"].as_bool(), came[0]["text"].as_str()), (Some(false), Some("404 Not Found ok")));
    assert_eq!(came[1]["ok"].as_bool(), Some(true));
    assert!(!relay.log().raw().contains(SECRET) && !relay.log().raw().contains("/services/hook"));
}

#[test]
fn a_queue_that_takes_nothing_is_told_past_it() {
    let (sink, hook) = (Sink::start(), Hook::start());
    let relay = Setup::new()
        .queue("retry: [1s], max_messages: 2")
        .server(&format!(
            "alerts:\n  rules: {{disk: 1MB, quota: never, growth: never}}\n  to: [{{mail: ops@corp.example}}, {{webhook: \"{}\"}}]\n",
            hook.url()
        ))
        .route("name: kept, match: {recipient: \"held@*\"}, hold: for the test")
        .route("name: all, deliver: [out]")
        .provider(&format!("name: out, transport: smtp, {}", sink.as_host()))
        .start();
    for mark in 0..2 {
        let content = marked(mark, "a@shop.example", "held@customer.example", 300);
        relay.send("a@shop.example", &["held@customer.example"], &content);
    }
    let mail = sink.wait_for(1).remove(0);
    assert_eq!(mail.to, ["<ops@corp.example>"]);
    let text = String::from_utf8(mail.content).unwrap();
    assert!(text.contains("Subject: [relay.example] new mail is refused: "), "{text}");
    assert!(text.contains("2 messages"), "the cause is in it: {text}");
    assert_eq!(hook.wait_for(1)[0].json()["alerts"][0]["rule"], "refused");
}
