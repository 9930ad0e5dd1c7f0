//! A note to a webhook: a POST of JSON, signed.
//!
//! `Waypost-Signature: t=SECONDS,v1=HEX`: HEX is the HMAC-SHA256, under the target's secret, of `SECONDS`, a dot, and the body as
//! it was sent. Whoever checks it compares it in constant time and refuses an old `t`, so that nobody sends a request again.
//! `Waypost-Id` stays the same when a note is sent again.

use std::time::Duration;

use aws_lc_rs::hmac;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, StatusCode};

use super::words::Note;
use crate::config::WebhookTarget;
use crate::mail::Timestamp;

const CONNECT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(15);
/// Octets of an answer that are looked at.
const ANSWER: usize = 300;

/// Why a note did not get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub text: String,
    /// It may get there later; with the pause that was asked for.
    pub again: Option<Option<Duration>>,
}

pub fn client() -> Result<Client, String> {
    Client::builder()
        .connect_timeout(CONNECT)
        .timeout(WHOLE)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .build()
        .map_err(|error| deepest(&error))
}

/// What it answered, in words.
pub async fn send(client: &Client, target: &WebhookTarget, note: &Note, now: Timestamp) -> Result<String, Failure> {
    let body = serde_json::to_vec(note).map_err(|error| Failure { text: error.to_string(), again: None })?;
    let mut request = client
        .post(target.url.expose())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("waypost/", env!("CARGO_PKG_VERSION")))
        .header("Waypost-Id", &note.id);
    if let Some(secret) = &target.secret {
        request = request.header("Waypost-Signature", signature(secret.expose(), now.as_second(), &body));
    }
    // The URL may be a secret: errors are told without it.
    let failed = |error: reqwest::Error| Failure { text: deepest(&error.without_url()), again: Some(None) };
    let mut response = request.body(body).send().await.map_err(failed)?;
    let status = response.status();
    let mut answer = Vec::new();
    while answer.len() < ANSWER
        && let Ok(Some(chunk)) = response.chunk().await
    {
        answer.extend_from_slice(&chunk);
    }
    answer.truncate(ANSWER);
    let said = String::from_utf8_lossy(&answer);
    let said: String = said.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    let text = format!("{status} {said}").trim_end().to_owned();
    if status.is_success() {
        return Ok(text);
    }
    let again = status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    let pause = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Err(Failure { text, again: again.then(|| pause.map(Duration::from_secs)) })
}

fn signature(secret: &str, second: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{second}.").as_bytes());
    context.update(body);
    let tag = context.sign();
    let hex: String = tag.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    format!("t={second},v1={hex}")
}

fn deepest(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match error.is_timeout() {
        true => format!("no answer within {} s", WHOLE.as_secs()),
        false => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_hmac_sha256_of_time_and_body() {
        // printf '1800000000.{"text":"x"}' | openssl dgst -sha256 -hmac s3cret
        let expected = "t=1800000000,v1=bc2245338f4bfb1a41513d98c18ffa586de0346a8bbd1d31aade541270a84e07";
        assert_eq!(signature("s3cret", 1_800_000_000, b"{\"text\":\"x\"}"), expected);
    }
}
