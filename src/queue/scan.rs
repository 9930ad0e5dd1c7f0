//! Walking through what is queued, for whoever looks at it: in the order of acceptance, from a cursor on, in steps of a
//! bounded number of rows. Each step is a short read transaction of its own, for one pins the pages that it sees.

use std::ops::Bound;
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction};
use tracing::error;

use super::error::Fault;
use super::lease::LegId;
use super::store::Store;
use super::tables::{LEGS, MESSAGES, Place, decode, leg_of};
use super::wanted::Wanted;
use super::{Leg, Memory, load};
use crate::mail::{Envelope, Mid};

/// Rows of one step. It ends with a message's last leg, so that it may be a few more.
pub(super) const STEP: usize = 4096;

/// A leg that was asked for.
#[derive(Debug, Clone)]
pub struct Found {
    pub mid: Mid,
    pub number: u32,
    pub leg: Leg,
    pub envelope: Arc<Envelope>,
    /// Those of its recipients that were asked for, by their envelope indices; never empty.
    pub chosen: Vec<u32>,
    /// Under lease: in an attempt, or about to be.
    pub in_hand: bool,
}

/// One step's finds, and from where the next one goes on; `None`: that was all.
#[derive(Debug, Clone)]
pub struct Step<T> {
    pub found: T,
    pub next: Option<LegId>,
}

/// How much was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    pub messages: u64,
    pub recipients: u64,
    /// Content of these messages.
    pub octets: u64,
}

impl Amounts {
    pub fn add(&mut self, more: Self) {
        self.messages += more.messages;
        self.recipients += more.recipients;
        self.octets += more.octets;
    }
}

/// Legs that are wanted, up to `most` of them and the rest of the last one's message.
pub(super) fn find(
    store: &Store,
    memory: &Memory,
    wanted: &Wanted,
    after: Option<LegId>,
    most: usize,
) -> Result<Step<Vec<Found>>, Fault> {
    let mut found: Vec<Found> = Vec::new();
    let next = store.read(|txn| {
        walk(txn, wanted, after, |row| {
            if wanted.holds_for(&row.leg) {
                let envelope = match found.last() {
                    Some(last) if last.mid == row.mid => last.envelope.clone(),
                    Some(_) | None => Arc::new(row.envelope()?),
                };
                let Row { mid, number, leg, .. } = row;
                let chosen = wanted.recipients(&leg, &envelope);
                if !chosen.is_empty() {
                    let in_hand = memory.leases.holds((mid, number));
                    found.push(Found { mid, number, leg, envelope, chosen, in_hand });
                }
            }
            Ok(found.len() < most)
        })
    })?;
    Ok(Step { found, next })
}

pub(super) fn count(store: &Store, wanted: &Wanted, after: Option<LegId>) -> Result<Step<Amounts>, Fault> {
    let (mut amounts, mut last) = (Amounts::default(), None);
    let next = store.read(|txn| {
        walk(txn, wanted, after, |row| {
            if !wanted.holds_for(&row.leg) {
                return Ok(true);
            }
            let recipients = match wanted.needs_envelope() {
                true => wanted.recipients(&row.leg, &row.envelope()?).len(),
                false => wanted.count(&row.leg),
            };
            if recipients > 0 {
                amounts.recipients += recipients as u64;
                if last.replace(row.mid) != Some(row.mid) {
                    amounts.messages += 1;
                    amounts.octets += load::size(row.message);
                }
            }
            Ok(true)
        })
    })?;
    Ok(Step { found: amounts, next })
}

/// A leg with its message's row.
struct Row<'a> {
    mid: Mid,
    number: u32,
    leg: Leg,
    message: &'a [u8],
}

impl Row<'_> {
    fn envelope(&self) -> Result<Envelope, Fault> {
        decode("an envelope", Place::split(self.message)?.1)
    }
}

/// Hands over each leg of the span that reads back, until `each` gives false, and then those of the same message. One that
/// does not read back is told.
fn walk(
    txn: &ReadTransaction,
    wanted: &Wanted,
    after: Option<LegId>,
    mut each: impl FnMut(Row<'_>) -> Result<bool, Fault>,
) -> Result<Option<LegId>, Fault> {
    let (messages, legs) = (txn.open_table(MESSAGES)?, txn.open_table(LEGS)?);
    let first = wanted.from.map_or(0, Mid::bits);
    let from = match after {
        Some((mid, number)) if mid.bits() >= first => Bound::Excluded((mid.bits(), number)),
        Some(_) | None => Bound::Included((first, 0)),
    };
    let to = wanted.before.map_or(Bound::Unbounded, |before| Bound::Excluded((before.bits(), 0)));
    if wanted.before.is_some_and(|before| before.bits() <= first || after.is_some_and(|(mid, _)| mid >= before)) {
        return Ok(None);
    }
    let mut of_messages = Messages::new(&messages, after.map_or(first, |(mid, _)| mid.bits().max(first)))?;
    let (mut seen, mut last) = (0, None);
    let mut enough = false;
    for row in legs.range((from, to))? {
        let (key, record) = row?;
        let (bits, number) = key.value();
        let id = (Mid::from_bits(bits), number);
        if (enough || seen >= STEP) && last.is_some_and(|(mid, _): LegId| mid != id.0) {
            return Ok(last);
        }
        seen += 1;
        last = Some(id);
        let read = match of_messages.find(bits)? {
            Some(message) => leg_of(record.value()).and_then(|leg| each(Row { mid: id.0, number, leg, message })),
            None => Err(Fault::Damaged("the envelope is not there".to_owned())),
        };
        match read {
            Ok(more) => enough |= !more,
            Err(Fault::Damaged(what)) => error!(mid = %id.0, number, what, "a queued recipient cannot be read"),
            Err(fault) => return Err(fault),
        }
    }
    Ok(None)
}

/// The table of messages beside that of legs, both in one order: a look-up for each leg would take most of the time.
struct Messages<'t> {
    rows: redb::Range<'t, u128, &'static [u8]>,
    at: Option<(u128, redb::AccessGuard<'t, &'static [u8]>)>,
}

impl<'t> Messages<'t> {
    fn new(table: &'t ReadOnlyTable<u128, &'static [u8]>, from: u128) -> Result<Self, Fault> {
        Ok(Self { rows: table.range(from..)?, at: None })
    }

    fn find(&mut self, mid: u128) -> Result<Option<&[u8]>, Fault> {
        while self.at.as_ref().is_none_or(|(at, _)| *at < mid) {
            let Some(row) = self.rows.next() else { return Ok(None) };
            let (key, row) = row?;
            self.at = Some((key.value(), row));
        }
        Ok(self.at.as_ref().filter(|(at, _)| *at == mid).map(|(_, row)| row.value()))
    }
}
