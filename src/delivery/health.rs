//! The health of providers: breakers, learned throttles, quotas, senders a provider has not verified. Pure: time is an
//! argument.
//!
//! It belongs to the provider, not to a route. For transports that deliver by destination (`mx`) breaker and throttle
//! belong to the destination: one dead domain says nothing of the next. Destinations are kept only while there is
//! something to remember.

use std::collections::HashMap;
use std::time::Duration;

use super::breaker::{Admission, Breaker, Change, Sign};
use super::schedule::after;
use crate::config::{Provider, Quota};
use crate::mail::{Domain, ProviderName, Timestamp};
use crate::queue::Counter;
use crate::transport::{Lack, Outcome, TroubleKind};

/// The first pause after a throttling reply that names none; doubles up to `THROTTLE_MOST` until a success.
const THROTTLE_FIRST: Duration = Duration::from_secs(1);
const THROTTLE_MOST: Duration = Duration::from_secs(60);
/// How long a sender that the provider refused as unverified is not tried there again.
const SENDER_MEMORY: Duration = Duration::from_secs(300);
const SENDERS_MOST: usize = 10_000;

/// Whether a provider takes an attempt now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admits {
    Now {
        probe: bool,
    },
    /// Out: the breaker is open, or the quota is spent.
    Out {
        until: Timestamp,
    },
    /// The probe's outcome decides.
    Probing,
    /// It asked for a pause.
    Throttled {
        until: Timestamp,
    },
    /// It has not verified this sender; other senders' mail it takes.
    SenderRefused {
        until: Timestamp,
    },
}

/// Health of all providers.
pub struct Health {
    providers: HashMap<ProviderName, Station>,
    destinations: HashMap<(ProviderName, Domain), Station>,
    quotas: HashMap<ProviderName, (Quota, Counter)>,
    senders: HashMap<(ProviderName, Domain), Timestamp>,
}

struct Station {
    breaker: Breaker,
    throttled_until: Option<Timestamp>,
    throttle_pause: Duration,
    /// Attempts allowed at one time while it comes back: 1, 2, 4, … `None` once it is back.
    ramp: Option<usize>,
}

impl Station {
    fn new(provider: &Provider) -> Self {
        Self {
            breaker: Breaker::new(provider.breaker),
            throttled_until: None,
            throttle_pause: THROTTLE_FIRST,
            ramp: None,
        }
    }

    fn admits(&self, now: Timestamp) -> Admits {
        match self.breaker.admits(now) {
            Admission::OpenUntil(until) => return Admits::Out { until },
            Admission::Probing => return Admits::Probing,
            Admission::Probe => return Admits::Now { probe: true },
            Admission::Closed => {}
        }
        match self.throttled_until {
            Some(until) if now < until => Admits::Throttled { until },
            Some(_) | None => Admits::Now { probe: false },
        }
    }

    fn is_spotless(&self, now: Timestamp) -> bool {
        self.breaker.is_spotless()
            && self.ramp.is_none()
            && self.throttled_until.is_none_or(|until| until <= now)
            && self.throttle_pause == THROTTLE_FIRST
    }
}

impl Health {
    /// `counters` are the quotas' counts as the queue kept them, by `quota_key`.
    pub fn new<'a>(providers: impl Iterator<Item = &'a Provider>, counters: &HashMap<String, Counter>) -> Self {
        let mut health = Self {
            providers: HashMap::new(),
            destinations: HashMap::new(),
            quotas: HashMap::new(),
            senders: HashMap::new(),
        };
        for provider in providers {
            health.providers.insert(provider.name.clone(), Station::new(provider));
            if let Some(quota) = provider.quota {
                let counter = counters.get(&quota_key(&provider.name));
                let counter = counter.copied().unwrap_or(Counter { since: Timestamp::UNIX_EPOCH, count: 0 });
                health.quotas.insert(provider.name.clone(), (quota, counter));
            }
        }
        health
    }

    /// `destination` is given for transports that deliver by destination.
    pub fn admits(
        &self,
        provider: &ProviderName,
        destination: Option<&Domain>,
        sender: Option<&Domain>,
        now: Timestamp,
    ) -> Admits {
        if let Some((quota, counter)) = self.quotas.get(provider) {
            let ends = after(counter.since, quota.span);
            if counter.count >= quota.messages && now < ends {
                return Admits::Out { until: ends };
            }
        }
        if let Some(sender) = sender
            && let Some(&until) = self.senders.get(&(provider.clone(), sender.clone()))
            && now < until
        {
            return Admits::SenderRefused { until };
        }
        self.station(provider, destination).map_or(Admits::Now { probe: false }, |station| station.admits(now))
    }

    /// Attempts that the provider may have at one time while it comes back.
    pub fn ramp(&self, provider: &ProviderName, destination: Option<&Domain>) -> Option<usize> {
        self.station(provider, destination).and_then(|station| station.ramp)
    }

    pub fn start_probe(&mut self, provider: &ProviderName, destination: Option<&Domain>) {
        if let Some(station) = self.station_mut(provider, destination) {
            station.breaker.start_probe();
        }
    }

    /// Takes the outcomes of one attempt. `most` is the provider's concurrency, where a slow start ends.
    pub fn record(
        &mut self,
        provider: &Provider,
        destination: Option<&Domain>,
        sender: Option<&Domain>,
        outcomes: &[Outcome],
        probe: bool,
        now: Timestamp,
    ) -> Option<Change> {
        for outcome in outcomes {
            if let (Outcome::Unsupported(Lack::Sender(_)), Some(sender)) = (outcome, sender) {
                self.senders.retain(|_, until| now < *until);
                if self.senders.len() < SENDERS_MOST {
                    self.senders.insert((provider.name.clone(), sender.clone()), after(now, SENDER_MEMORY));
                }
            }
        }
        let sign = sign(outcomes, now);
        let station = match destination {
            None => self.providers.entry(provider.name.clone()).or_insert_with(|| Station::new(provider)),
            Some(destination) => self
                .destinations
                .entry((provider.name.clone(), destination.clone()))
                .or_insert_with(|| Station::new(provider)),
        };
        let change = station.breaker.record(sign, probe, now);
        match change {
            Some(Change::Closed) => station.ramp = Some(1),
            Some(Change::Opened { .. } | Change::Reopened { .. }) => station.ramp = None,
            None => {}
        }
        let mut throttled = None;
        for outcome in outcomes {
            if let Outcome::Throttled { retry_after, .. } = outcome {
                throttled = throttled.max(Some(retry_after.unwrap_or(station.throttle_pause)));
            }
        }
        if let Some(pause) = throttled {
            // Replies to attempts that were under way at the first one do not double the pause.
            if station.throttled_until.is_none_or(|until| until <= now) {
                station.throttle_pause = (station.throttle_pause * 2).min(THROTTLE_MOST);
            }
            station.throttled_until = station.throttled_until.max(Some(after(now, pause)));
        } else if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Delivered { .. })) {
            station.throttle_pause = THROTTLE_FIRST;
            station.ramp = station.ramp.map(|ramp| ramp * 2).filter(|&ramp| ramp < provider.concurrency);
        }
        if let Some(destination) = destination
            && station.is_spotless(now)
        {
            self.destinations.remove(&(provider.name.clone(), destination.clone()));
        }
        change
    }

    /// Counts messages against the provider's quota and gives the counter to be kept.
    pub fn spend(&mut self, provider: &ProviderName, messages: u64, now: Timestamp) -> Option<(String, Counter)> {
        let (quota, counter) = self.quotas.get_mut(provider)?;
        if messages == 0 {
            return None;
        }
        // A span that lies wholly in the future is a clock that was set back: it begins anew.
        if now >= after(counter.since, quota.span) || now < counter.since {
            *counter = Counter { since: now, count: 0 };
        }
        counter.count = counter.count.saturating_add(messages);
        Some((quota_key(provider), *counter))
    }

    fn station(&self, provider: &ProviderName, destination: Option<&Domain>) -> Option<&Station> {
        match destination {
            None => self.providers.get(provider),
            Some(destination) => self.destinations.get(&(provider.clone(), destination.clone())),
        }
    }

    fn station_mut(&mut self, provider: &ProviderName, destination: Option<&Domain>) -> Option<&mut Station> {
        match destination {
            None => self.providers.get_mut(provider),
            Some(destination) => self.destinations.get_mut(&(provider.clone(), destination.clone())),
        }
    }
}

/// The name of a provider's quota counter in the queue.
pub fn quota_key(provider: &ProviderName) -> String {
    format!("quota/{provider}")
}

/// What the outcomes of one attempt say together: trouble of the provider outweighs, then any proof of life.
fn sign(outcomes: &[Outcome], now: Timestamp) -> Sign {
    let mut seen = Sign::Nothing;
    for outcome in outcomes {
        match outcome {
            Outcome::Unavailable(trouble) if trouble.kind.opens_at_once() => {
                let until = match trouble.kind {
                    TroubleKind::Quota { retry_after: Some(span) } => Some(after(now, span)),
                    TroubleKind::Quota { retry_after: None }
                    | TroubleKind::Connection
                    | TroubleKind::Tls
                    | TroubleKind::Timeout
                    | TroubleKind::Server
                    | TroubleKind::Credentials
                    | TroubleKind::Account => None,
                };
                return Sign::Out { until };
            }
            Outcome::Unavailable(_) | Outcome::Unknown(_) => seen = Sign::Failed,
            Outcome::Delivered { .. } | Outcome::Rejected(_) | Outcome::Deferred(_) | Outcome::Throttled { .. } => {
                if seen == Sign::Nothing {
                    seen = Sign::Alive;
                }
            }
            Outcome::Unsupported(_) => {}
        }
    }
    seen
}
