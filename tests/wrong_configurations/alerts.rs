//! What a user reads when `alerts` is wrong.

use waypost::config::{self, AlertTarget, Alerts};

use super::{ALL, OUT, World, check, sources};

#[test]
fn targets_and_rules() {
    check(
        "waypost",
        &[
            ("alerts: on", &["1:9: 'on' is none of off"]),
            (
                "alerts: {to: [{webhok: x}]}",
                &[
                    "1:15: a target of alerts has one of 'webhook' and 'mail'",
                    "1:16: unknown key 'webhok', did you mean 'webhook'?",
                ],
            ),
            (
                "alerts: {to: [{webhook: \"https://h.example/x\", mail: a@b.example}]}",
                &["1:15: a target of alerts has one of 'webhook' and 'mail'"],
            ),
            (
                "alerts: {to: [{webhook: hooks.example, from: a@b.example}, {mail: nobody, secret: clear}]}",
                &[
                    "1:25: this is no URL of a webhook; write one such as https://hooks.example/path",
                    "1:40: key 'from' does nothing without 'mail'",
                    "1:67: 'nobody' has no @",
                    "1:75: key 'secret' does nothing without 'webhook'",
                    "1:75: a secret in clear text; write ${env:NAME} or ${file:PATH} instead",
                ],
            ),
            ("alerts: {to: [{mail: a@b.example, via: outt}]}", &["1:40: unknown provider 'outt', did you mean 'out'?"]),
            (
                "alerts: {to: [{name: a, mail: a@b.example}, {name: a, mail: b@b.example}]}",
                &["1:52: there are two alert targets 'a', the first at waypost.yaml:1:22"],
            ),
            (
                "alerts: {rules: {oldest: {al: 1h, \"*\": never}, quota: 80, disk: true, breaker: 0s}}",
                &[
                    "1:27: unknown route 'al', did you mean 'all'?",
                    "1:55: a share such as 80%, or never is wanted here, this is a number; put it in quotes",
                    "1:65: a size such as 512MiB, or never is wanted here, this is 'true'",
                    "1:80: a duration of 0 makes no sense here",
                ],
            ),
            (
                "alerts: {rules: {bounces: 101%, ends: {key: 2027-13-01}, growth: {within: 1m}}}",
                &[
                    "1:27: '101%' is no share; write one such as 80%",
                    "1:45: '2027-13-01' is no day; write one such as \"2027-03-01\"",
                    "1:66: key 'messages' is missing",
                ],
            ),
        ],
    );
}

fn alerts(text: &str) -> Alerts {
    let files = [("waypost.yaml", text), ("routes/a.yaml", ALL), ("providers/z.yaml", OUT)];
    let loaded = config::load(&sources(&files), &World);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.config.expect("it has no problems").server.alerts
}

#[test]
fn what_is_not_said_is_usual() {
    let usual = alerts("");
    assert_eq!(usual.rules, alerts("alerts: {to: [{mail: ops@x.example}]}").rules);
    assert!(usual.targets.is_empty() && usual.rules.breaker.is_some() && usual.rules.trail);
    let off = alerts("alerts: off").rules;
    assert!(off.breaker.is_none() && off.oldest.is_none() && !off.reload);
    let some = alerts("alerts: {rules: {oldest: {all: never, \"*\": 2h}, quota: never, settle: 5s}}").rules;
    assert_eq!((some.oldest.map(|age| age.as_secs()), some.quota), (Some(7200), None));
    assert_eq!(some.oldest_of(&waypost::mail::RouteName::new("all")), None);
    let targets =
        alerts("alerts: {to: [{webhook: \"https://hooks.example/secret\"}, {mail: [a@x.example, b@x.example]}]}")
            .targets;
    let names: Vec<&str> = targets.iter().map(AlertTarget::name).collect();
    assert_eq!(names, ["hooks.example", "a@x.example"]);
    let AlertTarget::Mail(mail) = &targets[1] else { panic!("{targets:?}") };
    assert_eq!((mail.from.to_string(), mail.to.len()), ("waypost@relay.example".to_owned(), 2));
    assert!(!format!("{targets:?}").contains("/secret"), "{targets:?}");
}
