//! When a deferred leg is tried again. Pure: the random part is an argument.

use std::time::Duration;

use super::span::after;
use crate::mail::Timestamp;

/// A random number from 0 up to 1 that spreads retries: mail that was deferred in one moment does not come back in one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter(f64);

impl Jitter {
    pub fn new(part: f64) -> Self {
        Self(if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 })
    }
}

/// The pauses between rounds; the last one repeats until the message expires.
#[derive(Debug, Clone, Copy)]
pub struct Schedule<'a> {
    pauses: &'a [Duration],
}

impl<'a> Schedule<'a> {
    /// Where the configuration gives none at all.
    const FALLBACK: Duration = Duration::from_secs(300);
    /// Nothing is tried again in a tighter loop than this, whatever the configuration says.
    const LEAST: Duration = Duration::from_millis(100);
    /// A pause is never shorter than configured, and up to this part longer.
    const SPREAD: f64 = 0.2;

    pub fn new(pauses: &'a [Duration]) -> Self {
        Self { pauses }
    }

    /// When the round behind `attempts` earlier ones begins, after one that ended at `now`.
    pub fn next(&self, attempts: u32, now: Timestamp, jitter: Jitter) -> Timestamp {
        let nth = usize::try_from(attempts).unwrap_or(usize::MAX);
        let pause = self.pauses.get(nth).or(self.pauses.last()).copied().unwrap_or(Self::FALLBACK).max(Self::LEAST);
        after(now, pause.saturating_add(pause.mul_f64(Self::SPREAD * jitter.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn minutes(n: u64) -> Duration {
        Duration::from_secs(n * 60)
    }

    #[test]
    fn pauses_follow_in_order_and_the_last_repeats() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let pauses = [minutes(1), minutes(5), minutes(15)];
        let schedule = Schedule::new(&pauses);
        for (attempts, pause) in [(0, 1), (1, 5), (2, 15), (3, 15), (u32::MAX, 15)] {
            assert_eq!(schedule.next(attempts, now, Jitter::new(0.0)), after(now, minutes(pause)), "{attempts}");
        }
    }

    #[test]
    fn jitter_only_adds_and_no_more_than_a_fifth() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let pauses = [minutes(10)];
        let schedule = Schedule::new(&pauses);
        for (part, pause) in [(0.0, minutes(10)), (0.5, minutes(11)), (1.0, minutes(12)), (7.0, minutes(12))] {
            assert_eq!(schedule.next(0, now, Jitter::new(part)), after(now, pause), "{part}");
        }
        assert_eq!(schedule.next(0, now, Jitter::new(f64::NAN)), after(now, minutes(10)));
    }

    #[test]
    fn no_configuration_makes_a_busy_loop_or_an_overflow() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        assert!(Schedule::new(&[Duration::ZERO]).next(0, now, Jitter::new(0.0)) > now);
        assert!(Schedule::new(&[]).next(9, now, Jitter::new(0.0)) > now);
        assert_eq!(Schedule::new(&[Duration::MAX]).next(0, now, Jitter::new(1.0)), Timestamp::MAX);
    }
}
