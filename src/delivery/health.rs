//! The health of providers: breakers, pauses they asked for, slow start, senders they have not verified. Time is an
//! argument.
//!
//! It belongs to the provider, not to a route. Where a provider delivers by destination (`mx`), breaker, pause and slow
//! start belong to the destination: one dead domain says nothing of the next. Memory is kept only where there is
//! something to remember: a provider or destination without trouble has no entry.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::breaker::{Admission, Breaker, Change, Shown, Sign};
use super::plan::Standing;
use super::span::after;
use crate::config::BreakerSettings;
use crate::mail::{Domain, Mid, ProviderName, Timestamp};
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
    /// What was said last that counted against it, and when.
    cause: Option<(Timestamp, String)>,
}

/// What is remembered of a patient, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    pub destination: Option<Domain>,
    pub breaker: Shown,
    /// Attempts that failed since one was answered, of a breaker that is closed.
    pub failures_in_row: u32,
    /// It asked for a pause up to then.
    pub paused_until: Option<Timestamp>,
    /// What was said last that counted against it, and when.
    pub cause: Option<(Timestamp, String)>,
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
        whose: Mid,
        now: Timestamp,
    ) -> Recorded {
        let asked = pause_asked(outcomes);
        if !self.entries.contains_key(patient) {
            // No trouble before, and none now: nothing to remember.
            if matches!(sign, Sign::Alive | Sign::Silent) && asked.is_none() {
                return Recorded::default();
            }
            let entry = Entry { breaker: Breaker::new(*settings), pause: None, ramp: None, cause: None };
            self.entries.insert(patient.clone(), entry);
        }
        let Some(entry) = self.entries.get_mut(patient) else { return Recorded::default() };
        if matches!(sign, Sign::Out | Sign::OutForSure(_)) || asked.is_some() {
            entry.cause = worst(outcomes).map(|outcome| (now, outcome.diagnosis().to_string()));
        }
        let mut news = probe;
        let change = entry.breaker.record(sign, probe, whose, now);
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

    /// Takes over what the breakers of a provider are set to now.
    pub fn renew(&mut self, provider: &ProviderName, settings: &BreakerSettings) {
        for (_, entry) in self.entries.iter_mut().filter(|(patient, _)| patient.provider == *provider) {
            entry.breaker.renew(*settings);
        }
    }

    /// Forgets all of a provider: it is gone, or another one by the old name.
    pub fn forget(&mut self, provider: &ProviderName) {
        self.entries.retain(|patient, _| patient.provider != *provider);
        self.unverified.retain(|(name, _), _| name != provider);
    }

    /// Patients of a provider that have some trouble, or had a moment ago.
    pub fn charts<'a>(&'a self, provider: &'a ProviderName, now: Timestamp) -> impl Iterator<Item = Chart> + 'a {
        let of_it = self.entries.iter().filter(move |(patient, _)| patient.provider == *provider);
        of_it.map(move |(patient, entry)| Chart {
            destination: patient.destination.clone(),
            breaker: entry.breaker.shown(now),
            failures_in_row: entry.breaker.failures_in_row(),
            paused_until: entry.pause.map(|pause| pause.until).filter(|until| now < *until),
            cause: entry.cause.clone(),
        })
    }

    /// Somebody knows that a provider is well: whoever of it is out is probed by the next message.
    pub fn probe_at_once(&mut self, provider: &ProviderName, now: Timestamp) {
        for (_, entry) in self.entries.iter_mut().filter(|(patient, _)| patient.provider == *provider) {
            entry.breaker.probe_at_once(now);
        }
    }

    /// Forgets what is past: destinations to which no mail goes any more. Providers are few, and one that fails seldom because
    /// little mail goes to it is to be found out all the same.
    pub fn prune(&mut self, now: Timestamp) {
        self.entries.retain(|patient, entry| {
            let row = patient.destination.is_none() && entry.breaker.failures_in_row() > 0;
            row || !entry.is_untroubled(now) && !entry.is_abandoned(now)
        });
        self.unverified.retain(|_, until| now < *until);
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

/// The outcome that counts most against a provider.
pub fn worst(outcomes: &[Outcome]) -> Option<&Outcome> {
    let weight = |outcome: &&Outcome| match outcome {
        Outcome::Unavailable(_) => 3,
        Outcome::Unknown(_) => 2,
        Outcome::Throttled { .. } => 1,
        Outcome::Delivered { .. } | Outcome::Rejected(_) | Outcome::Deferred(_) | Outcome::Unsupported(_) => 0,
    };
    outcomes.iter().filter(|outcome| weight(outcome) > 0).max_by_key(weight)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::delivery::fixtures::{moment, provider};
    use crate::mail::{Diagnosis, EnhancedStatus, Severity};
    use crate::transport::{Trouble, TroubleKind};

    const SETTINGS: BreakerSettings = BreakerSettings {
        failures: 2,
        within: Duration::from_secs(30),
        probe_after: Duration::from_secs(15),
        probe_max: Duration::from_secs(60),
    };

    fn patient(destination: Option<&str>) -> Patient {
        Patient { provider: provider("p"), destination: destination.map(|domain| domain.parse().unwrap()) }
    }

    fn says() -> Diagnosis {
        Diagnosis::local(EnhancedStatus::new(Severity::Transient, 0, 0), "x")
    }

    fn taken() -> Outcome {
        Outcome::Delivered { diagnosis: says(), provider_id: None, dsn: false }
    }

    fn out() -> Outcome {
        Outcome::Unavailable(Trouble { kind: TroubleKind::Connection, diagnosis: says() })
    }

    fn throttled(seconds: Option<u64>) -> Outcome {
        Outcome::Throttled { retry_after: seconds.map(Duration::from_secs), diagnosis: says() }
    }

    /// Of a message of its own.
    fn tell(health: &mut Health, of: &Patient, outcome: Outcome, probe: bool, second: u64) -> Recorded {
        static MESSAGES: AtomicU64 = AtomicU64::new(1);
        let mid = Mid::new(moment(second), MESSAGES.fetch_add(1, Ordering::Relaxed).into());
        let outcomes = [outcome];
        health.record(of, &SETTINGS, 32, (&outcomes, Sign::of(&outcomes), probe), mid, moment(second))
    }

    #[test]
    fn who_is_well_takes_no_memory() {
        let mut health = Health::default();
        for outcome in [taken(), Outcome::Rejected(says()), Outcome::Deferred(says())] {
            assert_eq!(tell(&mut health, &patient(Some("a.example")), outcome, false, 0), Recorded::default());
        }
        assert!(health.entries.is_empty());
    }

    #[test]
    fn a_dead_destination_says_nothing_of_another_and_is_forgotten_when_well() {
        let mut health = Health::default();
        let (dead, live) = (patient(Some("dead.example")), patient(Some("live.example")));
        tell(&mut health, &dead, out(), false, 0);
        tell(&mut health, &dead, out(), false, 1);
        assert_eq!(health.standing(&dead, moment(2)), Standing::Out { until: moment(16) });
        assert_eq!(health.standing(&live, moment(2)), Standing::Ready);
        assert_eq!(health.standing(&dead, moment(16)), Standing::Probe);
        health.probing(&dead);
        assert!(matches!(health.standing(&dead, moment(16)), Standing::Out { .. }));
        assert_eq!(tell(&mut health, &dead, taken(), true, 17).change, Some(Change::Closed));
        // Slow start: one, and each success doubles it.
        for allowed in [1, 2, 4, 8, 16, 32] {
            assert_eq!(health.concurrency(&dead, 32), allowed);
            tell(&mut health, &dead, taken(), false, 18);
        }
        assert!(health.entries.is_empty());
    }

    #[test]
    fn a_failure_in_slow_start_starts_it_again() {
        let mut health = Health::default();
        let of = patient(None);
        tell(
            &mut health,
            &of,
            Outcome::Unavailable(Trouble { kind: TroubleKind::Account, diagnosis: says() }),
            false,
            0,
        );
        health.probing(&of);
        tell(&mut health, &of, taken(), true, 15);
        tell(&mut health, &of, taken(), false, 16);
        tell(&mut health, &of, taken(), false, 16);
        assert_eq!(health.concurrency(&of, 32), 4);
        tell(&mut health, &of, out(), false, 17);
        assert_eq!(health.concurrency(&of, 32), 1);
    }

    #[test]
    fn pauses_are_told_or_double_until_a_success() {
        let mut health = Health::default();
        let of = patient(None);
        let pause = |health: &mut Health, told, at| {
            let recorded = tell(health, &of, throttled(told), false, at);
            recorded.paused_until.unwrap().as_second() - moment(at).as_second()
        };
        assert_eq!(pause(&mut health, None, 0), 1);
        assert_eq!(health.standing(&of, moment(0)), Standing::Throttled { until: moment(1) });
        assert_eq!(pause(&mut health, None, 0), 1, "it was under way already");
        assert_eq!(health.standing(&of, moment(1)), Standing::Ready);
        for (at, seconds) in [(10, 2), (20, 4), (30, 8), (40, 16), (60, 32), (100, 60), (200, 60)] {
            assert_eq!(pause(&mut health, None, at), seconds);
        }
        assert_eq!(pause(&mut health, Some(300), 210), 300, "told while it pauses: the longer one holds");
        assert_eq!(pause(&mut health, Some(5), 220), 290);
        tell(&mut health, &of, taken(), false, 520);
        assert_eq!(pause(&mut health, None, 521), 1, "a success makes it short again");
        assert_eq!(pause(&mut health, Some(u64::MAX), 600), 86_400);
    }

    #[test]
    fn unverified_senders_are_believed_for_a_while() {
        let mut health = Health::default();
        let (name, sender): (_, Domain) = (provider("p"), "new.example".parse().unwrap());
        let lack = [Outcome::Unsupported(Lack::Sender(says()))];
        health.refuse_sender(&name, &sender, &[taken(), Outcome::Unsupported(Lack::Message(says()))], moment(0));
        assert!(!health.refuses_sender(&name, &sender, moment(1)));
        health.refuse_sender(&name, &sender, &lack, moment(0));
        assert!(health.refuses_sender(&name, &sender, moment(299)));
        assert!(!health.refuses_sender(&name, &sender, moment(300)));
        assert!(!health.refuses_sender(&provider("q"), &sender, moment(1)));
        // A flood of senders takes no more memory than it may.
        for n in 0..SENDERS_MOST * 2 {
            health.refuse_sender(&name, &format!("d{n}.example").parse().unwrap(), &lack, moment(1));
        }
        assert_eq!(health.unverified.len(), SENDERS_MOST);
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let mut health = Health::default();
        for n in 0..10 {
            let of = patient(Some(&format!("d{n}.example")));
            tell(&mut health, &of, out(), false, 0);
            if n < 5 {
                tell(&mut health, &of, out(), false, 0);
            }
        }
        health.prune(moment(20));
        assert_eq!(health.entries.len(), 10);
        health.prune(moment(31));
        assert_eq!(health.entries.len(), 5, "single failures are no trouble any more");
        health.prune(moment(15 + 3601));
        assert!(health.entries.is_empty());
    }
}
