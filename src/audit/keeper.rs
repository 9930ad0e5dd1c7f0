//! Writes the trail: follows the queue's journal, links each record into the chain, and lets the oldest ones go.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use redb::ReadableTable as _;
use tracing::{info, warn};

use super::Trail;
use super::block::{Block, Packed, Span, Tail, link};
use super::error::{AuditError, Fault};
use super::hide::{Hider, key_path};
use super::record::{self, OfTrail, Record, What};
use super::store::{self, BLOCKS, Change, FILTERS, Head, Opened, Slot, State};
use crate::config::Size;
use crate::mail::Timestamp;
use crate::os::Clock;
use crate::queue::{Follower, Position};

/// How often it is looked for old records.
const TRIM: SignedDuration = SignedDuration::from_secs(60);
/// How often the log tells the head: what is there cannot be cut off or altered later without a trace.
const TELL: SignedDuration = SignedDuration::from_hours(1);

/// How the trail is kept.
#[derive(Debug, Clone)]
pub struct KeeperOptions {
    pub path: PathBuf,
    pub keep: Duration,
    /// Of the blocks and filters; the file is a little larger.
    pub max_size: Size,
    pub hashed: bool,
}

/// Told of each record that goes into the trail, as it stands there. Called on the thread that writes the trail, which waits.
pub type Tap = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// The one writer.
pub struct Keeper {
    options: KeeperOptions,
    slot: Slot,
    tap: Option<Tap>,
    hider: Option<Hider>,
    clock: Clock,
    position: Option<Position>,
    /// Full ones that are not written yet.
    full: Vec<Packed>,
    tail: Tail,
    /// Octets taken and not written.
    holds: usize,
    size: u64,
    of_tail: u64,
    trimmed_at: Option<Timestamp>,
    told_at: Option<Timestamp>,
}

impl Keeper {
    /// Opens the trail, or begins one. What it gives beside itself reads it while the relay runs.
    pub fn open(options: KeeperOptions, clock: Clock) -> Result<(Self, Trail), AuditError> {
        let opening = |fault: Fault| fault.opening(&options.path);
        let slot = Slot::new(Opened::Whole(store::open(&options.path).map_err(opening)?));
        let State { position, tail, size, of_tail } = store::state(&slot).map_err(opening)?;
        let key = key_path(&options.path);
        let keyed = |error: std::io::Error| AuditError::Key { path: key.clone(), detail: error.to_string() };
        let hider = if options.hashed { Some(Hider::open(&key)) } else { None }.transpose().map_err(keyed)?;
        let found = if hider.is_some() { hider.clone() } else { Hider::find(&key).map_err(keyed)? };
        let trail = Trail { path: options.path.clone(), slot: slot.clone(), hider: found };
        let keeper = Self {
            options,
            slot,
            tap: None,
            hider,
            clock,
            position,
            full: Vec::new(),
            tail,
            holds: 0,
            size,
            of_tail,
            trimmed_at: None,
            told_at: None,
        };
        Ok((keeper, trail))
    }

    /// Has somebody told of the records, beside the trail.
    #[must_use]
    pub fn with_tap(mut self, tap: Option<Tap>) -> Self {
        self.tap = tap;
        self
    }

    fn head(&self) -> Head {
        Head { records: self.tail.next() - 1, hash: self.tail.after }
    }

    fn add(&mut self, octets: &[u8]) {
        let Some(mut record) = record::read(octets) else {
            // Its entry's checksum was right: it was written so. The chain keeps it; nobody can read it.
            let at = self.clock.now().as_millisecond();
            warn!("a note for the audit trail does not read back");
            return self.link(octets, &Record { at, mid: [0; 16], what: What::Trail(OfTrail::Begun { lost: 0 }) });
        };
        match &self.hider {
            Some(hider) => {
                hider.record(&mut record);
                let mut hidden = Vec::with_capacity(octets.len() + 32);
                record.push(&mut hidden);
                self.told(&hidden[4..]);
                self.link(&hidden[4..], &record);
            }
            None => {
                self.told(octets);
                self.link(octets, &record);
            }
        }
    }

    fn told(&self, octets: &[u8]) {
        if let Some(tap) = &self.tap {
            tap(octets);
        }
    }

    fn link(&mut self, octets: &[u8], record: &Record<'_>) {
        self.holds += octets.len();
        self.tail.push(octets, record);
        if self.tail.is_full() {
            let packed = self.tail.pack();
            let next = self.tail.follow(&packed);
            self.full.push(packed);
            self.tail = next;
        }
    }

    fn note(&mut self, of_trail: OfTrail<'_>) {
        let record = Record::new(self.clock.now(), None, What::Trail(of_trail));
        let mut octets = Vec::new();
        record.push(&mut octets);
        self.link(&octets[4..], &record);
    }

    /// The hash after a record of this trail; `None` where it has none of that number (any more).
    fn hash_at(&self, number: u64) -> Result<Option<[u8; 32]>, Fault> {
        if number + 1 == self.tail.first {
            return Ok(Some(self.tail.before));
        }
        self.slot.read(|txn| hash_at(txn, number))
    }

    /// The first records that are to go, and what is left then: firsts of blocks, the last record, the hash there, octets.
    fn old(&self, now: Timestamp) -> Result<Option<Old>, Fault> {
        let keep = SignedDuration::try_from(self.options.keep).unwrap_or(SignedDuration::MAX);
        let oldest = now.saturating_sub(keep).map_or(i64::MIN, |oldest| oldest.as_millisecond());
        let mut over = self.size.saturating_sub(self.options.max_size.0);
        let last = self.tail.first;
        self.slot.read(|txn| {
            let (filters, blocks) = (txn.open_table(FILTERS)?, txn.open_table(BLOCKS)?);
            let mut old = Old { firsts: Vec::new(), through: 0, hash: [0; 32], octets: 0 };
            for row in filters.range(..last)? {
                let (first, filter) = row?;
                let (first, filter) = (first.value(), filter.value());
                let latest = Span::read(filter).map_or(i64::MIN, |span| span.latest);
                if latest >= oldest && over == 0 {
                    break;
                }
                let Some(block) = blocks.get(first)? else { break };
                let octets = (block.value().len() + filter.len()) as u64;
                let count =
                    block.value().get(1..5).and_then(|count| count.try_into().ok()).map_or(0, u32::from_le_bytes);
                let Some((_, after)) = Block::hashes(block.value()) else { break };
                over = over.saturating_sub(octets);
                old.firsts.push(first);
                (old.through, old.hash) = ((first + u64::from(count)).saturating_sub(1), after);
                old.octets += octets;
            }
            Ok((!old.firsts.is_empty()).then_some(old))
        })
    }

    fn try_keep(&mut self) -> Result<Head, Fault> {
        let now = self.clock.now();
        let since = |at: Option<Timestamp>| at.map_or(SignedDuration::MAX, |at| now.duration_since(at));
        let mut trimmed = Vec::new();
        if since(self.trimmed_at) >= TRIM || self.size > self.options.max_size.0 {
            self.trimmed_at = Some(now);
            if let Some(old) = self.old(now)? {
                info!(blocks = old.firsts.len(), through = old.through, "old records left the audit trail");
                self.note(OfTrail::Trimmed { through: old.through, hash: old.hash });
                self.size = self.size.saturating_sub(old.octets);
                trimmed = old.firsts;
            }
        }
        let octets = |packed: &Packed| (packed.block.len() + packed.filter.len()) as u64;
        let tail = (self.tail.count > 0).then(|| self.tail.pack());
        let of_tail = tail.as_ref().map_or(0, octets);
        let mut blocks = std::mem::take(&mut self.full);
        blocks.extend(tail);
        let size = (self.size + blocks.iter().map(octets).sum::<u64>()).saturating_sub(self.of_tail);
        let head = self.head();
        store::write(&self.slot, &Change { blocks: &blocks, trimmed: &trimmed, position: self.position, head, size })?;
        (self.holds, self.size, self.of_tail) = (0, size, of_tail);
        if since(self.told_at) >= TELL {
            self.told_at = Some(now);
            info!(records = head.records, %head, octets = size, "the audit trail's head");
        }
        Ok(head)
    }
}

struct Old {
    firsts: Vec<u64>,
    through: u64,
    hash: [u8; 32],
    octets: u64,
}

/// The hash after a record, from its block.
pub(super) fn hash_at(txn: &redb::ReadTransaction, number: u64) -> Result<Option<[u8; 32]>, Fault> {
    let blocks = txn.open_table(BLOCKS)?;
    let Some(row) = blocks.range(..=number)?.next_back() else {
        // Before the first block that was kept lies what that one begins with.
        let first = blocks.range(number..)?.next().transpose()?;
        let before = first.filter(|(first, _)| first.value() == number + 1);
        return Ok(before.and_then(|(_, block)| Block::hashes(block.value())).map(|(before, _)| before));
    };
    let (first, block) = row?;
    let Some(block) = Block::unpack(block.value()) else { return Ok(None) };
    let mut hash = block.before;
    for (at, octets) in (first.value()..).zip(record::each(&block.octets)) {
        let Some(octets) = octets else { return Ok(None) };
        hash = link(&hash, octets);
        if at == number {
            return Ok(Some(hash));
        }
    }
    Ok(None)
}

impl Follower for Keeper {
    fn position(&self) -> Option<Position> {
        self.position
    }

    fn begin(&mut self, mark: Option<&[u8]>) {
        let mark = mark.and_then(Head::read);
        match (mark, self.head().records) {
            (None, 0) => self.note(OfTrail::Begun { lost: 0 }),
            (None, _) => {}
            (Some(mark), 0) => {
                warn!(
                    path = %self.options.path.display(), records = mark.records,
                    "the audit trail is not there any more: a new one begins, and says so; put the old one back if it was moved"
                );
                self.note(OfTrail::Begun { lost: mark.records });
            }
            (Some(mark), there) => {
                let gone = self.trimmed_before() > mark.records;
                let fits = gone || self.hash_at(mark.records).is_ok_and(|hash| hash == Some(mark.hash));
                if !fits {
                    warn!(
                        path = %self.options.path.display(), records = there, remembered = %mark,
                        "the audit trail is not the one that the queue remembers: it was cut, altered, or put back from a copy"
                    );
                    self.note(OfTrail::Cut { records: mark.records });
                }
            }
        }
    }

    fn take(&mut self, notes: &[Vec<u8>], next: Position) {
        for octets in notes.iter().flat_map(|note| record::each(note)).flatten() {
            self.add(octets);
        }
        self.position = Some(next);
    }

    fn holds(&self) -> usize {
        self.holds
    }

    fn keep(&mut self) -> Result<Vec<u8>, String> {
        match self.try_keep() {
            Ok(head) => Ok(head.octets()),
            Err(fault) => Err(format!("the audit trail {} cannot be written: {fault}", self.options.path.display())),
        }
    }

    fn reopen(&mut self) -> Result<(), String> {
        let reopened = self.slot.reopen(&self.options.path).and_then(|()| store::state(&self.slot));
        let state = reopened.map_err(|fault| fault.opening(&self.options.path).to_string())?;
        (self.position, self.tail, self.size, self.of_tail) = (state.position, state.tail, state.size, state.of_tail);
        (self.full, self.holds) = (Vec::new(), 0);
        Ok(())
    }

    fn missed(&mut self, groups: Range<u64>, why: &str) {
        warn!(?groups, why, "the audit trail misses what the queue was told then; it says so");
        self.note(OfTrail::Missed { groups: groups.end.saturating_sub(groups.start), why: why.into() });
    }
}

impl Keeper {
    /// The number of the first record that is kept.
    fn trimmed_before(&self) -> u64 {
        let first = self.slot.read(|txn| Ok(txn.open_table(BLOCKS)?.first()?.map(|(first, _)| first.value())));
        first.ok().flatten().unwrap_or(self.tail.first)
    }
}

impl Drop for Keeper {
    /// The end of a run: what the log has of it, nobody can cut off.
    fn drop(&mut self) {
        if self.holds == 0 {
            let head = self.head();
            info!(records = head.records, %head, octets = self.size, "the audit trail's head");
        }
    }
}
