//! The message id of the relay: a ULID, so ids sort by the time of acceptance.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::Timestamp;

/// Names one message from acceptance to its last outcome. 26 characters in text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mid(u128);

/// The text is no ULID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no message id: 26 characters of 0-9 and A-Z are expected")]
pub struct MidError(String);

impl Mid {
    /// The id for a message that came at `at`, told apart from others of that millisecond by `random`.
    pub fn new(at: Timestamp, random: u128) -> Self {
        let ms = u64::try_from(at.as_millisecond()).unwrap_or(0);
        Self(Ulid::from_parts(ms, random).0)
    }

    /// The form that the queue stores.
    pub fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    pub fn bits(self) -> u128 {
        self.0
    }

    /// When its message came.
    pub fn accepted_at(self) -> Timestamp {
        let ms = i64::try_from(Ulid(self.0).timestamp_ms()).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
    }

    /// The smallest id of a moment: bounds a scan by age.
    pub fn floor(at: Timestamp) -> Self {
        Self::new(at, 0)
    }
}

/// Hands out ids that only rise, also within a millisecond and when the clock steps back: ascending keys are the
/// queue's fast path.
#[derive(Debug, Default)]
pub struct MidSource {
    last: std::sync::Mutex<u128>,
}

impl MidSource {
    /// The next id at `at`; `random` fills the bits below the time.
    pub fn next(&self, at: Timestamp, random: u128) -> Mid {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The top random bit stays clear, so that adding one within a millisecond never runs into the time bits.
        let wanted = Mid::new(at, random & (u128::MAX >> 49)).0;
        *last = if wanted > *last { wanted } else { *last + 1 };
        Mid(*last)
    }
}

impl fmt::Display for Mid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ulid(self.0).fmt(f)
    }
}

impl fmt::Debug for Mid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mid {
    type Err = MidError;
    fn from_str(text: &str) -> Result<Self, MidError> {
        Ulid::from_string(text).map(|ulid| Self(ulid.0)).map_err(|_| MidError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_even_when_the_clock_falls() {
        let source = MidSource::default();
        let noon = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        let before = Timestamp::from_millisecond(1_600_000_000_000).unwrap();
        let first = source.next(noon, 9);
        let second = source.next(before, u128::MAX);
        assert!(first < second, "{first} {second}");
    }

    #[test]
    fn text_goes_both_ways() {
        let mid = Mid::new(Timestamp::from_millisecond(1_700_000_000_000).unwrap(), 42);
        assert_eq!(mid.to_string().parse(), Ok(mid));
        assert!("nonsense".parse::<Mid>().is_err());
    }
}
