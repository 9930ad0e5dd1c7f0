//! What a user reads when a configuration is wrong: exact messages at exact places.

mod alerts;
mod providers;

use std::io;
use std::path::Path;

use waypost::config::{self, Outside, Problem, Sources};

/// One secret in the environment, no file.
struct World;

impl Outside for World {
    fn env(&self, name: &str) -> Option<String> {
        (name == "KEY").then(|| "k3y".to_owned())
    }
    fn secret_file(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn readable(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn hostname(&self) -> Option<String> {
        Some("relay.example".to_owned())
    }
}

const OUT: &str = "providers: [{name: out, transport: maildir, path: out}]";
const ALL: &str = "routes: [{name: all, deliver: out}]";

fn sources(files: &[(&str, &str)]) -> Sources {
    files.iter().fold(Sources::new("/etc/waypost"), |sources, (name, text)| sources.with(name, *text))
}

/// All problems of the files, as `waypost check` prints them.
fn said(files: &[(&str, &str)]) -> String {
    let sources = sources(files);
    let loaded = config::load(&sources, &World);
    assert_eq!(loaded.config.is_none(), loaded.problems.iter().any(Problem::is_error));
    loaded.problems.iter().map(|problem| problem.render(&sources)).collect()
}

/// The messages of one file beside good others, each with line and column.
fn messages(kind: &str, text: &str) -> Vec<String> {
    let name = match kind {
        "waypost" => "waypost.yaml",
        "routes" => "routes/a.yaml",
        _ => "providers/a.yaml",
    };
    let mut files = vec![(name, text)];
    if kind != "routes" {
        files.push(("routes/a.yaml", ALL));
    }
    files.push(("providers/z.yaml", OUT));
    let loaded = config::load(&sources(&files), &World);
    loaded
        .problems
        .iter()
        .map(|problem| match &problem.place {
            Some(place) => format!("{}:{}: {}", place.line, place.column, problem.message),
            None => problem.message.clone(),
        })
        .collect()
}

fn check(kind: &str, table: &[(&str, &[&str])]) {
    for (text, expected) in table {
        assert_eq!(&messages(kind, text), expected, "{text}");
    }
}

#[test]
fn a_misspelt_provider() {
    let routes = "routes:\n  - name: bulk\n    deliver:\n      - {mailgum: 80, out: 20}\n";
    let providers = "providers:\n  - {name: mailgun, transport: mailgun, domain: d.example, api_key: \"${env:KEY}\"}\n";
    assert_eq!(
        said(&[("routes/20-bulk.yaml", routes), ("providers/a.yaml", providers), ("providers/z.yaml", OUT)]),
        "\
routes/20-bulk.yaml:4:10: error: route 'bulk': unknown provider 'mailgum', did you mean 'mailgun'?
 4 |       - {mailgum: 80, out: 20}
   |          ^
"
    );
}

#[test]
fn all_errors_of_all_files_in_one_run() {
    let waypost = "listeners:\n  - name: apps\n    address: 127.0.0.1:70000\n    max-connections: 5\n";
    let broken = "routes:\n  - name: a\n   deliver: out\n";
    let routes = "\
routes:
  - name: a
    match: {recipient_domain: [\"*.-x.example\", ok.example], sizee: \">1MB\"}
    deliver: [out, nowhere]
    rate: 0/s
  - name: a
    deliver: out
    hold: why
";
    let providers =
        "providers:\n  - {name: out, transport: maildir, path: out}\n  - {name: grid, transport: sendgird}\n";
    let files = [
        ("waypost.yaml", waypost),
        ("routes/10-broken.yaml", broken),
        ("routes/20-good.yaml", routes),
        ("providers/a.yaml", providers),
    ];
    assert_eq!(
        said(&files),
        "\
providers/a.yaml:3:29: error: 'sendgird' is none of mx, smtp, lmtp, sendgrid, mailgun, ses, maildir, did you mean 'sendgrid'?
 3 |   - {name: grid, transport: sendgird}
   |                             ^
routes/10-broken.yaml:3:4: error: this is no YAML: while parsing a block collection, did not find expected '-' indicator
 3 |    deliver: out
   |    ^
routes/20-good.yaml:3:32: error: '*.-x.example' is no domain pattern: write a domain, or *.domain for all below it
 3 |     match: {recipient_domain: [\"*.-x.example\", ok.example], sizee: \">1MB\"}
   |                                ^
routes/20-good.yaml:3:61: error: unknown key 'sizee', did you mean 'size'?
 3 |     match: {recipient_domain: [\"*.-x.example\", ok.example], sizee: \">1MB\"}
   |                                                             ^
routes/20-good.yaml:4:20: error: route 'a': unknown provider 'nowhere'
 4 |     deliver: [out, nowhere]
   |                    ^
routes/20-good.yaml:5:11: error: a rate of 0 lets nothing pass: to stop mail, use 'hold' or 'reject'
 5 |     rate: 0/s
   |           ^
routes/20-good.yaml:6:11: error: there are two routes 'a', the first at routes/20-good.yaml:2:11
 6 |   - name: a
   |           ^
routes/20-good.yaml:8:5: error: route 'a': 'hold' beside 'deliver': a route has just one of deliver, reject, hold, discard
 8 |     hold: why
   |     ^
waypost.yaml:3:14: error: '127.0.0.1:70000' is no address and port; write one such as 127.0.0.1:2525 or [::]:25
 3 |     address: 127.0.0.1:70000
   |              ^
waypost.yaml:4:5: error: unknown key 'max-connections', did you mean 'max_connections'?
 4 |     max-connections: 5
   |     ^
"
    );
}

#[test]
fn no_open_relay_by_accident() {
    let open = |address: &str, allow: &str| {
        messages("waypost", &format!("listeners: [{{name: a, address: \"{address}\", allow: [{allow}]}}]"))
    };
    for (address, allow) in [
        ("0.0.0.0:25", "0.0.0.0/0"),
        ("[::]:25", "\"::/0\""),
        ("192.0.2.1:25", "0.0.0.0/1, 128.0.0.0/1"),
        ("192.0.2.1:25", "10.0.0.0/8, 0.0.0.0/1"),
        ("[::]:25", "\"::ffff:0:0/96\""),
        ("[::ffff:192.0.2.1]:25", "\"2000::/3\""),
    ] {
        let found = open(address, allow);
        assert_eq!(found.len(), 1, "{address} {allow} {found:?}");
        assert!(found[0].contains(&format!("listener 'a': an open relay: {address} would take mail")), "{found:?}");
    }
    for (address, allow) in
        [("127.0.0.1:25", "0.0.0.0/0"), ("[::1]:25", "\"::/0\""), ("0.0.0.0:25", "10.0.0.0/8"), ("0.0.0.0:25", "")]
    {
        assert_eq!(open(address, allow), [""; 0], "{address} {allow}");
    }
}

#[test]
fn the_server() {
    check(
        "waypost",
        &[
            ("hostname: \"a b\"", &["1:11: 'a b' is no domain name"]),
            ("listeners: []", &["1:12: no listener: nothing could hand in mail"]),
            ("listeners:", &["1:10: no listener: nothing could hand in mail"]),
            (
                "listeners:\n- {name: a, address: 127.0.0.1:25}\n- {name: a, address: 127.0.0.1:26}\n- {name: b, address: 127.0.0.1:25}",
                &[
                    "3:10: there are two listeners 'a', the first at waypost.yaml:2:10",
                    "4:22: listener 'b': address 127.0.0.1:25 is taken by listener 'a'",
                ],
            ),
            (
                "listeners: [{name: a, address: 127.0.0.1:25, allow: [10.1.2.3/8, 10.0.0.0/33, x], max_recipients: 0, max_message_size: 0}]",
                &[
                    "1:54: '10.1.2.3/8' has bits set behind its prefix, did you mean '10.0.0.0/8'?",
                    "1:66: '10.0.0.0/33' is no network in CIDR form, such as 10.0.0.0/8 or 2001:db8::/32",
                    "1:79: 'x' is no network in CIDR form, such as 10.0.0.0/8 or 2001:db8::/32",
                    "1:99: 0 is out of range: 1 to 100000",
                    "1:120: a size of 0 makes no sense here",
                ],
            ),
            (
                "listeners: [{name: a, address: 0.0.0.0:587, tls: starttls, authentication: required}]",
                &[
                    "1:50: listener 'a': no certificate is given: the relay makes a self-signed one, which clients refuse that check it; \
                     give 'tls: {certificate: ..., key: ...}' at the top level",
                    "1:76: listener 'a': authentication needs users, and there are none",
                ],
            ),
            (
                "listeners: [{name: a, address: 127.0.0.1:25, tls: starttls, certificate: c.pem}, {name: b, address: 127.0.0.1:26, key: k.pem, certificate: c.pem}]",
                &[
                    "1:61: 'certificate' and 'key' go together; give both or neither",
                    "1:120: cannot read /etc/waypost/k.pem: entity not found",
                    "1:140: cannot read /etc/waypost/c.pem: entity not found",
                    "1:140: listener 'b': its certificate does nothing without 'tls: starttls' or 'tls: implicit'",
                ],
            ),
            (
                "tls: [{certificate: c.pem}, {certificat: c.pem, key: k.pem}]",
                &[
                    "1:7: key 'key' is missing",
                    "1:21: cannot read /etc/waypost/c.pem: entity not found",
                    "1:29: key 'certificate' is missing",
                    "1:30: unknown key 'certificat', did you mean 'certificate'?",
                    "1:54: cannot read /etc/waypost/k.pem: entity not found",
                ],
            ),
            (
                "listeners: [{name: a, address: 10.0.0.1:587, authentication: optional}]\nusers: [{name: u, password: hunter2}]",
                &[
                    "1:62: listener 'a': passwords would travel in clear on 10.0.0.1:587; set 'tls: starttls' or 'tls: implicit'",
                    "2:19: this is no argon2 hash ($argon2id$...) and no SCRAM verifier (SCRAM-SHA-256$...); `waypost hash-password` makes one",
                ],
            ),
            (
                "tls: {certificate: c.pem}",
                &["1:6: key 'key' is missing", "1:20: cannot read /etc/waypost/c.pem: entity not found"],
            ),
            (
                "queue: {retry: [], expire: 30, warn_after: 0s, min_free: lots}",
                &[
                    "1:16: the list is empty; name at least one, or remove the key",
                    "1:28: '30' needs a unit: 30s, 30m, 30h or 30d",
                    "1:44: a duration of 0 makes no sense here",
                    "1:58: 'lots' is no size: write one such as 35MiB, 10MB or 512",
                ],
            ),
            (
                "queue: {expire: 2h, warn_after: 4h}",
                &["1:33: 'warn_after' (4h) is not before 'expire' (2h): nobody would be warned"],
            ),
            (
                "dns: {nameservers: [dns.example]}",
                &["1:21: 'dns.example' is no address and port; write one such as 127.0.0.1:2525 or [::]:25"],
            ),
            (
                "log: {level: inof}",
                &[
                    "1:14: 'inof' is no log level or filter, such as 'info' or 'info,waypost=debug', did you mean 'info'?",
                ],
            ),
            (
                "log: {level: true, format: xml}",
                &[
                    "1:14: a log level such as info is wanted here, this is 'true'; put it in quotes",
                    "1:28: 'xml' is none of text, json, journald",
                ],
            ),
            (
                "inspect: []\nqueue: {url: x}",
                &["1:1: key 'inspect' is not supported yet", "2:9: key 'url' is not supported yet"],
            ),
            (
                "nonsense: 1",
                &[
                    "1:1: unknown key 'nonsense'; known here: hostname, listeners, tls, users, logins, queue, audit, telemetry, pickup, dns, admin, alerts, log, reload, shutdown_grace, max_connections, max_connections_per_client, connection_rate, exempt_clients, max_content_memory, timeout",
                ],
            ),
            ("reload: often", &["1:9: 'often' is none of watch, manual"]),
            (
                "- a\n- b",
                &[
                    "1:1: a mapping with hostname, listeners, tls, users, logins, queue, audit, telemetry, pickup, dns, admin, alerts, log, reload, shutdown_grace, max_connections, max_connections_per_client, connection_rate, exempt_clients, max_content_memory, timeout is wanted here, this is a list",
                ],
            ),
            (
                "pickup: {path: drop, badmial: bad, max_message_size: 0}",
                &["1:22: unknown key 'badmial', did you mean 'badmail'?", "1:54: a size of 0 makes no sense here"],
            ),
            (
                "listeners: [{name: a, address: \"127.0.0.1:25\", protocol: lmtp}]",
                &["1:32: listener 'a': port 25 is SMTP's, and never LMTP's (RFC 2033, section 5); 24 is usual"],
            ),
            (
                "audit: off\ntelemetry: {endpoint: \"http://127.0.0.1:4318\"}",
                &["2:12: traces are made of the audit trail, and 'audit' is off: turn it on, or remove 'telemetry'"],
            ),
            (
                "telemetry: {endpoint: \"collector:4317\", sample: 0%, headers: {\"x key\": \"${env:KEY}\"}}",
                &[
                    "1:23: 'collector:4317' is no OTLP endpoint; write one such as http://127.0.0.1:4318 or https://collector.example",
                    "1:49: '0%' is no share; write one such as 80%",
                    "1:63: 'x key' is no field name of HTTP",
                ],
            ),
            ("pickup: off", &["1:9: 'off' is none of none"]),
            ("admin: none", &["1:8: 'none' is none of off"]),
            (
                "admin: {adress: \"127.0.0.1:1\", token: clear}",
                &[
                    "1:9: unknown key 'adress', did you mean 'address'?",
                    "1:32: a secret in clear text; write ${env:NAME} or ${file:PATH} instead",
                ],
            ),
            (
                "admin: {address: \"0.0.0.0:8025\", client_ca: ca.pem}",
                &[
                    "1:18: the admin server would be open to others in clear at 0.0.0.0:8025; keep it on loopback (127.0.0.1:8025), or give 'tls: {certificate, key}'",
                    "1:45: cannot read /etc/waypost/ca.pem: entity not found",
                    "1:45: operators show certificates under TLS alone; give 'tls: {certificate, key}' beside 'client_ca'",
                ],
            ),
            (
                "admin: {address: \"[::ffff:127.0.0.1]:25\"}\nlisteners: [{name: a, address: \"[::ffff:127.0.0.1]:25\"}]",
                &["1:18: address [::ffff:127.0.0.1]:25 is taken by listener 'a'; give the admin server another"],
            ),
            (
                "pickup: {path: drop, badmail: drop}",
                &[
                    "1:22: pickup and badmail are one folder, /etc/waypost/drop: what cannot be sent would be tried for ever; give 'badmail' another",
                ],
            ),
            (
                "listeners: [{name: pickup, address: \"127.0.0.1:25\"}]",
                &[
                    "1:20: the name 'pickup' stands for the pickup folder: give the listener another, or set 'pickup: none'",
                ],
            ),
            (
                "hostname:\nhostname: a.example",
                &[
                    "1:1: key 'hostname' has no value; give it a domain, or remove it",
                    "2:1: key 'hostname' stands here twice, first in line 1",
                ],
            ),
        ],
    );
}

#[test]
fn routes() {
    check(
        "routes",
        &[
            ("routes: [{name: a}]", &["1:17: route 'a': say what happens: one of deliver, reject, hold, discard"]),
            (
                "routes: [{name: a, discard: false}]",
                &["1:17: route 'a': say what happens: one of deliver, reject, hold, discard"],
            ),
            ("routes: [{name: a, discard: yes}]", &["1:29: true or false is wanted here, this is text"]),
            ("routes: [{name: a, deliver: []}]", &["1:29: the list is empty; name at least one, or remove the key"]),
            ("routes: [{name: a, deliver: [{}]}]", &["1:30: the list is empty; name at least one, or remove the key"]),
            (
                "routes: [{name: a, deliver: [{out: 0}]}]",
                &["1:36: a weight of 0 lets nothing pass; give it at least 1, or remove the provider"],
            ),
            (
                "routes: [{name: a, deliver: [out, out]}]",
                &["1:35: route 'a': provider 'out' stands in the chain twice"],
            ),
            (
                "routes: [{name: a, deliver: out, residency: eu, tls: dane, burst: 3, concurrency: 0, sticky: x}]",
                &[
                    "1:29: route 'a': residency 'eu' is not met by provider 'out', which says no region; give it 'region'",
                    "1:54: 'dane' is not supported yet",
                    "1:60: key 'burst' does nothing without 'rate'",
                    "1:83: 0 is out of range: 1 to 1000000",
                    "1:94: 'x' is none of message, recipient",
                ],
            ),
            (
                "routes: [{name: a, reject: {code: 250, status: 2.0.0}, rate: 5/s}]",
                &[
                    "1:35: reply code 250 is no refusal: 400 to 559, but not 421, which ends the session",
                    "1:48: status 2.0.0 does not go with reply code 250: both begin with 4, or both with 5",
                    "1:56: route 'a': key 'rate' does nothing without 'deliver'",
                ],
            ),
            (
                "routes: [{name: a, reject: {code: 421}}]",
                &["1:35: reply code 421 is no refusal: 400 to 559, but not 421, which ends the session"],
            ),
            (
                "routes: [{name: a, reject: {code: 450, status: 5.7.1, text: \"né\"}}]",
                &[
                    "1:48: status 5.7.1 does not go with reply code 450: both begin with 4, or both with 5",
                    "1:61: the text of a reply is 1 to 400 printable ASCII characters",
                ],
            ),
            (
                "routes: [{name: a, deliver: out, match: {sender: news, client: 10.0.0.1/8, size: 10MiB, header: {\"a b\": x}, attachment: x}}]",
                &[
                    "1:50: 'news' is no address pattern: write local@domain, with * for any text",
                    "1:64: '10.0.0.1/8' has bits set behind its prefix, did you mean '10.0.0.0/8'?",
                    "1:82: '10MiB' is no size test; write one such as '>10MiB' or '<=1MB'",
                    "1:98: 'a b' is no field name of a header",
                    "1:109: key 'attachment' is not supported yet",
                ],
            ),
            (
                "routes: [{name: a, deliver: out, match: {listener: defalt, user: bob, not: {not: {sender: a@b.c}, listener: x}}}]",
                &[
                    "1:52: unknown listener 'defalt', did you mean 'default'?",
                    "1:66: unknown user 'bob'",
                    "1:77: 'not' within 'not'; leave out both",
                    "1:109: unknown listener 'x'",
                ],
            ),
            (
                "routes: [{name: a, deliver: out, match: {not: {}}}]\nowner: {}",
                &[
                    "1:47: not names nothing; without a condition, leave it out",
                    "2:8: owner names nothing; without a condition, leave it out",
                ],
            ),
            (
                "routes: [{name: a, deliver: out, match: , dkim: x}]",
                &[
                    "1:34: key 'match' has no value; give it a mapping with sender, sender_domain, recipient, recipient_domain, listener, client, user, header, size, not, or remove it",
                    "1:43: key 'dkim' is not supported yet",
                ],
            ),
            (
                "routes: [{name: all, deliver: out}]\ntests:\n- {from: a, to: x@y.example, route: al, chain: ouut, listener: defalt}\n- {from: <>, to: [x@y.example, z@y.example], route: {x@y.example: all, q@y.example: all}}\n- {from: <>, to: [], routes: all}",
                &[
                    "3:10: 'a' has no @",
                    "3:37: unknown route 'al', did you mean 'all'?",
                    "3:48: unknown provider 'ouut', did you mean 'out'?",
                    "3:64: unknown listener 'defalt', did you mean 'default'?",
                    "4:53: the test does not say which route takes 'z@y.example'",
                    "4:72: 'q@y.example' is not among the recipients of 'to'",
                    "5:3: key 'route' is missing",
                    "5:18: the list is empty; name at least one, or remove the key",
                    "5:22: unknown key 'routes', did you mean 'route'?",
                ],
            ),
            ("", &["the routing table is empty: every recipient would be refused; add a route"]),
            ("routes:\n", &["the routing table is empty: every recipient would be refused; add a route"]),
            (
                "# nothing\nowner:\n  sender: \"*@a.example\"\n",
                &["the routing table is empty: every recipient would be refused; add a route"],
            ),
        ],
    );
}

#[test]
fn residency_and_tls_are_checked_through_the_chain() {
    let providers = "\
providers:
  - {name: grid, transport: sendgrid, api_key: \"${env:KEY}\"}
  - {name: gun-eu, transport: mailgun, region: eu, domain: d.example, api_key: \"${env:KEY}\"}
  - {name: ses-eu, transport: ses, region: eu-west-1}
  - {name: ses-us, transport: ses, region: us-east-1}
  - {name: host-eu, transport: smtp, host: h.example, region: EU, tls: none}
  - {name: mx, transport: mx}
";
    let routes = "\
routes:
  - name: eu
    residency: eu
    deliver: [{gun-eu: 1, grid: 1}, ses-eu, ses-us, host-eu, mx]
  - name: exact
    residency: eu-west-1
    deliver: [ses-eu, gun-eu]
  - name: safe
    tls: verify
    deliver: [grid, ses-eu, mx, host-eu]
";
    let found: Vec<String> = said(&[("routes/a.yaml", routes), ("providers/a.yaml", providers)])
        .lines()
        .filter(|line| line.starts_with("routes"))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        found,
        [
            "routes/a.yaml:4:27: error: route 'eu': residency 'eu' is not met by provider 'grid', which is in 'us'",
            "routes/a.yaml:4:45: error: route 'eu': residency 'eu' is not met by provider 'ses-us', which is in 'us-east-1'",
            "routes/a.yaml:4:62: error: route 'eu': residency 'eu' is not met by provider 'mx', which says no region; give it 'region'",
            "routes/a.yaml:7:23: error: route 'exact': residency 'eu-west-1' is not met by provider 'gun-eu', which is in 'eu'",
            "routes/a.yaml:10:33: error: route 'safe': 'tls: verify' is not met by provider 'host-eu', which has 'tls: none'",
        ]
    );
}

#[test]
fn a_broken_file_accuses_no_other() {
    let text = said(&[("routes/a.yaml", ALL), ("providers/a.yaml", "providers: [\n")]);
    assert!(text.starts_with("providers/a.yaml:") && !text.contains("unknown provider"), "{text}");
    let broken = "providers: [{name: out, transport: smtp}]";
    assert_eq!(said(&[("routes/a.yaml", ALL), ("providers/a.yaml", broken)]).matches("error").count(), 1);
}

#[test]
fn odd_files_are_told_or_taken() {
    let good = format!("\u{feff}{}\r\n", ALL.replace(' ', "  "));
    assert_eq!(said(&[("routes/a.yaml", &good), ("providers/a.yaml", OUT)]), "");
    let crlf = "routes:\r\n  - name: all\r\n    deliver: outt\r\n";
    assert_eq!(
        said(&[("routes/a.yaml", crlf), ("providers/a.yaml", OUT)]),
        "routes/a.yaml:3:14: error: route 'all': unknown provider 'outt', did you mean 'out'?\n 3 |     deliver: outt\n   |              ^\n"
    );
    let sources =
        Sources::new("").with("routes/a.yaml", &b"routes:\n  - name: caf\xe9\n"[..]).with("providers/a.yaml", OUT);
    let loaded = config::load(&sources, &World);
    assert_eq!(
        loaded.problems[0].render(&sources),
        "routes/a.yaml:2:14: error: the file is no UTF-8 text; save it as UTF-8\n"
    );
    assert_eq!(
        said(&[("routes/a.yaml", "routes:\n\t- name: all\n"), ("providers/a.yaml", OUT)]),
        "routes/a.yaml:2:2: error: this is no YAML: a tab in the indentation; YAML takes spaces only\n 2 | \t- name: all\n   | \t^\n"
    );
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = "routes:\n- &a0 {name: x, deliver: out}\n".to_owned();
    for n in 1..=10 {
        let of = format!("*a{}", n - 1);
        text += &format!("- &a{n} [{}]\n", [of.as_str(); 10].join(", "));
    }
    let text = said(&[("routes/a.yaml", &text), ("providers/a.yaml", OUT)]);
    assert!(text.contains("the file is too large, too deep, or its aliases (*name) make too much of it"), "{text}");
}

#[test]
fn no_secret_is_ever_shown() {
    let providers = "\
providers:
  - name: a
    transport: smtp
    host: [h.example]
    credentials: {username: u, password: hunter2, extra: 1}
  - {name: b, transport: sendgrid, api_key: hunter2, nonsense: 1}
  - name: c
    transport: mailgun
    api_kye: hunter2
    api_key: >-
      hunter2
  - {name: d, transport: ses, region: x, secret_access_key: \"hunter2\", access_key_id: a}
  - {name: e, transport: sendgrid, api_key: [hunter2]}
";
    let files = [
        ("routes/a.yaml", ALL),
        ("providers/a.yaml", providers),
        ("providers/z.yaml", OUT),
        ("waypost.yaml", "users: [{name: a, password: \"$argon2id$hunter2\"}]"),
    ];
    let text = said(&files);
    assert!(text.matches("clear text").count() >= 3, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let sources = sources(&files);
    let loaded = config::load(&sources, &World);
    let json: Vec<_> = loaded.problems.iter().map(|problem| problem.json(&sources)).collect();
    assert!(!serde_json::to_string(&json).unwrap().contains("hunter2"));
    assert!(!format!("{loaded:?}").contains("hunter2"));
}
