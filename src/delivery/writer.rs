//! Writes down what became of a leg: one commit with the notices (DSNs) that it calls for.

use tracing::error;

use super::{Shared, notices};
use crate::mail::Diagnosis;
use crate::queue::{Claim, Counter, Leg, Settled};

/// What is to be written of a claimed leg: every recipient of it is in one of these.
#[derive(Debug, Default)]
pub struct Finish {
    pub legs: Vec<Leg>,
    pub delivered: Vec<(u32, Diagnosis)>,
    pub bounced: Vec<(u32, Diagnosis)>,
    /// Gone by a route's `discard`.
    pub discarded: Vec<u32>,
    pub counters: Vec<(String, Counter)>,
}

impl Finish {
    pub fn legs(legs: Vec<Leg>) -> Self {
        Self { legs, ..Self::default() }
    }
}

/// Returns once it is on disk. While the disk is full the queue waits and tries again, and so does this.
pub async fn write(shared: &Shared, claim: Claim, finish: Finish) {
    let mut settled_notices = Vec::new();
    settled_notices.extend(notices::failure(shared, &claim, &finish.bounced).await);
    settled_notices.extend(notices::success(shared, &claim, &finish.delivered).await);
    settle(shared, claim, finish, settled_notices).await;
}

/// As `write`, with notices that are made already.
pub async fn settle(shared: &Shared, claim: Claim, finish: Finish, notices: Vec<crate::queue::NewMessage>) {
    let settled = Settled {
        mid: claim.mid,
        number: claim.number,
        recipients: claim.leg.recipients.iter().map(|recipient| recipient.index).collect(),
        legs: finish.legs,
        notices,
        counters: finish.counters,
    };
    if let Err(error) = shared.queue.settle(settled).await {
        error!(mid = %claim.mid, %error, "an outcome could not be written: this mail is tried again after a restart");
    }
}
