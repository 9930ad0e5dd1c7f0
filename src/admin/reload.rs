//! `/api/v1/reload`: the configuration is loaded anew, or it is told what that would change, or what the last time came to.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::extract::{Extension, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::queue::by;
use super::{Asked, ErrorBody, Fault, Operator, Shared};
use crate::config::{Change, Problem, Sources};
use crate::delivery::Stopped;
use crate::delivery::operate::Deed;
use crate::mail::Timestamp;

#[derive(OpenApi)]
#[openapi(paths(last, reload))]
pub(super) struct Described;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/reload", get(last).post(reload))
}

/// Requests that wait for their turn.
const WAITING: usize = 16;

/// To have whoever runs the relay load its configuration anew; clones ask the same one.
#[derive(Debug, Clone)]
pub struct Reloads {
    requests: mpsc::Sender<ReloadRequest>,
    last: Arc<ArcSwapOption<Reload>>,
}

/// One thing that is asked.
#[derive(Debug)]
pub struct ReloadRequest {
    pub by: String,
    /// Nothing is to be changed.
    pub diff: bool,
    pub answer: oneshot::Sender<Reload>,
}

/// What loading the configuration anew came to, or would come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reload {
    pub at: Timestamp,
    /// Who or what asked for it: SIGHUP, changed files, an operator.
    pub by: String,
    /// It checks clean, and holds from now on; `false`: the old one stays in force.
    pub applied: bool,
    pub changes: Vec<ReloadChange>,
    /// What is wrong with it, and what is doubtful.
    pub problems: Vec<ReloadProblem>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadChange {
    /// relay, listener, user, alert target, provider or route.
    pub kind: String,
    pub name: Option<String>,
    /// added, removed, changed or moved.
    pub what: String,
    pub key: Option<String>,
    pub old: Option<String>,
    pub new: Option<String>,
    /// Holds only from the next start on.
    pub restart: bool,
    /// In words.
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadProblem {
    /// error or warning.
    pub severity: String,
    pub file: Option<String>,
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub message: String,
    /// The line itself, secrets masked, with a marker.
    pub text: String,
}

impl Reloads {
    pub fn channel() -> (Self, mpsc::Receiver<ReloadRequest>) {
        let (requests, receiver) = mpsc::channel(WAITING);
        (Self { requests, last: Arc::default() }, receiver)
    }

    /// Dropped after the send, it takes place.
    pub async fn ask(&self, by: String, diff: bool) -> Result<Reload, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(ReloadRequest { by, diff, answer }).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// What the last one came to; `None`: there was none since the start.
    pub fn last(&self) -> Option<Arc<Reload>> {
        self.last.load_full()
    }

    pub fn ended(&self, reload: Reload) {
        self.last.store(Some(Arc::new(reload)));
    }
}

impl Reload {
    /// Why it was refused, in a line; `None`: it was not.
    pub fn refusal(&self) -> Option<String> {
        if self.applied {
            return None;
        }
        let mut errors = self.problems.iter().filter(|problem| problem.is_error());
        let first = errors.next().map_or_else(|| "it has errors".to_owned(), ReloadProblem::line);
        Some(match errors.count() {
            0 => first,
            more => format!("{first} (and {more} more: waypost check)"),
        })
    }

    /// In a few words.
    fn outcome(&self) -> String {
        if self.applied {
            format!("in force, changes: {}", self.changes.len())
        } else {
            format!("refused, errors: {}", self.problems.iter().filter(|problem| problem.is_error()).count())
        }
    }
}

impl From<&Change> for ReloadChange {
    fn from(change: &Change) -> Self {
        let Change { kind, name, what, key, old, new, restart } = change.clone();
        Self {
            kind: kind.name().to_owned(),
            name,
            what: what.name().to_owned(),
            key,
            old,
            new,
            restart,
            text: change.to_string(),
        }
    }
}

impl ReloadProblem {
    pub fn of(problem: &Problem, sources: &Sources) -> Self {
        let place = problem.place.as_ref();
        Self {
            severity: problem.severity.to_string(),
            file: place.map(|place| place.file.to_string()),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            message: problem.message.clone(),
            text: problem.render(sources),
        }
    }

    pub fn is_error(&self) -> bool {
        self.severity == "error"
    }

    /// Without the line that it is about.
    fn line(&self) -> String {
        match (&self.file, self.line, self.column) {
            (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}: {}", self.message),
            (file, ..) => {
                format!("{}{}", file.as_ref().map(|file| format!("{file}: ")).unwrap_or_default(), self.message)
            }
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
struct Parameters {
    /// Only tell what would change.
    #[serde(default)]
    diff: bool,
}

/// What the last reload came to; null: there was none since the start
#[utoipa::path(
    get, path = "/api/v1/reload", tag = "reload",
    responses((status = 200, body = Option<Reload>), (status = 401, body = ErrorBody))
)]
async fn last(State(deps): State<Shared>) -> Json<Option<Reload>> {
    Json(deps.reloads.last().map(|last| Reload::clone(&last)))
}

/// Load the configuration anew; a bad one is refused whole, and `applied` says so
#[utoipa::path(
    post, path = "/api/v1/reload", tag = "reload", params(Parameters),
    responses((status = 200, body = Reload), (status = 401, body = ErrorBody), (status = 503, body = ErrorBody))
)]
async fn reload(
    State(deps): State<Shared>,
    Extension(operator): Extension<Operator>,
    Asked(parameters): Asked<Parameters>,
) -> Result<Json<Reload>, Fault> {
    let told = deps.reloads.ask(operator.0.clone(), parameters.diff).await?;
    if !parameters.diff {
        let detail = told.outcome();
        deps.operator.record(Deed { act: "reload", on: "configuration", detail: &detail }, &by(operator, None)).await;
    }
    Ok(Json(told))
}
