//! A complete answer of an API, what it may mean, and the outcome that follows.

use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::mail::{Diagnosis, EnhancedStatus, Severity, Timestamp};
use crate::transport::{Lack, Outcome, ProviderId, Trouble, TroubleKind};

/// No provider's word keeps mail from it for longer.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Status, headers and the beginning of the body.
#[derive(Debug, Clone)]
pub(in crate::transport) struct Answer {
    pub(in crate::transport) status: u16,
    pub(in crate::transport) headers: HeaderMap,
    pub(in crate::transport) body: Vec<u8>,
}

/// What an answer means for the recipients of a call: the classes that the providers' tables give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transport) enum Meaning {
    Accepted,
    /// Too fast.
    Throttled,
    /// The provider or the account.
    Trouble(TroubleKind),
    /// This message at this provider, for good; another may take it.
    Message,
    /// This sender is not set up there.
    Sender,
    /// A recipient's address is refused, and with it the whole call. Which ones, as places in the call; empty: not said.
    Address(Vec<usize>),
    /// So many recipients are too many for now.
    Fewer,
}

pub(in crate::transport) const fn transient(subject: u16, detail: u16) -> EnhancedStatus {
    EnhancedStatus::new(Severity::Transient, subject, detail)
}

pub(in crate::transport) const fn permanent(subject: u16, detail: u16) -> EnhancedStatus {
    EnhancedStatus::new(Severity::Permanent, subject, detail)
}

impl Meaning {
    /// The enhanced status that DSNs show (RFC 3463).
    fn enhanced(&self, status: u16) -> EnhancedStatus {
        match self {
            Self::Accepted => EnhancedStatus::new(Severity::Success, 6, 0),
            Self::Throttled | Self::Fewer => transient(4, 5),
            Self::Trouble(TroubleKind::Credentials) => transient(7, 8),
            Self::Trouble(TroubleKind::Account) => transient(3, 5),
            Self::Trouble(TroubleKind::Quota { .. }) => transient(4, 5),
            Self::Trouble(TroubleKind::Server | TroubleKind::Connection | TroubleKind::Tls | TroubleKind::Timeout) => {
                transient(3, 0)
            }
            Self::Message if status == 413 => permanent(3, 4),
            Self::Message => permanent(6, 0),
            Self::Sender => permanent(7, 1),
            Self::Address(_) => permanent(1, 3),
        }
    }

    /// The outcome, as far as the whole call shares it; `Address` is that of a recipient whose own address it is, `Fewer`
    /// that of a single recipient.
    pub(in crate::transport) fn outcome(
        &self,
        host: &str,
        status: u16,
        text: &str,
        retry_after: Option<Duration>,
        id: Option<String>,
    ) -> Outcome {
        let text = if text.is_empty() { "no text" } else { text };
        let diagnosis = Diagnosis::remote(host, status, self.enhanced(status), text);
        match self {
            Self::Accepted => Outcome::Delivered { diagnosis, provider_id: id.map(ProviderId), dsn: false },
            Self::Throttled => Outcome::Throttled { retry_after, diagnosis },
            Self::Trouble(TroubleKind::Quota { .. }) => {
                Outcome::Unavailable(Trouble { kind: TroubleKind::Quota { retry_after }, diagnosis })
            }
            Self::Trouble(kind) => Outcome::Unavailable(Trouble { kind: *kind, diagnosis }),
            Self::Message => Outcome::Unsupported(Lack::Message(diagnosis)),
            Self::Sender => Outcome::Unsupported(Lack::Sender(diagnosis)),
            Self::Address(_) => Outcome::Rejected(diagnosis),
            Self::Fewer => Outcome::Unavailable(Trouble { kind: TroubleKind::Account, diagnosis }),
        }
    }

    /// What a status means where no row of a provider's table knows better.
    pub(in crate::transport) fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Accepted,
            401 | 403 => Self::Trouble(TroubleKind::Credentials),
            402 | 404 | 405 | 406 | 415 | 451 => Self::Trouble(TroubleKind::Account),
            420 | 429 => Self::Throttled,
            408 => Self::Trouble(TroubleKind::Server),
            400..=499 => Self::Message,
            // A redirect is never followed: the endpoint is a wrong one.
            0..=399 => Self::Trouble(TroubleKind::Account),
            500.. => Self::Trouble(TroubleKind::Server),
        }
    }
}

impl Answer {
    pub(in crate::transport) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    pub(in crate::transport) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }

    /// The provider's time, so that its dates are spans whatever our own clock shows.
    pub(in crate::transport) fn time(&self, clock: Timestamp) -> Timestamp {
        self.header(DATE.as_str()).and_then(date).unwrap_or(clock)
    }

    /// `Retry-After` (RFC 9110, 10.2.3: seconds or a date), else `X-RateLimit-Reset` (a Unix time).
    pub(in crate::transport) fn retry_after(&self, clock: Timestamp) -> Option<Duration> {
        let now = self.time(clock);
        let asked = self.header(RETRY_AFTER.as_str()).and_then(|value| match value.parse() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => date(value).map(|until| span(now, until)),
        });
        let reset = || {
            let until = self.header("x-ratelimit-reset")?.parse().ok()?;
            Timestamp::from_second(until).ok().map(|until| span(now, until))
        };
        asked.or_else(reset).map(|wait| wait.min(LONGEST))
    }
}

fn date(text: &str) -> Option<Timestamp> {
    rfc2822::parse(text).ok().map(|at| at.timestamp())
}

fn span(now: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&'static str, &str)]) -> Answer {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Answer { status: 429, headers, body: Vec::new() }
    }

    #[test]
    fn when_to_come_back() {
        let clock = "2026-11-24T12:00:00Z".parse().unwrap();
        for (headers, seconds) in [
            (&[("retry-after", "17")][..], Some(17)),
            (&[("retry-after", "Tue, 24 Nov 2026 12:00:30 GMT")], Some(30)),
            // The provider's clock is five minutes behind: its date is 40 s from its own now.
            (&[("retry-after", "Tue, 24 Nov 2026 11:55:40 GMT"), ("date", "Tue, 24 Nov 2026 11:55:00 GMT")], Some(40)),
            (&[("x-ratelimit-reset", "1795521612")], Some(12)),
            (&[("x-ratelimit-reset", "1795521612"), ("date", "Tue, 24 Nov 2026 12:00:05 GMT")], Some(7)),
            (&[("x-ratelimit-reset", "1795521612"), ("retry-after", "3")], Some(3)),
            (&[("x-ratelimit-reset", "1795521612"), ("retry-after", "soon")], Some(12)),
            (&[("x-ratelimit-reset", "1000")], Some(0)),
            (&[("retry-after", "99999999999999")], Some(LONGEST.as_secs())),
            (&[("retry-after", "-5")], None),
            (&[("x-ratelimit-reset", "99999999999999999999")], None),
            (&[], None),
        ] {
            assert_eq!(answer(headers).retry_after(clock), seconds.map(Duration::from_secs), "{headers:?}");
        }
    }

    #[test]
    fn a_status_alone() {
        use TroubleKind::{Account, Credentials, Server};
        for (status, meaning) in [
            (200, Meaning::Accepted),
            (202, Meaning::Accepted),
            (302, Meaning::Trouble(Account)),
            (400, Meaning::Message),
            (401, Meaning::Trouble(Credentials)),
            (402, Meaning::Trouble(Account)),
            (403, Meaning::Trouble(Credentials)),
            (404, Meaning::Trouble(Account)),
            (405, Meaning::Trouble(Account)),
            (408, Meaning::Trouble(Server)),
            (413, Meaning::Message),
            (418, Meaning::Message),
            (420, Meaning::Throttled),
            (429, Meaning::Throttled),
            (500, Meaning::Trouble(Server)),
            (504, Meaning::Trouble(Server)),
            (599, Meaning::Trouble(Server)),
        ] {
            assert_eq!(Meaning::of_status(status), meaning, "{status}");
        }
    }
}
