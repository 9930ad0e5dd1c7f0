//! `/api/v1/queue`: what waits, and what a person does to it. The answers are `delivery::operate`'s, as the verbs have them.

use axum::body::{Body as Octets, Bytes};
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tracing::warn;
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{Asked, Body, ErrorBody, Fault, Operator, Shared, waiting};
use crate::delivery::operate::{
    ActAnswer, ActRequest, By, Count, Deed, Filter, Message, OperateError, Page, USUAL_PART,
};
use crate::ingress::{self, ImportError};
use crate::queue::unfinished;

/// Octets of a message that is brought.
const LARGEST: usize = 256 << 20;

#[derive(OpenApi)]
#[openapi(paths(list, count, snapshot, show, export, act, count_of_act, import))]
pub(super) struct Described;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/queue", get(list))
        .route("/queue/count", get(count))
        .route("/queue/snapshot", get(snapshot))
        .route("/queue/{mid}", get(show))
        .route("/queue/{mid}/export", get(export))
        .route("/queue/acts", post(act))
        .route("/queue/acts/count", post(count_of_act))
        .route("/queue/import", post(import).layer(DefaultBodyLimit::max(LARGEST)))
}

impl From<OperateError> for Fault {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::Asked(text) => Self::bad_request(text),
            OperateError::NoMessage(_) => Self::not_found(error.to_string()),
            OperateError::Queue(error) => error.into(),
        }
    }
}

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Part {
    /// The `next` of the part before.
    after: Option<String>,
    /// Entries of a part: 100 where nothing is said, 1000 at most.
    limit: Option<usize>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Exported {
    /// The content alone, without the fields that `import` reads.
    #[serde(default)]
    content_only: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Brought {
    /// It is held until it is released.
    #[serde(default)]
    hold: bool,
    /// Why it is brought.
    reason: Option<String>,
}

/// What came of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportAnswer {
    /// The id that it has here; `null`: the routing table discards it.
    pub mid: Option<String>,
    pub recipients: u64,
}

pub(super) fn by(Operator(who): Operator, why: Option<String>) -> By {
    By { who, why: why.filter(|why| !why.trim().is_empty()) }
}

/// The queued mail, in the order of acceptance
#[utoipa::path(
    get, path = "/api/v1/queue", tag = "queue", params(Filter, Part),
    responses((status = 200, body = Page), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody))
)]
async fn list(
    State(deps): State<Shared>,
    Asked(filter): Asked<Filter>,
    Asked(part): Asked<Part>,
) -> Result<Json<Page>, Fault> {
    Ok(Json(waiting::list(&deps, &filter, part.after.as_deref(), part.limit.unwrap_or(USUAL_PART)).await?))
}

/// How much the filter finds
#[utoipa::path(
    get, path = "/api/v1/queue/count", tag = "queue", params(Filter),
    responses((status = 200, body = Count), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody))
)]
async fn count(State(deps): State<Shared>, Asked(filter): Asked<Filter>) -> Result<Json<Count>, Fault> {
    Ok(Json(deps.operator.count(&filter).await?))
}

/// All that is queued, as a file that `waypost queue restore` reads; taken while the relay works. What comes to no end says so in
/// its last record
#[utoipa::path(
    get, path = "/api/v1/queue/snapshot", tag = "queue",
    responses(
        (status = 200, content_type = "application/vnd.waypost.snapshot", body = [u8]),
        (status = 500, body = ErrorBody), (status = 401, body = ErrorBody)
    )
)]
async fn snapshot(State(deps): State<Shared>, Extension(operator): Extension<Operator>) -> Result<Response, Fault> {
    let snapshot = deps.operator.queue().snapshot(deps.clock.wall()).await?;
    // All queued mail is read by somebody.
    let deed = Deed { act: "queue snapshot", on: "queue", detail: "all that is queued" };
    deps.operator.record(deed, &by(operator, None)).await;
    let pieces = stream::unfold(Some(snapshot), |snapshot| async move {
        let mut snapshot = snapshot?;
        match snapshot.next().await {
            Ok(Some(octets)) => Some((octets, Some(snapshot))),
            Ok(None) => None,
            Err(error) => {
                warn!(%error, "the snapshot of the queue came to no end");
                Some((unfinished(&error.to_string()), None))
            }
        }
    });
    let pieces = pieces.map(Ok::<_, std::convert::Infallible>);
    let headers = [(header::CONTENT_TYPE, "application/vnd.waypost.snapshot")];
    Ok((headers, Octets::from_stream(pieces)).into_response())
}

/// One message: envelope, header section, and what waits of it and for what
#[utoipa::path(
    get, path = "/api/v1/queue/{mid}", tag = "queue", params(("mid" = String, Path, description = "The message id")),
    responses((status = 200, body = Message), (status = 404, body = ErrorBody), (status = 401, body = ErrorBody))
)]
async fn show(State(deps): State<Shared>, Path(mid): Path<String>) -> Result<Json<Message>, Fault> {
    Ok(Json(waiting::message(&deps, &mid).await?))
}

/// The message as a file that `import` and the pickup folder read: its content, behind the fields of its envelope
#[utoipa::path(
    get, path = "/api/v1/queue/{mid}/export", tag = "queue",
    params(("mid" = String, Path, description = "The message id"), Exported),
    responses(
        (status = 200, content_type = "message/rfc822", body = [u8]),
        (status = 404, body = ErrorBody), (status = 401, body = ErrorBody)
    )
)]
async fn export(
    State(deps): State<Shared>,
    Path(mid): Path<String>,
    Asked(wanted): Asked<Exported>,
) -> Result<Response, Fault> {
    let (head, content) = deps.operator.export(&mid).await?;
    let head = if wanted.content_only { String::new() } else { head };
    let size = head.len() as u64 + content.size();
    // Read before the answer begins: what cannot be read is still a fault then.
    let first = [Bytes::from(head), content.header().await?].concat();
    let pieces = stream::try_unfold((content, Some(Bytes::from(first)), 1), |(content, first, n)| async move {
        match first {
            Some(first) => Ok(Some((first, (content, None, n)))),
            None => {
                Ok::<_, crate::queue::QueueError>(content.chunk(n).await?.map(|piece| (piece, (content, None, n + 1))))
            }
        }
    });
    let name = format!("attachment; filename=\"{mid}.eml\"");
    let headers = [
        (header::CONTENT_TYPE, "message/rfc822".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, Octets::from_stream(pieces)).into_response())
}

/// Does one step of an act; with a filter, ask again with the answer's `next` as `after` until there is none
#[utoipa::path(
    post, path = "/api/v1/queue/acts", tag = "queue", request_body = ActRequest,
    responses((status = 200, body = ActAnswer), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody))
)]
async fn act(
    State(deps): State<Shared>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<ActRequest>,
) -> Result<Json<ActAnswer>, Fault> {
    let by = by(operator, request.reason.clone());
    Ok(Json(deps.operator.act(&request, &by).await?))
}

/// How much an act would be done with
#[utoipa::path(
    post, path = "/api/v1/queue/acts/count", tag = "queue", request_body = ActRequest,
    responses((status = 200, body = Count), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody))
)]
async fn count_of_act(State(deps): State<Shared>, Body(request): Body<ActRequest>) -> Result<Json<Count>, Fault> {
    Ok(Json(deps.operator.count_of(&request).await?))
}

/// Takes a message that an operator brings: an exported one as it was, any other as by the pickup folder
#[utoipa::path(
    post, path = "/api/v1/queue/import", tag = "queue", params(Brought),
    request_body(content = [u8], content_type = "message/rfc822"),
    responses((status = 200, body = ImportAnswer), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody))
)]
async fn import(
    State(deps): State<Shared>,
    Extension(operator): Extension<Operator>,
    Asked(brought): Asked<Brought>,
    file: Bytes,
) -> Result<Json<ImportAnswer>, Fault> {
    let by = by(operator, brought.reason);
    let imported = ingress::import(&deps.operator, file, brought.hold, &by).await.map_err(|error| match error {
        ImportError::File(text) => Fault::bad_request(text),
        ImportError::Queue(error) => error.into(),
    })?;
    Ok(Json(ImportAnswer { mid: imported.mid.map(|mid| mid.to_string()), recipients: imported.recipients as u64 }))
}
