//! Traces for whoever collects them (OpenTelemetry, OTLP over HTTP): a message is a trace, its acceptance the first span, and
//! each attempt one below it.
//!
//! Spans are made of the audit trail's records, as they stand in it: what they tell happened, and costs a session nothing. They
//! hold no address; a trace's id is the message's mid, by which `waypost trace` tells the rest.
//!
//! This is no second trail: what no collector takes in time is dropped, and counted. A record that is told twice after a crash
//! gives the same span.

mod export;
mod span;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::audit::Tap;
use crate::config::Telemetry;
use crate::mail::Domain;
use crate::metrics::Counter;

pub use export::Exporter;

/// Records that wait to be made into spans.
const WAITING: usize = 8192;

/// What became of spans.
#[derive(Debug, Default)]
pub struct Counts {
    pub exported: Counter,
    /// Records and spans that nobody took in time.
    pub lost: Counter,
}

/// What the trail's records go into, and what sends the spans that they make.
pub fn channel(settings: Telemetry, hostname: &Domain) -> Result<(Tap, Exporter), String> {
    let (tell, told) = mpsc::channel::<Vec<u8>>(WAITING);
    let counts = Arc::new(Counts::default());
    let exporter = Exporter::new(settings, hostname, told, counts.clone())?;
    let tap: Tap = Arc::new(move |octets| {
        if tell.try_send(octets.to_vec()).is_err() {
            counts.lost.add(1);
        }
    });
    Ok((tap, exporter))
}
