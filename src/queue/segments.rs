//! Which parts of the journal are still wanted, and what is done with the rest.
//!
//! A segment that the index has to its end (at a checkpoint), that whoever follows the journal has read, and of which no body
//! is wanted is removed. Of one that is
//! wanted for little, the room of the rest is given back to the file system.

use std::collections::BTreeMap;

use redb::{Database, ReadableDatabase as _, ReadableTable as _};
use tracing::{debug, warn};

use super::Memory;
use super::batch::Effects;
use super::bodies::{Bodies, file_name, mid_of};
use super::error::Fault;
use super::journal::{Position, segment_name, segment_of};
use super::store::Store;
use super::tables::{BODIES, MESSAGES};

/// Unwanted octets of the segment that is being written, from which on the next one is begun early.
const ROTATE: u64 = 16 << 20;
/// The same where the disk is short of room.
const ROTATE_SHORT: u64 = 256 << 10;
/// Gaps below this are not worth a hole.
const GAP: u64 = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Segments(BTreeMap<u32, Usage>);

#[derive(Debug, Default, Clone, Copy)]
struct Usage {
    /// Octets of bodies that are wanted.
    wanted: u64,
    /// Octets that were still in place after the last holes were made; 0: none were yet.
    left: u64,
    /// The file system makes no holes.
    whole: bool,
}

impl Segments {
    /// Reads the index alone.
    pub(super) fn load(database: &Database, bodies: &Bodies) -> Result<Self, Fault> {
        let mut segments = BTreeMap::<u32, Usage>::new();
        for name in bodies.medium().names().map_err(Fault::io)? {
            if let Some(segment) = segment_of(&name) {
                segments.entry(segment).or_default();
            }
        }
        for row in database.begin_read()?.open_table(BODIES)?.iter()? {
            let (key, value) = row?;
            segments.entry(key.value().0).or_default().wanted += u64::from(value.value().1);
        }
        Ok(Self(segments))
    }

    pub(super) fn count(&mut self, effects: &Effects) {
        for (segment, size) in &effects.lives {
            self.0.entry(*segment).or_default().wanted += u64::from(*size);
        }
        for (segment, size) in &effects.dies {
            let wanted = &mut self.0.entry(*segment).or_default().wanted;
            *wanted = wanted.saturating_sub(u64::from(*size));
        }
    }

    /// Octets of the journal between two positions, about.
    pub(super) fn since(&self, from: Position, to: Position) -> u64 {
        if from.segment == to.segment { to.offset.saturating_sub(from.offset) } else { u64::MAX }
    }

    /// After a checkpoint at `kept`.
    pub(super) fn tidy(&mut self, store: &Store, bodies: &Bodies, memory: &Memory, kept: Position) {
        self.0.entry(kept.segment).or_default();
        let below = kept.segment.min(memory.followed.floor());
        let done: Vec<u32> = self.0.range(..below).filter(|(_, usage)| usage.wanted == 0).map(|(n, _)| *n).collect();
        for segment in done {
            match bodies.remove_segment(segment) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    warn!(segment = segment_name(segment), %error, "a part of the journal that is done cannot be removed");
                }
                _ => drop(self.0.remove(&segment)),
            }
        }
        let short = memory.space.is_short();
        self.rotate(memory, kept, short);
        self.punch(store, bodies, below, short);
    }

    /// Has the segment that is being written sealed, where most of it is unwanted: the next checkpoint removes it.
    fn rotate(&self, memory: &Memory, kept: Position, short: bool) {
        let wanted = self.0.get(&kept.segment).map_or(0, |usage| usage.wanted);
        let unwanted = kept.offset.saturating_sub(wanted);
        let enough = if short { ROTATE_SHORT } else { ROTATE };
        if unwanted >= enough && (wanted == 0 || short) {
            memory.progress.request_seal(kept.segment);
        }
    }

    /// Makes holes in one segment, the oldest that is worth it.
    fn punch(&mut self, store: &Store, bodies: &Bodies, below: u32, short: bool) {
        for (&segment, usage) in self.0.range_mut(..below) {
            if usage.whole {
                continue;
            }
            let size = match (usage.left, bodies.size_of_segment(segment)) {
                (0, Ok(size)) => size,
                (0, Err(_)) => continue,
                (left, _) => left,
            };
            let worth = if short { size / 8 } else { size / 2 };
            if size.saturating_sub(usage.wanted) < worth.max(GAP) {
                continue;
            }
            match holes(store, bodies, segment) {
                Ok(left) => {
                    usage.left = left.max(1);
                    debug!(segment = segment_name(segment), left, "room of delivered mail was given back");
                }
                Err(fault) => {
                    usage.whole = true;
                    debug!(segment = segment_name(segment), %fault, "room of delivered mail cannot be given back");
                }
            }
            return;
        }
    }
}

/// Gives back what lies between wanted bodies. Gives what is left.
fn holes(store: &Store, bodies: &Bodies, segment: u32) -> Result<u64, Fault> {
    let size = bodies.size_of_segment(segment).map_err(Fault::io)?;
    let mut wanted = Vec::new();
    store.read(|txn| {
        for row in txn.open_table(BODIES)?.range((segment, 0)..=(segment, u64::MAX))? {
            let (key, value) = row?;
            wanted.push((key.value().1, u64::from(value.value().1)));
        }
        Ok(())
    })?;
    wanted.push((size, 0));
    let (mut end, mut left) = (0, 0);
    for (offset, length) in wanted {
        let gap = offset.saturating_sub(end);
        if gap >= GAP {
            bodies.punch_segment(segment, end, gap).map_err(Fault::io)?;
        } else {
            left += gap;
        }
        left += length;
        end = offset + length;
    }
    Ok(left)
}

/// Removes files of content that no message owns: what a crash left.
pub(super) fn remove_orphans(database: &Database, bodies: &Bodies) -> Result<(), Fault> {
    let messages = database.begin_read()?.open_table(MESSAGES)?;
    for mid in bodies.medium().names().map_err(Fault::io)?.iter().filter_map(|name| mid_of(name)) {
        if messages.get(mid.bits())?.is_none() {
            bodies.medium().remove(&file_name(mid)).map_err(Fault::io)?;
        }
    }
    Ok(())
}
