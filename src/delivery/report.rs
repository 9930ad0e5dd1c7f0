//! What delivery tells the log: one line for each attempt and distinct outcome, and each change of a breaker.

use std::time::Duration;

use tracing::{info, warn};

use super::breaker::Change;
use super::settle::Settlement;
use crate::config::{Provider, Route};
use crate::mail::Domain;
use crate::queue::Claim;
use crate::transport::Outcome;

/// The line of one attempt; where its recipients came to different outcomes, one line for each of those.
pub fn attempt(claim: &Claim, route: &Route, provider: &Provider, outcomes: &[Outcome], took: Duration) {
    let mut rest: Vec<&Outcome> = outcomes.iter().collect();
    while let Some(&first) = rest.first() {
        let same = |other: &&Outcome| other.name() == first.name() && other.diagnosis() == first.diagnosis();
        let recipients = rest.iter().copied().filter(|other| same(&other)).count();
        rest.retain(|other| !same(other));
        let diagnosis = first.diagnosis();
        let provider_id = match first {
            Outcome::Delivered { provider_id, .. } => provider_id.as_ref().map(|id| id.0.as_str()),
            Outcome::Rejected(_)
            | Outcome::Deferred(_)
            | Outcome::Throttled { .. }
            | Outcome::Unavailable(_)
            | Outcome::Unsupported(_)
            | Outcome::Unknown(_) => None,
        };
        info!(
            mid = %claim.mid,
            route = %route.name,
            provider = %provider.name,
            destination = claim.leg.lane.destination.as_ref().map(Domain::as_str),
            recipients,
            outcome = first.name(),
            code = diagnosis.code,
            reply = %format_args!("{} {}", diagnosis.status, diagnosis.text),
            remote = diagnosis.remote.as_deref(),
            provider_id,
            round = claim.leg.attempts + 1,
            duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "attempt"
        );
    }
}

pub fn breaker(provider: &Provider, destination: Option<&Domain>, change: Change, outcomes: &[Outcome]) {
    let provider = &provider.name;
    let destination = destination.map(Domain::as_str);
    let cause = outcomes.first().map(|outcome| outcome.diagnosis().to_string());
    match change {
        Change::Opened { until } => {
            warn!(%provider, destination, breaker = "open", %until, cause, "breaker opened: its mail goes to the next provider");
        }
        Change::Reopened { until } => {
            warn!(%provider, destination, breaker = "open", %until, cause, "the probe failed: breaker stays open");
        }
        Change::Closed => info!(%provider, destination, breaker = "closed", "breaker closed: its mail comes back"),
    }
}

/// What of a settlement an operator must hear beside the attempt's own line.
pub fn settlement(claim: &Claim, route: &Route, provider: &Provider, settlement: &Settlement) {
    if settlement.possible_duplicates > 0 {
        warn!(
            mid = %claim.mid, route = %route.name, provider = %provider.name, recipients = settlement.possible_duplicates,
            possible_duplicate = true,
            "all was sent and no answer came: it is sent again, and may arrive twice"
        );
    }
    if settlement.held > 0 {
        warn!(
            mid = %claim.mid, route = %route.name, provider = %provider.name, recipients = settlement.held, held = true,
            "all was sent and no answer came: held until a person decides"
        );
    }
}
