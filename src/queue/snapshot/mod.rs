//! A snapshot: all that is queued, in one stream of octets, taken while the queue works.
//!
//! It walks through the index in the order of mids, in short steps, so that nothing is held back for it: no lock, no page of
//! the index, no part of the journal.
//!
//! Promises:
//! - a message that was acknowledged before the beginning is in it once, as it was at one moment since then, unless it was
//!   settled meanwhile;
//! - what such a message left behind is in it, too: where its bounce was queued meanwhile, that one is. It has a later mid,
//!   and comes with the second part of the walk;
//! - memory: a step's records, and one content of the journal.

mod form;
mod restore;

use std::collections::VecDeque;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use redb::{ReadableTable as _, ReadableTableMetadata as _};

use super::error::Fault;
use super::medium::Blob;
use super::store::Store;
use super::tables::{COUNTERS, LEGS, MESSAGES, Place, decode};
use super::{Queue, QueueError, reader};
use crate::mail::{Envelope, Mid, Timestamp};
use form::{Encoder, Message, PIECE};

pub use form::{Beginning, End, SnapshotError, unfinished};
pub use restore::{Checker, RestoreError, check, restore};

/// Octets of a step's answer, about.
const STEP: usize = 1 << 20;
/// Messages that are looked at in one transaction.
const ROWS: usize = 256;

/// A snapshot under way. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Snapshot {
    queue: Queue,
    first: Option<Vec<u8>>,
    walk: Option<Walk>,
}

struct Walk {
    encoder: Encoder,
    stage: Stage,
    /// Messages from behind this one are still to be looked at,
    after: Option<u128>,
    /// up to this one; `None`: there are none.
    last: Option<u128>,
    rows: VecDeque<Row>,
    file: Option<Rest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// What was acknowledged before the beginning.
    Before,
    /// Reports about it that came meanwhile.
    Reports,
    Ended,
}

/// A message as the index had it.
struct Row {
    mid: Mid,
    place: Place,
    envelope: Vec<u8>,
    legs: Vec<Vec<u8>>,
}

/// What is still to be read of content that has a file of its own. It can be read to its end, be it removed meanwhile.
struct Rest {
    file: Arc<dyn Blob>,
    at: u64,
    size: u64,
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("stage", &self.stage).field("after", &self.after).finish_non_exhaustive()
    }
}

impl Queue {
    /// Begins a snapshot. What cannot be read at all is told here; `next` gives its octets.
    pub async fn snapshot(&self, now: Timestamp) -> Result<Snapshot, QueueError> {
        // All that was acknowledged so far is in the index then.
        let (walk, out) = self.read(move |store| Walk::begin(store, now)).await?;
        let mut snapshot = Snapshot { queue: self.clone(), first: None, walk: Some(walk) };
        snapshot.first = Some(snapshot.step(out).await?);
        Ok(snapshot)
    }
}

impl Snapshot {
    /// The next octets; `None` behind the last, and after an error: what was given is no snapshot then.
    pub async fn next(&mut self) -> Result<Option<Bytes>, QueueError> {
        let octets = match self.first.take() {
            Some(first) => first,
            None => self.step(Vec::with_capacity(STEP + PIECE)).await?,
        };
        Ok((!octets.is_empty()).then(|| octets.into()))
    }

    async fn step(&mut self, mut out: Vec<u8>) -> Result<Vec<u8>, QueueError> {
        let Some(mut walk) = self.walk.take() else { return Ok(Vec::new()) };
        let queue = self.queue.clone();
        let step = move || {
            walk.step(&queue, &mut out)?;
            Ok((walk, out))
        };
        let (walk, out) = self.queue.reading(step).await?;
        self.walk = Some(walk);
        Ok(out)
    }
}

impl Walk {
    fn begin(store: &Store, now: Timestamp) -> Result<(Self, Vec<u8>), Fault> {
        let (mut encoder, mut out) = (Encoder::default(), Vec::new());
        let last = store.read(|txn| {
            let messages = txn.open_table(MESSAGES)?;
            let beginning = Beginning {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                taken: now.to_string(),
                messages: messages.len()?,
            };
            encoder.beginning(&beginning, &mut out);
            for row in txn.open_table(COUNTERS)?.iter()? {
                let (name, record) = row?;
                encoder.kept(name.value(), record.value(), &mut out);
            }
            Ok(messages.last()?.map(|(mid, _)| mid.value()))
        })?;
        let walk = Self { encoder, stage: Stage::Before, after: None, last, rows: VecDeque::new(), file: None };
        Ok((walk, out))
    }

    fn step(&mut self, queue: &Queue, out: &mut Vec<u8>) -> Result<(), Fault> {
        while out.len() < STEP && self.stage != Stage::Ended {
            if self.file.is_some() {
                self.piece(out)?;
            } else if let Some(row) = self.rows.pop_front() {
                self.write(queue, row, out)?;
            } else {
                self.look(&queue.0.store, out)?;
            }
        }
        Ok(())
    }

    /// Reads the next messages' records.
    fn look(&mut self, store: &Store, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(last) = self.last.filter(|last| self.after.is_none_or(|after| after < *last)) else {
            return self.advance(store, out);
        };
        let reports_only = self.stage == Stage::Reports;
        let (mut after, mut rows) = (self.after, VecDeque::new());
        let seen = store.read(|txn| {
            let (messages, legs) = (txn.open_table(MESSAGES)?, txn.open_table(LEGS)?);
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut seen = 0;
            for row in messages.range((from, Bound::Included(last)))?.take(ROWS) {
                let (key, row) = row?;
                let bits = key.value();
                (after, seen) = (Some(bits), seen + 1);
                let (place, envelope) = Place::split(row.value())?;
                if reports_only && decode::<Envelope>("an envelope", envelope)?.reverse_path.is_some() {
                    continue;
                }
                let legs = legs.range((bits, 0)..=(bits, u32::MAX))?;
                let legs = legs.map(|row| Ok(row?.1.value().to_vec())).collect::<Result<Vec<_>, Fault>>()?;
                if !legs.is_empty() {
                    rows.push_back(Row { mid: Mid::from_bits(bits), place, envelope: envelope.to_vec(), legs });
                }
            }
            Ok(seen)
        })?;
        // Fewer than there might have been: there are no more.
        self.after = if seen < ROWS { Some(last) } else { after };
        self.rows = rows;
        Ok(())
    }

    /// What is looked at next is all there.
    fn advance(&mut self, store: &Store, out: &mut Vec<u8>) -> Result<(), Fault> {
        match self.stage {
            Stage::Before => {
                // Whatever was found gone had its report written in the same transaction.
                self.last = store.read(|txn| Ok(txn.open_table(MESSAGES)?.last()?.map(|(mid, _)| mid.value())))?;
                self.stage = Stage::Reports;
            }
            Stage::Reports => {
                self.encoder.end(out);
                self.stage = Stage::Ended;
            }
            Stage::Ended => {}
        }
        Ok(())
    }

    /// A message, and its content where that is small.
    fn write(&mut self, queue: &Queue, row: Row, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Row { mid, place, envelope, legs } = row;
        let bodies = &queue.0.bodies;
        let read = match place {
            Place::Segment { segment, offset, size, crc } => {
                bodies.whole(mid, segment, offset, size, crc).map(|content| (Some(content), u64::from(size), None))
            }
            Place::File => decode::<Envelope>("an envelope", &envelope).and_then(|envelope| {
                let file = bodies.file(mid)?;
                match file.size().map_err(Fault::io)? {
                    size if size == envelope.size => Ok((None, size, Some(Rest { file, at: 0, size }))),
                    size => Err(Fault::Damaged(format!(
                        "the content of {mid} has {size} octets instead of {}",
                        envelope.size
                    ))),
                }
            }),
        };
        match read {
            Ok((content, size, rest)) => {
                self.encoder.message(&Message { mid, envelope, legs, size }, out);
                self.encoder.content(&content.unwrap_or_default(), out);
                self.file = rest;
                Ok(())
            }
            // Its room was given back: it was settled since its record was read.
            Err(_) if reader::place(&queue.0.store, mid)?.is_none() => Ok(()),
            Err(fault) => Err(Fault::Damaged(format!(
                "{fault}: delete the message, if it cannot be helped (`waypost queue delete {mid}`), and a snapshot can be taken"
            ))),
        }
    }

    fn piece(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(rest) = &mut self.file else { return Ok(()) };
        let left = rest.size - rest.at;
        let mut octets = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(PIECE)];
        rest.file.read(rest.at, &mut octets).map_err(Fault::io)?;
        rest.at += octets.len() as u64;
        self.encoder.content(&octets, out);
        if rest.at >= rest.size {
            self.file = None;
        }
        Ok(())
    }
}
