//! Rates: so many a span, with a burst. governor's limiter, on a hand that is set for each question, so that tokio's
//! paused time rules it and a timer's lateness costs no permit.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::config::{Limit, Per};

/// A permit that was refused may be taken this much after it fell due as if it were taken in time. Timers are late by a
/// millisecond or more; without this `rate: 500/s` would pass 400.
const LATENESS: Duration = Duration::from_millis(50);

/// The time that governor sees.
#[derive(Debug, Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl governor::clock::Clock for Hand {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        self.0.load(Ordering::Relaxed).into()
    }
}

/// What one route or one provider lets through.
pub struct Pace {
    limiter: RateLimiter<NotKeyed, InMemoryState, Hand, NoOpMiddleware<Nanos>>,
    hand: Hand,
    start: Instant,
    limit: Limit,
    /// Nanoseconds since `start` of the last permit that was asked for.
    asked: Option<u64>,
    /// Taken and not used: spent before new ones, so that no permit is lost where another gate refuses.
    spare: u32,
}

impl Pace {
    pub fn new(limit: Limit) -> Self {
        let hand = Hand::default();
        let interval = limit.rate.interval().max(Duration::from_nanos(1));
        let burst = NonZeroU32::new(limit.burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(interval).unwrap_or(Quota::per_second(NonZeroU32::MAX)).allow_burst(burst);
        let limiter = RateLimiter::direct_with_clock(quota, hand.clone());
        Self { limiter, hand, start: Instant::now(), limit, asked: None, spare: 0 }
    }

    /// Permits that one attempt for so many recipients costs.
    pub fn cost(&self, recipients: usize) -> u32 {
        match self.limit.per {
            Per::Message => 1,
            Per::Recipient => u32::try_from(recipients).unwrap_or(u32::MAX),
        }
    }

    /// Recipients that one attempt may have, so that its permits can be had at all.
    pub fn most_recipients(&self) -> usize {
        match self.limit.per {
            Per::Message => usize::MAX,
            Per::Recipient => self.limit.burst.max(1) as usize,
        }
    }

    /// Takes so many permits, or tells how long it takes until they can be had.
    pub fn take(&mut self, permits: u32, now: Instant) -> Result<(), Duration> {
        let now = u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        let fresh = permits.saturating_sub(self.spare);
        if let Some(fresh) = NonZeroU32::new(fresh) {
            let lateness = u64::try_from(LATENESS.as_nanos()).unwrap_or(u64::MAX);
            let mut at = self.asked.filter(|asked| *asked <= now && now - asked <= lateness).unwrap_or(now);
            loop {
                self.hand.0.store(at, Ordering::Relaxed);
                match self.limiter.check_n(fresh) {
                    Ok(Ok(())) => break,
                    Ok(Err(not_until)) => {
                        let ready = not_until.earliest_possible().as_u64().max(at.saturating_add(1));
                        self.asked = Some(ready);
                        if ready > now {
                            return Err(Duration::from_nanos(ready - now));
                        }
                        at = ready;
                    }
                    // Never asked for: `most_recipients` keeps to the burst.
                    Err(_) => return Err(self.limit.rate.span),
                }
            }
            self.asked = Some(at);
        }
        self.spare = self.spare.saturating_sub(permits);
        Ok(())
    }

    /// The permits were not used after all.
    pub fn give_back(&mut self, permits: u32) {
        self.spare = self.spare.saturating_add(permits);
    }

    /// Attempts that could pass within a second: more need not be at hand.
    pub fn soon(&self) -> usize {
        let a_second = Duration::from_secs(1).as_nanos() / self.limit.rate.interval().as_nanos().max(1);
        usize::try_from(a_second).unwrap_or(usize::MAX).saturating_add(self.limit.burst as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rate;

    fn pace(count: u32, burst: u32, per: Per) -> Pace {
        Pace::new(Limit { rate: Rate { count, span: Duration::from_secs(1) }, burst, per })
    }

    /// Permits taken over `span` by someone who always wants one and whose timers are up to `late` too late.
    fn passed(pace: &mut Pace, span: Duration, late: Duration) -> u32 {
        let (start, mut at, mut passed) = (pace.start, Duration::ZERO, 0);
        while at < span {
            match pace.take(1, start + at) {
                Ok(()) => passed += 1,
                Err(wait) => at += wait + late,
            }
        }
        passed
    }

    #[test]
    fn the_rate_is_kept_however_late_timers_are() {
        for (rate, burst) in [(50, 1), (50, 50), (500, 1), (2000, 10)] {
            for late in [0, 1, 3, 15] {
                let passed =
                    passed(&mut pace(rate, burst, Per::Message), Duration::from_secs(10), Duration::from_millis(late));
                let (least, most) = (rate * 10 - rate / 5, rate * 10 + burst + rate / 20);
                assert!((least..=most).contains(&passed), "{rate}/s burst {burst}, {late} ms late: {passed}");
            }
        }
    }

    #[test]
    fn a_rest_gives_the_burst_and_no_more() {
        let mut pace = pace(10, 5, Per::Message);
        let later = pace.start + Duration::from_secs(3600);
        for _ in 0..5 {
            assert_eq!(pace.take(1, later), Ok(()));
        }
        let wait = pace.take(1, later).unwrap_err();
        assert!(wait <= Duration::from_millis(100) && wait >= Duration::from_millis(49), "{wait:?}");
    }

    #[test]
    fn unused_permits_are_not_lost() {
        let mut pace = pace(1, 1, Per::Message);
        let start = pace.start;
        assert_eq!(pace.take(1, start), Ok(()));
        pace.give_back(1);
        assert_eq!(pace.take(1, start), Ok(()));
        assert!(pace.take(1, start).is_err());
    }

    #[test]
    fn recipients_are_counted_where_the_limit_says_so() {
        let mut pace = pace(10, 20, Per::Recipient);
        assert_eq!((pace.cost(7), pace.most_recipients()), (7, 20));
        let start = pace.start;
        assert_eq!(pace.take(20, start), Ok(()));
        let wait = pace.take(10, start).unwrap_err();
        assert!(wait.abs_diff(Duration::from_secs(1)) < Duration::from_millis(2), "{wait:?}");
    }
}
