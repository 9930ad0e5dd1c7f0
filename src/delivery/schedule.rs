//! When a deferred leg is tried again. Pure.

use std::time::Duration;

use crate::mail::Timestamp;

/// Pauses between rounds; the last one repeats.
#[derive(Debug, Clone)]
pub struct Schedule {
    pauses: Vec<Duration>,
}

/// A draw between 0 and 1: spreads retries by a tenth either way, so that what failed together does not come back
/// together.
#[derive(Debug, Clone, Copy)]
pub struct Jitter(pub f64);

impl Schedule {
    pub fn new(pauses: &[Duration]) -> Self {
        Self { pauses: pauses.to_vec() }
    }

    /// The due time after the `attempts`-th round failed (1 is the first).
    pub fn next(&self, attempts: u32, now: Timestamp, jitter: Jitter) -> Timestamp {
        let nth = (attempts.max(1) as usize - 1).min(self.pauses.len().saturating_sub(1));
        let pause = self.pauses.get(nth).copied().unwrap_or(Duration::from_secs(60));
        let spread = pause.mul_f64(0.9 + 0.2 * jitter.0.clamp(0.0, 1.0));
        after(now, spread)
    }
}

/// `now` plus a span, held at the end of time.
pub fn after(now: Timestamp, span: Duration) -> Timestamp {
    let span = jiff::SignedDuration::try_from(span).unwrap_or(jiff::SignedDuration::MAX);
    now.saturating_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pause_repeats_and_jitter_stays_within_a_tenth() {
        let minute = Duration::from_secs(60);
        let schedule = Schedule::new(&[minute, 5 * minute]);
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        for (attempts, jitter, seconds) in
            [(1, 0.5, 60), (2, 0.5, 300), (3, 0.5, 300), (99, 0.5, 300), (1, 0.0, 54), (1, 1.0, 66)]
        {
            let due = schedule.next(attempts, now, Jitter(jitter));
            assert_eq!(due.as_second() - now.as_second(), seconds, "{attempts} {jitter}");
        }
    }
}
