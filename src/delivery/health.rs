//! The health of providers: breakers, pauses they asked for, slow start, senders they have not verified. Time is an
//! argument.
//!
//! It belongs to the provider, not to a route. Where a provider delivers by destination (`mx`), breaker, pause and slow
//! start belong to the destination: one dead domain says nothing of the next. Memory is kept only where there is
//! something to remember: a provider or destination without trouble has no entry.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::breaker::{Admission, Breaker, Change, Sign};
use super::plan::Standing;
use super::span::after;
use crate::config::BreakerSettings;
use crate::mail::{Domain, ProviderName, Timestamp};
use crate::transport::{Lack, Outcome};

/// Whose health it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Patient {
    pub provider: ProviderName,
    /// For providers that deliver by destination.
    pub destination: Option<Domain>,
}

/// The first pause after a throttling reply that names none; doubles up to `LONGEST_PAUSE` until a success.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// No `Retry-After` pauses a provider for longer.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long the length of the last pause is remembered without another.
const PAUSE_MEMORY: Duration = Duration::from_secs(600);
/// How long a sender that a provider refused as unverified is not tried there while another takes it.
const SENDER_MEMORY: Duration = Duration::from_secs(300);
const SENDERS_MOST: usize = 4096;

/// The health of all.
#[derive(Debug, Default)]
pub struct Health {
    entries: HashMap<Patient, Entry>,
    /// Senders' domains that a provider has not verified, until when that is believed.
    unverified: BTreeMap<(ProviderName, Domain), Timestamp>,
}

#[derive(Debug)]
struct Entry {
    breaker: Breaker,
    pause: Option<Pause>,
    /// Attempts allowed at one time while it comes back: 1, 2, 4, … `None`: as many as configured.
    ramp: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Timestamp,
    /// What the next one lasts if the provider does not say.
    next: Duration,
}

/// What an attempt's end changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recorded {
    pub change: Option<Change>,
    /// The provider has asked for a pause up to then.
    pub paused_until: Option<Timestamp>,
    /// Whoever waits for this patient should look again.
    pub news: bool,
}

impl Health {
    pub fn standing(&self, patient: &Patient, now: Timestamp) -> Standing {
        let Some(entry) = self.entries.get(patient) else { return Standing::Ready };
        match (entry.breaker.admits(now), entry.pause) {
            (Admission::OpenUntil(until), _) => Standing::Out { until },
            (Admission::Closed | Admission::Probe, Some(pause)) if now < pause.until => {
                Standing::Throttled { until: pause.until }
            }
            (Admission::Closed, _) => Standing::Ready,
            (Admission::Probe, _) => Standing::Probe,
        }
    }

    /// Attempts that may be under way at one time, of the configured ones.
    pub fn concurrency(&self, patient: &Patient, configured: usize) -> usize {
        let ramp = self.entries.get(patient).and_then(|entry| entry.ramp);
        ramp.map_or(configured, |ramp| ramp.min(configured)).max(1)
    }

    /// The attempt that `Standing::Probe` allowed has begun.
    pub fn probing(&mut self, patient: &Patient) {
        if let Some(entry) = self.entries.get_mut(patient) {
            entry.breaker.probing();
        }
    }

    /// Takes what an attempt came to. `sign` is apart from the outcomes, for an attempt that our own fault ended says
    /// nothing of the provider. `configured` is the concurrency at which a slow start ends.
    pub fn record(
        &mut self,
        patient: &Patient,
        settings: &BreakerSettings,
        configured: usize,
        (outcomes, sign, probe): (&[Outcome], Sign, bool),
        now: Timestamp,
    ) -> Recorded {
        let asked = pause_asked(outcomes);
        if !self.entries.contains_key(patient) {
            // No trouble before, and none now: nothing to remember.
            if matches!(sign, Sign::Alive | Sign::Silent) && asked.is_none() {
                return Recorded::default();
            }
            let entry = Entry { breaker: Breaker::new(*settings), pause: None, ramp: None };
            self.entries.insert(patient.clone(), entry);
        }
        let Some(entry) = self.entries.get_mut(patient) else { return Recorded::default() };
        let mut news = probe;
        let change = entry.breaker.record(sign, probe, now);
        match change {
            // The backlog does not fall upon it all at once.
            Some(Change::Closed) => entry.ramp = Some(1),
            Some(Change::Opened { .. } | Change::StaysOpen { .. }) => entry.ramp = None,
            None => match sign {
                Sign::Alive if asked.is_none() => {
                    entry.ramp = entry.ramp.map(|ramp| ramp.saturating_mul(2)).filter(|ramp| *ramp < configured);
                }
                Sign::Out | Sign::OutForSure(_) => entry.ramp = entry.ramp.map(|_| 1),
                Sign::Alive | Sign::Silent => {}
            },
        }
        news |= change.is_some();
        if let Some(asked) = asked {
            entry.throttle(asked, configured, now);
            news = true;
        } else if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Delivered { .. }))
            && entry.pause.is_some_and(|pause| pause.until <= now)
        {
            entry.pause = None;
        }
        let paused_until = entry.pause.map(|pause| pause.until).filter(|until| *until > now);
        if entry.is_untroubled(now) {
            self.entries.remove(patient);
        }
        Recorded { change, paused_until, news }
    }

    /// A provider refused a sender as unverified.
    pub fn refuse_sender(&mut self, provider: &ProviderName, sender: &Domain, outcomes: &[Outcome], now: Timestamp) {
        if !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Unsupported(Lack::Sender(_)))) {
            return;
        }
        if self.unverified.len() >= SENDERS_MOST {
            self.unverified.retain(|_, until| now < *until);
        }
        if self.unverified.len() < SENDERS_MOST {
            self.unverified.insert((provider.clone(), sender.clone()), after(now, SENDER_MEMORY));
        }
    }

    pub fn refuses_sender(&self, provider: &ProviderName, sender: &Domain, now: Timestamp) -> bool {
        !self.unverified.is_empty()
            && self.unverified.get(&(provider.clone(), sender.clone())).is_some_and(|until| now < *until)
    }

    /// The word of logs and of status.
    pub fn state(&self, patient: &Patient, now: Timestamp) -> &'static str {
        self.entries.get(patient).map_or("closed", |entry| entry.breaker.state(now))
    }

    /// Forgets what is past: destinations to which no mail goes any more.
    pub fn prune(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| !entry.is_untroubled(now) && !entry.is_abandoned(now));
        self.unverified.retain(|_, until| now < *until);
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Entry {
    fn throttle(&mut self, asked: Option<Duration>, configured: usize, now: Timestamp) {
        let running = self.pause.filter(|pause| now < pause.until);
        let next = self.pause.map_or(FIRST_PAUSE, |pause| pause.next);
        let until = after(now, asked.unwrap_or(next).min(LONGEST_RETRY_AFTER));
        self.pause = Some(match running {
            // Replies to attempts that were under way when it began do not double the pause.
            Some(pause) if asked.is_none() => pause,
            Some(pause) => Pause { until: pause.until.max(until), ..pause },
            None => Pause { until, next: (next * 2).min(LONGEST_PAUSE) },
        });
        if running.is_none() {
            self.ramp = Some((self.ramp.unwrap_or(configured) / 2).max(1));
        }
    }

    fn is_untroubled(&self, now: Timestamp) -> bool {
        self.breaker.is_untroubled(now)
            && self.ramp.is_none()
            && self.pause.is_none_or(|pause| after(pause.until, PAUSE_MEMORY) < now)
    }

    /// Long due for a probe, and no mail there that would make one.
    fn is_abandoned(&self, now: Timestamp) -> bool {
        match self.breaker.admits(now) {
            Admission::Probe => self.breaker.is_overdue(now, Duration::from_secs(3600)),
            Admission::Closed | Admission::OpenUntil(_) => false,
        }
    }
}

/// Whether some outcome asks for a pause, and the longest that is named.
fn pause_asked(outcomes: &[Outcome]) -> Option<Option<Duration>> {
    let asked = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Throttled { retry_after, .. } => Some(*retry_after),
        Outcome::Delivered { .. }
        | Outcome::Rejected(_)
        | Outcome::Deferred(_)
        | Outcome::Unavailable(_)
        | Outcome::Unsupported(_)
        | Outcome::Unknown(_) => None,
    });
    asked.max()
}
