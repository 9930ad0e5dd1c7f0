//! The breaker of a provider, or of one destination of it. Pure.
//!
//! Trips on `failures` failures `within` a span, or at once where trying again soon is no use (refused credentials, a spent
//! quota). Open, nothing is sent. After `probe_after` one real message probes; a failed probe doubles the pause, up to
//! `probe_max`; any reply that the peer gives as a working one closes the breaker. Failures of attempts that were under
//! way when it opened change nothing: else a slow outage would push its own recovery away.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::BreakerSettings;
use crate::mail::Timestamp;

/// What an attempt says of its provider's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It answered as a working peer does, if only to refuse a recipient.
    Alive,
    Failed,
    /// No use in trying before `until`, or before a probe's time where none is told.
    Out {
        until: Option<Timestamp>,
    },
    /// Says nothing: the peer was not asked.
    Nothing,
}

/// Whether an attempt may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Closed,
    /// One attempt may start, as the probe.
    Probe,
    OpenUntil(Timestamp),
    /// The probe is under way: its outcome decides.
    Probing,
}

/// A change that operators want to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Opened {
        until: Timestamp,
    },
    /// A probe failed: open again, for longer.
    Reopened {
        until: Timestamp,
    },
    Closed,
}

#[derive(Debug, Clone)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Closed {
        failures: VecDeque<Timestamp>,
    },
    /// `pause` is what led to `until`, and what a failed probe doubles.
    Open {
        since: Timestamp,
        until: Timestamp,
        pause: Duration,
    },
    Probing {
        pause: Duration,
    },
}

impl Breaker {
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed { failures: VecDeque::new() } }
    }

    pub fn admits(&self, now: Timestamp) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Closed,
            // A clock that was set back must not hold the provider out for longer than was meant.
            State::Open { since, until, .. } if now >= until || now < since => Admission::Probe,
            State::Open { until, .. } => Admission::OpenUntil(until),
            State::Probing { .. } => Admission::Probing,
        }
    }

    /// An attempt starts that `admits` let through as the probe.
    pub fn start_probe(&mut self) {
        if let State::Open { pause, .. } = self.state {
            self.state = State::Probing { pause };
        }
    }

    /// Takes what an attempt showed; `probe` if it was the probe.
    pub fn record(&mut self, sign: Sign, probe: bool, now: Timestamp) -> Option<Change> {
        match (&mut self.state, sign) {
            (State::Closed { failures }, Sign::Alive) => {
                failures.clear();
                None
            }
            (State::Closed { failures }, Sign::Failed) => {
                failures.push_back(now);
                let oldest = later(now, self.settings.within, -1);
                while failures.front().is_some_and(|&at| at < oldest) {
                    failures.pop_front();
                }
                let trips = failures.len() >= self.settings.failures.max(1) as usize;
                trips.then(|| self.open(now, self.settings.probe_after, None))
            }
            (State::Closed { .. }, Sign::Out { until }) => Some(self.open(now, self.settings.probe_after, until)),
            (State::Probing { .. }, Sign::Alive) if probe => {
                self.state = State::Closed { failures: VecDeque::new() };
                Some(Change::Closed)
            }
            (State::Probing { pause }, Sign::Failed | Sign::Out { .. }) if probe => {
                let longer = (*pause * 2).min(self.settings.probe_max.max(self.settings.probe_after));
                let until = if let Sign::Out { until } = sign { until } else { None };
                let Change::Opened { until } = self.open(now, longer, until) else { return None };
                Some(Change::Reopened { until })
            }
            // The probe was never made, or told nothing: the next message is it.
            (State::Probing { pause }, Sign::Nothing) if probe => {
                self.state = State::Open { since: now, until: now, pause: *pause };
                None
            }
            (State::Closed { .. }, Sign::Nothing) | (State::Probing { .. } | State::Open { .. }, _) => None,
        }
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Closed, and without a failure to remember: nothing is lost when it is forgotten.
    pub fn is_spotless(&self) -> bool {
        matches!(&self.state, State::Closed { failures } if failures.is_empty())
    }

    fn open(&mut self, now: Timestamp, pause: Duration, told: Option<Timestamp>) -> Change {
        let until = told.unwrap_or(now).max(later(now, pause, 1));
        self.state = State::Open { since: now, until, pause };
        Change::Opened { until }
    }
}

fn later(now: Timestamp, by: Duration, sign: i32) -> Timestamp {
    let by = jiff::SignedDuration::try_from(by).unwrap_or(jiff::SignedDuration::MAX);
    let moved = if sign < 0 { now.saturating_sub(by) } else { now.saturating_add(by) };
    moved.unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn breaker() -> Breaker {
        let second = Duration::from_secs(1);
        Breaker::new(BreakerSettings {
            failures: 3,
            within: 30 * second,
            probe_after: 15 * second,
            probe_max: 50 * second,
        })
    }

    fn failed(breaker: &mut Breaker, seconds: i64) -> Option<Change> {
        breaker.record(Sign::Failed, false, at(seconds))
    }

    #[test]
    fn failures_within_the_span_open_it() {
        let mut breaker = breaker();
        assert_eq!(failed(&mut breaker, 0), None);
        assert_eq!(failed(&mut breaker, 1), None);
        assert_eq!(failed(&mut breaker, 2), Some(Change::Opened { until: at(17) }));
        assert_eq!(breaker.admits(at(16)), Admission::OpenUntil(at(17)));
        assert_eq!(breaker.admits(at(17)), Admission::Probe);
    }

    #[test]
    fn failures_apart_and_successes_between_do_not() {
        let mut breaker = breaker();
        for seconds in [0, 31, 62, 93] {
            assert_eq!(failed(&mut breaker, seconds), None);
        }
        assert_eq!(failed(&mut breaker, 94), None);
        breaker.record(Sign::Alive, false, at(95));
        assert_eq!(failed(&mut breaker, 96), None);
        assert_eq!(failed(&mut breaker, 97), None);
        assert!(breaker.is_closed());
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_its_most() {
        let mut breaker = breaker();
        breaker.record(Sign::Out { until: None }, false, at(0));
        let mut now = 15;
        for pause in [30, 50, 50] {
            assert_eq!(breaker.admits(at(now)), Admission::Probe);
            breaker.start_probe();
            assert_eq!(breaker.admits(at(now)), Admission::Probing);
            let until = at(now + pause);
            assert_eq!(breaker.record(Sign::Failed, true, at(now)), Some(Change::Reopened { until }));
            now += pause;
        }
        breaker.start_probe();
        assert_eq!(breaker.record(Sign::Alive, true, at(now)), Some(Change::Closed));
        assert!(breaker.is_spotless());
    }

    #[test]
    fn stragglers_neither_extend_nor_close_it() {
        let mut breaker = breaker();
        breaker.record(Sign::Out { until: Some(at(100)) }, false, at(0));
        assert_eq!(failed(&mut breaker, 5), None);
        assert_eq!(breaker.record(Sign::Alive, false, at(6)), None);
        assert_eq!(breaker.admits(at(99)), Admission::OpenUntil(at(100)));
        assert_eq!(breaker.admits(at(100)), Admission::Probe);
    }

    #[test]
    fn a_probe_that_tells_nothing_leaves_the_slot_free() {
        let mut breaker = breaker();
        breaker.record(Sign::Out { until: None }, false, at(0));
        breaker.start_probe();
        breaker.record(Sign::Nothing, true, at(20));
        assert_eq!(breaker.admits(at(20)), Admission::Probe);
    }

    #[test]
    fn a_clock_set_back_does_not_hold_it_open() {
        let mut breaker = breaker();
        breaker.record(Sign::Out { until: None }, false, at(86_400));
        assert_eq!(breaker.admits(at(0)), Admission::Probe);
    }
}
