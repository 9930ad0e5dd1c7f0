//! `/healthz`: the process is alive. `/readyz`: it may take mail; if not, why. Both without a token.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::Shared;

#[derive(OpenApi)]
#[openapi(paths(alive, ready))]
pub(super) struct Described;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    /// `ok`.
    status: &'static str,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// New mail is taken.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// The process is alive
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses((status = 200, body = Alive)))]
async fn alive() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// New mail is taken; if not, why
#[utoipa::path(
    get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
async fn ready(State(deps): State<Shared>) -> (StatusCode, Json<Readiness>) {
    let reasons = reasons(&deps);
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons }))
}

/// Why new mail is not taken everywhere; nothing: it is.
pub(super) fn reasons(deps: &Shared) -> Vec<String> {
    let mut reasons = Vec::new();
    // The queue says so where it cannot write, where its disk is full, and where one of its marks is reached.
    if let Err(error) = deps.queue.admits(0) {
        reasons.push(error.to_string());
    }
    for listener in deps.listeners.load().iter() {
        if deps.counts.listeners.of(&listener.name).up.get() == 0 {
            reasons.push(format!("listener '{}' does not listen at {}", listener.name, listener.address));
        }
    }
    if deps.memory_is_full() {
        reasons.push("content on its way in takes all of `max_content_memory`".to_owned());
    }
    reasons
}
