//! What becomes of a message whose content is in: the routing table is asked for each recipient, now that header and
//! size are known. Pure.

use crate::config::{Action, Rejection, Route};
use crate::mail::{Address, EnhancedStatus, Envelope, HeaderSection, RouteName, Severity, Timestamp};
use crate::queue::{Lane, Leg, LegRecipient, LegState, Orders};
use crate::routing::{Decision, Facts, Table};
use crate::smtp::reply::Reply;

/// The lane of recipients that no route takes: the first attempt routes them anew, and bounces what no route takes then.
pub const NO_ROUTE: &str = "-";

/// Routes that discard, each with the indices of its recipients.
pub(super) type Discarded = Vec<(RouteName, Vec<u32>)>;

/// What becomes of a message.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is stored for these legs; others of its recipients may be discarded.
    Queue(Vec<Leg>, Discarded),
    /// Every recipient is discarded by a route: accepted, and gone.
    Discard(Discarded),
    /// Every recipient is refused: the client can still be told.
    Refuse(Reply),
}

/// Sorts the recipients into legs. Where some are refused and others not, the refused ones become legs too, and bounce
/// at their first attempt: the client has one reply for all of them (RFC 5321, 4.2.5), and that is a `250`.
pub(super) fn sort(table: &Table, envelope: &Envelope, header: &HeaderSection, due: Timestamp) -> Fate {
    let mut legs: Vec<Leg> = Vec::new();
    let mut discarded = Discarded::new();
    let mut refusals: Vec<Reply> = Vec::new();
    for (index, recipient) in (0u32..).zip(&envelope.recipients) {
        let facts = Facts {
            sender: envelope.reverse_path.as_ref(),
            recipient: &recipient.address,
            listener: &envelope.origin.listener,
            client: envelope.origin.client,
            user: envelope.origin.user.as_deref(),
            header: Some(header),
            size: Some(envelope.size),
        };
        let (route, destination, state) = match table.route(&facts) {
            Decision::Route(route) => match &route.action {
                Action::Deliver(_) => {
                    let destination = table.by_destination(&route).then(|| recipient.address.domain().clone());
                    (route.name.clone(), destination, LegState::Waiting)
                }
                Action::Hold { reason } => (route.name.clone(), None, LegState::Held { reason: reason.clone() }),
                Action::Reject(rejection) => {
                    refusals.push(reject(rejection));
                    (route.name.clone(), None, LegState::Waiting)
                }
                Action::Discard => {
                    match discarded.iter_mut().find(|(of, _)| *of == route.name) {
                        Some((_, indices)) => indices.push(index),
                        None => discarded.push((route.name.clone(), vec![index])),
                    }
                    continue;
                }
            },
            // With header and size known nothing is left undecided.
            Decision::NoRoute | Decision::Undecided => {
                refusals.push(no_route(&recipient.address));
                (RouteName::new(NO_ROUTE), None, LegState::Waiting)
            }
        };
        let lane = Lane { route, destination, via: None };
        let recipient = LegRecipient { index, last: None };
        match legs.iter_mut().find(|leg| leg.lane == lane && leg.state == state) {
            Some(leg) => leg.recipients.push(recipient),
            None => legs.push(Leg {
                lane,
                due,
                recipients: vec![recipient],
                attempts: 0,
                passed: Vec::new(),
                state,
                warned: false,
                orders: Orders::default(),
                tried: None,
            }),
        }
    }
    if refusals.len() == envelope.recipients.len()
        && let Some(reply) = refusals.into_iter().next()
    {
        return Fate::Refuse(reply);
    }
    if legs.is_empty() { Fate::Discard(discarded) } else { Fate::Queue(legs, discarded) }
}

/// What a route with `reject` says.
pub(super) fn reject(rejection: &Rejection) -> Reply {
    Reply::new(rejection.code, rejection.status, rejection.text.as_str())
}

pub(super) fn no_route(recipient: &Address) -> Reply {
    let status = EnhancedStatus::new(Severity::Permanent, 7, 1);
    Reply::new(550, status, format!("No route takes mail for <{recipient}>"))
}

/// What the table says of a recipient before there is content.
pub(super) fn at_rcpt(table: &Table, facts: &Facts<'_>) -> Result<(), Reply> {
    match table.route(facts) {
        Decision::Undecided => Ok(()),
        Decision::NoRoute => Err(no_route(facts.recipient)),
        Decision::Route(route) => refused_by(&route).map_or(Ok(()), Err),
    }
}

fn refused_by(route: &Route) -> Option<Reply> {
    match &route.action {
        Action::Reject(rejection) => Some(reject(rejection)),
        Action::Deliver(_) | Action::Hold { .. } | Action::Discard => None,
    }
}
