//! What a provider's attempts came to in the last minutes. Time is an argument; memory is bounded by `SLOTS`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::mail::Timestamp;
use crate::transport::Outcome;

/// Seconds of a slot.
const SLOT: i64 = 10;
/// Slots that are remembered: a quarter of an hour.
const SLOTS: i64 = 90;
/// The first bucket of durations ends here; each next one ends at 1.25 times that.
const FIRST_MS: f64 = 1.0;
const GROWTH: f64 = 1.25;
const BUCKETS: usize = 64;

/// The words of outcomes, in the order in which they are counted.
pub const OUTCOMES: [&str; 7] =
    ["delivered", "rejected", "deferred", "throttled", "unavailable", "unsupported", "unknown"];

/// Where an outcome is counted.
pub fn index(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Delivered { .. } => 0,
        Outcome::Rejected(_) => 1,
        Outcome::Deferred(_) => 2,
        Outcome::Throttled { .. } => 3,
        Outcome::Unavailable(_) => 4,
        Outcome::Unsupported(_) => 5,
        Outcome::Unknown(_) => 6,
    }
}

/// Which outcomes an attempt had: one that its recipients fared differently in has several.
pub fn kinds(outcomes: &[Outcome]) -> [bool; 7] {
    let mut kinds = [false; 7];
    for outcome in outcomes {
        kinds[index(outcome)] = true;
    }
    kinds
}

#[derive(Debug, Default)]
pub(super) struct Lately {
    /// Oldest first.
    slots: VecDeque<Slot>,
}

#[derive(Debug)]
struct Slot {
    nth: i64,
    attempts: u32,
    outcomes: [u32; 7],
    durations: Box<[u32; BUCKETS]>,
}

/// A provider's last minutes, for people.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recent {
    pub span: Duration,
    pub attempts: u64,
    /// Attempts that ended so, in the order of `OUTCOMES`.
    pub outcomes: [u64; 7],
    /// How long half of them took, and all but one in a hundred.
    pub p50: Option<Duration>,
    pub p99: Option<Duration>,
}

fn nth(now: Timestamp) -> i64 {
    now.as_second().div_euclid(SLOT)
}

impl Lately {
    pub fn ended(&mut self, kinds: [bool; 7], took: Duration, now: Timestamp) {
        let nth = nth(now);
        if self.slots.back().is_none_or(|last| last.nth < nth) {
            while self.slots.front().is_some_and(|first| first.nth <= nth - SLOTS) {
                self.slots.pop_front();
            }
            self.slots.push_back(Slot { nth, attempts: 0, outcomes: [0; 7], durations: Box::new([0; BUCKETS]) });
        }
        let Some(slot) = self.slots.back_mut() else { return };
        slot.attempts = slot.attempts.saturating_add(1);
        for (count, had) in slot.outcomes.iter_mut().zip(kinds) {
            *count = count.saturating_add(u32::from(had));
        }
        let bucket = bucket(took);
        slot.durations[bucket] = slot.durations[bucket].saturating_add(1);
    }

    /// The last `span`, to a slot.
    pub fn recent(&self, span: Duration, now: Timestamp) -> Recent {
        let slots = i64::try_from(span.as_secs()).unwrap_or(i64::MAX) / SLOT;
        let since = nth(now).saturating_sub(slots);
        let mut recent = Recent { span, ..Recent::default() };
        let mut durations = [0u64; BUCKETS];
        for slot in self.slots.iter().filter(|slot| slot.nth > since) {
            recent.attempts += u64::from(slot.attempts);
            for (sum, count) in recent.outcomes.iter_mut().zip(slot.outcomes) {
                *sum += u64::from(count);
            }
            for (sum, count) in durations.iter_mut().zip(*slot.durations) {
                *sum += u64::from(count);
            }
        }
        recent.p50 = quantile(&durations, recent.attempts, 0.5);
        recent.p99 = quantile(&durations, recent.attempts, 0.99);
        recent
    }
}

fn bucket(took: Duration) -> usize {
    let ms = took.as_secs_f64() * 1000.0;
    let nth = (ms / FIRST_MS).max(1.0).log(GROWTH).ceil();
    // In range: at least 0, and cut to the last.
    (nth as usize).min(BUCKETS - 1)
}

/// The upper end of the bucket in which it lies: at most a quarter too long.
fn quantile(durations: &[u64; BUCKETS], all: u64, part: f64) -> Option<Duration> {
    if all == 0 {
        return None;
    }
    let wanted = ((all as f64) * part).ceil() as u64;
    let mut below = 0;
    let bucket = durations.iter().position(|count| {
        below += count;
        below >= wanted
    })?;
    Some(Duration::from_secs_f64(FIRST_MS / 1000.0 * GROWTH.powi(i32::try_from(bucket).unwrap_or(i32::MAX))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::fixtures::moment;

    const TAKEN: [bool; 7] = [true, false, false, false, false, false, false];
    const OUT: [bool; 7] = [false, false, false, false, true, false, false];

    #[test]
    fn the_last_minutes_count_and_the_time_before_does_not() {
        let mut lately = Lately::default();
        for second in 0..3600 {
            lately.ended(if second < 3000 { TAKEN } else { OUT }, Duration::from_millis(100), moment(second));
        }
        let recent = lately.recent(Duration::from_secs(300), moment(3599));
        assert_eq!((recent.attempts, recent.outcomes[0], recent.outcomes[4]), (300, 0, 300));
        let longer = lately.recent(Duration::from_secs(900), moment(3599));
        assert_eq!((longer.outcomes[0], longer.outcomes[4]), (300, 600));
        assert!(lately.slots.len() <= SLOTS as usize, "{}", lately.slots.len());
        assert_eq!(lately.recent(Duration::from_secs(300), moment(9000)).p50, None);
    }

    #[test]
    fn quantiles_are_a_quarter_too_long_at_most() {
        let mut lately = Lately::default();
        for n in 1..=1000u64 {
            lately.ended(TAKEN, Duration::from_millis(n), moment(5));
        }
        let recent = lately.recent(Duration::from_secs(60), moment(5));
        for (told, ms) in [(recent.p50, 500.0), (recent.p99, 990.0)] {
            let told = told.unwrap().as_secs_f64() * 1000.0;
            assert!((ms..=ms * 1.25).contains(&told), "{told}");
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }
}
