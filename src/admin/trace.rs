//! `GET /api/v1/trace`: what became of messages, from the audit trail; `GET /api/v1/trace/verify`: whether that is whole.

use std::ops::ControlFlow;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::{Asked, ErrorBody, Fault, Shared, slow};
use crate::audit::{Event, Filter, Head, Trail, Verified};
use crate::mail::Timestamp;

/// Messages that an address may name, and events of a page.
const MESSAGES: usize = 100;
const EVENTS: usize = 1000;
const MOST: usize = 10_000;
/// Octets of a page of blocks.
const PAGE: usize = 4 << 20;

#[derive(OpenApi)]
#[openapi(paths(trace, verify, blocks))]
pub(super) struct Described;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/trace", get(trace)).route("/trace/verify", get(verify)).route("/trace/blocks", get(blocks))
}

/// What is asked for: `wanted`, or all of a time.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// A mid, an address, a Message-ID, or the id that a provider gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// accepted, routed, attempt, delivered, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Without `wanted`: events of the records behind this one; `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// With `wanted`, messages (100), the newest; without, events (1000). At most 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Traced {
    pub events: Vec<Event>,
    /// Older messages that are not among these.
    pub left_out: usize,
    /// There may be more: `after` of the next page.
    pub next: Option<u64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Anchors {
    /// Heads that the log has told (RECORDS:HASH), separated by commas.
    #[serde(default)]
    pub anchor: String,
}

/// Which blocks of the trail.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WantedBlocks {
    /// RFC 3339: from the first block on that may have something of then.
    #[param(value_type = String)]
    pub since: Timestamp,
    /// Behind the block that begins with this record: the last one of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// What became of messages
#[utoipa::path(
    get, path = "/api/v1/trace", tag = "trail", params(Wanted),
    responses(
        (status = 200, body = Traced), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)
    )
)]
async fn trace(State(deps): State<Shared>, Asked(wanted): Asked<Wanted>) -> Result<Json<Traced>, Fault> {
    let most = wanted.limit.unwrap_or(if wanted.wanted.is_some() { MESSAGES } else { EVENTS }).clamp(1, MOST);
    let filter = Filter {
        since: wanted.since,
        until: wanted.until,
        route: wanted.route,
        provider: wanted.provider,
        event: wanted.event,
        after: wanted.after,
    };
    let traced = reading(&deps, move |trail| match &wanted.wanted {
        Some(name) => {
            let found = trail.find(name, most)?;
            let events = found.events.into_iter().filter(|event| filter.takes(event)).collect();
            Ok(Traced { events, left_out: found.left_out, next: None })
        }
        None => {
            let (mut events, mut next) = (Vec::new(), None);
            trail.each(&filter, |event: Event| {
                // A record's events stay together.
                if events.len() >= most && events.last().is_some_and(|last: &Event| last.record != event.record) {
                    next = events.last().map(|last: &Event| last.record);
                    return ControlFlow::Break(());
                }
                events.push(event);
                ControlFlow::Continue(())
            })?;
            Ok(Traced { events, left_out: 0, next })
        }
    });
    Ok(Json(traced.await?))
}

/// Whether the trail is whole. All of it is read: where that takes long, the answer begins with white space, and a fault stands in
/// its place
#[utoipa::path(
    get, path = "/api/v1/trace/verify", tag = "trail", params(Anchors),
    responses(
        (status = 200, body = Verified), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)
    )
)]
async fn verify(State(deps): State<Shared>, Asked(anchors): Asked<Anchors>) -> Result<Response, Fault> {
    let heads = anchors.anchor.split(',').filter(|head| !head.is_empty()).map(str::parse::<Head>);
    let heads = heads.collect::<Result<Vec<_>, _>>().map_err(Fault::bad_request)?;
    slow::answer(async move { reading(&deps, move |trail| trail.verify(&heads)).await }).await
}

/// The trail as its file has it, a few megabytes at a time: for `waypost diff --replay`
///
/// A page is the number of the trail's first record (8 octets, little-endian), then blocks: the number of each one's first
/// record (8), its octets (4), itself. One without blocks is the end.
#[utoipa::path(
    get, path = "/api/v1/trace/blocks", tag = "trail", params(WantedBlocks),
    responses(
        (status = 200, content_type = "application/octet-stream", body = [u8]), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)
    )
)]
async fn blocks(State(deps): State<Shared>, Asked(wanted): Asked<WantedBlocks>) -> Result<impl IntoResponse, Fault> {
    let page = reading(&deps, move |trail| trail.blocks(wanted.since, wanted.after, PAGE)).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], page))
}

/// What was acknowledged before is in what is read.
pub(super) async fn reading<T: Send + 'static>(
    deps: &Shared,
    read: impl FnOnce(Trail) -> Result<T, crate::audit::AuditError> + Send + 'static,
) -> Result<T, Fault> {
    let Some(trail) = deps.trail.clone() else {
        return Err(Fault::not_found("no trail is kept: `audit: off` is in waypost.yaml"));
    };
    let unavailable = |code, why: String| Fault::new(StatusCode::SERVICE_UNAVAILABLE, code, why);
    deps.queue.followed_up().await.map_err(|why| unavailable("trail_behind", why))?;
    match tokio::task::spawn_blocking(move || read(trail)).await {
        Ok(read) => read.map_err(|error| unavailable("trail_unreadable", error.to_string())),
        Err(panic) => Err(unavailable("trail_unreadable", panic.to_string())),
    }
}
