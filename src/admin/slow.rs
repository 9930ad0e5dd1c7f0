//! Answers that may take longer than a request may.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::time::timeout;

use super::Fault;

/// So long a usual answer is waited for.
const SOON: Duration = Duration::from_secs(15);
/// How often whoever waits longer is told that it goes on.
const PACE: Duration = Duration::from_secs(5);

/// The usual answer where it comes soon. Else the answer begins without it, as a success: with white space, which JSON allows in
/// front, until it is there; a fault stands in its place then. Dropped with the connection.
pub(super) async fn answer<T: Serialize>(
    made: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Result<Response, Fault> {
    let mut made = Box::pin(made);
    if let Ok(made) = timeout(SOON, &mut made).await {
        return Ok(Json(made?).into_response());
    }
    let pieces = stream::unfold(Some(made), |made| async move {
        let mut made = made?;
        let octets = match timeout(PACE, &mut made).await {
            Err(_) => return Some((Ok(Bytes::from_static(b" ")), Some(made))),
            Ok(Ok(made)) => serde_json::to_vec(&made),
            Ok(Err(fault)) => serde_json::to_vec(&fault.body()),
        };
        // There is no form that serde_json refuses among what is answered.
        Some((Ok::<_, Infallible>(octets.unwrap_or_default().into()), None))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response())
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use tokio::time::{Instant, sleep};

    use super::*;

    async fn told(after: u64, made: Result<u32, Fault>) -> (StatusCode, String) {
        let made = async move {
            sleep(Duration::from_secs(after)).await;
            made
        };
        let answer = answer(made).await.into_response();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_soon_is_answered_as_ever() {
        assert_eq!(told(3, Ok(7)).await, (StatusCode::OK, "7".to_owned()));
        let (status, body) = told(3, Err(Fault::bad_request("odd"))).await;
        assert!(status == StatusCode::BAD_REQUEST && body.contains("odd"), "{status} {body}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_begins_in_time_and_is_whole_json() {
        let began = Instant::now();
        let slow = answer(async {
            sleep(Duration::from_secs(600)).await;
            Ok(7)
        });
        slow.await.unwrap();
        assert_eq!(began.elapsed(), SOON);
        let (status, body) = told(600, Ok(7)).await;
        assert_eq!((status, body.trim_start()), (StatusCode::OK, "7"));
        assert!(body.len() > 100, "a word every {PACE:?}");
        let (status, body) = told(600, Err(Fault::bad_request("odd"))).await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["error"]["message"]), (StatusCode::OK, &"odd".into()));
    }
}
