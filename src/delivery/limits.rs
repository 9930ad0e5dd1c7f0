//! Rates and concurrency of routes and providers: governor's limiters on tokio's clock, so that a paused clock rules them.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::config::{Limit, Per};

/// Governor's clock, following tokio's time.
#[derive(Debug, Clone)]
struct TokioClock {
    start: Instant,
}

impl governor::clock::Clock for TokioClock {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        self.start.elapsed().into()
    }
}

/// What one route or one provider lets through: so many a span, so many at one time.
pub struct Gate {
    rate: Option<Pace>,
    concurrency: usize,
    in_flight: usize,
}

struct Pace {
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>,
    clock: TokioClock,
    burst: u32,
    per: Per,
    /// Taken from the limiter and given back unused: spent before new ones, so that no permit is burnt when another gate
    /// refuses.
    spare: u32,
    /// Owed by a message with more recipients than the burst: paid before the next one passes.
    debt: u32,
}

impl Gate {
    pub fn new(limit: Option<Limit>, concurrency: usize) -> Self {
        let rate = limit.and_then(|limit| {
            let burst = NonZeroU32::new(limit.burst.max(1))?;
            let quota = Quota::with_period(limit.rate.interval())?.allow_burst(burst);
            let clock = TokioClock { start: Instant::now() };
            let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
            Some(Pace { limiter, clock, burst: burst.get(), per: limit.per, spare: 0, debt: 0 })
        });
        Self { rate, concurrency: concurrency.max(1), in_flight: 0 }
    }

    /// Attempts that may start beside those in flight.
    pub fn free(&self) -> usize {
        self.concurrency.saturating_sub(self.in_flight)
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes the permits of one message with so many recipients, or tells how long to wait.
    pub fn permit(&mut self, recipients: usize) -> Result<(), Duration> {
        match &mut self.rate {
            Some(pace) => pace.take(pace.cost(recipients)),
            None => Ok(()),
        }
    }

    /// The permits were not used after all.
    pub fn give_back(&mut self, recipients: usize) {
        if let Some(pace) = &mut self.rate {
            pace.spare = pace.spare.saturating_add(pace.cost(recipients));
        }
    }

    pub fn enter(&mut self) {
        self.in_flight += 1;
    }

    pub fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}

impl Pace {
    fn cost(&self, recipients: usize) -> u32 {
        match self.per {
            Per::Message => 1,
            Per::Recipient => u32::try_from(recipients).unwrap_or(u32::MAX).max(1),
        }
    }

    fn take(&mut self, cost: u32) -> Result<(), Duration> {
        let from_spare = cost.min(self.spare);
        while self.debt > 0 {
            let part = self.debt.min(self.burst);
            self.draw(part)?;
            self.debt -= part;
        }
        let rest = cost - from_spare;
        let now = rest.min(self.burst);
        self.draw(now)?;
        self.debt = rest - now;
        self.spare -= from_spare;
        Ok(())
    }

    fn draw(&self, permits: u32) -> Result<(), Duration> {
        let Some(permits) = NonZeroU32::new(permits) else { return Ok(()) };
        match self.limiter.check_n(permits) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(self.clock.now())),
            // More than the burst holds: never asked for, `take` cuts it down.
            Err(_) => Err(Duration::from_secs(1)),
        }
    }
}
