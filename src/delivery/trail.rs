//! What the trail is told of a settlement: the attempt, what the remote said of each recipient, and what became of it.

use super::pending::{Draft, What};
use super::skipped::Skipped;
use crate::audit::record::{Attempt, Fate, Record, Said, Settled, Skip, Skips, Then, What as Kind};
use crate::audit::{Notes, millis, note as record, said};
use crate::mail::Timestamp;
use crate::queue::LegState;
use crate::transport::Outcome;

/// Empty where there is nothing to tell.
pub(super) fn note(notes: Notes, draft: &Draft, revision: &str, now: Timestamp) -> Vec<u8> {
    if !notes.are_on() || draft.silent || draft.recipients.is_empty() {
        return Vec::new();
    }
    let mut fates: Vec<Fate<'_>> = Vec::with_capacity(1);
    for index in &draft.recipients {
        let Some(recipient) = draft.envelope.recipients.get(*index as usize) else { continue };
        let (said, then) = fate(draft, *index, now);
        let address = recipient.address.to_string().into();
        match fates.iter_mut().find(|fate| fate.then == then && fate.said == said) {
            Some(alike) => alike.recipients.push(address),
            None => fates.push(Fate { recipients: vec![address], said, then }),
        }
    }
    let attempt = draft.tried.as_ref().map(|tried| Attempt {
        provider: tried.provider.as_str().into(),
        destination: tried.destination.as_ref().map(|domain| domain.as_str().into()),
        number: tried.round,
        probe: tried.probe,
        duration_ms: millis(tried.took),
    });
    let route = draft.lane.route.as_str().into();
    let settled = Settled { revision: revision.into(), route, attempt, fates };
    let settled = Record::new(now, Some(draft.mid), Kind::Settled(settled));
    let Some(tried) = draft.tried.as_ref().filter(|tried| !tried.skipped.is_empty()) else {
        return record(&settled, 256);
    };
    // It was decided before.
    let providers = tried.skipped.iter().map(skip).collect();
    let kind = Kind::Skipped(Skips { route: draft.lane.route.as_str().into(), providers });
    let mut note = record(&Record::new(tried.decided, Some(draft.mid), kind), 512);
    settled.push(&mut note);
    note
}

fn skip(skipped: &Skipped) -> Skip<'_> {
    Skip {
        provider: skipped.provider.as_str().into(),
        state: skipped.state.into(),
        since: skipped.since.map(Timestamp::as_millisecond),
        until: skipped.until.map(Timestamp::as_millisecond),
        why: skipped.why.as_str().into(),
    }
}

fn fate(draft: &Draft, index: u32, now: Timestamp) -> (Option<Said<'_>>, Then<'_>) {
    let tried = draft.tried.as_ref();
    let outcome =
        tried.and_then(|tried| tried.outcomes.iter().find(|(of, _)| *of == index)).map(|(_, outcome)| outcome);
    let told = draft.told.iter().find(|told| told.index == index);
    let leg = draft.legs.iter().find(|leg| leg.recipients.iter().any(|recipient| recipient.index == index));
    let then = match (told.map(|told| told.what), leg) {
        (Some(What::Failed), _) => {
            let why = told.map(|told| told.diagnosis.text.as_str());
            let why = why.filter(|why| outcome.is_some_and(|outcome| outcome.diagnosis().text != *why));
            Then::Bounced { why: why.map(Into::into) }
        }
        (Some(What::Delayed { until }), _) => Then::Warned { until: until.as_millisecond() },
        (Some(What::Relayed | What::PassedOn | What::Delivered), _) => Then::Delivered,
        (None, None) => Then::Discarded,
        (None, Some(leg)) => match &leg.state {
            LegState::Held { reason } => Then::Held { reason: reason.as_str().into() },
            LegState::Waiting if leg.lane != draft.lane => Then::Rerouted { route: leg.lane.route.as_str().into() },
            LegState::Waiting => {
                let passed = tried.is_some_and(|tried| leg.passed.iter().any(|one| one.provider == tried.provider));
                if passed && leg.due <= now { Then::Moved } else { Then::Deferred { due: leg.due.as_millisecond() } }
            }
        },
    };
    let words = match (outcome, told) {
        (Some(outcome), _) => Some(said(outcome.diagnosis(), Some(outcome.name()), provider_id(outcome))),
        (None, Some(told)) => Some(said(&told.diagnosis, None, None)),
        (None, None) => None,
    };
    (words, then)
}

fn provider_id(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Delivered { provider_id, .. } => provider_id.as_ref().map(|id| id.0.as_str()),
        Outcome::Rejected(_)
        | Outcome::Deferred(_)
        | Outcome::Throttled { .. }
        | Outcome::Unavailable(_)
        | Outcome::Unsupported(_)
        | Outcome::Unknown(_) => None,
    }
}
