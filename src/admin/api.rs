//! All routes of the admin server, and the OpenAPI document that describes them. A subject brings both: its routes, and what
//! utoipa makes of its handlers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use tokio::time::timeout;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use super::gate::{known_hosts_only, operators_only};
use super::pages::Pages;
use super::{
    ErrorBody, Fault, Gate, Shared, alerts, explain, health, metrics, providers, queue, reload, status, trace,
};

/// Octets of a request's body; routes that take more say so.
const BODY: usize = 1 << 20;
/// Until the answer begins.
const ANSWER: Duration = Duration::from_secs(30);

#[derive(OpenApi)]
#[openapi(
    info(title = "waypost admin API", description = "What an operator asks of a running relay, and what it is told to do."),
    components(schemas(ErrorBody)),
    security(("token" = []))
)]
struct Whole;

/// The OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Whole::openapi();
    for part in [
        health::Described::openapi(),
        metrics::Described::openapi(),
        status::Described::openapi(),
        providers::Described::openapi(),
        queue::Described::openapi(),
        trace::Described::openapi(),
        explain::Described::openapi(),
        reload::Described::openapi(),
        alerts::Described::openapi(),
    ] {
        document.merge(part);
    }
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme("token", token);
    document
}

/// What is for operators alone.
fn for_operators() -> Router<Shared> {
    let document = get(|| async { Json(document()) });
    let all = Router::new().route("/openapi.json", document).merge(status::routes()).merge(reload::routes());
    let all = all.merge(providers::routes()).merge(queue::routes()).merge(trace::routes());
    all.merge(explain::routes()).merge(alerts::routes())
}

pub(super) fn router(deps: Shared, gate: Arc<Gate>, pages: &Pages) -> Router {
    let operators = for_operators().route_layer(from_fn_with_state(gate.clone(), operators_only));
    Router::new()
        .nest("/api/v1", operators)
        .merge(health::routes())
        .merge(metrics::routes(&gate))
        .merge(pages.routes())
        .fallback(|| async { Fault::not_found("there is nothing here; /api/v1/openapi.json says what there is") })
        .method_not_allowed_fallback(|| async {
            let text = "this is asked for in another way; /api/v1/openapi.json says how";
            Fault::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
        })
        .layer(DefaultBodyLimit::max(BODY))
        .layer(from_fn(in_time))
        .layer(from_fn_with_state(gate, known_hosts_only))
        .with_state(deps)
}

async fn in_time(request: Request, next: Next) -> Result<Response, Fault> {
    timeout(ANSWER, next.run(request)).await.map_err(|_| {
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", format!("no answer within {} s", ANSWER.as_secs()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `WAYPOST_WRITE_DOCS=1 cargo nextest run openapi` renews it.
    #[test]
    fn the_committed_openapi_document_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let made = serde_json::to_value(document()).unwrap();
        if std::env::var_os("WAYPOST_WRITE_DOCS").is_some() {
            std::fs::write(path, format!("{made:#}\n")).unwrap();
        }
        let committed: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(committed, made, "run: WAYPOST_WRITE_DOCS=1 cargo nextest run openapi");
    }
}
