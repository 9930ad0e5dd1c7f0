//! `GET /api/v1/status`: how the relay stands.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::{ErrorBody, Fault, Reload, Shared};
use crate::mail::Timestamp;

#[derive(OpenApi)]
#[openapi(paths(status))]
pub(super) struct Described;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/status", get(status))
}

/// How the relay stands.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub version: String,
    /// Where the configuration came from.
    pub configuration: String,
    pub started: Timestamp,
    pub now: Timestamp,
    pub queue: QueueStatus,
    pub providers: Vec<ProviderStatus>,
    /// What the last reload came to; null: there was none since the start.
    pub last_reload: Option<Reload>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueStatus {
    pub messages: u64,
    /// Parts of messages that fall due by themselves.
    pub waiting: u64,
    /// Parts of messages that a person must release.
    pub held: u64,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ProviderStatus {
    pub name: String,
    pub under_way: usize,
    pub concurrency: usize,
}

/// How the relay stands
#[utoipa::path(
    get, path = "/api/v1/status", tag = "status",
    responses((status = 200, body = Status), (status = 401, body = ErrorBody), (status = 503, body = ErrorBody))
)]
async fn status(State(deps): State<Shared>) -> Result<Json<Status>, Fault> {
    let depth = deps.queue.depth().await?;
    let snapshot = deps.control.snapshot().await?;
    let providers = snapshot.providers.into_iter().map(|provider| ProviderStatus {
        name: provider.name.to_string(),
        under_way: provider.under_way,
        concurrency: provider.concurrency,
    });
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        configuration: deps.configuration.clone(),
        started: deps.started,
        now: deps.clock.wall(),
        queue: QueueStatus { messages: depth.messages, waiting: depth.waiting, held: depth.held },
        providers: providers.collect(),
        last_reload: deps.reloads.last().map(|last| Reload::clone(&last)),
    }))
}
