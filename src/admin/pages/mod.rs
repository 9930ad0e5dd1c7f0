//! The pages: what an operator sees of the relay in a browser, and does to it. One file a page.
//!
//! Promises:
//! - readable and usable without scripts; `script.js` exchanges what is marked `data-live` every few seconds;
//! - nothing from outside is markup: all text goes through maud, which escapes it, and the policy sent along lets the browser
//!   run and load nothing that is not of this server (`headers`);
//! - what is looked at and done is what the API gives and does: no page knows more.

mod acts;
mod alerts;
mod assets;
mod chart;
mod door;
mod fields;
mod layout;
mod message;
mod overview;
mod past;
mod providers;
mod queue;
mod routes;
mod session;
mod show;
mod trail;

use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::{Extension, Router};

use super::{Gate, Shared};
use crate::alerts::Alerts;
use crate::os::Clock;
use door::Door;
use past::Past;

/// Everything from this server alone, nothing inline, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// `same-origin`, and not stricter: with `no-referrer` browsers send `Origin: null` with our own forms.
const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// All pages, and what they remember.
#[derive(Debug)]
pub struct Pages {
    door: Arc<Door>,
    past: Past,
    alerts: Alerts,
}

/// How browsers reach the server.
#[derive(Debug, Clone, Copy)]
pub struct Outside {
    /// Under TLS.
    pub secure: bool,
    pub port: u16,
}

impl Pages {
    pub fn new(gate: Arc<Gate>, clock: Clock, alerts: Alerts, Outside { secure, port }: Outside) -> Self {
        Self { door: Arc::new(Door::new(gate, clock, secure, port)), past: Past::default(), alerts }
    }

    pub fn past(&self) -> Past {
        self.past.clone()
    }

    pub fn routes(&self) -> Router<Shared> {
        let closed = [
            door::closed(),
            overview::routes(),
            providers::routes(),
            routes::routes(),
            queue::routes(),
            acts::routes(),
            message::routes(),
            trail::routes(),
            alerts::routes(),
        ];
        let closed = closed.into_iter().fold(Router::new(), Router::merge);
        Router::new()
            .merge(closed.route_layer(from_fn_with_state(self.door.clone(), door::signed_in_only)))
            .merge(door::open(&self.door))
            .merge(assets::routes())
            .layer(Extension(self.past.clone()))
            .layer(Extension(self.alerts.clone()))
            .layer(from_fn(headers))
    }
}

async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
