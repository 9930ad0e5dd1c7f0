//! `telemetry` of `waypost.yaml`.

use serde_json::{Value as Json, json};

use super::Percent;
use super::host::authority;
use super::scalar::text;
use crate::config::Secret;
use crate::config::fault::Fault;
use crate::config::read::{Cx, Dict, Read, record};
use crate::config::schema::Schemas;
use crate::config::tree::{Node, Value};

record! {
    /// Traces for OpenTelemetry: a message is a trace, each attempt a span of it.
    struct RawTelemetry {
        /// The collector's OTLP endpoint over HTTP, such as http://127.0.0.1:4318; traces go to /v1/traces below it.
        need "endpoint" endpoint: Collector,
        /// Header fields of each request, such as a key: {x-api-key: "${file:...}"}.
        may "headers" headers: Dict<Secret>,
        /// The share of messages that is traced. Default: 100%.
        may "sample" sample: Percent,
        /// The name of the service in traces. Default: waypost.
        may "service" service: String,
    }
    later []
}

/// An OTLP endpoint: scheme, host, and where the collector wants it a path.
#[derive(Debug, Clone)]
pub(in crate::config) struct Collector(pub String);

text!(
    Collector,
    "an endpoint such as http://127.0.0.1:4318",
    json!({"type": "string", "pattern": "^https?://[^?#]+$"}),
    |text, _cx| collector(text).map(Self).ok_or_else(|| Fault::Collector(text.clone()))
);

fn collector(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain =
        |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '<' | '>' | '\\' | '`' | '{' | '|' | '}');
    let good = matches!(scheme.as_str(), "http" | "https") && authority(host).is_some() && path.chars().all(plain);
    let path = path.trim_end_matches('/');
    // Many write the URL of traces itself.
    let path = path.strip_suffix("v1/traces").unwrap_or(path).trim_end_matches('/');
    good.then(|| format!("{scheme}://{host}{}{path}", if path.is_empty() { "" } else { "/" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_have_a_path_and_the_one_of_traces_is_known() {
        for (text, kept) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
            ("HTTP://collector:4318/", "http://collector:4318"),
            ("https://otlp.example/v1/traces", "https://otlp.example"),
            ("https://otlp.example/otlp/v1/traces", "https://otlp.example/otlp"),
            ("https://[::1]:4318/api/default/", "https://[::1]:4318/api/default"),
        ] {
            assert_eq!(collector(text).as_deref(), Some(kept));
        }
        for text in [
            "",
            "collector:4318",
            "grpc://collector:4317",
            "http://",
            "http:///v1/traces",
            "http://u@c",
            "http://c/a b",
            "http://c?x",
        ] {
            assert_eq!(collector(text), None, "{text}");
        }
    }
}
