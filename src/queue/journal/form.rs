//! The octets of the journal.
//!
//! ```text
//! segment:  "waypost\0" | form u32 | segment u32 | first group u64 | salt u32 | crc u32         then groups
//! group:    "WPGR" | crc u32 | number u64 | synced u64 | heads u32 | entries u32 | bodies u64    then heads, then bodies
//! head:     size u32 | postcard of the entry | its note                             one for each entry, in order
//! ```
//!
//! Numbers are little-endian. A group's checksum covers the segment's salt (no body can hold a group that seems genuine),
//! its header behind the checksum, and all heads; each body has its own in its entry's head. Groups are numbered without
//! gaps through all segments; `synced` is the first one that was not yet durable when this one was written.

use serde::{Deserialize, Serialize};

use crate::queue::job::{Entry, EntryRef};

pub(super) const SEGMENT_HEADER: usize = 32;
pub(super) const GROUP_HEADER: usize = 40;
const SEGMENT_MAGIC: [u8; 8] = *b"waypost\0";
const GROUP_MAGIC: [u8; 4] = *b"WPGR";
const FORM: u32 = 1;

/// Where the next group goes: what lies before it has been applied. Whoever follows the journal keeps it, as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub(in crate::queue) segment: u32,
    pub(in crate::queue) offset: u64,
    /// The group's number.
    pub(in crate::queue) group: u64,
}

impl Position {
    pub(in crate::queue) const START: Self = Self { segment: 1, offset: 0, group: 1 };

    pub fn from_parts(segment: u32, offset: u64, group: u64) -> Self {
        Self { segment, offset, group }
    }

    /// Segment, offset and group: for whoever keeps it.
    pub fn parts(self) -> (u32, u64, u64) {
        (self.segment, self.offset, self.group)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) segment: u32,
    pub(super) first: u64,
    pub(super) salt: u32,
}

impl SegmentHeader {
    pub(super) fn octets(self) -> [u8; SEGMENT_HEADER] {
        let mut octets = [0; SEGMENT_HEADER];
        octets[..8].copy_from_slice(&SEGMENT_MAGIC);
        octets[8..12].copy_from_slice(&FORM.to_le_bytes());
        octets[12..16].copy_from_slice(&self.segment.to_le_bytes());
        octets[16..24].copy_from_slice(&self.first.to_le_bytes());
        octets[24..28].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&octets[..28]);
        octets[28..].copy_from_slice(&crc.to_le_bytes());
        octets
    }

    /// `None`: it was not written whole, or is something else.
    pub(super) fn parse(octets: &[u8; SEGMENT_HEADER]) -> Option<Self> {
        let fits = octets[..8] == SEGMENT_MAGIC && u32_at(octets, 8) == FORM;
        (fits && u32_at(octets, 28) == crc32fast::hash(&octets[..28])).then(|| Self {
            segment: u32_at(octets, 12),
            first: u64_at(octets, 16),
            salt: u32_at(octets, 24),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    crc: u32,
    pub(super) number: u64,
    pub(super) synced: u64,
    pub(super) heads: u32,
    pub(super) entries: u32,
    pub(super) bodies: u64,
}

impl GroupHeader {
    /// `None` where the heads are more than a group can have.
    pub(super) fn of(salt: u32, number: u64, synced: u64, heads: &[&[u8]], bodies: u64) -> Option<Self> {
        let size = heads.iter().map(|head| head.len()).sum::<usize>();
        let mut header = Self {
            crc: 0,
            number,
            synced,
            heads: u32::try_from(size).ok()?,
            entries: u32::try_from(heads.len()).ok()?,
            bodies,
        };
        header.crc = header.checksum(salt, heads.iter().copied());
        Some(header)
    }

    pub(super) fn octets(self) -> [u8; GROUP_HEADER] {
        let mut octets = [0; GROUP_HEADER];
        octets[..4].copy_from_slice(&GROUP_MAGIC);
        octets[4..8].copy_from_slice(&self.crc.to_le_bytes());
        octets[8..16].copy_from_slice(&self.number.to_le_bytes());
        octets[16..24].copy_from_slice(&self.synced.to_le_bytes());
        octets[24..28].copy_from_slice(&self.heads.to_le_bytes());
        octets[28..32].copy_from_slice(&self.entries.to_le_bytes());
        octets[32..].copy_from_slice(&self.bodies.to_le_bytes());
        octets
    }

    pub(super) fn parse(octets: &[u8]) -> Option<Self> {
        let octets: &[u8; GROUP_HEADER] = octets.get(..GROUP_HEADER)?.try_into().ok()?;
        (octets[..4] == GROUP_MAGIC).then(|| Self {
            crc: u32_at(octets, 4),
            number: u64_at(octets, 8),
            synced: u64_at(octets, 16),
            heads: u32_at(octets, 24),
            entries: u32_at(octets, 28),
            bodies: u64_at(octets, 32),
        })
    }

    pub(super) fn holds(&self, salt: u32, heads: &[u8]) -> bool {
        self.crc == self.checksum(salt, [heads].into_iter())
    }

    fn checksum<'a>(&self, salt: u32, heads: impl Iterator<Item = &'a [u8]>) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&salt.to_le_bytes());
        hasher.update(&self.octets()[8..]);
        heads.for_each(|head| hasher.update(head));
        hasher.finalize()
    }

    /// Octets of the whole group.
    pub(super) fn size(&self) -> u64 {
        GROUP_HEADER as u64 + u64::from(self.heads) + self.bodies
    }
}

/// An entry's head. What is behind the entry is its note: octets of whoever follows the journal.
pub(in crate::queue) fn head(entry: EntryRef<'_>, note: &[u8]) -> Vec<u8> {
    let mut head = Vec::with_capacity(768 + note.len());
    head.extend_from_slice(&[0; 4]);
    #[expect(clippy::expect_used, reason = "an entry has no form that postcard refuses, and a Vec takes all")]
    let mut head = postcard::to_extend(&entry, head).expect("an entry can be written");
    head.extend_from_slice(note);
    let size = u32::try_from(head.len() - 4).unwrap_or(u32::MAX);
    head[..4].copy_from_slice(&size.to_le_bytes());
    head
}

/// The entries of a group's heads, and those of their notes that are not empty; `None` where they do not read back.
pub(super) fn entries(mut heads: &[u8], count: u32) -> Option<(Vec<Entry>, Vec<Vec<u8>>)> {
    let (mut entries, mut notes) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (size, rest) = heads.split_at_checked(4)?;
        let size = usize::try_from(u32::from_le_bytes(size.try_into().ok()?)).ok()?;
        let (head, rest) = rest.split_at_checked(size)?;
        let (entry, note) = postcard::take_from_bytes(head).ok()?;
        entries.push(entry);
        if !note.is_empty() {
            notes.push(note.to_vec());
        }
        heads = rest;
    }
    heads.is_empty().then_some((entries, notes))
}

fn u32_at(octets: &[u8], at: usize) -> u32 {
    octets[at..at + 4].iter().rev().fold(0, |number, octet| number << 8 | u32::from(*octet))
}

fn u64_at(octets: &[u8], at: usize) -> u64 {
    octets[at..at + 8].iter().rev().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_any_bit_turned_is_none() {
        let good = SegmentHeader { segment: 7, first: 99, salt: 3 }.octets();
        assert_eq!(SegmentHeader::parse(&good), Some(SegmentHeader { segment: 7, first: 99, salt: 3 }));
        for bit in 0..8 * SEGMENT_HEADER {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::parse(&bad), None, "bit {bit}");
        }
        let heads = [&b"one"[..], b"two"];
        let good = GroupHeader::of(3, 5, 4, &heads, 1000).unwrap();
        assert_eq!(GroupHeader::parse(&good.octets()), Some(good));
        assert!(good.holds(3, b"onetwo") && !good.holds(3, b"onetwp") && !good.holds(3, b"onetw"));
        assert!(!good.holds(4, b"onetwo"), "another segment's");
        assert_eq!(good.size(), 40 + 6 + 1000);
        for bit in 0..8 * GROUP_HEADER {
            let mut bad = good.octets();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!GroupHeader::parse(&bad).is_some_and(|bad| bad.holds(3, b"onetwo")), "bit {bit}");
        }
    }
}
