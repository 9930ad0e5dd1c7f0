//! Legs and messages as people look at them.

use bytes::Bytes;

use super::Operator;
use super::form::{Entry, LegShown, Message, PassedShown, RecipientShown, State};
use crate::mail::{Address, BodyKind, Mid, Notify, Ret, Timestamp};
use crate::queue::{Found, Leg, LegState, Listed, PassedWhy};

/// Recipients that an entry of the list names.
const NAMED: usize = 10;

pub(super) fn entry(found: &Found) -> Entry {
    let Found { mid, number, leg, envelope, chosen, in_hand } = found;
    let named = chosen.iter().take(NAMED).filter_map(|index| envelope.recipients.get(*index as usize));
    Entry {
        mid: mid.to_string(),
        number: *number,
        from: envelope.reverse_path.as_ref().map(ToString::to_string),
        to: named.map(|recipient| recipient.address.to_string()).collect(),
        recipients: chosen.len() as u64,
        route: leg.lane.route.to_string(),
        destination: leg.lane.destination.as_ref().map(|domain| domain.as_str().to_owned()),
        provider: provider(leg),
        moved_to_provider: leg.lane.via.as_ref().map(ToString::to_string),
        state: state(leg),
        in_hand: *in_hand,
        due: leg.due,
        attempts: leg.attempts,
        accepted: envelope.accepted_at,
        size: envelope.size,
        reason: reason(leg, chosen),
        waits: None,
        until: None,
    }
}

fn provider(leg: &Leg) -> Option<String> {
    leg.lane.via.as_ref().or(leg.tried.as_ref().map(|tried| &tried.provider)).map(ToString::to_string)
}

fn state(leg: &Leg) -> State {
    match leg.state {
        LegState::Waiting => State::Waiting,
        LegState::Held { .. } => State::Held,
    }
}

fn reason(leg: &Leg, chosen: &[u32]) -> Option<String> {
    if let LegState::Held { reason } = &leg.state {
        return Some(reason.clone());
    }
    let mut last = leg.recipients.iter().filter(|recipient| chosen.contains(&recipient.index));
    last.find_map(|recipient| recipient.last.as_ref().map(ToString::to_string))
}

pub(super) fn message(operator: &Operator, mid: Mid, listed: &Listed, header: Option<Bytes>) -> Message {
    let envelope = &*listed.envelope;
    let waiting: usize = listed.legs.iter().map(|(_, leg, _)| leg.recipients.len()).sum();
    let now = operator.desk.clock.now();
    let legs = listed.legs.iter().map(|(number, leg, in_hand)| shown(operator, listed, *number, leg, *in_hand, now));
    Message {
        mid: mid.to_string(),
        from: envelope.reverse_path.as_ref().map(Address::to_string),
        accepted: envelope.accepted_at,
        size: envelope.size,
        listener: envelope.origin.listener.clone(),
        client: envelope.origin.client.map(|client| client.to_string()),
        helo: envelope.origin.helo.clone(),
        user: envelope.origin.user.clone(),
        ret: envelope.dsn.ret.map(|ret| match ret {
            Ret::Full => "full".to_owned(),
            Ret::Headers => "headers".to_owned(),
        }),
        envid: envelope.dsn.envid.clone(),
        smtputf8: envelope.smtputf8,
        body: match envelope.body {
            BodyKind::SevenBit => "7bit".to_owned(),
            BodyKind::EightBit => "8bitmime".to_owned(),
        },
        header: header.map(|octets| String::from_utf8_lossy(&octets).into_owned()),
        legs: legs.collect(),
        settled: envelope.recipients.len().saturating_sub(waiting) as u64,
    }
}

fn shown(operator: &Operator, listed: &Listed, number: u32, leg: &Leg, in_hand: bool, now: Timestamp) -> LegShown {
    let envelope = &*listed.envelope;
    let rules = operator.desk.rules();
    let route = rules.route_named(&leg.lane.route);
    let expires = rules.expires_at(route, envelope, leg);
    let passed = leg.passed.iter().map(|passed| PassedShown {
        provider: passed.provider.to_string(),
        for_good: passed.why == PassedWhy::Unsupported,
    });
    let recipients = leg.recipients.iter().filter_map(|recipient| {
        let found = envelope.recipients.get(recipient.index as usize)?;
        Some(RecipientShown {
            address: found.address.to_string(),
            notify: found.notify.map(notify),
            last: recipient.last.as_ref().map(ToString::to_string),
        })
    });
    LegShown {
        number,
        route: leg.lane.route.to_string(),
        destination: leg.lane.destination.as_ref().map(|domain| domain.as_str().to_owned()),
        state: state(leg),
        in_hand,
        waits: waits(leg, in_hand, now),
        due: leg.due,
        until: None,
        expires: matches!(leg.state, LegState::Waiting).then_some(expires),
        attempts: leg.attempts,
        last_provider: leg.tried.as_ref().map(|tried| tried.provider.to_string()),
        last_attempt: leg.tried.as_ref().map(|tried| tried.at),
        passed: passed.collect(),
        moved_to_route: leg.orders.route,
        moved_to_provider: leg.lane.via.as_ref().map(ToString::to_string),
        released_from: leg.orders.past.iter().map(ToString::to_string).collect(),
        recipients: recipients.collect(),
    }
}

/// What it waits for, in words.
fn waits(leg: &Leg, in_hand: bool, now: Timestamp) -> String {
    let last = leg.recipients.iter().find_map(|recipient| recipient.last.as_ref());
    match (&leg.state, last) {
        (LegState::Held { reason }, _) => format!("for a person: {reason}"),
        (LegState::Waiting, _) if in_hand => "in an attempt, or for its turn at the provider".to_owned(),
        (LegState::Waiting, Some(last)) if leg.due > now => format!("for its next attempt, after: {last}"),
        (LegState::Waiting, None) if leg.due > now => "for its time".to_owned(),
        (LegState::Waiting, Some(last)) => format!("for its turn: it is due; the last attempt came to: {last}"),
        (LegState::Waiting, None) => "for its turn: it is due, and was not tried yet".to_owned(),
    }
}

pub(super) fn notify(notify: Notify) -> String {
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let words: Vec<&str> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
    if words.is_empty() { "NEVER".to_owned() } else { words.join(",") }
}
