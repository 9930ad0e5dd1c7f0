//! How much of something each of many may have in a span: governor's limiter on tokio's time, its memory bounded.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::config::Rate;

/// Keys whose past is kept. Beyond it, all is forgotten: whoever comes with so many addresses is not stopped by counting
/// for each.
const MOST_CLIENTS: usize = 100_000;
/// Questions between two looks for keys whose past no longer matters, at least.
const SWEEP: usize = 1024;

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, Ticks, NoOpMiddleware<Nanos>>;

/// Tokio's time, which tests may pause.
#[derive(Debug, Clone)]
struct Ticks(Instant);

impl governor::clock::Clock for Ticks {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

pub(super) struct Meter<K: Hash + Eq + Clone> {
    quota: Quota,
    clock: Ticks,
    state: Mutex<State<K>>,
}

struct State<K: Hash + Eq + Clone> {
    limiter: Limiter<K>,
    /// Questions until the next sweep.
    left: usize,
}

impl<K: Hash + Eq + Clone> Meter<K> {
    pub(super) fn new(rate: Rate, burst: u32) -> Self {
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let interval = rate.interval().max(Duration::from_nanos(1));
        let quota = Quota::with_period(interval).unwrap_or(Quota::per_second(NonZeroU32::MAX)).allow_burst(burst);
        let clock = Ticks(Instant::now());
        let limiter = RateLimiter::hashmap_with_clock(quota, clock.clone());
        Self { quota, clock, state: Mutex::new(State { limiter, left: SWEEP }) }
    }

    /// Takes one, or tells how long it takes until one can be had.
    pub(super) fn take(&self, key: &K) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.left -= 1;
        if state.left == 0 {
            state.limiter.retain_recent();
            if state.limiter.len() > MOST_CLIENTS {
                state.limiter = RateLimiter::hashmap_with_clock(self.quota, self.clock.clone());
            }
            // As many questions as there are keys: a sweep costs no more than they do.
            state.left = state.limiter.len().max(SWEEP);
        }
        state.limiter.check_key(key).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    #[cfg(test)]
    fn keys(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).limiter.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(rate: &str, burst: u32) -> Meter<u32> {
        Meter::new(rate.parse().unwrap(), burst)
    }

    #[tokio::test(start_paused = true)]
    async fn each_has_its_own_share() {
        let meter = meter("10/s", 3);
        for key in [1, 2] {
            for _ in 0..3 {
                assert_eq!(meter.take(&key), Ok(()), "{key}");
            }
            assert_eq!(meter.take(&key), Err(Duration::from_millis(100)), "{key}");
        }
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(meter.take(&1), Ok(()));
        assert!(meter.take(&1).is_err());
        tokio::time::advance(Duration::from_secs(3600)).await;
        for _ in 0..3 {
            assert_eq!(meter.take(&1), Ok(()));
        }
        assert!(meter.take(&1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_past_of_many_is_bounded() {
        let quick = meter("1000/s", 1);
        for key in 0..50_000 {
            assert_eq!(quick.take(&key), Ok(()));
            tokio::time::advance(Duration::from_micros(500)).await;
        }
        assert!(quick.keys() < 3 * SWEEP, "{} keys", quick.keys());
        // Nothing of these is past for a day.
        let slow = meter("1/d", 1);
        for key in 0..500_000 {
            let _ = slow.take(&key);
        }
        assert!(slow.keys() <= 2 * MOST_CLIENTS, "{} keys", slow.keys());
    }
}
