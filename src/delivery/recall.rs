//! Legs that somebody beside the scheduler wants to change: taken out of its windows, and handed over with their leases.

use std::collections::HashSet;
use std::sync::Arc;

use super::backlog::Backlog;
use super::scheduler::Scheduler;
use crate::mail::{Mid, ProviderName};
use crate::queue::{Claim, Leg};

type Release = Arc<dyn Fn(Mid, u32) + Send + Sync>;

/// A leg under a lease that ends with this value: dropped, it gives the leg back.
pub struct Leased {
    claim: Claim,
    release: Option<Release>,
}

/// What became of a recall.
#[derive(Debug, Default)]
pub struct Recalled {
    pub handed: Vec<Leased>,
    /// In an attempt, each with who makes it.
    pub flying: Vec<((Mid, u32), ProviderName)>,
}

impl Leased {
    /// From claims that were just taken.
    pub fn of<Q: Backlog>(queue: &Q, claims: Vec<Claim>) -> Vec<Self> {
        let queue = queue.clone();
        let release: Release = Arc::new(move |mid, number| queue.release(mid, number));
        claims.into_iter().map(|claim| Self { claim, release: Some(release.clone()) }).collect()
    }

    pub fn id(&self) -> (Mid, u32) {
        (self.claim.mid, self.claim.number)
    }

    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// A settlement of all of it is about to be sent: the lease ends with that.
    pub fn settles(mut self) {
        self.release = None;
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release(self.claim.mid, self.claim.number);
        }
    }
}

impl std::fmt::Debug for Leased {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Leased").field(&self.id()).finish()
    }
}

impl<Q: Backlog> Scheduler<Q> {
    /// What is in windows and not begun is handed over; what is being read or written is neither here nor there.
    pub(super) fn recall(&mut self, legs: Vec<(Mid, u32)>) -> Recalled {
        let wanted: HashSet<(Mid, u32)> = legs.into_iter().collect();
        let windows = self.board.recall(&wanted);
        let claims = windows.into_iter().map(|pending| {
            let leg = Leg { recipients: pending.left, ..pending.leg };
            Claim { mid: pending.mid, number: pending.number, leg, envelope: pending.envelope }
        });
        let handed = Leased::of(&self.desk.queue, claims.collect());
        let flying = self.flights.values().map(|flight| ((flight.pending.mid, flight.pending.number), flight));
        let flying = flying.filter(|(id, _)| wanted.contains(id));
        Recalled { handed, flying: flying.map(|(id, flight)| (id, flight.patient.provider.clone())).collect() }
    }
}
