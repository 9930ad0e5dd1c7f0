//! The export of traces, checked.

use super::Secret;

/// Where OpenTelemetry's traces go.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// The collector's OTLP endpoint over HTTP, without a final slash; traces go to `/v1/traces` below it.
    pub endpoint: String,
    /// What each request carries, such as a key.
    pub headers: Vec<(String, Secret)>,
    /// Per cent of the messages.
    pub sample: u8,
    /// The resource's `service.name`.
    pub service: String,
}
