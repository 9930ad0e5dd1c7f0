//! Wall time and spans together, without the ways to overflow.

use std::time::Duration;

use jiff::SignedDuration;

use crate::mail::Timestamp;

pub(super) fn after(at: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    at.saturating_add(span).unwrap_or(Timestamp::MAX)
}

pub(super) fn before(at: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    at.saturating_sub(span).unwrap_or(Timestamp::MIN)
}

/// From `now` to `then`; nothing where that is past.
pub(super) fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}
