//! Reading the journal after a start: from the index's position to its end.

use std::sync::Arc;

use super::form::{self, GROUP_HEADER, GroupHeader, SEGMENT_HEADER, SegmentHeader};
use super::{Position, segment_name, segment_of};
use crate::queue::error::Fault;
use crate::queue::job::{Body, Entry};
use crate::queue::medium::{Blob, Medium};

/// Octets that are looked through at once for a group behind one that does not read back.
const WINDOW: usize = 1 << 20;

/// A group that the index lacks.
pub(in crate::queue) struct Replayed {
    pub(in crate::queue) entries: Vec<Entry>,
    /// Those of their notes that are not empty.
    pub(in crate::queue) notes: Vec<Vec<u8>>,
    pub(in crate::queue) segment: u32,
    /// Where its first body lies.
    pub(in crate::queue) bodies: u64,
    /// Where the next group follows.
    pub(in crate::queue) next: Position,
}

/// Hands over each group from `from` on, in order, and none from `until` on. Gives the position for new groups: in a
/// segment of its own.
pub(in crate::queue) fn replay(
    medium: &dyn Medium,
    from: Position,
    until: Option<Position>,
    mut each: impl FnMut(Replayed) -> Result<(), Fault>,
) -> Result<Position, Fault> {
    let mut segments: Vec<u32> =
        medium.names().map_err(Fault::io)?.iter().filter_map(|name| segment_of(name)).collect();
    segments.sort_unstable();
    let last = segments.last().copied().unwrap_or(0);
    segments.retain(|segment| *segment >= from.segment);
    if from.offset > 0 && segments.first() != Some(&from.segment) {
        return Err(Fault::Damaged(format!(
            "the journal's segment {} is not there, and the index has not all of it: put the file back",
            segment_name(from.segment)
        )));
    }
    if from == Position::START && segments.first().is_some_and(|first| *first > from.segment) {
        return Err(Fault::Damaged(format!(
            "it is new, but the journal beside it ({} and on) is not: put the index back that belongs to it, or move the \
             journal away too to begin anew",
            segment_name(segments[0])
        )));
    }
    let mut next = from;
    let mut readers = Vec::with_capacity(segments.len());
    for segment in segments {
        readers.extend(Reader::open(medium, segment)?);
    }
    for (n, reader) in readers.iter().enumerate() {
        if reader.header.segment != next.segment {
            if reader.header.first != next.group {
                return Err(damaged(
                    reader.header.segment,
                    &format!("it begins with group {}, and {} is to come", reader.header.first, next.group),
                ));
            }
            next = Position { segment: reader.header.segment, offset: SEGMENT_HEADER as u64, group: next.group };
        }
        next.offset = next.offset.max(SEGMENT_HEADER as u64);
        let ends = readers.get(n + 1).map(|following| following.header.first);
        while ends != Some(next.group) {
            if until.is_some_and(|until| next.group >= until.group) {
                return Ok(next);
            }
            match reader.group(next)? {
                Some(group) => {
                    next = group.next;
                    each(group)?;
                }
                None if ends.is_some() => {
                    return Err(damaged(reader.header.segment, &format!("group {} does not read back", next.group)));
                }
                None => {
                    reader.nothing_follows(next)?;
                    break;
                }
            }
        }
    }
    let segment = last.max(next.segment).saturating_add(u32::from(last >= next.segment));
    Ok(Position { segment, offset: 0, group: next.group })
}

/// Where the journal begins, as far as it is there: at the first segment whose header was not given back with the room of
/// delivered mail.
pub(in crate::queue) fn beginning(medium: &dyn Medium) -> Result<Option<Position>, Fault> {
    let names = medium.names().map_err(Fault::io)?;
    let mut segments: Vec<u32> = names.iter().filter_map(|name| segment_of(name)).collect();
    segments.sort_unstable();
    for segment in segments {
        match Reader::open(medium, segment) {
            Ok(Some(reader)) => return Ok(Some(Position { segment, offset: 0, group: reader.header.first })),
            Ok(None) | Err(Fault::Damaged(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(None)
}

fn damaged(segment: u32, what: &str) -> Fault {
    Fault::Damaged(format!(
        "the journal's segment {} is damaged: {what}. It was left as it is: put a copy back, or move the queue's files away \
         to begin anew",
        segment_name(segment)
    ))
}

struct Reader {
    header: SegmentHeader,
    file: Arc<dyn Blob>,
    size: u64,
}

impl Reader {
    /// `None`: power went while it was made, and it holds nothing.
    fn open(medium: &dyn Medium, segment: u32) -> Result<Option<Self>, Fault> {
        let file = medium.open(&segment_name(segment)).map_err(Fault::io)?;
        let size = file.size().map_err(Fault::io)?;
        let mut octets = [0; SEGMENT_HEADER];
        if size >= SEGMENT_HEADER as u64 {
            file.read(0, &mut octets).map_err(Fault::io)?;
        }
        match SegmentHeader::parse(&octets).filter(|header| header.segment == segment) {
            Some(header) => Ok(Some(Self { header, file, size })),
            None if size <= SEGMENT_HEADER as u64 => Ok(None),
            None => Err(damaged(segment, "its header does not read back")),
        }
    }

    /// The group at a position; `None` where none is there whole.
    fn group(&self, at: Position) -> Result<Option<Replayed>, Fault> {
        let left = self.size.saturating_sub(at.offset);
        if left < GROUP_HEADER as u64 {
            return Ok(None);
        }
        let mut octets = [0; GROUP_HEADER];
        self.file.read(at.offset, &mut octets).map_err(Fault::io)?;
        let header = GroupHeader::parse(&octets).filter(|header| header.number == at.group && header.size() <= left);
        let Some(header) = header else { return Ok(None) };
        let heads_at = at.offset + GROUP_HEADER as u64;
        let heads = self.octets(heads_at, u64::from(header.heads))?;
        if !header.holds(self.header.salt, &heads) {
            return Ok(None);
        }
        // The checksum fits: what does not read now was written so.
        let (entries, notes) = form::entries(&heads, header.entries).ok_or_else(|| {
            damaged(self.header.segment, "it holds an entry of a form that this release does not know")
        })?;
        let bodies = heads_at + u64::from(header.heads);
        if !self.bodies_hold(&entries, bodies)? {
            return Ok(None);
        }
        let next = Position { segment: at.segment, offset: at.offset + header.size(), group: at.group + 1 };
        Ok(Some(Replayed { entries, notes, segment: at.segment, bodies, next }))
    }

    fn bodies_hold(&self, entries: &[Entry], mut at: u64) -> Result<bool, Fault> {
        for message in entries.iter().flat_map(Entry::messages) {
            if let Body::Journal { size, crc } = message.body {
                if crc32fast::hash(&self.octets(at, u64::from(size))?) != crc {
                    return Ok(false);
                }
                at += u64::from(size);
            }
        }
        Ok(true)
    }

    /// A group that does not read back is a power cut's doing, unless one behind it was written when it was durable.
    fn nothing_follows(&self, at: Position) -> Result<(), Fault> {
        let mut from = at.offset.saturating_add(1);
        while from < self.size {
            let window = self.octets(from, (self.size - from).min(WINDOW as u64))?;
            for found in memchr::memmem::find_iter(&window, b"WPGR") {
                let octets =
                    self.octets(from + found as u64, (GROUP_HEADER as u64).min(self.size - from - found as u64))?;
                let later = GroupHeader::parse(&octets).filter(|header| header.synced > at.group);
                if let Some(later) = later
                    && self.group(Position { offset: from + found as u64, group: later.number, ..at })?.is_some()
                {
                    return Err(damaged(
                        self.header.segment,
                        &format!("group {} does not read back, and group {} behind it does", at.group, later.number),
                    ));
                }
            }
            if window.len() < WINDOW {
                break;
            }
            from += (WINDOW - GROUP_HEADER) as u64;
        }
        Ok(())
    }

    fn octets(&self, at: u64, size: u64) -> Result<Vec<u8>, Fault> {
        if size > self.size.saturating_sub(at) {
            return Err(damaged(self.header.segment, "it ends too early"));
        }
        let mut octets = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.file.read(at, &mut octets).map_err(Fault::io)?;
        Ok(octets)
    }
}
