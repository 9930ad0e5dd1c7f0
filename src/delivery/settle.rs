//! What becomes of each recipient after an attempt: outcome + route + leg → done, again at a time, on to the next
//! provider, held, or bounced. Pure; the policy of DESIGN's outcome table, one arm an outcome.

use super::schedule::{Jitter, Schedule};
use crate::config::{OnThrottle, OnUnknown, Route, Tier};
use crate::mail::{Diagnosis, ProviderName, Timestamp};
use crate::queue::{Leg, LegRecipient, LegState, Passed, PassedWhy};
use crate::transport::Outcome;

/// One attempt's outcomes with all that decides what they lead to.
pub struct Attempted<'a> {
    pub leg: &'a Leg,
    pub route: &'a Route,
    pub chain: &'a [Tier],
    pub provider: &'a ProviderName,
    /// One for each of the leg's recipients, in their order.
    pub outcomes: &'a [Outcome],
    pub schedule: &'a Schedule,
    pub now: Timestamp,
    pub jitter: Jitter,
}

/// What the outcomes lead to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Recipients that go on, grouped by what they wait for.
    pub legs: Vec<Leg>,
    pub delivered: Vec<(u32, Diagnosis)>,
    pub bounced: Vec<(u32, Diagnosis)>,
    /// Recipients that another attempt may reach a second time: all was sent, no answer came, and they go on.
    pub possible_duplicates: usize,
    pub held: usize,
}

pub fn settle(attempted: &Attempted<'_>) -> Settlement {
    let mut settlement = Settlement::default();
    for (recipient, outcome) in attempted.leg.recipients.iter().zip(attempted.outcomes) {
        let index = recipient.index;
        match fate(attempted, outcome) {
            Fate::Done => settlement.delivered.push((index, outcome.diagnosis().clone())),
            Fate::Bounce => settlement.bounced.push((index, outcome.diagnosis().clone())),
            Fate::GoOn(mut leg) => {
                if matches!(outcome, Outcome::Unknown(_)) {
                    match leg.state {
                        LegState::Waiting => settlement.possible_duplicates += 1,
                        LegState::Held { .. } => settlement.held += 1,
                    }
                }
                let recipient = LegRecipient { index, last: Some(outcome.diagnosis().clone()) };
                match settlement.legs.iter_mut().find(|other| same_wait(other, &leg)) {
                    Some(other) => other.recipients.push(recipient),
                    None => {
                        leg.recipients = vec![recipient];
                        settlement.legs.push(leg);
                    }
                }
            }
        }
    }
    settlement
}

enum Fate {
    Done,
    Bounce,
    /// A leg without its recipients.
    GoOn(Leg),
}

fn fate(attempted: &Attempted<'_>, outcome: &Outcome) -> Fate {
    match outcome {
        Outcome::Delivered { .. } => Fate::Done,
        Outcome::Rejected(_) => Fate::Bounce,
        Outcome::Deferred(_) => Fate::GoOn(next_round(attempted)),
        Outcome::Throttled { .. } => match attempted.route.on_throttle {
            OnThrottle::Failover if others_left(attempted) => Fate::GoOn(next_provider(attempted, PassedWhy::Tried)),
            // Waiting for a permit is no attempt: the leg keeps its place, the provider's pause holds it.
            OnThrottle::Failover | OnThrottle::Wait => Fate::GoOn(unchanged(attempted)),
        },
        Outcome::Unavailable(_) if others_left(attempted) => Fate::GoOn(next_provider(attempted, PassedWhy::Tried)),
        Outcome::Unavailable(_) => Fate::GoOn(next_round(attempted)),
        Outcome::Unsupported(_) if others_left(attempted) => {
            Fate::GoOn(next_provider(attempted, PassedWhy::Unsupported))
        }
        Outcome::Unsupported(_) if attempted.leg.passed.iter().any(|passed| passed.why == PassedWhy::Tried) => {
            let mut leg = next_round(attempted);
            leg.passed.push(Passed { provider: attempted.provider.clone(), why: PassedWhy::Unsupported });
            Fate::GoOn(leg)
        }
        Outcome::Unsupported(_) => Fate::Bounce,
        Outcome::Unknown(diagnosis) => match attempted.route.on_unknown {
            OnUnknown::Next if others_left(attempted) => Fate::GoOn(next_provider(attempted, PassedWhy::Tried)),
            OnUnknown::Next => Fate::GoOn(next_round(attempted)),
            OnUnknown::Wait => {
                let mut leg = next_round(attempted);
                if others_left(attempted) {
                    leg.passed = next_provider(attempted, PassedWhy::Tried).passed;
                }
                Fate::GoOn(leg)
            }
            OnUnknown::Hold => {
                let mut leg = unchanged(attempted);
                let provider = attempted.provider;
                leg.state = LegState::Held {
                    reason: format!("provider {provider} got all of it and did not answer: {}", diagnosis.text),
                };
                Fate::GoOn(leg)
            }
        },
    }
}

/// Some provider of the chain is neither passed nor the one just tried.
fn others_left(attempted: &Attempted<'_>) -> bool {
    attempted.chain.iter().flat_map(|tier| &tier.0).any(|(provider, _)| {
        provider != attempted.provider && !attempted.leg.passed.iter().any(|passed| passed.provider == *provider)
    })
}

fn unchanged(attempted: &Attempted<'_>) -> Leg {
    let leg = attempted.leg;
    Leg {
        lane: leg.lane.clone(),
        due: leg.due,
        recipients: Vec::new(),
        attempts: leg.attempts,
        passed: leg.passed.clone(),
        state: LegState::Waiting,
        warned: leg.warned,
    }
}

/// It keeps its due time, and so its place at the front of the lane.
fn next_provider(attempted: &Attempted<'_>, why: PassedWhy) -> Leg {
    let mut leg = unchanged(attempted);
    leg.passed.push(Passed { provider: attempted.provider.clone(), why });
    leg
}

/// The whole chain again, at the schedule's time, but for those that cannot carry the message.
fn next_round(attempted: &Attempted<'_>) -> Leg {
    round_after(&unchanged(attempted), attempted.schedule, attempted.now, attempted.jitter)
}

/// `leg` as it waits for its next round.
pub fn round_after(leg: &Leg, schedule: &Schedule, now: Timestamp, jitter: Jitter) -> Leg {
    let mut leg = leg.clone();
    leg.attempts = leg.attempts.saturating_add(1);
    leg.due = schedule.next(leg.attempts, now, jitter);
    leg.passed.retain(|passed| passed.why == PassedWhy::Unsupported);
    leg
}

fn same_wait(a: &Leg, b: &Leg) -> bool {
    a.due == b.due && a.attempts == b.attempts && a.passed == b.passed && a.state == b.state
}
