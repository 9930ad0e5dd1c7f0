//! What the queue knows in memory alone: leases, and which lanes to look at.
//!
//! A lease is taken before the leg is read in a fresh snapshot, and ended after the commit that settled the leg: whoever
//! takes it next sees that commit. (A message that the index never gets has its leases ended by its last settlement, and
//! is nowhere to be claimed from then on: `young`.) So no leg is ever handed out twice. One that is given back with a part
//! of it settled cannot be had before the index knows of that part.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Lane, LaneDue};
use crate::mail::{Mid, Timestamp};

pub(super) type LegId = (Mid, u32);

/// Std locks: they are held for a look-up, never across an await.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<Legs>);

#[derive(Debug, Default)]
struct Legs {
    /// Under lease, with the lane to nudge when they come back; `None` for held ones.
    leased: HashMap<LegId, Option<LaneDue>>,
    /// With settlements that the index lacks, each with the group behind the last of them.
    behind: HashMap<LegId, u64>,
}

impl Leases {
    /// Takes the lease; false where somebody has it, or the index is behind.
    pub(super) fn take(&self, id: LegId, back: impl FnOnce() -> Option<LaneDue>) -> bool {
        let mut legs = lock(&self.0);
        if legs.behind.contains_key(&id) {
            return false;
        }
        match legs.leased.entry(id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(back());
                true
            }
        }
    }

    pub(super) fn holds(&self, id: LegId) -> bool {
        let legs = lock(&self.0);
        legs.leased.contains_key(&id) || legs.behind.contains_key(&id)
    }

    pub(super) fn end(&self, id: LegId) -> Option<LaneDue> {
        lock(&self.0).leased.remove(&id).flatten()
    }

    /// What is to be nudged when the lease is given back.
    pub(super) fn comes_back_to(&self, id: LegId, back: Option<LaneDue>) {
        if let Some(kept) = lock(&self.0).leased.get_mut(&id) {
            *kept = back;
        }
    }

    /// A settlement was made durable that the index lacks: it comes with the group before `next`.
    pub(super) fn falls_behind(&self, id: LegId, next: u64) {
        lock(&self.0).behind.insert(id, next);
    }

    /// The index has all groups before `next`.
    pub(super) fn caught_up(&self, next: u64) {
        lock(&self.0).behind.retain(|_, last| *last > next);
    }
}

/// Lanes that got legs since they were last asked for: one entry a lane, whatever came.
#[derive(Debug, Default)]
pub(super) struct Nudges {
    lanes: Mutex<HashMap<Lane, Timestamp>>,
    some: Notify,
}

impl Nudges {
    pub(super) fn give(&self, legs: impl IntoIterator<Item = LaneDue>) {
        let mut any = false;
        {
            let mut lanes = lock(&self.lanes);
            for LaneDue { lane, due } in legs {
                any = true;
                let first = lanes.entry(lane).or_insert(due);
                *first = due.min(*first);
            }
        }
        if any {
            self.some.notify_one();
        }
    }

    pub(super) async fn wait(&self) -> Vec<LaneDue> {
        loop {
            let lanes = std::mem::take(&mut *lock(&self.lanes));
            if !lanes.is_empty() {
                return lanes.into_iter().map(|(lane, due)| LaneDue { lane, due }).collect();
            }
            self.some.notified().await;
        }
    }
}

/// Leases that were taken and not yet handed to the caller. Dropped, they are given back: a claim whose future was
/// dropped leaks none.
pub(super) struct Taken {
    memory: Arc<super::Memory>,
    ids: Vec<LegId>,
}

impl Taken {
    pub(super) fn new(memory: Arc<super::Memory>) -> Self {
        Self { memory, ids: Vec::new() }
    }

    pub(super) fn take(&mut self, id: LegId, back: impl FnOnce() -> Option<LaneDue>) -> bool {
        let taken = self.memory.leases.take(id, back);
        if taken {
            self.ids.push(id);
        }
        taken
    }

    /// Gives one back without a nudge: the leg is not there any more.
    pub(super) fn forget(&mut self, id: LegId) {
        self.ids.retain(|kept| *kept != id);
        self.memory.leases.end(id);
    }

    pub(super) fn is_free(&self, id: LegId) -> bool {
        !self.memory.leases.holds(id)
    }

    /// Leaves one under lease for good.
    pub(super) fn keep(&mut self, id: LegId) {
        self.ids.retain(|kept| *kept != id);
    }

    /// The caller has them now.
    pub(super) fn hand_over(mut self) {
        self.ids.clear();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            self.memory.release(id);
        }
    }
}
