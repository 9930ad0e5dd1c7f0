//! The tables of the queue's file and the form of their records.
//!
//! | table | key | value |
//! |---|---|---|
//! | messages | mid | where the content lies, version octet, envelope |
//! | legs | mid, number | version octet, leg |
//! | due | lane, due (ms), mid, number | nothing: an index of the waiting legs; held ones have no row |
//! | bodies | segment, offset | mid, octets: which parts of the journal are still wanted |
//! | counters | name | version octet, counter; or what others keep under the name |
//! | journal | nothing | segment, offset, group: what the tables have of the journal ends here |
//! | marks | name | the mark of whoever follows the journal, where it told one |
//! | tally | route, state, span of acceptance | how many legs |
//! | meta | name | number: the schema's version; octets of all content; up to which group the tally was kept |
//!
//! Records are postcard behind a version octet, so that a later release reads what this one wrote.

use redb::TableDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Fault;
use super::{Lane, Leg, Orders, Tried};
use crate::mail::Timestamp;

pub(super) type LegKey = (u128, u32);
pub(super) type DueKey = (&'static [u8], i64, u128, u32);

pub(super) type BodyKey = (u32, u64);

pub(super) const MESSAGES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("messages");
pub(super) const LEGS: TableDefinition<'_, LegKey, &[u8]> = TableDefinition::new("legs");
pub(super) const DUE: TableDefinition<'_, DueKey, ()> = TableDefinition::new("due");
pub(super) const BODIES: TableDefinition<'_, BodyKey, (u128, u32)> = TableDefinition::new("bodies");
pub(super) const JOURNAL: TableDefinition<'_, (), (u32, u64, u64)> = TableDefinition::new("journal");
pub(super) const COUNTERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("counters");
pub(super) const MARKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("marks");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The key of the one follower in `marks`.
pub(super) const FOLLOWER_KEY: &str = "follower";
/// The key of the schema's version in `meta`.
pub(super) const SCHEMA_KEY: &str = "schema";
/// The key of the octets of all content in `meta`.
pub(super) const SIZE_KEY: &str = "size";
/// Raised when an older release could not read the file any more.
pub(super) const SCHEMA: u64 = 2;

const RECORD: u8 = 1;
/// A leg with something behind it: what a person ordered, and the last attempt.
const LEG_AND_MORE: u8 = 2;

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut record = Vec::with_capacity(256);
    record.push(RECORD);
    #[expect(clippy::expect_used, reason = "the model's types have no form that postcard refuses, and a Vec takes all")]
    postcard::to_extend(value, record).expect("the model can be written")
}

pub(super) fn decode<T: DeserializeOwned>(what: &str, record: &[u8]) -> Result<T, Fault> {
    match record.split_first() {
        Some((&RECORD, rest)) => {
            postcard::from_bytes(rest).map_err(|error| Fault::Damaged(format!("{what} is damaged: {error}")))
        }
        Some((version, _)) => Err(Fault::Damaged(format!("{what} has the unknown form {version}"))),
        None => Err(Fault::Damaged(format!("{what} is empty"))),
    }
}

/// A leg's record. Most legs have neither orders nor an attempt behind them, and no room is taken for that.
pub(super) fn leg_record(leg: &Leg) -> Vec<u8> {
    let record = encode(leg);
    if leg.orders.is_none() && leg.tried.is_none() {
        return record;
    }
    let mut record = record;
    record[0] = LEG_AND_MORE;
    #[expect(clippy::expect_used, reason = "the model's types have no form that postcard refuses, and a Vec takes all")]
    postcard::to_extend(&(&leg.orders, &leg.tried), record).expect("the model can be written")
}

pub(super) fn leg_of(record: &[u8]) -> Result<Leg, Fault> {
    let Some((&LEG_AND_MORE, rest)) = record.split_first() else { return decode("a leg", record) };
    let damaged = |error| Fault::Damaged(format!("a leg is damaged: {error}"));
    let (leg, rest) = postcard::take_from_bytes::<Leg>(rest).map_err(damaged)?;
    let (orders, tried): (Orders, Option<Tried>) = postcard::from_bytes(rest).map_err(damaged)?;
    Ok(Leg { orders, tried, ..leg })
}

/// Where a message's content lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the journal.
    Segment { segment: u32, offset: u64, size: u32, crc: u32 },
    /// In a file of its own, named after the mid.
    File,
}

const PLACE: usize = 21;

impl Place {
    /// A message's row: the place, then the envelope's record.
    pub(super) fn with(self, envelope: &[u8]) -> Vec<u8> {
        let mut row = Vec::with_capacity(PLACE + envelope.len());
        let (kind, segment, offset, size, crc) = match self {
            Self::Segment { segment, offset, size, crc } => (1, segment, offset, size, crc),
            Self::File => (2, 0, 0, 0, 0),
        };
        row.push(kind);
        row.extend_from_slice(&segment.to_le_bytes());
        row.extend_from_slice(&offset.to_le_bytes());
        row.extend_from_slice(&size.to_le_bytes());
        row.extend_from_slice(&crc.to_le_bytes());
        row.extend_from_slice(envelope);
        row
    }

    /// The place of a message's row, and the envelope's record.
    pub(super) fn split(row: &[u8]) -> Result<(Self, &[u8]), Fault> {
        let damaged = || Fault::Damaged("where a message's content lies is damaged".to_owned());
        let (place, envelope) = row.split_at_checked(PLACE).ok_or_else(damaged)?;
        let number = |from: usize, to: usize| {
            place[from..to].iter().rev().fold(0, |number: u64, octet| number << 8 | u64::from(*octet))
        };
        let short = |from: usize| u32::try_from(number(from, from + 4)).map_err(|_| damaged());
        let place = match place[0] {
            1 => Self::Segment { segment: short(1)?, offset: number(5, 13), size: short(13)?, crc: short(17)? },
            2 => Self::File,
            _ => return Err(damaged()),
        };
        Ok((place, envelope))
    }
}

/// A lane as it stands in the due index. Names carry their length, so no lane is the beginning of another.
pub(super) fn lane_key(lane: &Lane) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "two strings always have a form, and a Vec takes all")]
    postcard::to_stdvec(lane).expect("a lane can be written")
}

pub(super) fn lane_of(key: &[u8]) -> Result<Lane, Fault> {
    postcard::from_bytes(key).map_err(|error| Fault::Damaged(format!("a lane of the due index is damaged: {error}")))
}

pub(super) fn ms(at: Timestamp) -> i64 {
    at.as_millisecond()
}

pub(super) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}
