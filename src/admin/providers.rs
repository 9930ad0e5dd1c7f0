//! `POST /api/v1/providers/NAME/pause|drill|resume`: a provider taken out by hand, or its outage played, and brought back.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::queue::by;
use super::status::OrderStatus;
use super::{Body, ErrorBody, Fault, Operator, Shared};
use crate::config::{ShowDuration, parse_duration};
use crate::delivery::operate::Deed;
use crate::delivery::{OrderError, OrderKind, Wish};
use crate::mail::ProviderName;

/// What is ordered without a span ends after this.
const USUAL: Duration = Duration::from_secs(3600);
/// No order holds for longer: what is meant for good belongs into the configuration.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// Characters of a reason.
const REASON: usize = 500;

#[derive(OpenApi)]
#[openapi(paths(pause, drill, resume))]
pub(super) struct Described;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/providers/{name}/pause", post(pause))
        .route("/providers/{name}/drill", post(drill))
        .route("/providers/{name}/resume", post(resume))
}

/// What is to be ordered.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderBody {
    /// For how long: `30m`, `2h`. Default: 1h; at most 30d.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub span: Option<String>,
    /// Why, for whoever wonders.
    #[serde(default)]
    pub reason: String,
}

/// Pass a provider over for a while: its mail goes to the next of the chain, or waits
#[utoipa::path(
    post, path = "/api/v1/providers/{name}/pause", tag = "providers", request_body = OrderBody,
    params(("name" = String, Path, description = "the provider")),
    responses((status = 200, body = OrderStatus), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
async fn pause(
    State(deps): State<Shared>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    Body(body): Body<OrderBody>,
) -> Result<Json<OrderStatus>, Fault> {
    order(&deps, &operator, &name, OrderKind::Pause, body).await
}

/// Play a provider's outage for a while: attempts come to `unavailable` without being made
#[utoipa::path(
    post, path = "/api/v1/providers/{name}/drill", tag = "providers", request_body = OrderBody,
    params(("name" = String, Path, description = "the provider")),
    responses((status = 200, body = OrderStatus), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody))
)]
async fn drill(
    State(deps): State<Shared>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    Body(body): Body<OrderBody>,
) -> Result<Json<OrderStatus>, Fault> {
    order(&deps, &operator, &name, OrderKind::Drill, body).await
}

/// End a provider's pause or drill; gives the order that has ended
#[utoipa::path(
    post, path = "/api/v1/providers/{name}/resume", tag = "providers", request_body = OrderBody,
    params(("name" = String, Path, description = "the provider")),
    responses((status = 200, body = OrderStatus), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody))
)]
async fn resume(
    State(deps): State<Shared>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    Body(body): Body<OrderBody>,
) -> Result<Json<OrderStatus>, Fault> {
    end(&deps, &operator, &name, body).await
}

pub(super) async fn end(
    deps: &Shared,
    operator: &Operator,
    name: &str,
    body: OrderBody,
) -> Result<Json<OrderStatus>, Fault> {
    let reason = reason(body.reason)?;
    let order = deps.control.resume(ProviderName::new(name)).await?;
    let detail = format!("ended a {} of {}", order.kind.name(), order.by);
    let deed = Deed { act: "provider resume", on: name, detail: &detail };
    deps.operator.record(deed, &by(operator.clone(), Some(reason))).await;
    Ok(Json(OrderStatus::from(&order)))
}

pub(super) async fn order(
    deps: &Shared,
    operator: &Operator,
    name: &str,
    kind: OrderKind,
    body: OrderBody,
) -> Result<Json<OrderStatus>, Fault> {
    let span = match &body.span {
        None => USUAL,
        Some(text) => parse_duration(text).map_err(|error| Fault::bad_request(error.to_string()))?,
    };
    if span.is_zero() || span > LONGEST {
        return Err(Fault::bad_request(format!("an order holds for up to {}", ShowDuration(LONGEST))));
    }
    let wish = Wish { kind, span, by: operator.0.clone(), reason: reason(body.reason)? };
    let order = deps.control.order(ProviderName::new(name), wish).await?;
    let act = match kind {
        OrderKind::Pause => "provider pause",
        OrderKind::Drill => "provider drill",
    };
    let detail = format!("for {}, until {:.0}", ShowDuration(span), order.until);
    deps.operator
        .record(Deed { act, on: name, detail: &detail }, &by(operator.clone(), Some(order.reason.clone())))
        .await;
    Ok(Json(OrderStatus::from(&order)))
}

/// One line, so that it stands well in logs.
fn reason(text: String) -> Result<String, Fault> {
    let text = text.trim();
    if text.chars().count() > REASON || text.contains(char::is_control) {
        return Err(Fault::bad_request(format!("a reason is one line of at most {REASON} characters")));
    }
    Ok(text.to_owned())
}

impl From<OrderError> for Fault {
    fn from(error: OrderError) -> Self {
        let text = error.to_string();
        match error {
            OrderError::Stopped(stopped) => stopped.into(),
            OrderError::UnknownProvider { .. } => Self::not_found(text),
            OrderError::NotOrdered(_) => Self::new(StatusCode::CONFLICT, "not_ordered", text),
            OrderError::NotKept { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "queue", text),
        }
    }
}
