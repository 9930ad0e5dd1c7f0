//! Expiry and delay warnings for what waits: walks through the older part of the queue, in windows.
//!
//! Expiry holds in every state but one: a held message waits for a person, however long. What is under way is left to the
//! end of its attempt.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::backlog::Backlog;
use super::desk::Desk;
use super::pending::{Draft, What};
use super::settle::expired;
use super::span::{after, before};
use crate::mail::{Diagnosis, EnhancedStatus, Severity};
use crate::queue::{Claim, Leg, LegState};

/// Legs that one read brings.
const WINDOW: usize = 256;
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// What is to be done with a leg that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Leave,
    Expire,
    Warn,
}

/// Pure: what age asks for.
pub fn call(leg: &Leg, age: Duration, expire: Duration, warn_after: Option<Duration>) -> Call {
    match leg.state {
        LegState::Held { .. } => Call::Leave,
        LegState::Waiting if age >= expire => Call::Expire,
        LegState::Waiting if !leg.warned && warn_after.is_some_and(|after| age >= after) => Call::Warn,
        LegState::Waiting => Call::Leave,
    }
}

/// Goes through the queue once. Gives the time to wait until the next walk.
pub async fn sweep<Q: Backlog>(desk: &Desk<Q>, token: &CancellationToken) -> Duration {
    let began = Instant::now();
    let rules = desk.rules();
    let shortest = rules.table.routes().filter_map(|route| route.expire).fold(rules.settings.expire, Duration::min);
    let youngest = rules.settings.warn_after.map_or(shortest, |warn_after| warn_after.min(shortest));
    let older_than = before(desk.clock.now(), youngest);
    let mut behind = None;
    while !token.is_cancelled() {
        // An id's time is cut to the millisecond: one more, so that what just came of age is in it.
        let window = desk.queue.walk(behind, after(older_than, Duration::from_millis(1)), WINDOW).await;
        let window = match window {
            Ok(window) => window,
            Err(error) => {
                warn!(%error, "the queue cannot be read for expired mail");
                break;
            }
        };
        let Some(last) = window.last() else { break };
        behind = Some((last.mid, last.number));
        for claim in &window {
            if desk.call(claim) != Call::Leave {
                desk.answer(claim).await;
            }
        }
    }
    // A long walk is made less often: it takes a tenth of the time at most.
    (shortest / 10).clamp(SHORTEST, LONGEST).max(began.elapsed() * 10)
}

impl<Q: Backlog> Desk<Q> {
    fn call(&self, claim: &Claim) -> Call {
        let rules = self.rules();
        let route = rules.route_named(&claim.leg.lane.route);
        let begins = super::orders::begins(&claim.leg, claim.envelope.accepted_at);
        let age = super::span::until(begins, self.clock.now());
        call(&claim.leg, age, rules.expire(route), rules.settings.warn_after)
    }

    /// With the lease taken, looks once more, and does it.
    async fn answer(&self, seen: &Claim) {
        let claim = match self.queue.claim_one(seen.mid, seen.number).await {
            Ok(Some(claim)) => claim,
            // Gone, or under way.
            Ok(None) => return,
            Err(error) => {
                warn!(mid = %seen.mid, %error, "a queued message cannot be read");
                return;
            }
        };
        match self.call(&claim) {
            Call::Leave => self.queue.release(claim.mid, claim.number),
            Call::Expire => self.expire_leg(claim).await,
            Call::Warn => self.warn_of(claim).await,
        }
    }

    async fn expire_leg(&self, claim: Claim) {
        let rules = self.rules();
        let expire = rules.expire(rules.route_named(&claim.leg.lane.route));
        info!(mid = %claim.mid, route = %claim.leg.lane.route, recipients = claim.leg.recipients.len(), "expired: bounced");
        let mut draft = draft(&claim);
        for recipient in &claim.leg.recipients {
            draft.tell(recipient.index, What::Failed, expired(expire, recipient.last.as_ref()));
        }
        self.write(draft).await;
    }

    async fn warn_of(&self, claim: Claim) {
        let rules = self.rules();
        let until = rules.expires_at(rules.route_named(&claim.leg.lane.route), &claim.envelope, &claim.leg);
        let mut draft = draft(&claim);
        for recipient in &claim.leg.recipients {
            draft.tell(recipient.index, What::Delayed { until }, recipient.last.clone().unwrap_or_else(never_tried));
        }
        draft.legs.push(Leg { warned: true, ..claim.leg });
        self.write(draft).await;
    }
}

fn draft(claim: &Claim) -> Draft {
    Draft {
        mid: claim.mid,
        lane: claim.leg.lane.clone(),
        number: claim.number,
        envelope: claim.envelope.clone(),
        recipients: claim.leg.recipients.iter().map(|recipient| recipient.index).collect(),
        legs: Vec::new(),
        told: Vec::new(),
        counter: None,
        last_attempt: None,
        tried: None,
        silent: false,
    }
}

/// RFC 3463, 3.5: X.4.7 says that it takes too long.
fn never_tried() -> Diagnosis {
    Diagnosis::local(EnhancedStatus::new(Severity::Transient, 4, 7), "it waits for its turn; no attempt was made yet")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::fixtures::leg;

    #[test]
    fn age_decides() {
        let hour = Duration::from_secs(3600);
        let held = |leg: Leg| Leg { state: LegState::Held { reason: "review".to_owned() }, ..leg };
        let warned = |leg: Leg| Leg { warned: true, ..leg };
        for (leg, age, warn_after, expected) in [
            (leg(), hour * 3, Some(hour * 4), Call::Leave),
            (leg(), hour * 4, Some(hour * 4), Call::Warn),
            (warned(leg()), hour * 9, Some(hour * 4), Call::Leave),
            (leg(), hour * 9, None, Call::Leave),
            (leg(), hour * 120, Some(hour * 4), Call::Expire),
            (warned(leg()), hour * 120, None, Call::Expire),
            (leg(), hour * 121, Some(hour * 200), Call::Expire),
            (held(leg()), hour * 1000, Some(hour * 4), Call::Leave),
        ] {
            assert_eq!(call(&leg, age, hour * 120, warn_after), expected, "{leg:?} {age:?} {warn_after:?}");
        }
    }
}
