//! Configurations that are right: the shipped default, the examples, large ones.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use waypost::config::{self, Action, Config, Loaded, Origin, Outside, Sources, Transport};

/// Every secret is there. Hashes are what `*_HASH` asks for.
struct World;

const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$QtXWYkJ1AuL9MoPi2YpR0g2Vcm6tiKFFrqwBaa2tIT0";

impl Outside for World {
    fn env(&self, name: &str) -> Option<String> {
        Some(if name.ends_with("_HASH") { HASH } else { "s3cret" }.to_owned())
    }
    fn secret_file(&self, _: &Path) -> io::Result<String> {
        Ok("s3cret\n".to_owned())
    }
    fn readable(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn hostname(&self) -> Option<String> {
        Some("not a domain".to_owned())
    }
}

fn clean(sources: &Sources) -> Loaded {
    let loaded = config::load(sources, &World);
    let told: String = loaded.problems.iter().map(|problem| problem.render(sources)).collect();
    assert_eq!(told, "");
    loaded
}

fn config(files: &[(&str, &str)]) -> Config {
    let sources = files.iter().fold(Sources::new("/c"), |sources, (name, text)| sources.with(name, *text));
    clean(&sources).config.expect("a clean configuration")
}

#[test]
fn the_default_is_a_maildir_behind_loopback() {
    let config = clean(&config::read(&Origin::BuiltIn).unwrap()).config.unwrap();
    assert_eq!(config.server.listeners.len(), 1);
    assert_eq!(config.server.listeners[0].address, "127.0.0.1:2525".parse().unwrap());
    assert_eq!(config.server.hostname.as_str(), "localhost");
    assert_eq!(config.server.queue.path, PathBuf::from("data/queue.redb"));
    let pickup = config.server.pickup.unwrap();
    assert_eq!((pickup.path, pickup.badmail), (PathBuf::from("data/pickup"), PathBuf::from("data/badmail")));
    assert_eq!(config.routes.len(), 1);
    match &config.providers[0].transport {
        Transport::Maildir(maildir) => assert_eq!(maildir.path, PathBuf::from("data/outbox")),
        other => panic!("{other:?}"),
    }
}

/// The set-up that the default's files show switched off: a single `#` in the first column, taken away.
fn switched_on(text: &str) -> String {
    fn line(line: &str) -> &str {
        line.strip_prefix('#').filter(|rest| !rest.starts_with('#')).unwrap_or(line)
    }
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_hybrid_set_up_that_the_default_shows_is_good() {
    let files: Vec<(&str, String)> = config::DEFAULT.iter().map(|(name, text)| (*name, switched_on(text))).collect();
    let sources = files.iter().fold(Sources::new(""), |sources, (name, text)| sources.with(name, text.as_str()));
    let loaded = clean(&sources);
    let config = loaded.config.unwrap();
    let routes: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(routes, ["internal", "eu-customers", "bulk", "outside", "everything"]);
    assert_eq!(config.providers.len(), 6);
    assert_eq!(config.server.listeners.len(), 3);
    assert_eq!(loaded.tests.len(), 4);
}

#[test]
fn the_pickup_folder_lies_beside_the_queue_or_where_it_is_put() {
    const ROUTES: &str = "routes: [{name: a, deliver: [out], match: {listener: pickup}}]\n\
        tests: [{from: a@b.example, to: c@d.example, listener: pickup, route: a}]";
    const OUT: &str = "providers: [{name: out, transport: maildir, path: out}]";
    let pickup = |yaml: &str| {
        let config = config(&[("waypost.yaml", yaml), ("routes/a.yaml", ROUTES), ("providers/a.yaml", OUT)]);
        let pickup = config.server.pickup.unwrap();
        [pickup.path, pickup.badmail].map(|path| path.display().to_string())
    };
    assert_eq!(pickup("queue: {path: /q/queue.redb}"), ["/q/pickup", "/q/badmail"]);
    assert_eq!(pickup("pickup: {path: mail/drop}"), ["/c/mail/drop", "/c/mail/badmail"]);
    assert_eq!(pickup("pickup: {path: drop, badmail: /bad}"), ["/c/drop", "/bad"]);
    let off = config(&[
        ("waypost.yaml", "pickup: none\nlisteners: [{name: pickup, address: \"127.0.0.1:25\"}]"),
        ("routes/a.yaml", ROUTES),
        ("providers/a.yaml", OUT),
    ]);
    assert!(off.server.pickup.is_none());
}

#[test]
fn every_example_checks_clean() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let dir = entry.unwrap().path();
        // monitoring/ is for Prometheus.
        if dir.join("routes").is_dir() {
            let loaded = clean(&config::read(&Origin::Directory(dir.clone())).unwrap());
            assert!(!loaded.tests.is_empty(), "{dir:?} proves nothing");
            assert!(dir.join("README.md").is_file());
            count += 1;
        }
    }
    assert_eq!(count, 6);
}

#[test]
fn what_is_not_said_has_a_sensible_value() {
    let providers = "\
providers:
  - {name: mx, transport: mx, region: eu}
  - {name: relay, transport: smtp, host: Relay.Example}
  - {name: login, transport: smtp, host: relay.example, credentials: {username: u, password: \"${env:P}\"}}
  - {name: implicit, transport: smtp, host: \"[::1]\", port: 465}
  - {name: grid, transport: sendgrid, api_key: \"${env:K}\", region: eu, rate: 500/s, quota: 5000000000/d}
  - {name: gun, transport: mailgun, api_key: \"${file:k}\", domain: mg.example, endpoint: \"http://127.0.0.1:8080/\", timeout: 2s}
  - {name: ses, transport: ses, region: eu-west-1, breaker: {probe_max: 10s}}
";
    let config = config(&[
        ("routes/a.yaml", "routes: [{name: a, deliver: [{mx: 3, grid: 1}, gun]}]"),
        ("providers/a.yaml", providers),
    ]);
    let provider = |name: &str| config.providers.iter().find(|one| one.name.as_str() == name).unwrap();
    let smtp = |name: &str| match &provider(name).transport {
        Transport::Smtp(smtp) => format!("{} {} {:?}", smtp.host, smtp.port, smtp.tls),
        other => panic!("{other:?}"),
    };
    assert_eq!(smtp("relay"), "relay.example 25 Opportunistic");
    assert_eq!(smtp("login"), "relay.example 587 StartTls");
    assert_eq!(smtp("implicit"), "::1 465 Implicit");
    assert_eq!(provider("mx").concurrency, 100);
    assert_eq!(provider("mx").timeout.command, Duration::from_secs(300));
    let grid = provider("grid");
    assert_eq!((grid.concurrency, grid.limit.unwrap().burst, grid.region.as_deref()), (32, 50, Some("eu")));
    assert_eq!(grid.quota.unwrap().messages, 5_000_000_000);
    assert_eq!(grid.timeout.content, Duration::from_secs(60));
    match (&grid.transport, &provider("gun").transport) {
        (Transport::SendGrid(grid), Transport::Mailgun(gun)) => {
            assert_eq!(grid.endpoint, "https://api.eu.sendgrid.com");
            assert_eq!(gun.endpoint, "http://127.0.0.1:8080");
            assert_eq!(gun.api_key.expose(), "s3cret");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(provider("gun").timeout.connect, Duration::from_secs(2));
    assert_eq!(provider("ses").breaker.probe_after, Duration::from_secs(10));
    match &config.routes[0].action {
        Action::Deliver(tiers) => {
            let tiers: Vec<Vec<(&str, u32)>> = tiers
                .iter()
                .map(|tier| tier.0.iter().map(|(name, weight)| (name.as_str(), *weight)).collect())
                .collect();
            assert_eq!(tiers, [vec![("mx", 3), ("grid", 1)], vec![("gun", 1)]]);
        }
        other => panic!("{other:?}"),
    }
    let queue = &config.server.queue;
    assert_eq!(queue.path, PathBuf::from("/c/data/queue.redb"));
    assert_eq!(queue.retry, [60, 300, 900, 3600].map(Duration::from_secs));
    assert_eq!(queue.warn_after, Some(Duration::from_secs(4 * 3600)));
}

#[test]
fn owners_and_tests_belong_to_their_file() {
    let a = "owner: {sender: \"*@a.example\"}\nroutes: [{name: a, deliver: out}, {name: b, deliver: out}]\n";
    let b = "\
routes: [{name: c, discard: true, match: {not: {header: {A: x, B: [y, z]}, size: \">1MB\"}}}]
tests:
  - {from: \"<>\", to: [X@Y.Example, z@y.example], route: c, size: 5MB, header: {A: b}, client: 10.0.0.1}
";
    let sources = Sources::new("")
        .with("routes/a.yaml", a)
        .with("routes/b.yaml", b)
        .with("providers/a.yaml", "providers: [{name: out, transport: maildir, path: out}]");
    let loaded = clean(&sources);
    let config = loaded.config.unwrap();
    let owners: Vec<usize> = config.routes.iter().map(|route| route.owner.len()).collect();
    assert_eq!(owners, [1, 1, 0]);
    // Each header field under `not` is a condition of its own: none of them may hold.
    assert_eq!(config.routes[2].conditions.iter().filter(|condition| condition.negated).count(), 3);
    let test = &loaded.tests[0];
    assert_eq!(test.from, "<>");
    assert_eq!(test.to, ["X@y.example", "z@y.example"]);
    assert_eq!(test.routes.get("X@y.example").map(String::as_str), Some("c"));
    assert_eq!((test.place.line, test.place.column), (3, 5));
}

#[test]
fn anchors_and_merges_spare_repetition() {
    let config = config(&[
        (
            "providers/a.yaml",
            "providers:\n  - &mx {name: a, transport: mx, breaker: &b {failures: 9}}\n  - {<<: *mx, name: b}\n  - {name: c, transport: mx, breaker: *b}\n",
        ),
        ("routes/a.yaml", "routes: [{name: a, deliver: [a, b, c]}]"),
    ]);
    assert_eq!(config.providers.iter().map(|one| one.breaker.failures).collect::<Vec<_>>(), [9, 9, 9]);
}

#[test]
fn fifty_thousand_routes_are_no_matter() {
    let mut routes = "routes:\n".to_owned();
    for n in 0..50_000 {
        routes += &format!(
            "  - name: r{n}\n    match: {{recipient_domain: d{n}.example, sender: 'a{n}@*'}}\n    deliver: [out, {{b: 1}}]\n    rate: 5/s\n"
        );
    }
    let config = config(&[
        ("routes/a.yaml", &routes),
        ("providers/a.yaml", "providers: [{name: out, transport: maildir, path: out}, {name: b, transport: mx}]"),
    ]);
    assert_eq!(config.routes.len(), 50_000);
    assert_eq!(config.routes[49_999].place.line, 4 * 49_999 + 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Whatever a slip of the finger makes of a good configuration: it is told, with a place that is there, or taken.
    #[test]
    fn no_slip_is_too_odd(file in 0usize..3, at in 0.0..1.0f64, cut in 0usize..12, put in "[-a-z0-9:,{}\\[\\]\"'&*!|>#?%@$ \n\té]{0,6}") {
        let mut sources = Sources::new("");
        for (index, (name, text)) in config::DEFAULT.iter().enumerate() {
            let text = switched_on(text);
            let mut chars: Vec<char> = text.chars().collect();
            if index == file {
                let start = (chars.len() as f64 * at) as usize;
                let end = (start + cut).min(chars.len());
                chars.splice(start..end, put.chars());
            }
            sources = sources.with(name, chars.into_iter().collect::<String>());
        }
        let loaded = config::load(&sources, &World);
        for problem in &loaded.problems {
            let told = problem.render(&sources);
            prop_assert!(problem.place.is_none() || told.lines().count() == 3, "{}", told);
        }
        prop_assert_eq!(loaded.config.is_none(), loaded.problems.iter().any(|problem| problem.is_error()));
    }
}

/// The three pages that the manual shows, as far as their keys have a meaning.
#[test]
fn what_the_manual_shows_is_good() {
    let waypost = "\
hostname: relay.corp.example
listeners:
  - {name: apps, address: \"127.0.0.1:2525\"}
  - name: submission
    address: \"0.0.0.0:587\"
    tls: starttls
    authentication: required
    allow: [10.0.0.0/8]
    max_message_size: 35MiB
    max_connections: 1000
tls: {certificate: tls/cert.pem, key: tls/key.pem}
users:
  - {name: billing, password: \"${env:BILLING_HASH}\", senders: [\"*@billing.corp.example\"]}
queue: {path: data/queue.redb, retry: [1m, 5m, 15m, 1h], expire: 5d, warn_after: 4h}
dns: {nameservers: [\"127.0.0.1:5353\"]}
log: {format: json, level: info}
";
    let routes = "\
routes:
  - name: internal
    match:
      recipient_domain: [corp.example, \"*.corp.example\"]
    deliver: [internal-mx]
  - name: eu-customers
    match: {sender_domain: shop.example.eu}
    residency: eu
    deliver: [mailgun-eu, ses-eu]
    rate: 100/s
    burst: 200
  - name: bulk
    match:
      sender: \"news@*\"
      header: {X-Mail-Class: bulk}
    priority: bulk
    deliver:
      - {mailgun-eu: 80, ses-eu: 20}
      - smarthost
    sticky: recipient
  - name: no-macros
    match: {size: \">10MiB\", client: 10.0.0.0/8, user: billing, listener: [apps, sub*]}
    hold: macro attachments are reviewed
  - name: everything-else
    deliver: [sendgrid, ses-eu]
    on_unknown: next
owner:
  sender: [\"*@shop.example.eu\", \"news@*\"]
tests:
  - {from: app@shop.example.eu, to: x@customer.example, route: eu-customers, chain: [mailgun-eu, ses-eu]}
  - {from: app@corp.example, to: [hr@corp.example, x@gmail.com], route: {hr@corp.example: internal, x@gmail.com: everything-else}}
";
    let providers = "\
providers:
  - name: internal-mx
    transport: mx
    tls: opportunistic
  - name: smarthost
    transport: smtp
    host: smtp.isp.example
    port: 587
    tls: starttls
    credentials: {username: relay, password: \"${file:/run/secrets/isp}\"}
    timeout: {connect: 10s, command: 5m, content: 10m}
  - name: sendgrid
    transport: sendgrid
    api_key: \"${env:SENDGRID_API_KEY}\"
    region: us
    rate: 500/s
    concurrency: 32
    quota: 100000/d
    breaker: {failures: 5, within: 30s, probe_after: 15s, probe_max: 10m}
  - name: mailgun-eu
    transport: mailgun
    region: eu
    domain: mg.shop.example.eu
    api_key: \"${env:MAILGUN_API_KEY}\"
  - name: ses-eu
    transport: ses
    region: eu-west-1
    configuration_set: transactional
";
    config(&[("waypost.yaml", waypost), ("routes/a.yaml", routes), ("providers/a.yaml", providers)]);
}
