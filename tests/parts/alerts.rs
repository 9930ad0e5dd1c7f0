//! Alerts of a running relay: told once when something begins and once when it is over, to whoever is named, and never a storm.

use std::process::Output;

use serde_json::Value;

use crate::support::api::{Api, Mode};
use crate::support::browser::Browser;
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
fn a_reload_repeats_nothing_and_puts_rules_and_targets_in_force() {
    let (primary, secondary) = (Api::start(), Sink::start());
    let (hook, other) = (Hook::start(), Hook::start());
    let relay = relay(&primary, &secondary, &format!("{{webhook: \"{}\", name: hook}}", hook.url()));
    primary.set(Mode::Refuse);
    until_calls(&relay, &hook, 1, &mut 0);

    // Another target, and it is told what comes; what is on, nobody is told again.
    let yaml = relay.path().join("waypost.yaml");
    let before = std::fs::read_to_string(&yaml).unwrap();
    let with_other = before.replace("to: [", &format!("to: [{{webhook: \"{}\", name: other}}, ", other.url()));
    let change = |text: &str| {
        std::fs::write(&yaml, text).unwrap();
        let out = waypost(relay.path(), &["reload", "--config", "."]);
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let (status, told) = change(&with_other);
    assert!(status == Some(0) && told.contains("alert target 'other' added"), "{told}");
    assert_eq!(on(&relay)[0]["told"][0]["target"], "hook", "what was told is known still");
    let pause = waypost(relay.path(), &["provider", "pause", "secondary", "--for", "1h", "--config", "."]);
    assert!(pause.status.success());
    let calls = other.wait_for(1);
    assert_eq!(
        (calls[0].text("event"), calls[0].json()["alerts"][0]["rule"].clone()),
        ("began".into(), "paused".into())
    );

    // A refused one is an alert, with the place in it; the next good one ends it.
    let (status, _) = change(&with_other.replace("breaker: 1s", "braker: 1s"));
    assert_eq!(status, Some(1));
    let calls = other.wait_for(2);
    let text = calls[1].text("text");
    assert!(
        text.contains("the configuration was not reloaded: ")
            && text.contains("waypost.yaml:")
            && text.contains("braker"),
        "{text}"
    );
    let (status, told) = change(&with_other.replace("breaker: 1s", "breaker: never"));
    assert!(status == Some(0) && told.contains("alerts.rules.breaker 1s → never"), "{told}");
    // With its rule goes the alert, which nobody calls an end of the outage.
    let calls = until("all is told", BOUND, || Some(other.calls()).filter(|calls| calls.len() >= 4));
    let texts: Vec<String> = calls[2..].iter().map(|call| call.text("text")).collect();
    for words in
        ["no longer watched, by the changed configuration: provider primary is out", "the configuration is in force"]
    {
        assert!(texts.iter().any(|text| text.contains(words)), "{words}: {texts:?}");
    }
    // Of the first target the same, and the begin before that: each once.
    let calls = until("all is told there, too", BOUND, || Some(hook.calls()).filter(|calls| calls.len() >= 5));
    let began =
        |rule: &str| of_event(&calls, "began").iter().filter(|call| call.json()["alerts"][0]["rule"] == rule).count();
    assert_eq!((began("breaker"), began("paused"), began("reload"), calls.len()), (1, 1, 1, 5), "{calls:?}");
    let mut browser = Browser::signed_in(&relay);
    let page = browser.get("/alerts").body;
    for words in ["1 alert on", "provider secondary is paused", "no longer watched", "the configuration is in force"] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[test]
fn the_page_tells_the_cause_who_was_told_and_what_was() {
    let (primary, secondary, hook) = (Api::start(), Sink::start(), Hook::start());
    let to = format!("{{webhook: \"{}\", name: hook}}, {{mail: ops@corp.example}}", hook.url());
    let relay = relay(&primary, &secondary, &to);
    let mut browser = Browser::signed_in(&relay);
    let shows = |browser: &mut Browser, path: &str, words: &[&str]| {
        let mut page = String::new();
        until_true(&format!("{path} shows {words:?}"), BOUND, || {
            page = browser.get(path).body;
            words.iter().all(|word| page.contains(word))
        });
        page
    };
    let page = shows(&mut browser, "/alerts", &["No alert is on", "None in the last days", "none since the start"]);
    assert!(page.contains("<span id=\"alerts-on\" data-live></span>"), "{page}");
    hook.answer(&["404 <b>Gone</b>"]);
    primary.set(Mode::Answer(503, "", "{\"errors\":[{\"message\":\"try <again>\"}]}"));
    let mut mark = 0;
    until_calls(&relay, &hook, 1, &mut mark);
    let words = [
        "1 alert on",
        "provider primary is out: ",
        "try &lt;again&gt;",
        "to secondary (route all)",
        "Next probe",
        "Waiting",
        "</span> not told</span> webhook <strong>hook</strong>",
        "404",
        "given up",
        "</span> queued</span> mail <strong>ops@corp.example</strong>",
        "queued as <a href=\"/message/",
        "<span class=\"count\">1<span class=\"hidden\"> on</span></span>",
        "href=\"/providers#p-primary\"",
    ];
    let page = shows(&mut browser, "/alerts", &words);
    assert!(!page.contains("<b>"), "{page}");
    shows(
        &mut browser,
        "/",
        &["<a href=\"/alerts\"><strong>1 alert on</strong></a>", "<li class=\"break\">provider primary is out: "],
    );
    let part = browser.ask("GET", "/providers", &["X-Waypost-Live: 1"], "").body;
    assert!(part.contains("<span class=\"count\">1"), "the number is live on all pages: {part}");
    // The mail of it is a message as all are.
    let mail = page.split("queued as <a href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    shows(&mut browser, &mail, &["accepted", "delivered", "ops@corp.example"]);

    primary.set(Mode::Take);
    until_calls(&relay, &hook, 2, &mut mark);
    shows(&mut browser, "/alerts", &["No alert is on", "provider primary is back", "began, ", "ended, ", "200 OK"]);
    let test = browser.submit("/alerts/test", &[]);
    assert_eq!((test.status, test.header("location")), (303, "/alerts"));
    shows(&mut browser, "/alerts", &["2 targets took the test.", "a test: 200 OK"]);
    assert_eq!(browser.post("/alerts/test", &[]).status, 403);
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
