//! `GET /api/v1/alerts`: what is on. `POST /api/v1/alerts/test`: whether the targets hear of it.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::{ErrorBody, Shared};
use crate::alerts::{self, Running};
use crate::mail::Timestamp;

#[derive(OpenApi)]
#[openapi(paths(list, test))]
pub(super) struct Described;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/alerts", get(list)).route("/alerts/test", post(test))
}

/// The alerts that are on, and whom they are told.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AlertList {
    pub alerts: Vec<AlertStatus>,
    pub targets: Vec<AlertTargetStatus>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AlertStatus {
    /// `breaker`, `oldest`, `growth`, ….
    pub rule: String,
    /// The provider, route, file or thing.
    pub subject: String,
    /// Since when the condition holds.
    pub since: Timestamp,
    /// When it began to be an alert.
    pub began: Timestamp,
    /// One line.
    pub summary: String,
    /// Name and text: the last error, where mail goes now, how much waits, ….
    #[schema(value_type = Object)]
    pub details: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AlertTargetStatus {
    pub name: String,
    /// `webhook` or `mail`.
    pub kind: String,
    /// Messages that wait for it.
    pub waiting: usize,
    /// What came of the last one.
    pub last: Option<AlertSent>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AlertSent {
    pub at: Timestamp,
    pub ok: bool,
    /// What was answered, or why it did not get there.
    pub text: String,
}

/// What came of a test message.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AlertTest {
    pub target: String,
    /// `webhook` or `mail`.
    pub kind: String,
    pub ok: bool,
    /// What was answered, or why it did not get there.
    pub text: String,
}

impl From<Running> for AlertStatus {
    fn from(running: Running) -> Self {
        Self {
            rule: running.key.rule.name().to_owned(),
            subject: running.key.subject,
            since: running.since,
            began: running.began,
            details: alerts::details(&running.told.details),
            summary: running.told.summary,
        }
    }
}

/// The alerts that are on
#[utoipa::path(
    get, path = "/api/v1/alerts", tag = "alerts",
    responses((status = 200, body = AlertList), (status = 401, body = ErrorBody))
)]
async fn list(State(deps): State<Shared>) -> Json<AlertList> {
    let target = |target: alerts::Target| AlertTargetStatus {
        name: target.name,
        kind: target.kind.to_owned(),
        waiting: target.waiting,
        last: target.last.map(|last| AlertSent { at: last.at, ok: last.ok, text: last.text }),
    };
    Json(AlertList {
        alerts: deps.alerts.running().into_iter().map(AlertStatus::from).collect(),
        targets: deps.alerts.targets().into_iter().map(target).collect(),
    })
}

/// Send a test message to each target, once, and tell what came of it
#[utoipa::path(
    post, path = "/api/v1/alerts/test", tag = "alerts",
    responses((status = 200, body = Vec<AlertTest>), (status = 401, body = ErrorBody))
)]
async fn test(State(deps): State<Shared>) -> Json<Vec<AlertTest>> {
    let tested = deps.alerts.test().await.into_iter().map(|tested| AlertTest {
        target: tested.target,
        kind: tested.kind.to_owned(),
        ok: tested.ok,
        text: tested.text,
    });
    Json(tested.collect())
}
