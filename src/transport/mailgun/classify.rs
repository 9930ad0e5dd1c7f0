//! What Mailgun's answers mean. The texts decide before the status: `is not allowed to send` comes as 400, 403, 420 and
//! 429 and is never about the message.

use std::time::Duration;

use serde::Deserialize;

use crate::mail::Timestamp;
use crate::transport::http::Meaning;
use crate::transport::{TroubleKind, flavor};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) meaning: Meaning,
    pub(super) text: String,
    /// The id of an accepted message, as events name it: without angle brackets.
    pub(super) id: Option<String>,
    /// Where the text says when to come back.
    pub(super) retry_after: Option<Duration>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// `now`: the provider's time, for the dates in its texts.
pub(super) fn classify(status: u16, body: &str, now: Timestamp) -> Reading {
    // 401 is the bare word `Forbidden`; what stands before the API has pages of its own.
    let parsed = serde_json::from_str::<Body>(body).unwrap_or(Body { id: None, message: None });
    let text = parsed.message.unwrap_or_else(|| body.trim().to_owned());
    let id = parsed.id.map(|id| id.trim().trim_start_matches('<').trim_end_matches('>').to_owned());
    let meaning = meaning(status, &text.to_ascii_lowercase().replace('\'', ""));
    let retry_after = flavor::retry_after(&text, now);
    Reading { meaning, text, id, retry_after }
}

/// First row that fits; `text` is in lower case and without quotes.
fn meaning(status: u16, text: &str) -> Meaning {
    let says = |part: &str| text.contains(part);
    let account = Meaning::Trouble(TroubleKind::Account);
    match status {
        200..=299 => Meaning::Accepted,
        400..=499 if says("is not allowed to send large batches") => Meaning::Fewer,
        400..=499 if says("is not allowed to send") && (says("limit exceeded") || says("try again after")) => {
            Meaning::Throttled
        }
        // The provider is bound to one domain: what is wrong with that is wrong for all of its mail.
        400..=499 if says("is not allowed to send") || says("is on probation") => account,
        400 if says("secondary dkim domain") => account,
        400 if text.starts_with("to parameter is not a valid address") => Meaning::Address(Vec::new()),
        400 => Meaning::Message,
        401 => Meaning::Trouble(TroubleKind::Credentials),
        402..=404 => account,
        _ => Meaning::of_status(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2021-12-20T20:33:11Z".parse().unwrap()
    }

    #[test]
    fn the_table() {
        use Meaning::{Accepted, Fewer, Message, Throttled, Trouble};
        use TroubleKind::{Account, Credentials, Server};
        let address = || Meaning::Address(Vec::new());
        let cases: &[(u16, &str, Meaning)] = &[
            (200, "Queued. Thank you.", Accepted),
            (400, "to parameter is not a valid address. please check documentation", address()),
            (400, "'to' parameter is not a valid address. please check documentation", address()),
            (400, "reply-to parameter is not a valid address", Message),
            (400, "from parameter is not a valid address. please check documentation", Message),
            (400, "to parameter is missing", Message),
            (400, "message parameter is missing", Message),
            (400, "'message' parameter is not a file", Message),
            (400, "Need at least one of 'text' or 'html' parameters specified", Message),
            (400, "Send options (parameters starting with o:, h:, or v:) are limited to 16 kB total", Message),
            (400, "Too many recipients, max is 1000", Message),
            (400, "Header name must be pure ASCII", Message),
            (400, "'Date' is not an RFC-2822 compliant date", Message),
            (400, "invalid delivery time format", Message),
            (400, "malformed multipart/form-data request", Message),
            (400, "unable to parse request", Message),
            (400, "Invalid request content type", Message),
            (400, "'recipient-variables' parameter is not a valid JSON", Message),
            (
                400,
                "Domain mg.example is not allowed to send: Sandbox subdomains are for test purposes only. Please add your own domain",
                Trouble(Account),
            ),
            (
                400,
                "Domain mg.example is not allowed to send: Free accounts are for test purposes only.",
                Trouble(Account),
            ),
            (
                400,
                "Domain mg.example is not allowed to send: The domain is unverified and requires DNS configuration.",
                Trouble(Account),
            ),
            (400, "Domain mg.example is not allowed to send: Please activate your Mailgun account.", Trouble(Account)),
            (400, "x.example is not a valid secondary dkim domain name", Trouble(Account)),
            (401, "Forbidden", Trouble(Credentials)),
            (402, "Request Failed", Trouble(Account)),
            (403, "Domain mg.example is not allowed to send large batches yet", Fewer),
            (403, "Rejected: IP 192.0.2.1 can't be used to send the message", Trouble(Account)),
            (403, "Account is disabled", Trouble(Account)),
            (403, "Your account is on probation and disabled until Mon, 20 Dec 2021", Trouble(Account)),
            (403, "something new", Trouble(Account)),
            (404, "Domain not found: mg.example", Trouble(Account)),
            (413, "request size exceeds 52.4MiB limit", Message),
            (
                429,
                "Domain mg.example is not allowed to send: request limit exceeded, try again after Mon, 20 Dec 2021 20:33:21 UTC",
                Throttled,
            ),
            (
                420,
                "Domain mg.example is not allowed to send: recipient limit exceeded, try again after Mon, 20 Dec 2021 20:33:21 UTC",
                Throttled,
            ),
            (
                420,
                "Domain mg.example is not allowed to send: account-requests-per-sec limit exceeded, try again after 120 seconds",
                Throttled,
            ),
            (
                400,
                "Domain mg.example is not allowed to send: bytes limit exceeded, try again after 120 seconds",
                Throttled,
            ),
            (429, "Too many requests", Throttled),
            (500, "Internal Server Error", Trouble(Server)),
            (502, "<html>", Trouble(Server)),
            (503, "", Trouble(Server)),
            (504, "", Trouble(Server)),
        ];
        for (status, text, meaning) in cases {
            let json = serde_json::json!({"message": text}).to_string();
            let reading = classify(*status, &json, now());
            assert_eq!((&reading.meaning, reading.text.as_str()), (meaning, *text), "{status} {text}");
            assert_eq!(classify(*status, text, now()).meaning, *meaning, "{status} {text} in clear");
        }
    }

    #[test]
    fn ids_and_times() {
        let accepted = r#"{"id":"<20111114174239.25659.5817@samples.mailgun.org>","message":"Queued. Thank you."}"#;
        assert_eq!(classify(200, accepted, now()).id.as_deref(), Some("20111114174239.25659.5817@samples.mailgun.org"));
        assert_eq!(classify(200, "not JSON", now()).id, None);
        for (text, seconds) in [
            (
                "Domain x is not allowed to send: request limit exceeded, try again after Mon, 20 Dec 2021 20:33:21 UTC",
                10,
            ),
            (
                "Domain x is not allowed to send: account-requests-per-sec limit exceeded, try again after 120 seconds",
                120,
            ),
        ] {
            assert_eq!(classify(420, text, now()).retry_after, Some(Duration::from_secs(seconds)));
        }
    }
}
