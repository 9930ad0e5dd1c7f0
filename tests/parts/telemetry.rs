//! Traces for OpenTelemetry, as a collector takes them.

use std::time::Duration;

use serde_json::Value;

use crate::support::collector::Collector;
use crate::support::relay::Setup;
use crate::support::{free_port, marked, until, until_true};

fn names(spans: &[Value]) -> Vec<&str> {
    spans.iter().map(|span| span["name"].as_str().unwrap()).collect()
}

fn said<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    found.map_or(&Value::Null, |attribute| attribute["value"].as_object().unwrap().values().next().unwrap())
}

#[test]
fn a_message_is_one_trace_at_the_collector_and_no_address_is_in_it() {
    // Busy at first: it is asked again.
    let collector = Collector::start(&[503, 429]);
    let mut relay = Setup::new()
        .server(&format!(
            "telemetry: {{endpoint: \"{}\", headers: {{x-api-key: \"${{env:OTLP_KEY}}\"}}, service: mail}}",
            collector.endpoint()
        ))
        .env("OTLP_KEY", "k3y")
        .route("name: all, deliver: [nowhere, out]")
        .provider("name: nowhere, transport: smtp, host: 127.0.0.1, port: 1, tls: none")
        .provider("name: out, transport: maildir, path: out")
        .start();
    let content = marked(1, "app@shop.example", "bob@customer.example", 300);
    let queued = relay.send("app@shop.example", &["bob@customer.example"], &content);
    let spans = until("the spans of the message", Duration::from_secs(30), || {
        Some(collector.spans()).filter(|spans| spans.len() >= 3)
    });
    assert_eq!(names(&spans), ["accept", "attempt", "attempt"], "{spans:#?}");
    let [first, moved, delivered] = &spans[..] else { unreachable!() };
    assert!(queued.contains(said(first, "waypost.mid").as_str().unwrap()), "{queued} {first:#?}");
    for attempt in [moved, delivered] {
        assert_eq!((&attempt["traceId"], &attempt["parentSpanId"]), (&first["traceId"], &first["spanId"]));
    }
    assert_eq!(
        (said(moved, "waypost.provider"), said(delivered, "waypost.provider")),
        (&"nowhere".into(), &"out".into())
    );
    assert_eq!((&moved["status"]["code"], &delivered["status"]), (&"STATUS_CODE_ERROR".into(), &Value::Null));

    // What is not sent by then goes out at the end.
    let content = marked(2, "app@shop.example", "eve@customer.example", 300);
    relay.send("app@shop.example", &["eve@customer.example"], &content);
    until_true("it is delivered", Duration::from_secs(20), || relay.maildir("out").count() == 2);
    let metrics = relay.http("GET", "/metrics", &[], "").body;
    assert!(metrics.contains("waypost_telemetry_spans_total{outcome=\"lost\"} 0"), "{metrics}");
    assert!(relay.stop(Duration::from_secs(20)).success());
    assert!(collector.spans().len() >= 5, "{:#?}", names(&collector.spans()));

    let requests = collector.requests();
    assert!(requests.iter().all(|request| request["key"] == "k3y"), "{requests:#?}");
    let service = &requests[0]["resourceSpans"][0]["resource"]["attributes"][0];
    assert_eq!((&service["key"], &service["value"]["stringValue"]), (&"service.name".into(), &"mail".into()));
    let told = std::fs::read_to_string(collector.file()).unwrap();
    assert!(!told.contains('@') && !told.contains("bob") && !told.contains("shop.example"), "{told}");
}

#[test]
fn mail_does_not_wait_for_a_collector_that_is_not_there() {
    let mut relay = Setup::new()
        .server(&format!("telemetry: {{endpoint: \"http://127.0.0.1:{}\", sample: 100%}}", free_port()))
        .route("name: all, deliver: out")
        .provider("name: out, transport: maildir, path: out")
        .start();
    let content = marked(1, "app@shop.example", "bob@customer.example", 300);
    relay.send("app@shop.example", &["bob@customer.example"], &content);
    until_true("it is delivered", Duration::from_secs(20), || relay.maildir("out").count() == 1);
    until_true("the log tells it", Duration::from_secs(20), || {
        relay
            .log()
            .raw()
            .contains("traces cannot be exported: look at `telemetry` in waypost.yaml and at the collector")
    });
    assert!(relay.stop(Duration::from_secs(20)).success());
}
