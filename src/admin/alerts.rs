//! `GET /api/v1/alerts`: what is on, what was, and who was told. `POST /api/v1/alerts/test`: whether the targets hear of it.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::{ErrorBody, Shared};
use crate::alerts::{self, Ended, Running, Telling};
use crate::mail::Timestamp;

#[derive(OpenApi)]
#[openapi(paths(list, test))]
pub(super) struct Described;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/alerts", get(list)).route("/alerts/test", post(test))
}

/// The alerts that are on and that were, and whom they are told.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AlertList {
    /// `false`: the configuration has turned all rules off.
    pub watching: bool,
    pub alerts: Vec<AlertStatus>,
    /// Of the last seven days, the newest first; not all of them where they are many.
    pub ended: Vec<AlertEnded>,
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
    /// The condition is gone since then: it is over if it stays so for a while.
    pub gone: Option<Timestamp>,
    /// One line.
    pub summary: String,
    /// Name and text: the last error, where mail goes now, how much waits, ….
    #[schema(value_type = Object)]
    pub details: serde_json::Map<String, serde_json::Value>,
    /// Who was told of it since the start of the relay.
    pub told: Vec<AlertTold>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AlertEnded {
    pub rule: String,
    pub subject: String,
    pub since: Timestamp,
    pub began: Timestamp,
    pub ended: Timestamp,
    /// What holds since then.
    pub summary: String,
    /// What was, in its last words.
    pub was: String,
    /// Nobody looks at it any more: its rule, or what it was about, has left the configuration.
    pub withdrawn: bool,
    /// Who was told of its begin and of its end since the start of the relay.
    pub told: Vec<AlertTold>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AlertTold {
    pub target: String,
    /// `webhook` or `mail`.
    pub kind: String,
    /// `began` or `ended`.
    pub event: String,
    pub at: Timestamp,
    /// null: it is tried still.
    pub ok: Option<bool>,
    /// What was answered, or why it did not get there.
    pub text: String,
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

fn on(deps: &Shared, running: Running) -> AlertStatus {
    AlertStatus {
        told: deps.alerts.told_of(&running.which()).into_iter().map(AlertTold::from).collect(),
        rule: running.key.rule.name().to_owned(),
        subject: running.key.subject,
        since: running.since,
        began: running.began,
        gone: running.gone,
        details: alerts::details(&running.told.details),
        summary: running.told.summary,
    }
}

fn over(deps: &Shared, ended: Ended) -> AlertEnded {
    let told_of = deps.alerts.told_of(&ended.which());
    let Ended { key, since, began, over, withdrawn, told } = ended;
    AlertEnded {
        told: told_of.into_iter().map(AlertTold::from).collect(),
        rule: key.rule.name().to_owned(),
        summary: if withdrawn { "no longer watched".to_owned() } else { key.rule.over(&key.subject) },
        subject: key.subject,
        since,
        began,
        ended: over,
        was: told.summary,
        withdrawn,
    }
}

impl AlertTold {
    /// In a word. Mail in the queue is not told yet: what comes of it is to be seen there.
    pub fn came(&self) -> &'static str {
        match self.ok {
            Some(true) if self.text.starts_with("queued as ") => "queued",
            Some(true) => "told",
            Some(false) => "not told",
            None => "trying",
        }
    }
}

impl From<Telling> for AlertTold {
    fn from(telling: Telling) -> Self {
        let Telling { target, kind, over, at, ok, text } = telling;
        let event = if over { "ended" } else { "began" };
        Self { target, kind: kind.to_owned(), event: event.to_owned(), at, ok, text }
    }
}

/// What is on, what was, and who was told.
pub(super) fn of(deps: &Shared) -> AlertList {
    let target = |target: alerts::Target| AlertTargetStatus {
        name: target.name,
        kind: target.kind.to_owned(),
        waiting: target.waiting,
        last: target.last.map(|last| AlertSent { at: last.at, ok: last.ok, text: last.text }),
    };
    AlertList {
        watching: deps.alerts.are_on(),
        alerts: deps.alerts.running().into_iter().map(|running| on(deps, running)).collect(),
        ended: deps.alerts.ended().into_iter().rev().map(|ended| over(deps, ended)).collect(),
        targets: deps.alerts.targets().into_iter().map(target).collect(),
    }
}

/// The alerts that are on
#[utoipa::path(
    get, path = "/api/v1/alerts", tag = "alerts",
    responses((status = 200, body = AlertList), (status = 401, body = ErrorBody))
)]
async fn list(State(deps): State<Shared>) -> Json<AlertList> {
    Json(of(&deps))
}

/// Send a test message to each target, once, and tell what came of it
#[utoipa::path(
    post, path = "/api/v1/alerts/test", tag = "alerts",
    responses((status = 200, body = Vec<AlertTest>), (status = 401, body = ErrorBody))
)]
async fn test(State(deps): State<Shared>) -> Json<Vec<AlertTest>> {
    Json(tested(&deps).await)
}

pub(super) async fn tested(deps: &Shared) -> Vec<AlertTest> {
    let tested = deps.alerts.test().await.into_iter().map(|tested| AlertTest {
        target: tested.target,
        kind: tested.kind.to_owned(),
        ok: tested.ok,
        text: tested.text,
    });
    tested.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_that_the_queue_took_is_not_called_told() {
        let told = |ok, text: &str| {
            let at = Timestamp::from_second(1_700_000_000).unwrap();
            let telling =
                Telling { target: "ops".to_owned(), kind: "mail", over: false, at, ok, text: text.to_owned() };
            AlertTold::from(telling).came()
        };
        assert_eq!(told(Some(true), "queued as 01JABC"), "queued");
        assert_eq!(told(Some(true), "ops@corp.example by ses: 250 ok"), "told");
        assert_eq!((told(Some(false), "no way"), told(None, "503; again in 1 s")), ("not told", "trying"));
    }
}
