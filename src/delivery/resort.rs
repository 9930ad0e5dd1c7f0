//! What becomes of a claimed leg before any attempt: it may have expired, and the table routes each recipient anew, so
//! that queued mail follows the table in force. Pure.

use std::sync::Arc;

use super::Shared;
use super::writer::Finish;
use crate::config::{Action, Route};
use crate::mail::{Diagnosis, EnhancedStatus, HeaderSection, Severity, Timestamp};
use crate::queue::{Claim, Lane, Leg, LegRecipient, LegState};
use crate::routing::{Decision, Facts};

pub enum Destiny {
    /// All of its recipients take this route, through the lane they are in.
    Deliver { route: Arc<Route> },
    /// No attempt: this is what is written instead.
    Settle(Finish),
}

pub fn destiny(shared: &Shared, claim: &Claim, header: Option<&HeaderSection>, now: Timestamp) -> Destiny {
    if now >= shared.expires_at(claim) {
        return Destiny::Settle(expired(&claim.leg));
    }
    let (envelope, leg) = (&claim.envelope, &claim.leg);
    let mut finish = Finish::default();
    let mut route_of_all: Option<Arc<Route>> = None;
    for recipient in &leg.recipients {
        let Some(rcpt) = envelope.recipients.get(recipient.index as usize) else {
            // A leg that names no recipient of its envelope is nobody's mail.
            finish.discarded.push(recipient.index);
            continue;
        };
        let decision = shared.table.route(&Facts {
            sender: envelope.reverse_path.as_ref(),
            recipient: &rcpt.address,
            listener: &envelope.origin.listener,
            client: envelope.origin.client,
            user: envelope.origin.user.as_deref(),
            header,
            size: Some(envelope.size),
        });
        let route = match decision {
            Decision::Route(route) => route,
            // With header and size known nothing is left undecided.
            Decision::NoRoute | Decision::Undecided => {
                let said = format!("no route takes mail for <{}>", rcpt.address);
                finish.bounced.push((recipient.index, Diagnosis::local(PERMANENT_POLICY, said)));
                continue;
            }
        };
        let state = match &route.action {
            Action::Deliver(_) => LegState::Waiting,
            Action::Hold { reason } => LegState::Held { reason: reason.clone() },
            Action::Reject(rejection) => {
                finish.bounced.push((
                    recipient.index,
                    Diagnosis { code: Some(rejection.code), ..Diagnosis::local(rejection.status, &*rejection.text) },
                ));
                continue;
            }
            Action::Discard => {
                finish.discarded.push(recipient.index);
                continue;
            }
        };
        let lane = Lane {
            route: route.name.clone(),
            destination: shared.table.by_destination(&route).then(|| rcpt.address.domain().clone()),
        };
        match finish.legs.iter_mut().find(|other| other.lane == lane && other.state == state) {
            Some(other) => other.recipients.push(recipient.clone()),
            None => {
                // Another route is another chain: what was passed over in the old one says nothing of it.
                let passed = if lane.route == leg.lane.route { leg.passed.clone() } else { Vec::new() };
                let recipients = vec![recipient.clone()];
                finish.legs.push(Leg { lane, recipients, passed, state, ..leg.clone() });
            }
        }
        route_of_all = Some(route);
    }
    let unchanged = finish.bounced.is_empty()
        && finish.discarded.is_empty()
        && matches!(&finish.legs[..], [only] if only.lane == leg.lane && only.state == LegState::Waiting);
    match route_of_all {
        Some(route) if unchanged => Destiny::Deliver { route },
        Some(_) | None => Destiny::Settle(finish),
    }
}

const PERMANENT_POLICY: EnhancedStatus = EnhancedStatus::new(Severity::Permanent, 7, 1);

/// Delivery time expired (RFC 3463, X.4.7), with what was last said of each recipient.
pub fn expired(leg: &Leg) -> Finish {
    let status = EnhancedStatus::new(Severity::Permanent, 4, 7);
    let bounced = leg.recipients.iter().map(|recipient| {
        let diagnosis = match &recipient.last {
            Some(last) => Diagnosis {
                status,
                text: format!("not delivered in time; the last reply was: {} {}", last.status, last.text),
                ..last.clone()
            },
            None => Diagnosis::local(status, "not delivered in time; no attempt came to an answer"),
        };
        (recipient.index, diagnosis)
    });
    Finish { bounced: bounced.collect(), ..Finish::default() }
}

/// No provider of the chain can carry it (RFC 3463, X.3.3: system not capable of selected features).
pub fn exhausted(leg: &Leg) -> Finish {
    let status = EnhancedStatus::new(Severity::Permanent, 3, 3);
    let bounced = leg.recipients.iter().map(|recipient| {
        let last = recipient.last.as_ref().map_or("none said why", |last| &last.text);
        (
            recipient.index,
            Diagnosis::local(status, format!("no provider of the route can carry it; the last one: {last}")),
        )
    });
    Finish { bounced: bounced.collect(), ..Finish::default() }
}

/// The leg cut into legs of at most so many recipients.
pub fn cut(leg: &Leg, most: usize) -> Vec<Leg> {
    let parts = leg.recipients.chunks(most.max(1));
    parts.map(|part| Leg { recipients: part.to_vec(), ..leg.clone() }).collect()
}

/// The leg cut into one leg for each key.
pub fn group<K: PartialEq>(leg: &Leg, key: impl Fn(&LegRecipient) -> K) -> Vec<Leg> {
    let mut groups: Vec<(K, Leg)> = Vec::new();
    for recipient in &leg.recipients {
        let key = key(recipient);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, group)) => group.recipients.push(recipient.clone()),
            None => groups.push((key, Leg { recipients: vec![recipient.clone()], ..leg.clone() })),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}
