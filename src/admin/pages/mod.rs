//! The pages: what an operator sees of the relay in a browser, and does to it. One file a page.
//!
//! Promises:
//! - readable and usable without scripts; `script.js` exchanges what is marked `data-live` every few seconds;
//! - nothing from outside is markup: all text goes through maud, which escapes it, and the policy sent along lets the browser
//!   run and load nothing that is not of this server (`headers`);
//! - what is looked at and done is what the API gives and does: no page knows more.

mod acts;
mod assets;
mod door;
mod fields;
mod layout;
mod message;
mod queue;
mod routes;
mod session;
mod show;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;

pub use door::Door;

use super::Shared;

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

/// All pages.
pub fn routes(door: &Arc<Door>) -> Router<Shared> {
    let home = Router::new().route("/", get(|| async { door::see_other("/queue") }));
    let closed = home
        .merge(door::closed())
        .merge(routes::routes())
        .merge(queue::routes())
        .merge(acts::routes())
        .merge(message::routes());
    Router::new()
        .merge(closed.route_layer(from_fn_with_state(door.clone(), door::signed_in_only)))
        .merge(door::open(door))
        .merge(assets::routes())
        .layer(from_fn(headers))
}

async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
