//! Wall time, handed out as a value so that tests can rule it.

use jiff::Timestamp;

/// Reads wall time. Every part that needs the time of day is given one; in tests it follows tokio's (pausable) time.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Tokio { start: Timestamp, since: tokio::time::Instant },
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that shows `start` now and then follows tokio's time: it stands still while that is paused.
    pub fn following_tokio(start: Timestamp) -> Self {
        Self(Source::Tokio { start, since: tokio::time::Instant::now() })
    }

    pub fn now(&self) -> Timestamp {
        match self.0 {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
            Source::System => Timestamp::now(),
            Source::Tokio { start, since } => start
                .saturating_add(jiff::SignedDuration::try_from(since.elapsed()).unwrap_or(jiff::SignedDuration::MAX))
                .unwrap_or(start),
        }
    }
}
