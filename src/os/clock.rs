//! Wall time, handed out as a value so that tests can rule it.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tracing::warn;

/// Steps back that are worth a word; what is smaller is a clock that is being disciplined.
const A_STEP: SignedDuration = SignedDuration::from_secs(60);

/// Wall time that never goes back. Every part that needs the time of day is given one; in tests it follows tokio's
/// (pausable) time.
///
/// When the system's clock is set back, what waits for a moment must not wait that much longer: time goes on at its own pace
/// then, until the system's clock has caught up with it.
#[derive(Debug, Clone)]
pub struct Clock {
    wall: Wall,
    told: Arc<Mutex<Option<Told>>>,
}

#[derive(Debug)]
struct Told {
    last: Timestamp,
    at: Instant,
    /// The system's clock was set back, and has not caught up.
    ahead: bool,
}

#[derive(Debug, Clone)]
enum Wall {
    System,
    Tokio {
        start: Timestamp,
        since: Instant,
        /// How far somebody has set it.
        set: Arc<Mutex<SignedDuration>>,
    },
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { wall: Wall::System, told: Arc::default() }
    }

    /// A clock that shows `start` now and then follows tokio's time: it stands still while that is paused.
    pub fn following_tokio(start: Timestamp) -> Self {
        let set = Arc::new(Mutex::new(SignedDuration::ZERO));
        Self { wall: Wall::Tokio { start, since: Instant::now(), set }, told: Arc::default() }
    }

    /// Never before what any clone of this clock has told.
    pub fn now(&self) -> Timestamp {
        let (wall, at) = (self.wall(), Instant::now());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, ahead) = match &*told {
            Some(told) => {
                let going_on = after(told.last, at.saturating_duration_since(told.at));
                let stepped = wall.duration_until(going_on) > A_STEP;
                if stepped && !told.ahead {
                    warn!(system = %wall, queue = %going_on, "the system's clock was set back; the queue's time goes on");
                }
                (going_on.max(wall), stepped)
            }
            None => (wall, false),
        };
        *told = Some(Told { last, at, ahead });
        last
    }

    /// What the system's clock shows, for people to read; may go back.
    pub fn wall(&self) -> Timestamp {
        match &self.wall {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
            Wall::System => Timestamp::now(),
            Wall::Tokio { start, since, set } => {
                let set = *set.lock().unwrap_or_else(PoisonError::into_inner);
                after(*start, since.elapsed()).saturating_add(set).unwrap_or(*start)
            }
        }
    }

    /// Sets a clock that follows tokio's time, as a person sets the system's.
    #[cfg(test)]
    pub fn step(&self, by: SignedDuration) {
        if let Wall::Tokio { set, .. } = &self.wall {
            *set.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }
}

fn after(time: Timestamp, span: std::time::Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    time.saturating_add(span).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_follows_the_system_and_never_goes_back() {
        let start = Timestamp::from_second(1_700_000_000).unwrap();
        let clock = Clock::following_tokio(start);
        let seconds = |clock: &Clock| clock.now().duration_since(start).as_secs();
        assert_eq!(seconds(&clock), 0);
        tokio::time::advance(Duration::from_secs(10)).await;
        clock.step(SignedDuration::from_hours(24));
        assert_eq!(seconds(&clock), 86_410);
        clock.step(-SignedDuration::from_hours(24));
        assert_eq!(seconds(&clock), 86_410);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(seconds(&clock.clone()), 86_415, "it goes on at its own pace");
        assert_eq!(clock.wall().duration_since(start).as_secs(), 15);
        tokio::time::advance(Duration::from_secs(2 * 86_400)).await;
        assert_eq!(seconds(&clock), 86_415 + 2 * 86_400);
        clock.step(SignedDuration::from_hours(25));
        assert_eq!(clock.now(), clock.wall(), "caught up");
    }
}
