//! `/healthz`: the process is alive. `/readyz`: it may take mail; if not, why. Both without a token.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
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

#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// New mail is taken.
    ready: bool,
    /// Why not.
    reasons: Vec<String>,
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
    let reasons: Vec<String> = deps.queue.admits(0).err().map(|error| error.to_string()).into_iter().collect();
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, reasons }))
}
