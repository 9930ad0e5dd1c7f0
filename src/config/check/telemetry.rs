//! `telemetry` of `waypost.yaml`.

use super::Files;
use crate::config::fault::Fault;
use crate::config::read::{Cx, Record};
use crate::config::{Audit, Telemetry};

/// Off unless it is configured.
pub(super) fn check(files: &Files, audit: Option<&Audit>, cx: &mut Cx<'_>) -> Option<Telemetry> {
    let raw = files.server.as_ref().and_then(|(_, file)| file.telemetry.get())?;
    if audit.is_none() {
        cx.error(raw.spot(), Fault::TelemetryWithoutTrail);
    }
    let mut headers = Vec::new();
    for (name, value) in raw.headers.get().into_iter().flat_map(|headers| &headers.0) {
        let secret = value.value.expose();
        if name.value.is_empty() || !name.value.bytes().all(is_token) {
            cx.error(name.spot, Fault::HttpFieldName(name.value.clone()));
        } else if secret.bytes().any(|octet| octet.is_ascii_control()) {
            cx.error(value.spot, Fault::HttpFieldValue(name.value.clone()));
        } else {
            headers.push((name.value.clone(), value.value.clone()));
        }
    }
    Some(Telemetry {
        endpoint: raw.endpoint.get()?.0.clone(),
        headers,
        sample: raw.sample.get().map_or(100, |sample| sample.0),
        service: raw.service.get().cloned().unwrap_or_else(|| "waypost".to_owned()),
    })
}

/// RFC 9110, section 5.6.2.
fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}
