//! The journal: what the queue was told, in order, in append-only segments beside the index.
//!
//! An entry is durable once its group is synced; the index follows, and is durable only now and then (a checkpoint). After
//! a crash what the index lacks is read from here. The bodies of small messages lie here alone: the index points to them.
//!
//! Promises:
//! - each group tells which ones were durable when it was written: one of those that does not read back is damage, and
//!   not a power cut's doing;
//! - after a failed write or sync a segment is never written again: the next one says in its header with which number it
//!   goes on, and what the failed one holds from there on is void;
//! - a start begins a segment of its own.

mod form;
mod replay;

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::medium::{Blob, Medium};
use form::{GROUP_HEADER, GroupHeader, SEGMENT_HEADER, SegmentHeader};

pub use form::Position;
pub(super) use form::head;
pub(super) use replay::{beginning, replay};

/// A segment that has grown beyond this is followed by the next one.
const SEGMENT: u64 = 64 << 20;

pub(super) fn segment_name(segment: u32) -> String {
    format!("{segment:010}.journal")
}

pub(super) fn segment_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".journal").filter(|digits| digits.len() == 10)?;
    digits.parse().ok()
}

/// The writing end.
pub(super) struct Journal {
    medium: Arc<dyn Medium>,
    /// `None`: the next group begins one.
    segment: Option<Segment>,
    /// Where the next group goes.
    next: Position,
    /// What is surely on disk ends here.
    synced: Position,
}

struct Segment {
    file: Arc<dyn Blob>,
    salt: u32,
}

/// Where a group came to lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) segment: u32,
    /// Of the first body; the others follow.
    pub(super) bodies: u64,
    /// What follows it.
    pub(super) next: Position,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Journal {
    pub(super) fn new(medium: Arc<dyn Medium>, next: Position) -> Self {
        Self { medium, segment: None, next, synced: next }
    }

    /// Writes a group; `sync` makes it durable.
    pub(super) fn append(&mut self, heads: &[&[u8]], bodies: &[&[u8]]) -> io::Result<Written> {
        if self.next.offset >= SEGMENT {
            // What waits in the old one would never be synced otherwise.
            self.sync()?;
            self.seal();
        }
        let segment = match &mut self.segment {
            Some(segment) => segment,
            none => {
                self.next.offset = SEGMENT_HEADER as u64;
                none.insert(begin(&*self.medium, self.next)?)
            }
        };
        let size = bodies.iter().map(|body| body.len() as u64).sum();
        let header = GroupHeader::of(segment.salt, self.next.group, self.synced.group, heads, size)
            .ok_or_else(|| io::Error::other("more than a group of the journal holds"))?;
        let octets = header.octets();
        let mut slices = Vec::with_capacity(1 + heads.len() + bodies.len());
        slices.push(IoSlice::new(&octets));
        slices.extend(heads.iter().chain(bodies).map(|octets| IoSlice::new(octets)));
        segment.file.append(&mut slices)?;
        let bodies = self.next.offset + GROUP_HEADER as u64 + u64::from(header.heads);
        self.next.offset += header.size();
        self.next.group += 1;
        Ok(Written { segment: self.next.segment, bodies, next: self.next })
    }

    /// Makes all that was appended durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(segment) = &self.segment {
            segment.file.sync()?;
        }
        self.synced = self.next;
        Ok(())
    }

    /// Makes the names of files durable that entries speak of.
    pub(super) fn sync_names(&self) -> io::Result<()> {
        self.medium.sync_names()
    }

    pub(super) fn is_open(&self) -> bool {
        self.segment.is_some()
    }

    /// Where what is durable ends.
    pub(super) fn synced(&self) -> Position {
        self.synced
    }

    /// The next group begins a new segment. Only after a sync.
    pub(super) fn seal(&mut self) {
        if self.segment.take().is_some() {
            self.next.segment += 1;
            self.next.offset = 0;
            self.synced = self.next;
        }
    }

    /// After a failed write or sync: goes on in a new segment, as if the groups since the last sync had never been.
    pub(super) fn abandon(&mut self) {
        let failed = self.segment.take();
        let within = self.next.segment == self.synced.segment;
        if let Some(failed) = failed {
            // Its room is wanted where the disk is full. What cannot be removed is void all the same.
            let _ = match within && self.synced.offset > 0 {
                true => failed.file.truncate(self.synced.offset),
                false => self.medium.remove(&segment_name(self.next.segment)),
            };
        }
        self.next = Position { segment: self.next.segment + 1, offset: 0, group: self.synced.group };
    }
}

/// Makes a segment whose header is durable before its first group: one that does not read back is damage, unless nothing
/// is behind it.
fn begin(medium: &dyn Medium, at: Position) -> io::Result<Segment> {
    let name = segment_name(at.segment);
    let file = medium.create(&name)?;
    let header = SegmentHeader { segment: at.segment, first: at.group, salt: rand::random() };
    let begun = file.append(&mut [IoSlice::new(&header.octets())]).and_then(|()| file.sync());
    match begun.and_then(|()| medium.sync_names()) {
        Ok(()) => Ok(Segment { file, salt: header.salt }),
        Err(error) => {
            let _ = medium.remove(&name);
            Err(error)
        }
    }
}
