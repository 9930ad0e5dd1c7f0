//! Records in blocks, compressed, each block with the hashes between which it stands in the chain. Pure.
//!
//! ```text
//! block:   form 1 u8 | records u32 | octets u32 | hash before 32 | hash after 32 | LZ4 of the records, each behind its length
//! filter:  earliest i64 | latest so far i64 | records u32 | Bloom filter of the keys
//! ```
//!
//! The hash after a record is SHA-256 of the hash before it and its octets; before the first record of all it is zeros.

use std::collections::HashSet;

use aws_lc_rs::digest;

use super::filter;
use super::record::{self, Record};

pub type Hash = [u8; 32];

const FORM: u8 = 1;
const HEAD: usize = 1 + 4 + 4 + 32 + 32;
const FILTER_HEAD: usize = 8 + 8 + 4;
/// A block that claims more is damaged: a record is far below that, and a block not much above `FULL`.
const LARGEST: usize = 64 << 20;
/// So many octets, compressed, a block should have: with head and page it stays within the 32 KiB that redb gives it then.
const WANTED: usize = 29 << 10;
/// Bounds of a block before compression.
const SMALLEST: usize = 32 << 10;
const FULL: usize = 192 << 10;

/// What one record adds to the chain.
pub fn link(before: &Hash, record: &[u8]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(before);
    context.update(record);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The end of the trail, to which records are added.
#[derive(Debug, Clone)]
pub struct Tail {
    /// The number of its first record.
    pub first: u64,
    pub count: u32,
    pub before: Hash,
    pub after: Hash,
    octets: Vec<u8>,
    keys: HashSet<u64>,
    earliest: i64,
    /// Of all records so far: never falls.
    pub latest: i64,
    /// When it is full, by how well the last one was compressed.
    full: usize,
}

/// A block as the file has it.
pub struct Packed {
    pub first: u64,
    pub block: Vec<u8>,
    pub filter: Vec<u8>,
}

impl Tail {
    /// Behind record number `first - 1`.
    pub fn new(first: u64, before: Hash, latest: i64, full: usize) -> Self {
        let full = full.clamp(SMALLEST, FULL);
        let (octets, keys) = (Vec::with_capacity(full), HashSet::with_capacity(1024));
        Self { first, count: 0, before, after: before, octets, keys, earliest: i64::MAX, latest, full }
    }

    /// From a block that has room left; `None` where its records do not read back.
    pub fn reopen(first: u64, block: &Block, latest: i64) -> Option<Self> {
        let mut tail = Self::new(first, block.before, latest, SMALLEST);
        for octets in record::each(&block.octets) {
            tail.push(octets?, &record::read(octets?)?);
        }
        (tail.after == block.after && tail.count == block.count).then_some(tail)
    }

    pub fn push(&mut self, octets: &[u8], record: &Record<'_>) {
        self.after = link(&self.after, octets);
        // Notes of that size are beyond what the journal takes.
        self.octets.extend_from_slice(&u32::try_from(octets.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.octets.extend_from_slice(octets);
        self.count += 1;
        self.earliest = self.earliest.min(record.at);
        self.latest = self.latest.max(record.at);
        filter::keys(record, |key| {
            self.keys.insert(key);
        });
    }

    pub fn is_full(&self) -> bool {
        self.octets.len() >= self.full
    }

    /// The number of the record to come.
    pub fn next(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    pub fn pack(&self) -> Packed {
        let mut block = Vec::with_capacity(HEAD + self.octets.len() / 2);
        block.push(FORM);
        block.extend_from_slice(&self.count.to_le_bytes());
        block.extend_from_slice(&u32::try_from(self.octets.len()).unwrap_or(u32::MAX).to_le_bytes());
        block.extend_from_slice(&self.before);
        block.extend_from_slice(&self.after);
        block.extend_from_slice(&lz4_flex::block::compress(&self.octets));
        Packed { first: self.first, block, filter: self.filter() }
    }

    pub fn filter(&self) -> Vec<u8> {
        let mut filter = Vec::with_capacity(FILTER_HEAD + self.keys.len() * 3 / 2);
        filter.extend_from_slice(&self.earliest.to_le_bytes());
        filter.extend_from_slice(&self.latest.to_le_bytes());
        filter.extend_from_slice(&self.count.to_le_bytes());
        filter.extend_from_slice(&filter::build(self.keys.iter().copied()));
        filter
    }

    /// The next block's, behind this one as it was packed.
    pub fn follow(&self, packed: &Packed) -> Self {
        let full = self.octets.len().saturating_mul(WANTED) / packed.block.len().max(1);
        Self::new(self.next(), self.after, self.latest, full)
    }
}

/// A block, unpacked. Its chain was not looked at.
pub struct Block {
    pub count: u32,
    pub before: Hash,
    pub after: Hash,
    /// The records, each behind its length.
    pub octets: Vec<u8>,
}

impl Block {
    /// `None` where it does not read back.
    pub fn unpack(block: &[u8]) -> Option<Self> {
        let (head, packed) = block.split_at_checked(HEAD)?;
        let size = usize::try_from(u32::from_le_bytes(head[5..9].try_into().ok()?)).ok()?;
        if head[0] != FORM || size > LARGEST {
            return None;
        }
        let octets = lz4_flex::block::decompress(packed, size).ok().filter(|octets| octets.len() == size)?;
        let count = u32::from_le_bytes(head[1..5].try_into().ok()?);
        Some(Self { count, before: head[9..41].try_into().ok()?, after: head[41..73].try_into().ok()?, octets })
    }

    /// The hashes of a block that does not unpack, where they are there.
    pub fn hashes(block: &[u8]) -> Option<(Hash, Hash)> {
        Some((block.get(9..41)?.try_into().ok()?, block.get(41..73)?.try_into().ok()?))
    }
}

/// What stands in front of a filter's bits.
pub struct Span<'a> {
    pub earliest: i64,
    pub latest: i64,
    pub count: u32,
    pub bits: &'a [u8],
}

impl<'a> Span<'a> {
    /// `None` where it does not read back.
    pub fn read(filter: &'a [u8]) -> Option<Self> {
        let (head, bits) = filter.split_at_checked(FILTER_HEAD)?;
        Some(Self {
            earliest: i64::from_le_bytes(head[..8].try_into().ok()?),
            latest: i64::from_le_bytes(head[8..16].try_into().ok()?),
            count: u32::from_le_bytes(head[16..].try_into().ok()?),
            bits,
        })
    }
}
