//! What becomes of one recipient after one attempt. Pure: the table of outcomes (ARCHITECTURE.md, "Outcomes"), an arm each.
//!
//! - delivered: done. rejected: bounce.
//! - deferred: the whole chain again, by the retry schedule.
//! - throttled: the same provider when it may again (`on_throttle: wait`), or the next one now; no attempt is counted.
//! - unavailable: the next provider now; where none is left this round, by the schedule.
//! - unsupported: the next provider now, this one never again; none left: bounce that says why.
//! - unknown: `next`: as unavailable. `wait`: one pause of the schedule for a proof of delivery, then as `next`. `hold`:
//!   a person decides.
//!
//! A round ends when no provider is left to try. It also ends where one was tried and failed while the others are out: the
//! leg comes back at the schedule's time or when the first of those may be probed, whichever is sooner, and then has the
//! whole chain before it again. The same holds where all were tried and are out by now: a provider that has come back does
//! not wait for a pause that grew during its outage.

use super::plan::Step;
use super::schedule::{Jitter, Schedule};
use crate::config::{OnThrottle, OnUnknown, Route};
use crate::mail::{Diagnosis, EnhancedStatus, ProviderName, Severity, Timestamp};
use crate::queue::{LegState, Passed, PassedWhy};
use crate::transport::Outcome;

/// All that decides beside the outcome.
pub struct Case<'a> {
    pub route: &'a Route,
    /// Who made the attempt.
    pub provider: &'a ProviderName,
    pub history: History<'a>,
    pub schedule: Schedule<'a>,
    /// When the provider may be used again, where it asked for a pause.
    pub paused_until: Option<Timestamp>,
    pub expires_at: Timestamp,
    pub now: Timestamp,
    pub jitter: Jitter,
    /// What the plan says to a leg that these have passed on.
    pub plan: &'a dyn Fn(&[Passed]) -> Step,
}

/// The leg as it was when the attempt began.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    pub due: Timestamp,
    pub attempts: u32,
    pub passed: &'a [Passed],
    /// What was last said of the recipient.
    pub last: Option<&'a Diagnosis>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    Done,
    Bounce(Diagnosis),
    Again(Again),
}

/// How a recipient goes on. Those of a leg that go on alike stay together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    pub due: Timestamp,
    pub attempts: u32,
    pub passed: Vec<Passed>,
    pub state: LegState,
    /// What is to be remembered as last said.
    pub last: Option<Diagnosis>,
    /// The provider may have it, and it will be sent once more.
    pub possible_duplicate: bool,
}

pub fn settle(outcome: &Outcome, case: &Case<'_>) -> Settlement {
    match outcome {
        Outcome::Delivered { .. } => Settlement::Done,
        Outcome::Rejected(diagnosis) => Settlement::Bounce(permanent(diagnosis)),
        Outcome::Deferred(diagnosis) => case.next_round(&[], None, diagnosis),
        Outcome::Throttled { diagnosis, .. } => match case.route.on_throttle {
            OnThrottle::Wait => {
                let due = case.paused_until.unwrap_or(case.now);
                case.again(due, case.history.attempts, case.history.passed.to_vec(), diagnosis)
            }
            OnThrottle::Failover => case.past_the_throttled(diagnosis),
        },
        Outcome::Unavailable(trouble) => case.move_on(PassedWhy::Tried, &trouble.diagnosis),
        Outcome::Unsupported(lack) => {
            let told = case.told_why(lack.diagnosis());
            case.move_on(PassedWhy::Unsupported, &told)
        }
        Outcome::Unknown(diagnosis) => case.unknown(diagnosis),
    }
}

impl Case<'_> {
    /// To the next provider, or, where there is none for now, into the next round.
    fn move_on(&self, why: PassedWhy, diagnosis: &Diagnosis) -> Settlement {
        let passed = self.passed_and(why);
        match (self.plan)(&passed) {
            Step::Go { .. } => self.at_once(passed, diagnosis),
            Step::Wait { until, .. } if passed.iter().any(|passed| passed.why == PassedWhy::Tried) => {
                self.next_round(&passed, Some(until), diagnosis)
            }
            // Not tried at all yet by those that can carry it: waiting for them is no attempt.
            Step::Wait { until, .. } => self.again(until, self.history.attempts, passed, diagnosis),
            Step::RoundOver => self.next_round(&passed, self.until_a_probe(&passed), diagnosis),
            Step::Impossible => Settlement::Bounce(permanent(diagnosis)),
        }
    }

    /// When the first of the chain may be tried again, where all of it is out by now.
    fn until_a_probe(&self, passed: &[Passed]) -> Option<Timestamp> {
        match (self.plan)(&for_good(passed)) {
            Step::Wait { until, .. } => Some(until),
            Step::Go { .. } | Step::RoundOver | Step::Impossible => None,
        }
    }

    /// To the next provider, or back to this one when its pause is over.
    fn past_the_throttled(&self, diagnosis: &Diagnosis) -> Settlement {
        let passed = self.passed_and(PassedWhy::Tried);
        let pause = self.paused_until.unwrap_or(self.now);
        let due = match (self.plan)(&passed) {
            Step::Go { .. } => return self.at_once(passed, diagnosis),
            Step::Wait { until, .. } => until.min(pause),
            Step::RoundOver | Step::Impossible => pause,
        };
        self.again(due, self.history.attempts, self.history.passed.to_vec(), diagnosis)
    }

    fn unknown(&self, diagnosis: &Diagnosis) -> Settlement {
        let mut settlement = match self.route.on_unknown {
            OnUnknown::Next => self.move_on(PassedWhy::Tried, diagnosis),
            OnUnknown::Wait => {
                let passed = self.passed_and(PassedWhy::Tried);
                match (self.plan)(&passed) {
                    Step::Go { .. } => {
                        let due = self.schedule.next(self.history.attempts, self.now, self.jitter);
                        self.again(due, self.history.attempts, passed, diagnosis)
                    }
                    Step::Wait { .. } | Step::RoundOver | Step::Impossible => self.next_round(&passed, None, diagnosis),
                }
            }
            OnUnknown::Hold => Settlement::Again(Again {
                due: self.now,
                attempts: self.history.attempts,
                passed: self.history.passed.to_vec(),
                state: LegState::Held {
                    reason: format!("provider {} got all of it and did not answer: {diagnosis}", self.provider),
                },
                last: Some(diagnosis.clone()),
                possible_duplicate: false,
            }),
        };
        if let Settlement::Again(again) = &mut settlement {
            again.possible_duplicate = again.state == LegState::Waiting;
        }
        settlement
    }

    /// The whole chain again, but for those that cannot carry the message.
    fn next_round(&self, passed: &[Passed], sooner: Option<Timestamp>, diagnosis: &Diagnosis) -> Settlement {
        let passed = if passed.is_empty() { self.history.passed } else { passed };
        let passed = for_good(passed);
        let due = self.schedule.next(self.history.attempts, self.now, self.jitter);
        let due = sooner.map_or(due, |sooner| due.min(sooner));
        self.again(due, self.history.attempts.saturating_add(1), passed, diagnosis)
    }

    /// Keeps its due time, and so its place at the front of its lane.
    fn at_once(&self, passed: Vec<Passed>, diagnosis: &Diagnosis) -> Settlement {
        self.again_due(self.history.due.min(self.now), self.history.attempts, passed, diagnosis)
    }

    fn again(&self, due: Timestamp, attempts: u32, passed: Vec<Passed>, diagnosis: &Diagnosis) -> Settlement {
        // Due at its expiry at the latest: it is bounced then, not an hour later.
        self.again_due(due.min(self.expires_at).max(self.now), attempts, passed, diagnosis)
    }

    fn again_due(&self, due: Timestamp, attempts: u32, passed: Vec<Passed>, diagnosis: &Diagnosis) -> Settlement {
        Settlement::Again(Again {
            due,
            attempts,
            passed,
            state: LegState::Waiting,
            last: Some(diagnosis.clone()),
            possible_duplicate: false,
        })
    }

    fn passed_and(&self, why: PassedWhy) -> Vec<Passed> {
        let others = self.history.passed.iter().filter(|passed| passed.provider != *self.provider);
        others.cloned().chain([Passed { provider: self.provider.clone(), why }]).collect()
    }

    /// Names the provider, behind what those before it lacked: a bounce says why each of them could not.
    fn told_why(&self, diagnosis: &Diagnosis) -> Diagnosis {
        let mut told = diagnosis.clone();
        let before = self.history.passed.iter().any(|passed| passed.why == PassedWhy::Unsupported);
        let before = self.history.last.filter(|_| before).map(|last| format!("{}; ", last.text)).unwrap_or_default();
        told.text = format!("{before}{}: {}", self.provider, diagnosis.text);
        told
    }
}

/// Those that cannot carry the message: what a new round begins with.
pub fn for_good(passed: &[Passed]) -> Vec<Passed> {
    passed.iter().filter(|passed| passed.why == PassedWhy::Unsupported).cloned().collect()
}

/// A leg that finds, without an attempt, that its round is over.
pub fn round_over(
    history: &History<'_>,
    schedule: Schedule<'_>,
    until: Option<Timestamp>,
    jitter: Jitter,
    now: Timestamp,
) -> Again {
    let due = schedule.next(history.attempts, now, jitter);
    Again {
        due: until.map_or(due, |until| due.min(until)).max(now),
        attempts: history.attempts.saturating_add(1),
        passed: for_good(history.passed),
        state: LegState::Waiting,
        last: None,
        possible_duplicate: false,
    }
}

/// A bounce's status is of class 5 (RFC 3464, 2.3.4), whatever a confused remote said.
pub fn permanent(diagnosis: &Diagnosis) -> Diagnosis {
    let mut diagnosis = diagnosis.clone();
    if diagnosis.status.severity() != Severity::Permanent {
        diagnosis.status =
            EnhancedStatus::new(Severity::Permanent, diagnosis.status.subject(), diagnosis.status.detail());
    }
    diagnosis
}

/// Why an expired recipient bounces (RFC 3463, 3.5: X.4.7).
pub fn expired(age: std::time::Duration, last: Option<&Diagnosis>) -> Diagnosis {
    // The remote stands in its own place.
    let said = last.map(|last| Diagnosis { remote: None, ..last.clone() }.to_string());
    let said = said.unwrap_or_else(|| "it was never tried: no provider of its route was to be had".to_owned());
    let mut diagnosis = Diagnosis::local(
        EnhancedStatus::new(Severity::Permanent, 4, 7),
        format!("message expired after {} in the queue; the last answer: {said}", in_words(age)),
    );
    diagnosis.remote = last.and_then(|last| last.remote.clone());
    diagnosis
}

fn in_words(span: std::time::Duration) -> String {
    let seconds = span.as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sticky;
    use crate::delivery::fixtures::{deliver, moment, provider};
    use crate::delivery::plan::{Draw, Question, Standing, plan};
    use crate::mail::Mid;
    use crate::transport::{Lack, Trouble, TroubleKind};
    use std::time::Duration;

    const PAUSES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(300)];
    const HOUR: Duration = Duration::from_secs(3600);

    fn says(text: &str) -> Diagnosis {
        Diagnosis::local(EnhancedStatus::new(Severity::Transient, 4, 2), text)
    }

    fn outcome(name: &str) -> Outcome {
        match name {
            "delivered" => Outcome::Delivered { diagnosis: says("x"), provider_id: None, dsn: false },
            "rejected" => Outcome::Rejected(says("x")),
            "deferred" => Outcome::Deferred(says("x")),
            "throttled" => Outcome::Throttled { retry_after: None, diagnosis: says("x") },
            "unavailable" => Outcome::Unavailable(Trouble { kind: TroubleKind::Server, diagnosis: says("x") }),
            "unsupported" => Outcome::Unsupported(Lack::Message(says("x"))),
            _ => Outcome::Unknown(says("x")),
        }
    }

    /// Settles what provider `a` of the chain a, b said to a leg in its second round, at second 100. `b`: how b stands.
    fn fate(name: &str, passed: &[Passed], b: Standing, with: impl Fn(&mut Route)) -> String {
        let mut route = deliver("r", &[&[("a", 1)], &[("b", 1)]]);
        with(&mut route);
        let a = provider("a");
        let (now, draw) =
            (moment(100), Draw::new(Sticky::Message, Mid::from_bits(1), &"b@example.com".parse().unwrap()));
        let standing = |name: &ProviderName| if name.as_str() == "b" { b } else { Standing::Ready };
        let case = Case {
            route: &route,
            provider: &a,
            history: History { due: moment(90), attempts: 1, passed, last: None },
            schedule: Schedule::new(&PAUSES),
            paused_until: Some(moment(107)),
            expires_at: moment(100_000),
            now,
            jitter: Jitter::new(0.0),
            plan: &|passed| plan(&Question { route: &route, passed, shy: &[], draw }, &standing),
        };
        match settle(&outcome(name), &case) {
            Settlement::Done => "done".to_owned(),
            Settlement::Bounce(diagnosis) => format!("bounce {}", diagnosis.status),
            Settlement::Again(again) => {
                let passed: Vec<_> = again.passed.iter().map(|p| format!("{}:{:?}", p.provider, p.why)).collect();
                let held = if again.state == LegState::Waiting { "" } else { " held" };
                let twice = if again.possible_duplicate { " twice" } else { "" };
                let wait = again.due.as_second() - now.as_second();
                format!("in {wait} round {} past [{}]{held}{twice}", again.attempts, passed.join(" "))
            }
        }
    }

    #[test]
    fn each_outcome_has_its_consequence() {
        let none: &[Passed] = &[];
        let tried = &[Passed { provider: provider("b"), why: PassedWhy::Tried }][..];
        let lacks = &[Passed { provider: provider("b"), why: PassedWhy::Unsupported }][..];
        let ready = Standing::Ready;
        let out = Standing::Out { until: moment(130) };
        let long = Standing::Out { until: moment(9000) };
        let keep: &dyn Fn(&mut Route) = &|_| {};
        let failover: &dyn Fn(&mut Route) = &|route| route.on_throttle = OnThrottle::Failover;
        let wait: &dyn Fn(&mut Route) = &|route| route.on_unknown = OnUnknown::Wait;
        let hold: &dyn Fn(&mut Route) = &|route| route.on_unknown = OnUnknown::Hold;
        for (name, passed, b, with, expected) in [
            ("delivered", none, ready, keep, "done"),
            ("rejected", none, ready, keep, "bounce 5.4.2"),
            ("deferred", none, ready, keep, "in 300 round 2 past []"),
            ("deferred", tried, ready, keep, "in 300 round 2 past []"),
            ("deferred", lacks, ready, keep, "in 300 round 2 past [b:Unsupported]"),
            ("throttled", none, ready, keep, "in 7 round 1 past []"),
            ("throttled", none, ready, failover, "in -10 round 1 past [a:Tried]"),
            ("throttled", none, out, failover, "in 7 round 1 past []"),
            ("throttled", tried, ready, failover, "in 7 round 1 past [b:Tried]"),
            ("unavailable", none, ready, keep, "in -10 round 1 past [a:Tried]"),
            ("unavailable", tried, ready, keep, "in 300 round 2 past []"),
            ("unavailable", lacks, ready, keep, "in 300 round 2 past [b:Unsupported]"),
            // The other may be probed sooner than the schedule would have it; or later.
            ("unavailable", none, out, keep, "in 30 round 2 past []"),
            ("unavailable", none, long, keep, "in 300 round 2 past []"),
            ("unsupported", none, ready, keep, "in -10 round 1 past [a:Unsupported]"),
            ("unsupported", none, out, keep, "in 30 round 1 past [a:Unsupported]"),
            ("unsupported", tried, ready, keep, "in 300 round 2 past [a:Unsupported]"),
            ("unsupported", lacks, ready, keep, "bounce 5.4.2"),
            ("unknown", none, ready, keep, "in -10 round 1 past [a:Tried] twice"),
            ("unknown", tried, ready, keep, "in 300 round 2 past [] twice"),
            ("unknown", none, ready, wait, "in 300 round 1 past [a:Tried] twice"),
            ("unknown", tried, ready, wait, "in 300 round 2 past [] twice"),
            ("unknown", none, ready, hold, "in 0 round 1 past [] held"),
        ] {
            assert_eq!(fate(name, passed, b, with), expected, "{name} {passed:?} {b:?}");
        }
    }

    #[test]
    fn nothing_is_due_after_its_expiry() {
        let route = deliver("r", &[&[("a", 1)]]);
        let case = Case {
            route: &route,
            provider: &provider("a"),
            history: History { due: moment(90), attempts: 0, passed: &[], last: None },
            schedule: Schedule::new(std::slice::from_ref(&HOUR)),
            paused_until: Some(moment(9000)),
            expires_at: moment(500),
            now: moment(100),
            jitter: Jitter::new(1.0),
            plan: &|_| Step::RoundOver,
        };
        for name in ["deferred", "unavailable", "throttled", "unknown"] {
            let Settlement::Again(again) = settle(&outcome(name), &case) else { panic!("{name}") };
            assert_eq!(again.due, moment(500), "{name}");
        }
    }

    #[test]
    fn an_expiry_tells_the_last_answer() {
        let last = Diagnosis { remote: Some("192.0.2.1".into()), ..says("come again") };
        let told = expired(HOUR * 120, Some(&last));
        assert_eq!(told.remote, last.remote, "told once, in its own place");
        assert_eq!(told.status.to_string(), "5.4.7");
        assert_eq!(told.text, "message expired after 5 days in the queue; the last answer: 4.4.2 come again");
        assert!(expired(HOUR, None).text.contains("60 minutes"), "{}", expired(HOUR, None).text);
    }
}
