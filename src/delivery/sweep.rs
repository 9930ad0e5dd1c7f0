//! The sweep: what waits too long is bounced or its sender told of the delay, whatever it waits for.
//!
//! It walks the queue in windows from the oldest message on, as far as messages can be old enough to matter. Legs in
//! flight are left alone; they are seen again at their next claim.

use std::time::Duration;

use tracing::{error, warn};

use super::schedule::after;
use super::writer::{Finish, settle, write};
use super::{Shared, notices, resort};
use crate::mail::{Mid, Timestamp};
use crate::queue::{Claim, LegState};

const WINDOW: usize = 500;

/// Pause between two sweeps: a tenth of the shortest span that one has to keep.
pub fn interval(shared: &Shared) -> Duration {
    (shared.youngest() / 10).clamp(Duration::from_secs(1), Duration::from_secs(60))
}

pub async fn sweep(shared: &Shared) {
    let now = shared.clock.now();
    let youngest = jiff::SignedDuration::try_from(shared.youngest()).unwrap_or(jiff::SignedDuration::MAX);
    let before = now.saturating_sub(youngest).unwrap_or(Timestamp::MIN);
    let mut after_leg: Option<(Mid, u32)> = None;
    loop {
        let window = match shared.queue.walk(after_leg, before, WINDOW).await {
            Ok(window) => window,
            Err(error) => {
                error!(%error, "the queue cannot be read for expired mail; trying again later");
                return;
            }
        };
        let Some(last) = window.last() else { return };
        after_leg = Some((last.mid, last.number));
        for seen in &window {
            if !overdue(shared, seen, now) {
                continue;
            }
            // Between the walk and now it may have been claimed, or be gone.
            match shared.queue.claim_one(seen.mid, seen.number).await {
                Ok(Some(claim)) => act(shared, claim, now).await,
                Ok(None) => {}
                Err(error) => error!(mid = %seen.mid, %error, "the queue cannot be read for expired mail"),
            }
        }
    }
}

fn overdue(shared: &Shared, claim: &Claim, now: Timestamp) -> bool {
    match claim.leg.state {
        // A person decides about it, in his own time.
        LegState::Held { .. } => false,
        LegState::Waiting => now >= shared.expires_at(claim) || to_warn(shared, claim, now),
    }
}

fn to_warn(shared: &Shared, claim: &Claim, now: Timestamp) -> bool {
    let Some(warn_after) = shared.settings.warn_after else { return false };
    !claim.leg.warned && now >= after(claim.envelope.accepted_at, warn_after)
}

async fn act(shared: &Shared, claim: Claim, now: Timestamp) {
    if !overdue(shared, &claim, now) {
        shared.queue.release(claim.mid, claim.number);
        return;
    }
    if now >= shared.expires_at(&claim) {
        warn!(mid = %claim.mid, route = %claim.leg.lane.route, recipients = claim.leg.recipients.len(), outcome = "expired", "not delivered in time");
        let finish = resort::expired(&claim.leg);
        return write(shared, claim, finish).await;
    }
    let notice = notices::delay(shared, &claim).await;
    let mut leg = claim.leg.clone();
    leg.warned = true;
    settle(shared, claim, Finish::legs(vec![leg]), notice.into_iter().collect()).await;
}
