//! A leg in a lane's window, and what is to be written down of it.

use std::sync::Arc;
use std::time::Duration;

use super::settle::Again;
use super::skipped::Skipped;
use crate::config::Route;
use crate::mail::{Diagnosis, Domain, Envelope, Mid, ProviderName, Timestamp};
use crate::queue::{Counter, Lane, Leg, LegRecipient, LegState};
use crate::transport::Outcome;

/// A leg under lease of which some recipients are still to be started.
#[derive(Debug, Clone)]
pub struct Pending {
    pub mid: Mid,
    pub number: u32,
    pub envelope: Arc<Envelope>,
    pub route: Arc<Route>,
    /// The leg without its recipients.
    pub leg: Leg,
    pub left: Vec<LegRecipient>,
    /// Some of its recipients are in an attempt or a settlement: the lease must stay. What is left can leave the leg only
    /// by a settlement of its own.
    pub started: bool,
    pub expires_at: Timestamp,
}

impl Pending {
    /// A draft for some of its recipients.
    pub fn draft(&self, recipients: &[LegRecipient]) -> Draft {
        Draft {
            mid: self.mid,
            number: self.number,
            lane: self.leg.lane.clone(),
            envelope: self.envelope.clone(),
            recipients: recipients.iter().map(|recipient| recipient.index).collect(),
            legs: Vec::new(),
            told: Vec::new(),
            counter: None,
            last_attempt: None,
            tried: None,
            silent: false,
        }
    }
}

/// What an attempt or a decision came to, before the reports on it are made.
#[derive(Debug)]
pub struct Draft {
    pub mid: Mid,
    pub number: u32,
    /// Where its recipients waited until now.
    pub lane: Lane,
    pub envelope: Arc<Envelope>,
    /// Recipients that leave the leg.
    pub recipients: Vec<u32>,
    pub legs: Vec<Leg>,
    pub told: Vec<Told>,
    pub counter: Option<(String, Counter)>,
    /// When the last attempt ended, where one was made.
    pub last_attempt: Option<Timestamp>,
    /// For the trail.
    pub tried: Option<Tried>,
    /// Nothing becomes of the recipients but that they stand in another leg: the trail hears nothing.
    pub silent: bool,
}

/// An attempt that has ended, as the trail tells it.
#[derive(Debug)]
pub struct Tried {
    pub provider: ProviderName,
    pub destination: Option<Domain>,
    /// The round through the chain, from 1.
    pub round: u32,
    pub probe: bool,
    pub took: Duration,
    /// When it was decided to make it, and who was passed over then.
    pub decided: Timestamp,
    pub skipped: Vec<Skipped>,
    /// Each with the recipient's index.
    pub outcomes: Vec<(u32, Outcome)>,
}

/// What the sender may want to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub index: u32,
    pub what: What,
    pub diagnosis: Diagnosis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Failed,
    Delayed {
        until: Timestamp,
    },
    Relayed,
    /// To a hop that was handed what the sender asked to be told, and sees to it (RFC 3461, 5.2.1).
    PassedOn,
    Delivered,
}

impl Draft {
    /// Recipients that go on alike stay in one leg.
    pub fn goes_on(&mut self, from: &Leg, recipient: &LegRecipient, again: Again) {
        let Again { due, attempts, passed, state, last, possible_duplicate: _ } = again;
        let recipient = LegRecipient { index: recipient.index, last: last.or_else(|| recipient.last.clone()) };
        let alike = self.legs.iter_mut().find(|leg| {
            leg.lane == from.lane
                && leg.due == due
                && leg.attempts == attempts
                && leg.passed == passed
                && leg.state == state
        });
        match alike {
            Some(leg) => leg.recipients.push(recipient),
            None => self.legs.push(Leg {
                lane: from.lane.clone(),
                due,
                recipients: vec![recipient],
                attempts,
                passed,
                state,
                warned: from.warned,
                orders: from.orders.clone(),
                tried: from.tried.clone(),
            }),
        }
    }

    /// They wait for a person.
    pub fn held(&mut self, from: &Leg, recipient: &LegRecipient, reason: String, last: Option<Diagnosis>) {
        let again = Again {
            due: from.due,
            attempts: from.attempts,
            passed: from.passed.clone(),
            state: LegState::Held { reason },
            last,
            possible_duplicate: false,
        };
        self.goes_on(from, recipient, again);
    }

    pub fn tell(&mut self, index: u32, what: What, diagnosis: Diagnosis) {
        self.told.push(Told { index, what, diagnosis });
    }
}
