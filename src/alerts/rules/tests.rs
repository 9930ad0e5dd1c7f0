use std::collections::BTreeMap;

use super::super::facts::{CertificateFacts, Counts, Order, Out, ProviderFacts, QuotaFacts, RouteFacts, Trouble};
use super::*;
use crate::config::Growth;
use crate::mail::{ProviderName, RouteName};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn provider(name: &str) -> ProviderFacts {
    ProviderFacts { name: ProviderName::new(name), out: None, paused: None, quota: None }
}

fn route(name: &str, chain: &[&[&str]], waiting: u64, oldest: Option<i64>) -> RouteFacts {
    let chain = chain.iter().map(|tier| tier.iter().map(|name| ProviderName::new(name)).collect()).collect();
    RouteFacts { name: RouteName::new(name), chain, waiting, oldest: oldest.map(at) }
}

/// Rule, subject, and whether it fires.
fn on(rules: &AlertRules, facts: &Facts, now: i64) -> Vec<(&'static str, String, bool)> {
    let found = findings(rules, facts, &History::new(Duration::from_secs(600)), at(now));
    found.into_iter().map(|one| (one.key.rule.name(), one.key.subject, one.fires)).collect()
}

fn healthy() -> Facts {
    Facts {
        providers: vec![provider("a"), provider("b"), provider("c")],
        routes: vec![route("all", &[&["a"], &["b", "c"]], 7, Some(0)), route("eu", &[&["a"]], 5, None)],
        ..Facts::default()
    }
}

#[test]
fn all_is_well_and_nothing_is_said() {
    assert_eq!(on(&AlertRules::default(), &healthy(), 60), []);
}

#[test]
fn an_open_breaker_is_an_alert_after_a_while_with_all_that_is_known_in_it() {
    let mut facts = healthy();
    let cause = Some("connection refused (203.0.113.9:25)".to_owned());
    facts.providers[0].out = Some(Out { since: at(0), probe_at: Some(at(90)), cause });
    let rules = AlertRules::default();
    assert_eq!(on(&rules, &facts, 59), [("breaker", "a".to_owned(), false)]);
    assert_eq!(on(&rules, &facts, 60), [("breaker", "a".to_owned(), true)]);
    let found = findings(&rules, &facts, &History::new(Duration::from_secs(600)), at(60));
    assert_eq!(found[0].told.summary, "provider a is out: connection refused (203.0.113.9:25)");
    let details: BTreeMap<_, _> = found[0].told.details.iter().cloned().collect();
    assert_eq!(details["last error"], "connection refused (203.0.113.9:25)");
    assert_eq!(details["since"], "2027-01-15 08:00:00 UTC");
    assert_eq!(details["next probe"], "2027-01-15 08:01:30 UTC");
    assert_eq!(details["mail goes"], "to b and c (route all); nowhere, it waits (route eu)");
    assert_eq!(details["waiting"], "12 on these routes, the oldest since 2027-01-15 08:00:00 UTC");
    assert_eq!(facts.waiting_for(&ProviderName::new("nobody's")), "nothing");
    // A provider that is paused takes nothing either.
    facts.providers[1].paused = Some(Order { since: at(0), until: at(600), by: "alice".into(), reason: "move".into() });
    assert_eq!(facts.instead_of(&ProviderName::new("a")), "to c (route all); nowhere, it waits (route eu)");
    assert!(on(&AlertRules { breaker: None, paused: false, ..rules }, &facts, 600).is_empty());
}

#[test]
fn orders_quotas_and_old_mail() {
    let mut facts = healthy();
    facts.providers[1].paused = Some(Order { since: at(0), until: at(600), by: "alice".into(), reason: "move".into() });
    facts.providers[2].quota = Some(QuotaFacts { used: 79, of: 100, until: at(1000) });
    assert_eq!(on(&AlertRules::default(), &facts, 1), [("paused", "b".to_owned(), true)]);
    facts.providers[1].paused = None;
    facts.providers[2].quota = Some(QuotaFacts { used: 80, of: 100, until: at(1000) });
    assert_eq!(on(&AlertRules::default(), &facts, 1), [("quota", "c".to_owned(), true)]);
    facts.providers[2].quota = None;
    let rules = AlertRules {
        oldest: Some(Duration::from_secs(100)),
        oldest_of: [(RouteName::new("bulk"), Some(Duration::from_secs(1000))), (RouteName::new("slow"), None)].into(),
        ..AlertRules::default()
    };
    facts.routes = ["all", "bulk", "slow"].iter().map(|name| route(name, &[&["a"]], 3, Some(0))).collect();
    assert_eq!(on(&rules, &facts, 74), []);
    assert_eq!(on(&rules, &facts, 75), [("oldest", "all".to_owned(), false)]);
    assert_eq!(on(&rules, &facts, 100), [("oldest", "all".to_owned(), true)]);
    let both = [("oldest", "all".to_owned(), true), ("oldest", "bulk".to_owned(), true)];
    assert_eq!(on(&rules, &facts, 1000), both);
}

#[test]
fn the_queue_s_room() {
    let mut facts = healthy();
    facts.queue.most = 1000;
    facts.queue.messages = 800;
    assert_eq!(on(&AlertRules::default(), &facts, 1), [("full", "queue".to_owned(), true)]);
    facts.queue.messages = 0;
    facts.queue.near = Some("little room".to_owned());
    assert_eq!(on(&AlertRules::default(), &facts, 1), [("disk", "queue".to_owned(), true)]);
    facts.queue.refuses = Some("no room".to_owned());
    let both = [("refused", "new mail".to_owned(), true), ("disk", "queue".to_owned(), false)];
    assert_eq!(on(&AlertRules::default(), &facts, 1), both, "what is near goes on, and does not begin");
    assert_eq!(on(&AlertRules { disk: None, ..AlertRules::default() }, &facts, 1), []);
}

#[test]
fn growth_and_bounces_are_seen_over_time() {
    let rules = AlertRules {
        growth: Some(Growth { messages: 100, within: Duration::from_secs(600) }),
        ..AlertRules::default()
    };
    let mut history = History::new(Duration::from_secs(600));
    let mut seen = Vec::new();
    for second in (0..1800).step_by(2) {
        let grows = (second as u64).saturating_sub(900);
        let facts = Facts {
            counts: Counts { delivered: second as u64, bounced: if second > 900 { grows / 5 } else { 0 } },
            queue: super::super::facts::QueueFacts { messages: grows.min(200), ..Default::default() },
            ..Facts::default()
        };
        history.take(&facts, at(second));
        for one in findings(&rules, &facts, &history, at(second)).iter().filter(|one| one.fires) {
            if !seen.iter().any(|(rule, _)| *rule == one.key.rule) {
                seen.push((one.key.rule, second));
            }
        }
    }
    let [(Rule::Growth, growth), (Rule::Bounces, bounces)] = seen[..] else { panic!("{seen:?}") };
    assert!((1000..1100).contains(&growth), "{growth}");
    assert!((1000..1300).contains(&bounces), "{bounces}");
}

#[test]
fn what_ends_is_told_before() {
    let mut facts = Facts { routes: Vec::new(), ..healthy() };
    let day = 86_400;
    facts.certificates =
        vec![CertificateFacts { file: "tls/cert.pem".into(), names: "relay.example".into(), not_after: at(20 * day) }];
    let rules = AlertRules {
        ends: vec![("the key of sendgrid".to_owned(), "2027-02-20".parse().unwrap())],
        ..AlertRules::default()
    };
    assert_eq!(on(&rules, &facts, 5 * day), []);
    assert_eq!(on(&rules, &facts, 6 * day), [("certificate", "tls/cert.pem".to_owned(), true)]);
    let both = [("certificate", "tls/cert.pem".to_owned(), true), ("ends", "the key of sendgrid".to_owned(), true)];
    assert_eq!(on(&rules, &facts, 40 * day), both);
    let found = findings(&rules, &facts, &History::new(Duration::from_secs(600)), at(6 * day));
    assert_eq!(found[0].told.summary, "the certificate tls/cert.pem ends in 14 days, on 2027-02-04 08:00:00 UTC");
}

#[test]
fn a_failed_reload_and_a_trail_that_is_behind() {
    let trouble = |text: &str| Some(Trouble { since: at(0), text: text.to_owned() });
    let facts = Facts { reload: trouble("2 errors"), trail: trouble("disk full"), ..healthy() };
    let both = [("reload", "relay".to_owned(), true), ("trail", "relay".to_owned(), true)];
    assert_eq!(on(&AlertRules::default(), &facts, 1), both);
    assert_eq!(on(&AlertRules::none(), &facts, 1), []);
}

#[test]
fn what_has_left_the_configuration_is_not_watched() {
    let facts = Facts {
        certificates: vec![CertificateFacts { file: "tls/cert.pem".into(), names: String::new(), not_after: at(0) }],
        ..healthy()
    };
    let usual =
        AlertRules { ends: vec![("the key".to_owned(), "2027-02-20".parse().unwrap())], ..AlertRules::default() };
    for (rule, subject, elsewhere) in [
        (Rule::Breaker, "a", "z"),
        (Rule::Paused, "b", "all"),
        (Rule::Quota, "c", ""),
        (Rule::Oldest, "eu", "a"),
        (Rule::Certificate, "tls/cert.pem", "tls/other.pem"),
        (Rule::Ends, "the key", "another key"),
    ] {
        assert!(is_watched(&usual, &facts, &Key::new(rule, subject)), "{subject}");
        assert!(!is_watched(&usual, &facts, &Key::new(rule, elsewhere)), "{elsewhere}");
        assert!(!is_watched(&AlertRules::none(), &facts, &Key::new(rule, subject)), "{subject}");
    }
    let of_the_relay = [Rule::Growth, Rule::Refused, Rule::Disk, Rule::Full, Rule::Bounces, Rule::Reload, Rule::Trail];
    for rule in of_the_relay {
        assert!(is_watched(&usual, &facts, &Key::new(rule, "x")), "{rule:?}");
        assert!(!is_watched(&AlertRules::none(), &facts, &Key::new(rule, "x")), "{rule:?}");
    }
    let never = AlertRules { oldest_of: [(RouteName::new("eu"), None)].into(), ..usual };
    assert!(!is_watched(&never, &facts, &Key::new(Rule::Oldest, "eu")));
}
