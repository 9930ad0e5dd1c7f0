//! Messages that the index does not have yet. Most mail is delivered at once: what comes and goes within the time that the
//! index leaves between two of its transactions never touches it.
//!
//! The journal's writer tells what it made durable, in the journal's order; claims read here beside the index; the indexer
//! takes over what stays.
//!
//! Invariants:
//! - a leg that can be claimed here is neither in the index nor settled; while the indexer takes it over it is in both, and
//!   its lease keeps it from being claimed twice;
//! - a message is void once all its legs were settled whole before the indexer began to take it over: then, and only then,
//!   their leases end with the last settlement, and the index passes over the message;
//! - what a crash takes of this the journal has.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use super::job::Settlement;
use super::lease::lock;
use super::load::Coming;
use super::{Claim, Lane, LaneDue, Leg, LegState};
use crate::mail::{Envelope, Mid, Timestamp};

/// A message that comes in, as claims need it.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) mid: Mid,
    pub(super) envelope: Arc<Envelope>,
    /// By their numbers.
    pub(super) legs: Vec<Leg>,
    /// Given back when the index has it, or when it is void.
    pub(super) coming: Option<Coming>,
}

#[derive(Debug, Default)]
pub(super) struct Young(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    messages: HashMap<Mid, Message>,
    /// Legs that can be claimed.
    lanes: HashMap<Lane, BTreeSet<(Timestamp, Mid, u32)>>,
}

#[derive(Debug)]
struct Message {
    fresh: Fresh,
    /// Legs that were settled whole.
    ended: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Every settlement so far was of a whole leg.
    Plain,
    /// Something of it goes on: the index needs all of it.
    GoesOn,
    /// The indexer takes it over.
    Leaving,
}

/// What the indexer takes over.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// To be passed over.
    pub(super) void: Vec<Mid>,
    pub(super) mids: Vec<Mid>,
}

impl Young {
    /// A message was made durable: the lanes to be nudged.
    pub(super) fn accepted(&self, fresh: Fresh) -> Vec<LaneDue> {
        let mut inner = lock(&self.0);
        let Inner { messages, lanes } = &mut *inner;
        // Mids are never given twice; the first one stands.
        if messages.contains_key(&fresh.mid) {
            return Vec::new();
        }
        let mut nudges = Vec::with_capacity(fresh.legs.len());
        for (number, leg) in (0..).zip(&fresh.legs) {
            if matches!(leg.state, LegState::Waiting) {
                lanes.entry(leg.lane.clone()).or_default().insert((leg.due, fresh.mid, number));
                nudges.push(LaneDue { lane: leg.lane.clone(), due: leg.due });
            }
        }
        messages.insert(fresh.mid, Message { fresh, ended: 0, stage: Stage::Plain });
        nudges
    }

    /// A settlement was made durable. Gives the number of the message's legs where it was the last one and the message is
    /// void: their leases end now. Otherwise each lease stays until the index has the settlement, since the index may have
    /// the message sooner than that.
    pub(super) fn settled(&self, settlement: &Settlement) -> Option<usize> {
        let mut inner = lock(&self.0);
        let Inner { messages, lanes } = &mut *inner;
        let message = messages.get_mut(&settlement.mid)?;
        if message.stage == Stage::Leaving {
            return None;
        }
        let Some(leg) = message.fresh.legs.get(settlement.number as usize) else {
            message.stage = Stage::GoesOn;
            return None;
        };
        remove(lanes, settlement.mid, settlement.number, leg);
        let whole = settlement.legs.is_empty()
            && settlement.notices.is_empty()
            && settlement.recipients.len() == leg.recipients.len();
        if !whole {
            message.stage = Stage::GoesOn;
        }
        if message.stage == Stage::GoesOn {
            return None;
        }
        message.ended += 1;
        if message.ended < message.fresh.legs.len() {
            return None;
        }
        message.fresh.coming = None;
        Some(message.ended)
    }

    /// Legs of a lane in the order of their due times, up to the first `most` that are free, and the one behind them.
    pub(super) fn candidates(
        &self,
        lane: &Lane,
        most: usize,
        is_free: impl Fn((Mid, u32)) -> bool,
    ) -> Vec<((Mid, u32), Timestamp)> {
        let inner = lock(&self.0);
        let legs = inner.lanes.get(lane).into_iter().flatten();
        let free = legs.filter(|(_, mid, number)| is_free((*mid, *number)));
        free.take(most.saturating_add(1)).map(|(due, mid, number)| ((*mid, *number), *due)).collect()
    }

    /// A leg, while it is here and not settled.
    pub(super) fn claim(&self, mid: Mid, number: u32) -> Option<Claim> {
        let inner = lock(&self.0);
        let Fresh { envelope, legs, .. } = &inner.messages.get(&mid)?.fresh;
        let leg = legs.get(number as usize)?;
        let here = inner.lanes.get(&leg.lane).is_some_and(|legs| legs.contains(&(leg.due, mid, number)));
        here.then(|| Claim { mid, number, leg: leg.clone(), envelope: envelope.clone() })
    }

    /// The indexer is about to apply these acceptances. What is not void stays to be claimed until `left`.
    pub(super) fn leave(&self, mids: impl IntoIterator<Item = Mid>) -> Leaving {
        let mut inner = lock(&self.0);
        let mut leaving = Leaving::default();
        for mid in mids {
            let Some(message) = inner.messages.get_mut(&mid) else { continue };
            if message.stage == Stage::Plain && message.ended == message.fresh.legs.len() {
                leaving.void.push(mid);
                inner.messages.remove(&mid);
            } else {
                message.stage = Stage::Leaving;
                leaving.mids.push(mid);
            }
        }
        leaving
    }

    /// The index has them. To be told before any of their leases ends. Gives the lanes of legs that nobody could claim in
    /// the meantime although they were given back.
    pub(super) fn left(&self, mids: &[Mid]) -> Vec<LaneDue> {
        let mut inner = lock(&self.0);
        let Inner { messages, lanes } = &mut *inner;
        let mut nudges = Vec::new();
        for mid in mids {
            let Some(message) = messages.remove(mid) else { continue };
            for (number, leg) in (0..).zip(&message.fresh.legs) {
                let claimable = remove(lanes, *mid, number, leg);
                if !claimable && matches!(leg.state, LegState::Waiting) {
                    nudges.push(LaneDue { lane: leg.lane.clone(), due: leg.due });
                }
            }
        }
        nudges
    }
}

fn remove(lanes: &mut HashMap<Lane, BTreeSet<(Timestamp, Mid, u32)>>, mid: Mid, number: u32, leg: &Leg) -> bool {
    let Some(legs) = lanes.get_mut(&leg.lane) else { return false };
    let was = legs.remove(&(leg.due, mid, number));
    if legs.is_empty() {
        lanes.remove(&leg.lane);
    }
    was
}
