//! The health of a provider: closed (healthy), open (out), half-open (one real message probes). Pure.
//!
//! When it trips and recovers, and why:
//! - It opens when attempts of `failures` messages `within` a span found the provider out: a single lost connection is no
//!   outage. Successes in between do not forgive: a provider that fails every third attempt is out, too. Only where failures
//!   are fewer than one attempt in ten it stays closed: else a busy provider would be out for what a quiet one may do.
//! - And when as many messages failed one after the other, in hours if need be: where little mail goes, a span is too short.
//! - Messages are counted and not attempts, since there are some that no server survives, and one of these comes again and
//!   again.
//! - It opens at once where trying again soon is of no use: credentials refused, account suspended, quota spent.
//! - Open, it admits nothing until `probe_after`; attempts that were under way may end as they like, they neither close
//!   it nor keep it open longer, since they tell of the past.
//! - Then one message probes. Whatever answers it, even a refusal, is alive and closes the breaker; a probe that fails
//!   doubles the wait, up to `probe_max`. A probe that told nothing is repeated at once.

use std::collections::VecDeque;
use std::time::Duration;

use super::span::{after, before};
use crate::config::BreakerSettings;
use crate::mail::{Mid, Timestamp};
use crate::transport::{Outcome, TroubleKind};

/// However long a provider says that it is out, it is asked again after this.
const LONGEST_OUT: Duration = Duration::from_secs(24 * 3600);
/// Whatever the configuration says, probes are no busy loop.
const SHORTEST_OUT: Duration = Duration::from_millis(100);
/// Failures further apart make no row.
const LONGEST_ROW: Duration = Duration::from_secs(6 * 3600);
/// Failures open the breaker only where they are at least one of so many attempts.
const ONE_IN: u64 = 10;

/// What one attempt says of the provider's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It answered for itself, be it with a refusal.
    Alive,
    Out,
    /// It is out beyond doubt; `Some`: for that long, as it says itself.
    OutForSure(Option<Duration>),
    /// The attempt told nothing: it never came to the provider, or our own fault ended it.
    Silent,
}

impl Sign {
    /// One attempt is one sign, however many recipients it had: the worst that they tell.
    pub fn of(outcomes: &[Outcome]) -> Self {
        outcomes.iter().map(Self::of_one).max_by_key(|sign| sign.weight()).unwrap_or(Self::Silent)
    }

    fn of_one(outcome: &Outcome) -> Self {
        match outcome {
            // A throttled answer is an answer; the pause it asks for is kept apart from the breaker.
            Outcome::Delivered { .. } | Outcome::Rejected(_) | Outcome::Deferred(_) | Outcome::Throttled { .. } => {
                Self::Alive
            }
            Outcome::Unavailable(trouble) => match trouble.kind {
                TroubleKind::Quota { retry_after } => Self::OutForSure(retry_after),
                kind if kind.opens_at_once() => Self::OutForSure(None),
                TroubleKind::Connection
                | TroubleKind::Tls
                | TroubleKind::Timeout
                | TroubleKind::Server
                | TroubleKind::Credentials
                | TroubleKind::Account => Self::Out,
            },
            Outcome::Unknown(_) => Self::Out,
            // May have been found out without asking the provider.
            Outcome::Unsupported(_) => Self::Silent,
        }
    }

    fn weight(self) -> u8 {
        match self {
            Self::Silent => 0,
            Self::Alive => 1,
            Self::Out => 2,
            Self::OutForSure(_) => 3,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Closed,
    /// The next attempt is the probe: whoever starts it says so by `probing`.
    Probe,
    OpenUntil(Timestamp),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Opened {
        until: Timestamp,
    },
    /// A probe failed.
    StaysOpen {
        until: Timestamp,
    },
    Closed,
}

#[derive(Debug, Clone)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// When it opened and has not closed since, whatever probes said.
    out_since: Option<Timestamp>,
}

/// What a breaker shows to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Closed,
    Open {
        since: Timestamp,
        probe_at: Timestamp,
    },
    /// The probe is under way.
    HalfOpen {
        since: Timestamp,
    },
}

#[derive(Debug, Clone)]
enum State {
    Closed(Record),
    Open {
        since: Timestamp,
        until: Timestamp,
        /// How long the wait was that ends then.
        wait: Duration,
    },
    /// The probe is under way.
    Probing {
        wait: Duration,
    },
}

/// What a closed breaker remembers.
#[derive(Debug, Clone, Default)]
struct Record {
    /// Attempts that were answered.
    alive: u64,
    /// The last messages that failed, oldest first: when last, what `alive` was then, and which. At most `failures`.
    failures: VecDeque<(Timestamp, u64, Mid)>,
    /// Failures since the last attempt that was answered.
    in_row: u32,
    /// Whose they were, each message once: when last. Fewer than `failures`.
    row: VecDeque<(Timestamp, Mid)>,
}

impl Record {
    /// True where this failure makes an outage of it.
    fn fails(&mut self, settings: &BreakerSettings, whose: Mid, now: Timestamp) -> bool {
        let most = settings.failures.max(1) as usize;
        self.in_row = self.in_row.saturating_add(1);
        let first = before(now, LONGEST_ROW);
        self.row.retain(|(at, mid)| *at >= first && *mid != whose);
        self.row.push_back((now, whose));
        if self.row.len() >= most {
            return true;
        }
        let since = before(now, settings.within);
        self.failures.retain(|(.., mid)| *mid != whose);
        self.failures.push_back((now, self.alive, whose));
        while self.failures.len() > most || self.failures.front().is_some_and(|(at, ..)| *at < since) {
            self.failures.pop_front();
        }
        let Some((_, alive, _)) = self.failures.front() else { return false };
        let failed = self.failures.len() as u64;
        self.failures.len() >= most && failed * ONE_IN >= failed + self.alive.saturating_sub(*alive)
    }
}

fn sound(settings: BreakerSettings) -> BreakerSettings {
    BreakerSettings { probe_after: settings.probe_after.max(SHORTEST_OUT), ..settings }
}

impl Breaker {
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings: sound(settings), state: State::Closed(Record::default()), out_since: None }
    }

    /// Goes on by other settings; a wait that has begun keeps its end.
    pub fn renew(&mut self, settings: BreakerSettings) {
        self.settings = sound(settings);
    }

    pub fn admits(&self, now: Timestamp) -> Admission {
        match &self.state {
            State::Closed(_) => Admission::Closed,
            // A clock that was set back keeps nobody out for longer than was meant.
            State::Open { since, until, .. } if *until <= now || now < *since => Admission::Probe,
            State::Open { until, .. } => Admission::OpenUntil(*until),
            // When the probe ends, whoever waits is told; this is only how long nobody needs to ask.
            State::Probing { wait } => Admission::OpenUntil(after(now, *wait)),
        }
    }

    /// The attempt that `Admission::Probe` allowed has begun: nothing else passes until it ends.
    pub fn probing(&mut self) {
        if let State::Open { wait, .. } = self.state {
            self.state = State::Probing { wait };
        }
    }

    pub fn shown(&self, now: Timestamp) -> Shown {
        match &self.state {
            State::Closed(_) => Shown::Closed,
            State::Open { since, until, .. } => {
                Shown::Open { since: self.out_since.unwrap_or(*since), probe_at: *until }
            }
            State::Probing { .. } => Shown::HalfOpen { since: self.out_since.unwrap_or(now) },
        }
    }

    /// Attempts that failed since one was answered; 0 where it is not closed.
    pub fn failures_in_row(&self) -> u32 {
        match &self.state {
            State::Closed(record) => record.in_row,
            State::Open { .. } | State::Probing { .. } => 0,
        }
    }

    /// Somebody knows better: the next attempt probes.
    pub fn probe_at_once(&mut self, now: Timestamp) {
        if let State::Open { until, .. } = &mut self.state {
            *until = now;
        }
    }

    /// Takes the sign of an attempt that ended at `now`; `probe`: it was the probe; `whose`: the message that was attempted.
    pub fn record(&mut self, sign: Sign, probe: bool, whose: Mid, now: Timestamp) -> Option<Change> {
        match &mut self.state {
            State::Closed(record) => match sign {
                Sign::Out => record.fails(&self.settings, whose, now).then(|| self.open(None, now)),
                Sign::OutForSure(span) => Some(self.open(span, now)),
                Sign::Alive => {
                    record.alive += 1;
                    record.in_row = 0;
                    record.row.clear();
                    None
                }
                Sign::Silent => None,
            },
            State::Probing { wait } if probe => match sign {
                Sign::Alive => {
                    self.state = State::Closed(Record::default());
                    self.out_since = None;
                    Some(Change::Closed)
                }
                Sign::Out | Sign::OutForSure(_) => {
                    let told = if let Sign::OutForSure(span) = sign { span } else { None };
                    let wait = wait.saturating_mul(2).min(self.settings.probe_max).max(self.settings.probe_after);
                    let until = after(now, told.map_or(wait, |span| span.min(LONGEST_OUT)));
                    self.state = State::Open { since: now, until, wait };
                    Some(Change::StaysOpen { until })
                }
                Sign::Silent => {
                    self.state = State::Open { since: now, until: now, wait: *wait };
                    None
                }
            },
            State::Open { .. } | State::Probing { .. } => None,
        }
    }

    /// Closed, and with no failure of the last span in memory at `now`: but for a row of them, not told apart from a new one.
    pub fn is_untroubled(&self, now: Timestamp) -> bool {
        match &self.state {
            State::Closed(record) => {
                record.failures.back().is_none_or(|(at, ..)| *at < before(now, self.settings.within))
            }
            State::Open { .. } | State::Probing { .. } => false,
        }
    }

    /// A probe could have been made for so long, and nobody made it.
    pub fn is_overdue(&self, now: Timestamp, span: Duration) -> bool {
        matches!(self.state, State::Open { until, .. } if after(until, span) < now)
    }

    fn open(&mut self, told: Option<Duration>, now: Timestamp) -> Change {
        let wait = self.settings.probe_after;
        let until = after(now, told.map_or(wait, |span| span.min(LONGEST_OUT)));
        self.state = State::Open { since: now, until, wait };
        self.out_since = Some(now);
        Change::Opened { until }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use proptest::prelude::*;

    const SETTINGS: BreakerSettings = BreakerSettings {
        failures: 3,
        within: Duration::from_secs(30),
        probe_after: Duration::from_secs(15),
        probe_max: Duration::from_secs(50),
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    impl Breaker {
        /// Of a message of its own.
        fn told(&mut self, sign: Sign, probe: bool, now: Timestamp) -> Option<Change> {
            static MESSAGES: AtomicU64 = AtomicU64::new(1);
            self.record(sign, probe, Mid::new(now, MESSAGES.fetch_add(1, Ordering::Relaxed).into()), now)
        }
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(SETTINGS);
        assert_eq!(breaker.told(Sign::OutForSure(None), false, at(0)), Some(Change::Opened { until: at(15) }));
        breaker
    }

    #[test]
    fn so_many_failures_within_the_span_open_it() {
        // (seconds of failures, the one that opens it)
        for (failures, opens) in [
            (&[0, 1, 2][..], Some(2)),
            (&[0, 15, 30], Some(30)),
            (&[0, 15, 31], None),
            (&[0, 31, 62, 93], None),
            (&[0, 29, 31, 32], Some(32)),
        ] {
            let mut breaker = Breaker::new(SETTINGS);
            let mut opened = None;
            for &second in failures {
                breaker.told(Sign::Alive, false, at(second));
                if let Some(Change::Opened { until }) = breaker.told(Sign::Out, false, at(second)) {
                    assert_eq!(until, at(second + 15));
                    opened = Some(second);
                }
            }
            assert_eq!(opened, opens, "{failures:?}");
        }
    }

    #[test]
    fn as_many_in_a_row_open_it_however_long_they_took() {
        let mut breaker = Breaker::new(SETTINGS);
        assert_eq!(breaker.told(Sign::Out, false, at(0)), None);
        assert_eq!(breaker.told(Sign::Out, false, at(600)), None);
        breaker.told(Sign::Alive, false, at(700));
        assert_eq!((breaker.failures_in_row(), breaker.told(Sign::Out, false, at(1200))), (0, None));
        assert_eq!(breaker.told(Sign::Out, false, at(4800)), None);
        assert_eq!(breaker.failures_in_row(), 2);
        // What tells nothing neither ends a row nor adds to it.
        breaker.told(Sign::Silent, false, at(4900));
        let until = at(8415);
        assert_eq!(breaker.told(Sign::Out, false, at(8400)), Some(Change::Opened { until }));
        // More than hours apart they say nothing of now.
        let mut breaker = Breaker::new(SETTINGS);
        for n in 0..10 {
            assert_eq!(breaker.told(Sign::Out, false, at(n * 11_000)), None);
        }
    }

    #[test]
    fn one_message_that_fails_again_and_again_is_no_outage() {
        for pause in [1, 40] {
            let mut breaker = Breaker::new(SETTINGS);
            for n in 0..100 {
                assert_eq!(breaker.record(Sign::Out, false, Mid::new(at(0), 1), at(n * pause)), None);
            }
            assert_eq!(breaker.told(Sign::Out, false, at(100 * pause)), None);
            assert!(breaker.told(Sign::Out, false, at(101 * pause)).is_some());
        }
        // Nor where others are delivered meanwhile.
        let mut breaker = Breaker::new(SETTINGS);
        for n in 0..100 {
            breaker.told(Sign::Alive, false, at(n));
            assert_eq!(breaker.record(Sign::Out, false, Mid::new(at(0), 1), at(n)), None);
        }
    }

    #[test]
    fn rare_failures_of_a_busy_provider_are_no_outage() {
        for (successes_between, opens) in [(0, true), (10, true), (14, false), (1000, false)] {
            let mut breaker = Breaker::new(SETTINGS);
            let mut opened = false;
            for second in 0..3 {
                for _ in 0..successes_between {
                    breaker.told(Sign::Alive, false, at(second));
                }
                opened |= breaker.told(Sign::Out, false, at(second)).is_some();
            }
            assert_eq!(opened, opens, "{successes_between}");
        }
        // And a busy provider that goes out is noticed at once, whatever it did before.
        let mut breaker = Breaker::new(SETTINGS);
        for _ in 0..100_000 {
            breaker.told(Sign::Alive, false, at(0));
        }
        assert_eq!(breaker.told(Sign::Out, false, at(1)), None);
        assert_eq!(breaker.told(Sign::Out, false, at(1)), None);
        assert!(breaker.told(Sign::Out, false, at(1)).is_some());
    }

    #[test]
    fn a_clock_set_back_keeps_nobody_out() {
        assert_eq!(opened().admits(at(-3600)), Admission::Probe);
    }

    #[test]
    fn a_told_span_is_kept() {
        let mut breaker = Breaker::new(SETTINGS);
        breaker.told(Sign::OutForSure(Some(Duration::from_secs(3600))), false, at(0));
        assert_eq!(breaker.admits(at(3599)), Admission::OpenUntil(at(3600)));
        assert_eq!(breaker.admits(at(3600)), Admission::Probe);
        let mut breaker = Breaker::new(SETTINGS);
        breaker.told(Sign::OutForSure(Some(Duration::MAX)), false, at(0));
        assert_eq!(breaker.admits(at(24 * 3600)), Admission::Probe, "no header takes a provider out for good");
    }

    #[test]
    fn one_probe_at_a_time_doubling_to_the_most() {
        let mut breaker = opened();
        let mut now = 15;
        for wait in [30, 50, 50] {
            assert_eq!(breaker.admits(at(now)), Admission::Probe);
            breaker.probing();
            assert!(matches!(breaker.admits(at(now)), Admission::OpenUntil(_)), "a second probe");
            let until = at(now + 1 + wait);
            assert_eq!(breaker.told(Sign::Out, true, at(now + 1)), Some(Change::StaysOpen { until }));
            now += 1 + wait;
        }
        breaker.probing();
        assert_eq!(breaker.told(Sign::Alive, true, at(now)), Some(Change::Closed));
        assert_eq!(breaker.admits(at(now)), Admission::Closed);
        // The next outage begins anew.
        breaker.told(Sign::OutForSure(None), false, at(now));
        assert_eq!(breaker.admits(at(now)), Admission::OpenUntil(at(now + 15)));
    }

    #[test]
    fn what_is_shown_of_an_outage_begins_with_its_first_opening() {
        let mut breaker = opened();
        assert_eq!(breaker.shown(at(1)), Shown::Open { since: at(0), probe_at: at(15) });
        breaker.probing();
        assert_eq!(breaker.shown(at(15)), Shown::HalfOpen { since: at(0) });
        breaker.told(Sign::Out, true, at(16));
        assert_eq!(breaker.shown(at(17)), Shown::Open { since: at(0), probe_at: at(46) });
        breaker.probe_at_once(at(20));
        assert_eq!(breaker.admits(at(20)), Admission::Probe);
        breaker.probing();
        breaker.told(Sign::Alive, true, at(21));
        assert_eq!(breaker.shown(at(21)), Shown::Closed);
        breaker.told(Sign::OutForSure(None), false, at(90));
        assert_eq!(breaker.shown(at(90)), Shown::Open { since: at(90), probe_at: at(105) });
    }

    #[test]
    fn stragglers_neither_close_nor_extend() {
        let mut breaker = opened();
        for sign in [Sign::Out, Sign::OutForSure(Some(Duration::from_secs(900))), Sign::Alive, Sign::Silent] {
            assert_eq!(breaker.told(sign, false, at(3)), None);
            assert_eq!(breaker.admits(at(3)), Admission::OpenUntil(at(15)), "{sign:?}");
        }
        breaker.probing();
        assert_eq!(breaker.told(Sign::Alive, false, at(16)), None);
        assert!(matches!(breaker.admits(at(16)), Admission::OpenUntil(_)));
    }

    #[test]
    fn a_probe_that_told_nothing_is_repeated() {
        let mut breaker = opened();
        breaker.probing();
        assert_eq!(breaker.told(Sign::Silent, true, at(16)), None);
        assert_eq!(breaker.admits(at(16)), Admission::Probe);
        breaker.probing();
        assert_eq!(breaker.told(Sign::Out, true, at(16)), Some(Change::StaysOpen { until: at(46) }));
    }

    #[test]
    fn the_worst_recipient_speaks_for_the_attempt() {
        use crate::mail::{Diagnosis, EnhancedStatus, Severity};
        use crate::transport::{Lack, Trouble};
        let d = || Diagnosis::local(EnhancedStatus::new(Severity::Transient, 0, 0), "x");
        let delivered = || Outcome::Delivered { diagnosis: d(), provider_id: None, dsn: false };
        let trouble = |kind| Outcome::Unavailable(Trouble { kind, diagnosis: d() });
        let hour = Some(Duration::from_secs(3600));
        for (outcomes, sign) in [
            (vec![], Sign::Silent),
            (vec![delivered()], Sign::Alive),
            (vec![Outcome::Rejected(d())], Sign::Alive),
            (vec![Outcome::Deferred(d())], Sign::Alive),
            (vec![Outcome::Throttled { retry_after: None, diagnosis: d() }], Sign::Alive),
            (vec![Outcome::Unsupported(Lack::Message(d()))], Sign::Silent),
            (vec![Outcome::Unsupported(Lack::Sender(d())), delivered()], Sign::Alive),
            (vec![delivered(), Outcome::Unknown(d())], Sign::Out),
            (vec![trouble(TroubleKind::Connection)], Sign::Out),
            (vec![trouble(TroubleKind::Server), trouble(TroubleKind::Account)], Sign::OutForSure(None)),
            (vec![trouble(TroubleKind::Credentials)], Sign::OutForSure(None)),
            (vec![trouble(TroubleKind::Quota { retry_after: hour })], Sign::OutForSure(hour)),
        ] {
            assert_eq!(Sign::of(&outcomes), sign, "{outcomes:?}");
        }
    }

    proptest! {
        /// Whatever happens, an open breaker comes to a probe within `probe_max` (or the told day), and a probe that is
        /// answered closes it.
        #[test]
        fn it_always_comes_back(signs in prop::collection::vec((0u8..4, 0i64..40), 1..60)) {
            let mut breaker = Breaker::new(SETTINGS);
            let mut now = 0;
            for (sign, pause) in signs {
                now += pause;
                let probe = breaker.admits(at(now)) == Admission::Probe;
                if probe { breaker.probing(); }
                let sign = [Sign::Alive, Sign::Out, Sign::OutForSure(None), Sign::Silent][sign as usize];
                breaker.told(sign, probe, at(now));
                if let Admission::OpenUntil(until) = breaker.admits(at(now)) {
                    prop_assert!(until <= at(now + 50));
                }
            }
            now += 50;
            if breaker.admits(at(now)) == Admission::Probe {
                breaker.probing();
                breaker.told(Sign::Alive, true, at(now));
            }
            prop_assert_eq!(breaker.admits(at(now)), Admission::Closed);
        }
    }
}
