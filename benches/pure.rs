//! The pure parts, each for itself: what a message costs before it touches a socket or a disk.
//!
//! `cargo bench --bench pure`; `-- --quick` for a first look.

use std::hint::black_box;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput};
use waypost::config::{self, Config, Outside, Sources, Sticky};
use waypost::delivery::plan::{Draw, Question as Where, Standing, plan};
use waypost::delivery::schedule::{Jitter, Schedule};
use waypost::delivery::settle::{Case, History, settle};
use waypost::mail::{Address, Diagnosis, EnhancedStatus, Mid, ProviderName, Severity, Timestamp};
use waypost::queue::Passed;
use waypost::routing::{Decision, Facts, Table};
use waypost::smtp::content::DotReader;
use waypost::smtp::server::{Action, Answer, Input, Peer, Question, Session, Settings};
use waypost::transport::{Outcome, Trouble, TroubleKind, sendgrid};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    addresses(&mut criterion);
    sessions(&mut criterion);
    content(&mut criterion);
    routing(&mut criterion);
    settling(&mut criterion);
    json(&mut criterion);
    criterion.final_summary();
}

fn addresses(criterion: &mut Criterion) {
    criterion.bench_function("address", |bench| {
        bench.iter(|| black_box("orders+2026@customer.example.com").parse::<Address>());
    });
}

/// A whole transaction through the server's machine, its commands pipelined.
fn sessions(criterion: &mut Criterion) {
    let settings = Arc::new(Settings {
        hostname: "relay.example".parse().expect("a domain"),
        lmtp: false,
        max_message_size: 50 << 20,
        max_recipients: 100,
        max_errors: 20,
        starttls: false,
        authentication: false,
        scram: false,
        old_auth: false,
    });
    let peer = Peer { loopback: true, tls: false, must_authenticate: false };
    let mut group = criterion.benchmark_group("session");
    for size in [4 << 10, 100 << 10] {
        let mut octets =
            b"EHLO app.example\r\nMAIL FROM:<a@shop.example>\r\nRCPT TO:<b@customer.example>\r\nDATA\r\n".to_vec();
        octets.extend(message(size));
        octets.extend(b".\r\n");
        group.throughput(Throughput::Bytes(octets.len() as u64));
        group.bench_function(format!("{} KiB", size >> 10), |bench| {
            bench.iter_batched(
                || BytesMut::from(&octets[..]),
                |mut octets| {
                    let mut actions = Vec::new();
                    let mut session = Session::new(settings.clone(), peer, &mut actions);
                    assert!(stored(&mut session, &mut octets, &mut actions));
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Answers what the session asks until it has been told that the message is stored.
fn stored(session: &mut Session, octets: &mut BytesMut, actions: &mut Vec<Action>) -> bool {
    session.step(Input::Octets(octets), actions);
    let mut done = false;
    while !actions.is_empty() {
        for action in std::mem::take(actions) {
            let answer = match action {
                Action::Ask(Question::Store { .. }) => {
                    done = true;
                    Answer::Stored(Mid::from_bits(1))
                }
                Action::Ask(_) => Answer::Accept,
                _ => continue,
            };
            session.step(Input::Answer(answer), actions);
        }
        session.step(Input::Octets(octets), actions);
    }
    done
}

/// Where content ends, and which of its dots are stuffing.
fn content(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("content");
    for size in [4 << 10, 100 << 10] {
        let mut octets = message(size);
        octets.extend(b".\r\n");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{} KiB", size >> 10), |bench| {
            bench.iter_batched(
                || BytesMut::from(&octets[..]),
                |mut octets| {
                    let mut pieces = Vec::new();
                    assert!(DotReader::new(1 << 30).read(&mut octets, &mut pieces));
                    pieces
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// One decision, with few and with many routes of exact domains: they are looked up.
fn routing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for count in [10, 10_000] {
        let table = table(count);
        let recipients: Vec<Address> =
            (0..count).step_by(count / 10).map(|n| format!("a@d{n}.example").parse().expect("an address")).collect();
        let sender: Address = "app@shop.example".parse().expect("an address");
        let mut next = 0;
        group.bench_function(format!("{count} routes"), |bench| {
            bench.iter(|| {
                next = (next + 1) % recipients.len();
                let facts = Facts {
                    sender: Some(&sender),
                    recipient: &recipients[next],
                    listener: "apps",
                    client: None,
                    user: None,
                    header: None,
                    size: None,
                };
                assert!(matches!(table.route(black_box(&facts)), Decision::Route(_)));
            });
        });
    }
    group.finish();
}

fn table(count: usize) -> Table {
    let mut routes = "routes:\n".to_owned();
    for n in 0..count {
        routes += &format!("  - {{name: r{n}, match: {{recipient_domain: d{n}.example}}, deliver: [out]}}\n");
    }
    let config = loaded(routes, &["out"]);
    Table::new(config.routes, config.providers)
}

fn loaded(routes: String, providers: &[&str]) -> Config {
    let maildir = |name: &&str| format!("  - {{name: {name}, transport: maildir, path: {name}}}\n");
    let providers: String = providers.iter().map(maildir).collect();
    let sources =
        Sources::new("").with("routes/a.yaml", routes).with("providers/a.yaml", format!("providers:\n{providers}"));
    config::load(&sources, &Nothing).config.expect("a good configuration")
}

/// What becomes of a recipient after an attempt, in a chain of three.
fn settling(criterion: &mut Criterion) {
    let routes = "routes: [{name: all, deliver: [one, two, three]}]".to_owned();
    let config = loaded(routes, &["one", "two", "three"]);
    let route = &config.routes[0];
    let provider = ProviderName::new("one");
    let now = Timestamp::from_second(1_764_000_000).expect("a time");
    let recipient: Address = "b@customer.example".parse().expect("an address");
    let draw = Draw::new(Sticky::Message, Mid::from_bits(7), &recipient);
    let goes = |passed: &[Passed]| plan(&Where { route, passed, shy: &[], draw }, &|_| Standing::Ready);
    let said = Diagnosis::local(EnhancedStatus::new(Severity::Transient, 4, 1), "no answer");
    let outcomes = [
        ("delivered", Outcome::Delivered { diagnosis: said.clone(), provider_id: None, dsn: false }),
        ("deferred", Outcome::Deferred(said.clone())),
        ("unavailable", Outcome::Unavailable(Trouble { kind: TroubleKind::Connection, diagnosis: said })),
    ];
    let pauses = [std::time::Duration::from_secs(60)];
    let mut group = criterion.benchmark_group("settle");
    for (name, outcome) in outcomes {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let case = Case {
                    route,
                    provider: &provider,
                    history: History { due: now, attempts: 0, passed: &[], last: None },
                    schedule: Schedule::new(&pauses),
                    paused_until: None,
                    expires_at: now,
                    now,
                    jitter: Jitter::new(0.5),
                    plan: &goes,
                };
                settle(black_box(&outcome), &case)
            });
        });
    }
    group.finish();
}

/// MIME to SendGrid's JSON.
fn json(criterion: &mut Criterion) {
    let recipient: Address = "b@customer.example".parse().expect("an address");
    let mut group = criterion.benchmark_group("sendgrid");
    for size in [4 << 10, 100 << 10] {
        let content = Bytes::from(message(size));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{} KiB", size >> 10), |bench| {
            bench.iter(|| {
                let mail = sendgrid::represent(&[&recipient], black_box(&content));
                serde_json::to_vec(&mail.expect("a message that JSON can carry")).expect("JSON")
            });
        });
    }
    group.finish();
}

fn message(size: usize) -> Vec<u8> {
    let mut message = b"From: Shop <a@shop.example>\r\nTo: b@customer.example\r\nSubject: Your order\r\n\
        Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@shop.example>\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\r\n"
        .to_vec();
    while message.len() < size {
        message.extend(b"A line of text as orders and invoices have them, of common length for it.\r\n");
    }
    message
}

/// The configuration needs nothing from outside.
struct Nothing;

impl Outside for Nothing {
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn secret_file(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn readable(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn hostname(&self) -> Option<String> {
        None
    }
}
