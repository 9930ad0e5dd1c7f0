//! What monitoring takes from the relay, judged by Prometheus' own tool: the metrics, the alert rules, the dashboard.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::process::{output, tool};
use crate::support::relay::{Relay, Setup};
use crate::support::sink::Sink;
use crate::support::{BOUND, marked, until_true};

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/monitoring").join(file)
}

/// A relay that has delivered, refused and been refused.
fn used() -> (Relay, Sink) {
    let sink = Sink::start();
    let relay = Setup::new()
        .route("name: all, match: {recipient_domain: customer.example}, deliver: [out, \"spare-1\"]")
        .route("name: later, match: {recipient_domain: later.example}, deliver: [nobody]")
        .provider(&format!("name: out, transport: smtp, {}, quota: 1000/d", sink.as_host()))
        .provider(&format!("name: spare-1, transport: smtp, {}", sink.as_host()))
        .provider("name: nobody, transport: smtp, host: 127.0.0.1, port: 9, tls: none")
        .start();
    for mark in 0..5 {
        let to = if mark == 4 { "b@later.example" } else { "b@customer.example" };
        relay.send("a@shop.example", &[to], &marked(mark, "a@shop.example", to, 500));
    }
    let refused = relay.client().mail("a@shop.example", &["b@no-route.example"], b"x\r\n");
    assert!(refused.is_ok_and(|reply| reply.code == 550));
    sink.wait_for(4);
    until_true("it is settled", BOUND, || relay.status()["queue"]["messages"] == 1);
    (relay, sink)
}

fn metrics(relay: &Relay) -> String {
    let answer = relay.http("GET", "/metrics", &[], "");
    assert_eq!(answer.status, 200);
    assert!(answer.head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    answer.body
}

fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("no {series} in:\n{metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn what_happened_is_counted() {
    let (relay, _sink) = used();
    until_true("the attempt at nobody is counted", BOUND, || {
        value(&metrics(&relay), "waypost_attempts_total{provider=\"nobody\",outcome=\"unavailable\"}") >= 1.0
    });
    let metrics = metrics(&relay);
    for (series, wanted) in [
        ("waypost_messages_accepted_total{listener=\"apps\"}", 5.0),
        ("waypost_recipients_refused_total{listener=\"apps\",reason=\"route\"}", 1.0),
        ("waypost_recipients_refused_total{listener=\"apps\",reason=\"rate\"}", 0.0),
        ("waypost_recipients_accepted_total{route=\"all\"}", 4.0),
        ("waypost_recipients_delivered_total{route=\"all\"}", 4.0),
        ("waypost_attempts_total{provider=\"out\",outcome=\"delivered\"}", 4.0),
        ("waypost_attempt_duration_seconds_count{provider=\"out\"}", 4.0),
        ("waypost_attempt_duration_seconds_bucket{provider=\"out\",le=\"+Inf\"}", 4.0),
        ("waypost_queue_time_seconds_count{route=\"all\"}", 4.0),
        ("waypost_accept_duration_seconds_count{listener=\"apps\"}", 5.0),
        ("waypost_messages_queued", 1.0),
        ("waypost_queue_waiting{route=\"later\"}", 1.0),
        ("waypost_queue_waiting{route=\"all\"}", 0.0),
        ("waypost_provider_state{provider=\"out\",state=\"closed\"}", 1.0),
        ("waypost_provider_state{provider=\"out\",state=\"open\"}", 0.0),
        ("waypost_provider_quota_left{provider=\"out\"}", 996.0),
        ("waypost_listener_up{listener=\"apps\"}", 1.0),
        ("waypost_ready", 1.0),
        ("waypost_log_lines_lost_total", 0.0),
    ] {
        assert_eq!(value(&metrics, series), wanted, "{series}");
    }
    let version = format!("waypost_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&metrics, &version), 1.0);
    // Labels are names of the configuration: no address, no reply, no message id.
    assert!(!metrics.contains("shop.example") && !metrics.contains("customer.example"), "{metrics}");
}

#[test]
#[ignore = "needs promtool"]
fn promtool_finds_nothing_wrong() {
    let (relay, _sink) = used();
    let metrics = metrics(&relay);
    let mut promtool = Command::new(tool("promtool"));
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.is_empty(), "{said}\n{metrics}");
    output(Command::new(tool("promtool")).args(["check", "rules"]).arg(example("alerts.yaml")));
    output(Command::new(tool("promtool")).args(["check", "config"]).arg(example("prometheus.yaml")));
    output(Command::new(tool("promtool")).args(["test", "rules"]).arg(example("alerts.test.yaml")));
}

/// Rules and dashboard ask for nothing that the relay does not have.
#[test]
fn rules_and_dashboard_know_the_metrics() {
    let (relay, _sink) = used();
    let metrics = metrics(&relay);
    let there: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    for file in ["alerts.yaml", "dashboard.json"] {
        let text = std::fs::read_to_string(example(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("waypost_")).collect();
        assert!(asked.len() > 5, "{file} asks for {asked:?}");
        let unknown: Vec<_> = asked.difference(&there).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(example("dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 8 && panels.iter().all(|panel| panel["title"].is_string()));
}
