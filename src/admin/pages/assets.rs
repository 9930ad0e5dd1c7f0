//! The style sheet, the script and the icon: compiled in, and named by their content, so that a browser asks once.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::admin::Shared;

const STYLE_TEXT: &str = include_str!("style.css");
const SCRIPT_TEXT: &str = include_str!("script.js");
const ICON_TEXT: &str = include_str!("icon.svg");

/// The version stands behind the path: an answer of another release is never taken for this one's.
pub const STYLE: &str = concat!("/assets/style.css?v=", env!("CARGO_PKG_VERSION"));
pub const SCRIPT: &str = concat!("/assets/script.js?v=", env!("CARGO_PKG_VERSION"));
pub const ICON: &str = concat!("/assets/icon.svg?v=", env!("CARGO_PKG_VERSION"));

pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/assets/style.css", get(|| async { asset("text/css; charset=utf-8", STYLE_TEXT) }))
        .route("/assets/script.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT_TEXT) }))
        .route("/assets/icon.svg", get(|| async { asset("image/svg+xml", ICON_TEXT) }))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    // Small, and of this host: asked for anew by each page, so that no release shows with another's style.
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text).into_response()
}
