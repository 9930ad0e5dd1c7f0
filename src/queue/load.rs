//! How much lies in the queue, against its marks: acceptance stops before old mail suffers. Two counters that callers
//! read, and no lock.
//!
//! What the index has is counted there, transaction by transaction, so that it is right after any crash; what was taken
//! and is not in the index yet is counted by a token that goes along with it, until the index has it or nobody wants it any
//! more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};

use super::error::Fault;
use super::tables::{MESSAGES, META, Place, SIZE_KEY, decode};
use crate::config::Size;
use crate::mail::Envelope;

/// Messages, and octets of their content.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) messages: u64,
    pub(super) octets: u64,
}

#[derive(Debug, Default)]
struct Counters {
    messages: AtomicU64,
    octets: AtomicU64,
}

impl Counters {
    fn get(&self) -> Amount {
        Amount { messages: self.messages.load(Ordering::Relaxed), octets: self.octets.load(Ordering::Relaxed) }
    }
}

#[derive(Debug)]
pub(super) struct Load {
    max_messages: AtomicU64,
    max_octets: AtomicU64,
    indexed: Counters,
    /// Taken, and not in the index yet.
    coming: Arc<Counters>,
}

/// One message on its way into the index.
#[derive(Debug)]
pub(super) struct Coming {
    counters: Arc<Counters>,
    octets: u64,
}

impl Load {
    pub(super) fn new(max_messages: u64, max_size: Option<Size>) -> Self {
        Self {
            max_messages: AtomicU64::new(max_messages),
            max_octets: AtomicU64::new(octets(max_size)),
            indexed: Counters::default(),
            coming: Arc::default(),
        }
    }

    /// Other marks from now on.
    pub(super) fn set(&self, max_messages: u64, max_size: Option<Size>) {
        self.max_messages.store(max_messages, Ordering::Relaxed);
        self.max_octets.store(octets(max_size), Ordering::Relaxed);
    }

    /// What the index has now.
    pub(super) fn indexed(&self, amount: Amount) {
        self.indexed.messages.store(amount.messages, Ordering::Relaxed);
        self.indexed.octets.store(amount.octets, Ordering::Relaxed);
    }

    pub(super) fn messages(&self) -> u64 {
        self.indexed.get().messages.saturating_add(self.coming.get().messages)
    }

    pub(super) fn octets(&self) -> u64 {
        self.indexed.get().octets.saturating_add(self.coming.get().octets)
    }

    /// Whether one more message may come, of so many octets; the error says which mark it would pass.
    pub(super) fn room_for(&self, octets: u64) -> Result<(), String> {
        let (indexed, coming) = (self.indexed.get(), self.coming.get());
        let messages = indexed.messages.saturating_add(coming.messages);
        let max_messages = self.max_messages.load(Ordering::Relaxed);
        if messages >= max_messages {
            return Err(format!("{messages} messages, `max_messages` is {max_messages}"));
        }
        let held = indexed.octets.saturating_add(coming.octets);
        let max_octets = self.max_octets.load(Ordering::Relaxed);
        if held.saturating_add(octets) > max_octets {
            return Err(format!("{held} octets, `max_size` is {}", Size(max_octets)));
        }
        Ok(())
    }

    pub(super) fn take(&self, octets: u64) -> Result<Coming, String> {
        self.room_for(octets)?;
        self.coming.messages.fetch_add(1, Ordering::Relaxed);
        self.coming.octets.fetch_add(octets, Ordering::Relaxed);
        Ok(Coming { counters: self.coming.clone(), octets })
    }
}

fn octets(max_size: Option<Size>) -> u64 {
    max_size.map_or(u64::MAX, |size| size.0)
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.counters.messages.fetch_sub(1, Ordering::Relaxed);
        self.counters.octets.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

/// What an index has. One that does not say how many octets is gone through once.
pub(super) fn amount(database: &Database) -> Result<Amount, Fault> {
    let txn = database.begin_read()?;
    let messages = txn.open_table(MESSAGES)?;
    let count = messages.len()?;
    if let Some(octets) = txn.open_table(META)?.get(SIZE_KEY)? {
        return Ok(Amount { messages: count, octets: octets.value() });
    }
    let mut octets = 0;
    for row in messages.iter()? {
        octets += size(row?.1.value());
    }
    Ok(Amount { messages: count, octets })
}

/// Octets of a message's content, by its row; one that cannot be read is told elsewhere.
pub(super) fn size(row: &[u8]) -> u64 {
    match Place::split(row) {
        Ok((Place::Segment { size, .. }, _)) => u64::from(size),
        Ok((Place::File, record)) => decode::<Envelope>("an envelope", record).map_or(0, |envelope| envelope.size),
        Err(_) => 0,
    }
}
