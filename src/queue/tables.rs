//! The tables of the queue's file and the form of their records.
//!
//! | table | key | value |
//! |---|---|---|
//! | messages | mid | version octet, envelope |
//! | legs | mid, number | version octet, leg |
//! | due | lane, due (ms), mid, number | nothing: an index of the waiting legs; held ones have no row |
//! | bodies | mid, chunk | octets: chunks of `CHUNK`, the last one shorter |
//! | spooling | mid | nothing: bodies that no message owns yet |
//! | counters | name | version octet, counter |
//! | meta | name | number: the schema's version |
//!
//! Records are postcard behind a version octet, so that a later release reads what this one wrote.

use redb::TableDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Lane;
use super::error::Fault;
use crate::mail::Timestamp;

pub(super) type LegKey = (u128, u32);
pub(super) type DueKey = (&'static [u8], i64, u128, u32);

pub(super) const MESSAGES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("messages");
pub(super) const LEGS: TableDefinition<'_, LegKey, &[u8]> = TableDefinition::new("legs");
pub(super) const DUE: TableDefinition<'_, DueKey, ()> = TableDefinition::new("due");
pub(super) const BODIES: TableDefinition<'_, LegKey, &[u8]> = TableDefinition::new("bodies");
pub(super) const SPOOLING: TableDefinition<'_, u128, ()> = TableDefinition::new("spooling");
pub(super) const COUNTERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("counters");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// The key of the schema's version in `meta`.
pub(super) const SCHEMA_KEY: &str = "schema";
/// Raised when an older release could not read the file any more.
pub(super) const SCHEMA: u64 = 1;

/// Octets of a full chunk: redb rounds a value with its overhead up to a power of two, so a whole 64 KiB would lie in
/// 128 KiB.
pub(super) const CHUNK: usize = 65_536 - 256;

const RECORD: u8 = 1;

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
