//! Whether the trail is whole: every record in its place in the chain, none missing, none altered.

use redb::ReadableTable;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Trail;
use super::block::{Block, Hash, Span, Tail, link};
use super::error::{AuditError, Fault};
use super::keeper::hash_at;
use super::record::{self, OfTrail, What};
use super::store::{BLOCKS, FILTERS, Head, head_of, size_of};

/// What `waypost trace --verify --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verified {
    pub whole: bool,
    /// Records that were looked at.
    pub records: u64,
    /// The numbers of the first and the last one.
    pub first: u64,
    pub last: u64,
    /// Of the first and the last one.
    pub from: Option<String>,
    pub to: Option<String>,
    /// `RECORDS:HASH`.
    pub head: String,
    pub octets: u64,
    pub flaws: Vec<Flaw>,
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flaw {
    /// The numbers of the records that it concerns: it is one of them, or all.
    pub first: u64,
    pub last: u64,
    pub what: String,
}

struct Looking {
    flaws: Vec<Flaw>,
    records: u64,
    /// The number of the record to come, and the hash before it.
    next: u64,
    hash: Hash,
    /// Before the first record that was kept.
    before: Hash,
    latest: i64,
    earliest_seen: Option<i64>,
    /// Up to where records were removed for their age, as the trail says.
    trimmed: Option<(u64, Hash)>,
}

impl Trail {
    /// Reads all of it. `anchors`: heads that were told elsewhere, in the queue's index or in the log.
    pub fn verify(&self, anchors: &[Head]) -> Result<Verified, AuditError> {
        self.slot
            .read(|txn| {
                let (blocks, filters) = (txn.open_table(BLOCKS)?, txn.open_table(FILTERS)?);
                let first = blocks.first()?.map_or(1, |(first, _)| first.value());
                let mut looking = Looking {
                    flaws: Vec::new(),
                    records: 0,
                    next: first,
                    hash: [0; 32],
                    before: [0; 32],
                    latest: 0,
                    earliest_seen: None,
                    trimmed: None,
                };
                for row in blocks.iter()? {
                    let (number, block) = row?;
                    let filter = filters.get(number.value())?;
                    let filter = filter.as_ref().map_or(&[][..], |filter| filter.value());
                    looking.block(number.value(), block.value(), filter, first);
                }
                let head = head_of(txn)?;
                looking.end(head, first);
                for anchor in anchors {
                    looking.anchor(anchor, first, head, |number| hash_at(txn, number))?;
                }
                Ok(looking.verified(first, head, size_of(txn)?))
            })
            .map_err(|fault| fault.reading(&self.path))
    }
}

impl Looking {
    fn flaw(&mut self, first: u64, last: u64, what: impl Into<String>) {
        self.flaws.push(Flaw { first, last, what: what.into() });
    }

    fn block(&mut self, first: u64, block: &[u8], filter: &[u8], first_of_all: u64) {
        if first > self.next {
            self.flaw(self.next, first - 1, "these records are missing");
        } else if first < self.next {
            self.flaw(first, self.next - 1, "these records are there twice");
        }
        let Some((before, after)) = Block::hashes(block) else {
            return self.flaw(first, first, "a block does not read back");
        };
        // What comes before the first one that was kept is looked at in the end.
        if first == self.next && first != first_of_all && before != self.hash {
            self.flaw(first, first, "this record does not follow the one before it: their hashes differ");
        }
        if first == first_of_all {
            self.before = before;
        }
        if first == first_of_all && first == 1 && before != [0; 32] {
            self.flaw(first, first, "the first record does not begin the chain");
        }
        self.hash = after;
        let Some(unpacked) = Block::unpack(block) else {
            let count = block.get(1..5).and_then(|count| count.try_into().ok()).map_or(1, u32::from_le_bytes);
            self.next = first.saturating_add(u64::from(count).max(1));
            let last = self.next - 1;
            return self.flaw(first, last, "a block of these records was altered: it cannot be unpacked");
        };
        let mut tail = Tail::new(first, before, self.latest, 0);
        let (mut hash, mut count, mut unread) = (before, 0_u64, false);
        for octets in record::each(&unpacked.octets) {
            let Some(octets) = octets else {
                unread = true;
                break;
            };
            hash = link(&hash, octets);
            count += 1;
            if let Some(record) = record::read(octets) {
                tail.push(octets, &record);
                if let What::Trail(OfTrail::Trimmed { through, hash }) = &record.what {
                    self.trimmed = Some((*through, *hash));
                }
                self.earliest_seen.get_or_insert(record.at);
            } else {
                unread = true;
            }
        }
        let last = first + u64::from(unpacked.count).max(count).max(1) - 1;
        if hash != after || count != u64::from(unpacked.count) {
            self.flaw(first, last, "one of these records was altered: their hashes do not come to what the block says");
        } else if unread {
            self.flaw(first, last, "one of these records does not read back");
        } else if tail.filter() != filter && !same_filter(&tail.filter(), filter) {
            self.flaw(first, last, "what the trail is searched by was altered for these records");
        }
        self.latest = tail.latest;
        self.records += count;
        self.next = last + 1;
    }

    fn end(&mut self, head: Head, first: u64) {
        if head.records + 1 > self.next {
            self.flaw(self.next, head.records, "these records are missing at the end");
        } else if head.records + 1 < self.next || (self.flaws.is_empty() && self.records > 0 && head.hash != self.hash)
        {
            self.flaw(head.records, self.next - 1, "the trail does not end where its head says");
        }
        match self.trimmed {
            Some((through, hash)) if through + 1 == first => {
                if hash != self.before {
                    self.flaw(
                        first,
                        first,
                        "this record does not follow the one that was removed before it: their hashes differ",
                    );
                }
            }
            Some((through, _)) if through + 1 < first => {
                self.flaw(
                    through + 1,
                    first - 1,
                    "these records are missing at the beginning: no trimming removed them",
                );
            }
            None if first > 1 && self.records > 0 => {
                self.flaw(1, first - 1, "these records are missing at the beginning: no trimming removed them");
            }
            Some(_) | None => {}
        }
    }

    fn anchor(
        &mut self,
        anchor: &Head,
        first: u64,
        head: Head,
        hash_at: impl Fn(u64) -> Result<Option<Hash>, Fault>,
    ) -> Result<(), Fault> {
        if anchor.records + 1 < first {
            return Ok(());
        }
        if anchor.records > head.records {
            self.flaw(head.records + 1, anchor.records, "these records were there once and were cut off the end");
            return Ok(());
        }
        let told_already = self.flaws.iter().any(|flaw| (flaw.first..=flaw.last).contains(&anchor.records));
        match hash_at(anchor.records)? {
            Some(hash) if hash == anchor.hash => {}
            None if told_already => {}
            Some(_) | None => {
                self.flaw(
                    first,
                    anchor.records,
                    "one of these records is not what it was when its hash was told elsewhere",
                );
            }
        }
        Ok(())
    }

    fn verified(self, first: u64, head: Head, octets: u64) -> Verified {
        let time = |ms: i64| crate::mail::Timestamp::from_millisecond(ms).ok().map(|at| format!("{at:.3}"));
        let mut flaws = self.flaws;
        flaws.sort_by_key(|flaw| flaw.first);
        Verified {
            whole: flaws.is_empty(),
            records: self.records,
            first,
            last: self.next.saturating_sub(1),
            from: self.earliest_seen.and_then(time),
            to: self.earliest_seen.and(time(self.latest)),
            head: head.to_string(),
            octets,
            flaws,
        }
    }
}

/// The keys are set in any order, and come to the same bits; the times must agree.
fn same_filter(made: &[u8], there: &[u8]) -> bool {
    match (Span::read(made), Span::read(there)) {
        (Some(made), Some(there)) => {
            made.count == there.count
                && made.bits == there.bits
                && made.earliest == there.earliest
                // What came before the first block that was kept is not known here.
                && made.latest <= there.latest
        }
        _ => false,
    }
}

/// The form for people.
impl std::fmt::Display for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let span = match (&self.from, &self.to) {
            (Some(from), Some(to)) => format!(", from {from} to {to}"),
            _ => String::new(),
        };
        writeln!(f, "{} records, {} to {}{span}, {} octets", self.records, self.first, self.last, self.octets)?;
        writeln!(f, "head {}", self.head)?;
        if self.whole {
            return writeln!(f, "the trail is whole");
        }
        for flaw in &self.flaws {
            let records = if flaw.first == flaw.last {
                format!("record {}", flaw.first)
            } else {
                format!("records {} to {}", flaw.first, flaw.last)
            };
            writeln!(f, "{records}: {}", flaw.what)?;
        }
        writeln!(f, "the trail is NOT whole: {} flaw(s)", self.flaws.len())
    }
}
