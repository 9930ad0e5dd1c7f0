//! Spans and moments, for people.

use std::time::Duration;

use jiff::SignedDuration;

use crate::mail::Timestamp;

/// From `then` to `now`; nothing where that is yet to come.
pub fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}

pub fn after(at: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    at.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// `45 s`, `12 min`, `1 h 5 min`, `3 days`.
pub fn words(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..90 => format!("{seconds} s"),
        90..3600 => format!("{} min", seconds / 60),
        3600..172_800 => match (seconds / 3600, seconds % 3600 / 60) {
            (hours, 0) => format!("{hours} h"),
            (hours, minutes) => format!("{hours} h {minutes} min"),
        },
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `2026-11-26 03:12:09 UTC`.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_as_people_do() {
        for (seconds, told) in [
            (0, "0 s"),
            (89, "89 s"),
            (90, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (3900, "1 h 5 min"),
            (259_200, "3 days"),
        ] {
            assert_eq!(words(Duration::from_secs(seconds)), told);
        }
        assert_eq!(moment(Timestamp::UNIX_EPOCH), "1970-01-01 00:00:00 UTC");
    }
}
