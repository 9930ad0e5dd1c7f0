//! Reading: lanes, claims, windows. Each call is one or two short read transactions on a blocking thread.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata};
use tracing::error;

use super::bodies::Bodies;
use super::error::Fault;
use super::lease::{LegId, Taken};
use super::recent::Message;
use super::store::Store;
use super::tables::{COUNTERS, DUE, LEGS, LegKey, MESSAGES, Place, at, decode, lane_key, lane_of, leg_of};
use super::tally::{self, TALLY};
use super::{Claim, Claimed, Counter, Depth, KEPT, Lane, LaneDue, Leg, LegState, Listed, Memory, RouteDepth};
use crate::mail::{Envelope, Mid, Timestamp};

/// Contents up to this size are read ahead.
const WARM: u32 = 64 << 10;

/// Skips from lane to lane through the due index: as many steps as there are lanes, whatever waits in them.
pub(super) fn lanes(store: &Store) -> Result<Vec<LaneDue>, Fault> {
    store.read(|txn| {
        let due = txn.open_table(DUE)?;
        let mut lanes = Vec::new();
        let mut last: Option<Vec<u8>> = None;
        loop {
            let from = match &last {
                None => Bound::Unbounded,
                Some(lane) => Bound::Excluded((&lane[..], i64::MAX, u128::MAX, u32::MAX)),
            };
            let Some(row) = due.range((from, Bound::Unbounded))?.next() else { break };
            let (key, _) = row?;
            let (lane, first, _, _) = key.value();
            lanes.push(LaneDue { lane: lane_of(lane)?, due: at(first) });
            last = Some(lane.to_vec());
        }
        Ok(lanes)
    })
}

pub(super) fn claim(
    store: &Store,
    memory: &Arc<Memory>,
    lane: &Lane,
    now: Timestamp,
    most: usize,
) -> Result<(Claimed, Taken), Fault> {
    let mut taken = Taken::new(memory.clone());
    // First what the index does not have yet: what goes over meanwhile is then seen there.
    let young = memory.young.candidates(lane, most, |id| taken.is_free(id));
    let (mut candidates, mut next_due) = lease_due(store, &mut taken, lane, now, most)?;
    for (id, due) in young {
        if due.as_millisecond() > now.as_millisecond() || candidates.len() >= most {
            next_due = Some(next_due.map_or(due, |next| next.min(due)));
            break;
        }
        if taken.take(id, || Some(LaneDue { lane: lane.clone(), due })) {
            candidates.push((id, due));
        }
    }
    // Only now, with the leases taken, the legs themselves: what was seen above may be older than a settlement whose lease
    // has ended since.
    let mut claims = Vec::with_capacity(candidates.len());
    candidates.retain(|((mid, number), _)| match memory.young.claim(*mid, *number) {
        Some(claim) => {
            claims.push(claim);
            false
        }
        None => true,
    });
    if candidates.is_empty() {
        return Ok((Claimed { claims, next_due }, taken));
    }
    let indexed = store.read(|txn| {
        let records = Records::open(txn)?;
        let mut claims = Vec::with_capacity(candidates.len());
        for (id, due) in candidates {
            match records.claim(memory, id) {
                Ok(Some(claim)) if claim.leg.due == due && claim.leg.lane == *lane => claims.push(claim),
                Ok(_) => taken.forget(id),
                Err(Fault::Damaged(what)) => damaged(memory, &mut taken, id, &what),
                Err(fault) => return Err(fault),
            }
        }
        Ok(claims)
    })?;
    // What the index has is the older.
    claims.splice(0..0, indexed);
    Ok((Claimed { claims, next_due }, taken))
}

/// Reads the small contents of claims into the memory of recent messages: one after the other as they lie, instead of
/// each on its own when its attempt begins. What cannot be read is told to the attempt.
pub(super) fn warm(store: &Store, memory: &Memory, bodies: &Bodies, claims: &[Claim]) -> Result<(), Fault> {
    let cold = claims.iter().filter(|claim| memory.recent.find(claim.mid).is_none());
    let cold: Vec<(Mid, &Arc<Envelope>)> = cold.map(|claim| (claim.mid, &claim.envelope)).collect();
    if cold.is_empty() {
        return Ok(());
    }
    let places = store.read(|txn| {
        let messages = txn.open_table(MESSAGES)?;
        let place = |mid: Mid| match messages.get(mid.bits())? {
            Some(row) => Ok(Place::split(row.value()).ok().map(|(place, _)| place)),
            None => Ok::<_, Fault>(None),
        };
        cold.iter().map(|(mid, _)| place(*mid)).collect::<Result<Vec<_>, _>>()
    })?;
    for ((mid, envelope), place) in cold.into_iter().zip(places) {
        if let Some(Place::Segment { segment, offset, size, crc }) = place
            && size <= WARM
            && u64::from(size) == envelope.size
            && let Ok(content) = bodies.whole(mid, segment, offset, size, crc)
        {
            memory.recent.keep(mid, Message { envelope: envelope.clone(), content });
        }
    }
    Ok(())
}

type Candidates = Vec<(LegId, Timestamp)>;

/// Leases the first due legs of a lane that nobody has, by the index alone.
fn lease_due(
    store: &Store,
    taken: &mut Taken,
    lane: &Lane,
    now: Timestamp,
    most: usize,
) -> Result<(Candidates, Option<Timestamp>), Fault> {
    let key = lane_key(lane);
    store.read(|txn| {
        let index = txn.open_table(DUE)?;
        let mut candidates = Vec::new();
        for row in index.range((&key[..], i64::MIN, 0, 0)..=(&key[..], i64::MAX, u128::MAX, u32::MAX))? {
            let (row, _) = row?;
            let (_, due, mid, number) = row.value();
            let (id, due) = ((Mid::from_bits(mid), number), at(due));
            if due.as_millisecond() > now.as_millisecond() || candidates.len() >= most {
                if taken.is_free(id) {
                    return Ok((candidates, Some(due)));
                }
            } else if taken.take(id, || Some(LaneDue { lane: lane.clone(), due })) {
                candidates.push((id, due));
            }
        }
        Ok((candidates, None))
    })
}

pub(super) fn claim_one(store: &Store, memory: &Arc<Memory>, id: LegId) -> Result<Option<(Claim, Taken)>, Fault> {
    let mut taken = Taken::new(memory.clone());
    if !taken.take(id, || None) {
        return Ok(None);
    }
    match store.read(|txn| Records::open(txn)?.claim(memory, id))? {
        Some(claim) => {
            memory.leases.comes_back_to(id, nudge(&claim.leg));
            Ok(Some((claim, taken)))
        }
        None => {
            taken.forget(id);
            Ok(None)
        }
    }
}

pub(super) fn claim_these(store: &Store, memory: &Arc<Memory>, legs: Vec<LegId>) -> Result<(Vec<Claim>, Taken), Fault> {
    let mut taken = Taken::new(memory.clone());
    let free: Vec<LegId> = legs.into_iter().filter(|id| taken.take(*id, || None)).collect();
    let claims = store.read(|txn| {
        let records = Records::open(txn)?;
        let mut claims = Vec::with_capacity(free.len());
        for id in free {
            match records.claim(memory, id) {
                Ok(Some(claim)) => {
                    memory.leases.comes_back_to(id, nudge(&claim.leg));
                    claims.push(claim);
                }
                Ok(None) => taken.forget(id),
                Err(Fault::Damaged(what)) => damaged(memory, &mut taken, id, &what),
                Err(fault) => return Err(fault),
            }
        }
        Ok(claims)
    })?;
    Ok((claims, taken))
}

fn nudge(leg: &Leg) -> Option<LaneDue> {
    match leg.state {
        LegState::Waiting => Some(LaneDue { lane: leg.lane.clone(), due: leg.due }),
        LegState::Held { .. } => None,
    }
}

/// A record that does not read back stays under lease, so that it is told once and not at every claim.
fn damaged(memory: &Memory, taken: &mut Taken, (mid, number): LegId, what: &str) {
    error!(%mid, number, what, "a queued recipient cannot be read: it stays in the queue untried");
    memory.leases.comes_back_to((mid, number), None);
    taken.keep((mid, number));
}

pub(super) fn walk(
    store: &Store,
    memory: &Memory,
    after: Option<LegId>,
    before: Timestamp,
    most: usize,
) -> Result<Vec<Claim>, Fault> {
    let from = match after {
        None => Bound::Unbounded,
        Some((mid, number)) => Bound::Excluded((mid.bits(), number)),
    };
    let to = Mid::floor(before).bits();
    if after.is_some_and(|(mid, _)| mid.bits() >= to) {
        return Ok(Vec::new());
    }
    store.read(|txn| {
        let records = Records::open(txn)?;
        let mut claims: Vec<Claim> = Vec::new();
        for row in records.legs.range((from, Bound::Excluded((to, 0))))? {
            if claims.len() >= most {
                break;
            }
            let (key, record) = row?;
            let (mid, number) = key.value();
            let mid = Mid::from_bits(mid);
            if memory.leases.holds((mid, number)) {
                continue;
            }
            let envelope = match claims.last() {
                Some(last) if last.mid == mid => Ok(last.envelope.clone()),
                _ => records.envelope(memory, mid),
            };
            match leg_of(record.value()).and_then(|leg| Ok((leg, envelope?))) {
                Ok((leg, envelope)) => claims.push(Claim { mid, number, leg, envelope }),
                Err(Fault::Damaged(what)) => error!(%mid, number, what, "a queued recipient cannot be read"),
                Err(fault) => return Err(fault),
            }
        }
        Ok(claims)
    })
}

pub(super) fn message(store: &Store, memory: &Memory, mid: Mid) -> Result<Option<Listed>, Fault> {
    store.read(|txn| {
        let records = Records::open(txn)?;
        if records.messages.get(mid.bits())?.is_none() {
            return Ok(None);
        }
        let mut legs = Vec::new();
        for row in records.legs.range((mid.bits(), 0)..=(mid.bits(), u32::MAX))? {
            let (key, record) = row?;
            let number = key.value().1;
            legs.push((number, leg_of(record.value())?, memory.leases.holds((mid, number))));
        }
        Ok(Some(Listed { envelope: records.envelope(memory, mid)?, legs }))
    })
}

/// Where a message's content lies; `None` where it is not in the queue (any more).
pub(super) fn place(store: &Store, mid: Mid) -> Result<Option<Place>, Fault> {
    store.read(|txn| match txn.open_table(MESSAGES)?.get(mid.bits())? {
        Some(row) => Ok(Some(Place::split(row.value())?.0)),
        None => Ok(None),
    })
}

/// Lengths that redb keeps: nothing is counted.
pub(super) fn depth(store: &Store) -> Result<Depth, Fault> {
    store.read(|txn| {
        let (legs, waiting) = (txn.open_table(LEGS)?.len()?, txn.open_table(DUE)?.len()?);
        Ok(Depth { messages: txn.open_table(MESSAGES)?.len()?, waiting, held: legs.saturating_sub(waiting) })
    })
}

pub(super) fn counters(store: &Store) -> Result<HashMap<String, Counter>, Fault> {
    store.read(|txn| {
        let mut counters = HashMap::new();
        for row in txn.open_table(COUNTERS)?.iter()? {
            let (name, record) = row?;
            if name.value().starts_with(KEPT) {
                continue;
            }
            counters.insert(name.value().to_owned(), decode("a counter", record.value())?);
        }
        Ok(counters)
    })
}

/// What is kept under names that begin so, each with the rest of its name.
pub(super) fn kept(store: &Store, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    store.read(|txn| {
        let mut kept = Vec::new();
        for row in txn.open_table(COUNTERS)?.iter()? {
            let (name, record) = row?;
            if let Some(rest) = name.value().strip_prefix(KEPT).and_then(|name| name.strip_prefix(prefix)) {
                kept.push((rest.to_owned(), record.value().to_vec()));
            }
        }
        Ok(kept)
    })
}

pub(super) fn routes(store: &Store) -> Result<Vec<RouteDepth>, Fault> {
    store.read(|txn| {
        let mut routes = tally::read(&txn.open_table(TALLY)?)?;
        tally::sharpen(&mut routes, &txn.open_table(LEGS)?)?;
        Ok(routes)
    })
}

struct Records {
    messages: ReadOnlyTable<u128, &'static [u8]>,
    legs: ReadOnlyTable<LegKey, &'static [u8]>,
}

impl Records {
    fn open(txn: &ReadTransaction) -> Result<Self, Fault> {
        Ok(Self { messages: txn.open_table(MESSAGES)?, legs: txn.open_table(LEGS)? })
    }

    fn claim(&self, memory: &Memory, (mid, number): LegId) -> Result<Option<Claim>, Fault> {
        let Some(record) = self.legs.get((mid.bits(), number))? else { return Ok(None) };
        let leg = leg_of(record.value())?;
        Ok(Some(Claim { mid, number, leg, envelope: self.envelope(memory, mid)? }))
    }

    fn envelope(&self, memory: &Memory, mid: Mid) -> Result<Arc<Envelope>, Fault> {
        if let Some(message) = memory.recent.find(mid) {
            return Ok(message.envelope);
        }
        match self.messages.get(mid.bits())? {
            Some(row) => Ok(Arc::new(decode("an envelope", Place::split(row.value())?.1)?)),
            None => Err(Fault::Damaged("the envelope is not there".to_owned())),
        }
    }
}
