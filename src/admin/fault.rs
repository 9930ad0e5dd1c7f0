//! What a request is answered that cannot be served: a status, and `{"error": {"code", "message"}}`.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::delivery::Stopped;
use crate::queue::QueueError;

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub status: StatusCode,
    /// For programs: one word that stays.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// The body of every answer that is no success.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    pub error: ErrorText,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorText {
    /// One word for programs: `unauthorized`, `not_found`, ….
    pub code: String,
    /// What is wrong and what to do, for people.
    pub message: String,
}

impl Fault {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub fn unauthorized() -> Self {
        let text = "this needs the admin token: Authorization: Bearer TOKEN; it is in admin.token beside the queue, \
                    or what `admin.token` of waypost.yaml says";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", text)
    }
}

impl Fault {
    pub fn body(&self) -> ErrorBody {
        ErrorBody { error: ErrorText { code: self.code.to_owned(), message: self.message.clone() } }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Stopped> for Fault {
    fn from(stopped: Stopped) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", stopped.to_string())
    }
}

impl From<QueueError> for Fault {
    fn from(error: QueueError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "queue", error.to_string())
    }
}

/// A JSON body; one that cannot be read is answered as every fault is.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let read = Json::<T>::from_request(request, state).await;
        read.map(|Json(value)| Self(value))
            .map_err(|error: JsonRejection| Fault::new(error.status(), "bad_body", error.body_text()))
    }
}

/// The parameters behind `?`.
#[derive(Debug)]
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        read.map(|Query(value)| Self(value))
            .map_err(|error: QueryRejection| Fault::new(error.status(), "bad_query", error.body_text()))
    }
}
