//! Changes in words, row by row.

use super::*;
use crate::config::{Assumed, Outside, Sources};

const SERVER: &str = "hostname: relay.example\n";
const ROUTES: &str = "routes:\n  - {name: eu, match: {sender_domain: shop.example.eu}, deliver: [mailgun, ses]}\n  \
    - {name: rest, deliver: [{mailgun: 80, ses: 20}, ses-us]}\n";
const PROVIDERS: &str = "providers:\n  - {name: mailgun, transport: mailgun, domain: mg.example, api_key: \"${env:KEY}\", rate: 500/s}\n  \
    - {name: ses, transport: ses, region: eu-west-1}\n  - {name: ses-us, transport: ses, region: us-east-1}\n";

fn config(server: &str, routes: &str, providers: &str) -> Config {
    let sources =
        Sources::new("").with("waypost.yaml", server).with("routes/a.yaml", routes).with("providers/a.yaml", providers);
    let loaded = crate::config::load(&sources, &Assumed);
    let problems: Vec<String> =
        loaded.problems.iter().filter(|one| one.is_error()).map(|one| one.render(&sources)).collect();
    loaded.config.unwrap_or_else(|| panic!("{}", problems.join("\n")))
}

fn told(old: &Config, new: &Config) -> Vec<String> {
    changes(old, new).iter().map(ToString::to_string).collect()
}

/// One thing replaced by another in one of the files.
fn changed(old: &str, new: &str) -> Vec<String> {
    let other = |text: &str| text.replacen(old, new, 1);
    assert!([SERVER, ROUTES, PROVIDERS].iter().any(|text| text.contains(old)), "{old}");
    told(&config(SERVER, ROUTES, PROVIDERS), &config(&other(SERVER), &other(ROUTES), &other(PROVIDERS)))
}

#[test]
fn each_change_in_its_words() {
    for (old, new, words) in [
        ("[mailgun, ses]}", "[ses]}", &["route 'eu': chain mailgun, ses → ses"][..]),
        (
            "{mailgun: 80, ses: 20}",
            "{mailgun: 50, ses: 50}",
            &["route 'rest': chain mailgun 80 + ses 20, ses-us → mailgun 50 + ses 50, ses-us"],
        ),
        (
            "rate: 500/s",
            "rate: 200/s",
            &["provider 'mailgun': rate 500/s → 200/s", "provider 'mailgun': burst 50 → 20"],
        ),
        ("region: us-east-1", "region: us-west-2", &["provider 'ses-us': region us-east-1 → us-west-2"]),
        ("domain: mg.example,", "domain: mg.example, concurrency: 3,", &["provider 'mailgun': concurrency 32 → 3"]),
        (
            "sender_domain: shop.example.eu",
            "sender_domain: [shop.example.eu, b.example]",
            &["route 'eu': match.sender_domain shop.example.eu → b.example, shop.example.eu"],
        ),
        (
            "{sender_domain: shop.example.eu}",
            "{not: {sender_domain: shop.example.eu}}",
            &[
                "route 'eu': match.sender_domain no longer set, was shop.example.eu",
                "route 'eu': match.not.sender_domain shop.example.eu, was not set",
            ],
        ),
        (
            "deliver: [mailgun, ses]",
            "hold: review",
            &["route 'eu': chain no longer set, was mailgun, ses", "route 'eu': hold review, was not set"],
        ),
        ("name: eu,", "name: europe,", &["route 'eu' removed", "route 'europe' added"]),
        (
            "name: eu,",
            "name: eu, tls: verify, expire: 1h, on_unknown: wait,",
            &[
                "route 'eu': tls verify, was not set",
                "route 'eu': expire 1h, was not set",
                "route 'eu': on_unknown next → wait",
            ],
        ),
        ("relay.example", "mail.example", &["relay: hostname relay.example → mail.example"]),
        (
            "relay.example\n",
            "relay.example\nqueue: {retry: [1m, 2m], path: q/q.redb}\n",
            &[
                "relay: queue.path data/queue.redb → q/q.redb (needs a restart)",
                "relay: audit.path data/audit.redb → q/audit.redb (needs a restart)",
                "relay: queue.retry 1m 5m 15m 1h → 1m 2m",
                "relay: pickup.path data/pickup → q/pickup",
                "relay: pickup.badmail data/badmail → q/badmail",
            ],
        ),
        (
            "relay.example\n",
            "relay.example\npickup: none\nadmin: off\nreload: manual\n",
            &[
                "relay: pickup.path no longer set, was data/pickup",
                "relay: pickup.badmail no longer set, was data/badmail",
                "relay: pickup.max_message_size no longer set, was 35MiB",
                "relay: pickup.check_from_header no longer set, was false",
                "relay: admin.address no longer set, was 127.0.0.1:8025 (needs a restart)",
                "relay: reload watch → manual",
                "relay: pickup none, was not set",
                "relay: admin off, was not set (needs a restart)",
            ],
        ),
        (
            "relay.example\n",
            "relay.example\naudit: {keep: 30d, addresses: hashed}\npickup: {senders: [\"*@a.example\"], rate: 5/s}\n",
            &[
                "relay: audit.keep 90d → 30d (needs a restart)",
                "relay: audit.addresses clear → hashed (needs a restart)",
                "relay: pickup.senders *@a.example, was not set",
                "relay: pickup.rate 5/s, was not set",
                "relay: pickup.burst 5, was not set",
            ],
        ),
        (
            "relay.example\n",
            "relay.example\nlisteners:\n  - {name: apps, address: \"127.0.0.1:2525\"}\n",
            &["listener 'default' removed", "listener 'apps' added"],
        ),
        (
            "relay.example\n",
            "relay.example\nlisteners:\n  - {name: default, address: \"127.0.0.1:2525\", allow: [10.0.0.0/8, {network: 10.1.0.0/16, senders: [\"*@a.example\"]}], rate: 5/s}\n",
            &[
                "listener 'default': allow 127.0.0.0/8, ::1/128 → 10.0.0.0/8, 10.1.0.0/16 as *@a.example",
                "listener 'default': rate 5/s, was not set",
                "listener 'default': burst 5, was not set",
            ],
        ),
        (
            "relay.example\n",
            "relay.example\nalerts:\n  rules: {oldest: {rest: 6h, \"*\": never}, growth: {messages: 50, within: 5m}, quota: 70%, paused: false, \
             ends: {the key of mailgun: \"2027-03-01\"}}\n  to: [{webhook: \"https://hooks.example/a\"}, {webhook: \"https://hooks.example/b\"}, \
             {name: pager, mail: ops@corp.example, via: ses}]\n",
            &[
                "relay: alerts.rules.oldest 1h → never",
                "relay: alerts.rules.oldest.rest 6h, was not set",
                "relay: alerts.rules.growth 1000 within 10m → 50 within 5m",
                "relay: alerts.rules.quota 80% → 70%",
                "relay: alerts.rules.paused true → false",
                "relay: alerts.rules.ends the key of mailgun on 2027-03-01, was not set",
                "alert target 'hooks.example' added",
                "alert target 'hooks.example (2)' added",
                "alert target 'pager' added",
            ],
        ),
        ("relay.example\n", "relay.example\nalerts: off\n", &["relay: alerts on → off"]),
        ("rest, deliver", "rest , deliver", &[]),
    ] {
        let mut found = changed(old, new);
        let mut words: Vec<String> = words.iter().map(|one| (*one).to_owned()).collect();
        found.sort();
        words.sort();
        assert_eq!(found, words, "{old} → {new}");
    }
}

#[test]
fn targets_of_alerts_are_told_by_name_and_webhooks_without_their_urls() {
    let told = |old: &str, new: &str| {
        let with = |to: &str| config(&format!("{SERVER}alerts: {{to: [{to}]}}\n"), ROUTES, PROVIDERS);
        told(&with(old), &with(new))
    };
    for (old, new, words) in [
        (
            "{name: pager, mail: ops@corp.example, via: ses}",
            "{name: pager, mail: [ops@corp.example, boss@corp.example]}",
            &[
                "alert target 'pager': mail ops@corp.example → boss@corp.example, ops@corp.example",
                "alert target 'pager': via no longer set, was ses",
            ][..],
        ),
        (
            "{webhook: \"https://hooks.example/one\"}",
            "{webhook: \"https://hooks.example/two\", secret: \"${env:KEY}\"}",
            &["alert target 'hooks.example': webhook changed", "alert target 'hooks.example': secret ***, was not set"],
        ),
        ("{mail: ops@corp.example}", "", &["alert target 'ops@corp.example' removed"]),
    ] {
        assert_eq!(told(old, new), words, "{old} → {new}");
    }
}

#[test]
fn routes_that_move_are_told_and_not_those_that_they_pass() {
    let table = |names: &str| {
        let list: String = names
            .chars()
            .map(|name| format!("  - {{name: {name}, match: {{recipient_domain: {name}.example}}, deliver: [ses]}}\n"))
            .collect();
        config(SERVER, &format!("routes:\n{list}"), PROVIDERS)
    };
    for (old, new, moved) in [
        ("abcde", "abcde", &[][..]),
        ("abcde", "eabcd", &["route 'e' moved before all others"]),
        ("abcde", "bcdea", &["route 'a' moved behind 'e'"]),
        ("abcde", "abdce", &["route 'd' moved behind 'b'"]),
        ("abcde", "axcbe", &["route 'd' removed", "route 'x' added", "route 'c' moved behind 'a'"]),
    ] {
        assert_eq!(told(&table(old), &table(new)), moved, "{old} {new}");
    }
}

/// As `Assumed`, with another value for each secret.
struct Other;

impl Outside for Other {
    fn env(&self, _: &str) -> Option<String> {
        Some("hunter2".to_owned())
    }
    fn secret_file(&self, _: &std::path::Path) -> std::io::Result<String> {
        Ok("hunter2".to_owned())
    }
    fn readable(&self, _: &std::path::Path) -> std::io::Result<()> {
        Ok(())
    }
    fn hostname(&self) -> Option<String> {
        Some("relay.example".to_owned())
    }
    fn assumes(&self) -> bool {
        true
    }
}

#[test]
fn a_secret_is_told_as_changed_and_no_more() {
    let argon = |salt: &str| format!("$argon2id$v=19$m=8,t=1,p=1${salt}$QtXWYkJ1AuL9MoPi2YpR0g2Vcm6tiKFFrqwBaa2tIT0");
    let sources = |salt: &str, more: &str| {
        let listener = "listeners:\n  - {name: a, address: \"127.0.0.1:2525\", authentication: required}\n";
        let users = format!("{listener}users:\n  - {{name: billing, password: \"{}\"}}\n{more}", argon(salt));
        Sources::new("")
            .with("waypost.yaml", format!("admin: {{token: \"${{env:TOKEN}}\"}}\n{users}"))
            .with("routes/a.yaml", ROUTES)
            .with("providers/a.yaml", PROVIDERS)
    };
    let old = crate::config::load(&sources("c2FsdHNhbHQ", ""), &Assumed).config.unwrap();
    let more = "  - {name: shop, senders: [\"*@shop.example\"], password: \"$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$QtXWYkJ1AuL9MoPi2YpR0g2Vcm6tiKFFrqwBaa2tIT0\"}\n";
    let new = crate::config::load(&sources("cGVwcGVycGVw", more), &Other).config.unwrap();
    let changes = changes(&old, &new);
    let words: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "relay: admin.token changed (needs a restart)",
            "user 'billing': password changed",
            "user 'shop' added",
            "provider 'mailgun': api_key changed",
        ]
    );
    let json = serde_json::to_string(&changes.iter().map(Change::json).collect::<Vec<_>>()).unwrap();
    assert!(!json.contains("hunter2") && !json.contains("argon2"), "{json}");
    assert!(
        json.contains(r#""kind":"provider","name":"mailgun","what":"changed","key":"api_key","old":null,"new":null"#),
        "{json}"
    );
}

#[test]
fn long_lists_tell_what_came_and_went() {
    let table = |names: std::ops::Range<u32>| {
        let list: Vec<String> = names.map(|n| format!("d{n:02}.example")).collect();
        let route =
            format!("routes:\n  - {{name: r, match: {{recipient_domain: [{}]}}, deliver: [ses]}}\n", list.join(", "));
        config(SERVER, &route, PROVIDERS)
    };
    assert_eq!(
        told(&table(0..20), &table(1..22)),
        ["route 'r': match.recipient_domain 20 values with d00.example → 21 values with d20.example, d21.example"]
    );
}
