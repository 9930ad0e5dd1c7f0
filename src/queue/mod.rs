//! The durable queue: accept, claim, settle, list. redb behind one narrow interface.
//!
//! Promises:
//! - `accept` returns Ok only after the message is on disk (RFC 5321, 4.2.5 and 6.1);
//! - a message is gone only with the commit that settles its last recipient;
//! - one writer owns the write transaction and commits whatever gathered while the previous commit was being synced;
//! - a claim is a lease in memory: after a crash all that was not settled is due again.

mod content;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::config::Size;
use crate::mail::{Diagnosis, Domain, Envelope, Mid, ProviderName, RouteName, Timestamp};

pub use content::Content;

/// Where recipients wait: those of one lane go the same way, so what holds back one holds back all of it, and
/// nothing else. On disk the due index is ordered by lane.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lane {
    pub route: RouteName,
    /// The recipients' domain, where the route's chain has a provider that delivers by destination (`mx`).
    pub destination: Option<Domain>,
}

/// Recipients of one message that share lane, due time and history. The unit of claiming and settling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    pub lane: Lane,
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub due: Timestamp,
    pub recipients: Vec<LegRecipient>,
    /// Rounds through the chain that ended in a deferral: where the retry schedule stands.
    pub attempts: u32,
    /// Providers that are passed over for this leg.
    pub passed: Vec<Passed>,
    pub state: LegState,
    /// The sender was told of the delay.
    pub warned: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegRecipient {
    /// Index in the envelope's recipients.
    pub index: u32,
    /// What was last said about it: for DSNs and explanations.
    pub last: Option<Diagnosis>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    pub provider: ProviderName,
    pub why: PassedWhy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PassedWhy {
    /// It cannot carry this message: for good.
    Unsupported,
    /// It was out when tried: until the next round.
    Tried,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LegState {
    Waiting,
    /// Not due until a person releases it.
    Held {
        reason: String,
    },
}

/// A message to be accepted. Its legs cover every recipient that is still to be served.
#[derive(Debug)]
pub struct NewMessage {
    pub mid: Mid,
    pub envelope: Envelope,
    pub legs: Vec<Leg>,
    pub content: NewContent,
}

/// Content on its way in.
#[derive(Debug)]
pub enum NewContent {
    /// All of it, in pieces.
    Memory(Vec<Bytes>),
    /// Written ahead of the acceptance by a `Spool`.
    Spooled(Spooled),
}

/// A leg under lease.
#[derive(Debug, Clone)]
pub struct Claim {
    pub mid: Mid,
    /// The leg's number within its message.
    pub number: u32,
    pub leg: Leg,
    pub envelope: Arc<Envelope>,
}

/// What an attempt came to, as the queue writes it: one commit for all of it.
#[derive(Debug)]
pub struct Settled {
    pub mid: Mid,
    pub number: u32,
    /// Recipients (envelope indices) that leave this leg.
    pub recipients: Vec<u32>,
    /// Where those go that are not done: retries, moves, holds. A message without legs is deleted, content and all.
    pub legs: Vec<Leg>,
    /// DSNs that this settlement calls for.
    pub notices: Vec<NewMessage>,
    /// Quota counters, absolute.
    pub counters: Vec<(String, Counter)>,
}

/// A count over a span, kept across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub since: Timestamp,
    pub count: u64,
}

/// A lane that has waiting legs, and when its first one is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneDue {
    pub lane: Lane,
    pub due: Timestamp,
}

#[derive(Debug, Clone)]
pub struct QueueOptions {
    pub path: PathBuf,
    /// Below this much free space `accept` answers `QueueError::Full`, so that settling still has room.
    pub min_free: Size,
    /// redb's page cache, octets.
    pub cache: usize,
}

/// Why the queue did not do it. Nothing was acknowledged that is not on disk.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    #[error("the disk of the queue {path} is full ({detail}): free some space, the relay goes on by itself")]
    Full { path: PathBuf, detail: String },
    #[error("the queue {path} cannot be written: {detail}")]
    Write { path: PathBuf, detail: String },
    #[error("the queue {path} cannot be read: {detail}")]
    Read { path: PathBuf, detail: String },
    #[error("the queue {path} cannot be opened: {detail}")]
    Open { path: PathBuf, detail: String },
    #[error("the queue has been closed")]
    Closed,
}

/// A handle; clones share the queue.
#[derive(Clone)]
pub struct Queue {/* the queue helper fills this in */}

/// Content that was written ahead under its mid and waits for `accept`.
#[derive(Debug)]
pub struct Spooled {/* the queue helper fills this in */}

/// Writes large content ahead of its acceptance, in chunks, with back-pressure. Dropped unfinished, or after a crash,
/// what it wrote is removed.
pub struct Spool {/* the queue helper fills this in */}

impl Spool {
    pub async fn write(&mut self, octets: Bytes) -> Result<(), QueueError> {
        let _ = octets;
        todo!()
    }
    pub async fn finish(self) -> Result<Spooled, QueueError> {
        todo!()
    }
}

impl Queue {
    /// Opens or creates the file and starts the writer. Blocking; called before the runtime serves anyone.
    pub fn open(options: QueueOptions) -> Result<Self, QueueError> {
        let _ = options;
        todo!()
    }
    /// Returns once the message is on disk. Dropped after the send, the commit still happens: a duplicate is possible, a
    /// loss is not.
    pub async fn accept(&self, message: NewMessage) -> Result<(), QueueError> {
        let _ = message;
        todo!()
    }
    pub fn spool(&self, mid: Mid) -> Spool {
        let _ = mid;
        todo!()
    }
    /// All lanes with waiting legs: what a start resumes. Reads the index alone.
    pub async fn lanes(&self) -> Result<Vec<LaneDue>, QueueError> {
        todo!()
    }
    /// Waits until legs came or came back since the last call, and gives their lanes with the earliest due time of each.
    pub async fn nudged(&self) -> Vec<LaneDue> {
        todo!()
    }
    /// Leases up to `most` legs of a lane that are due at `now`, oldest due first, those under lease left out.
    pub async fn claim(&self, lane: &Lane, now: Timestamp, most: usize) -> Result<Claimed, QueueError> {
        let _ = (lane, now, most);
        todo!()
    }
    /// Leases one leg, whatever its due time or state; `None` where it is gone or under lease.
    pub async fn claim_one(&self, mid: Mid, number: u32) -> Result<Option<Claim>, QueueError> {
        let _ = (mid, number);
        todo!()
    }
    /// Ends a lease; the leg stays as it was.
    pub fn release(&self, mid: Mid, number: u32) {
        let _ = (mid, number);
        todo!()
    }
    /// Returns once the settlement is on disk. The lease ends when the leg has no recipient left. While the disk is full
    /// it waits and tries again: an outcome is never dropped.
    pub async fn settle(&self, settled: Settled) -> Result<(), QueueError> {
        let _ = settled;
        todo!()
    }
    /// Legs not under lease of messages accepted before `before`, in the order of acceptance, from behind `after`: what
    /// the sweep for expiry and delay warnings walks through in windows.
    pub async fn walk(
        &self,
        after: Option<(Mid, u32)>,
        before: Timestamp,
        most: usize,
    ) -> Result<Vec<Claim>, QueueError> {
        let _ = (after, before, most);
        todo!()
    }
    pub async fn counters(&self) -> Result<HashMap<String, Counter>, QueueError> {
        todo!()
    }
    pub fn content(&self, mid: Mid, envelope: &Envelope) -> Content {
        let _ = (mid, envelope);
        todo!()
    }
    /// Commits what is under way and ends the writer.
    pub async fn close(&self) {
        todo!()
    }
}

/// What `claim` found.
#[derive(Debug)]
pub struct Claimed {
    pub claims: Vec<Claim>,
    /// When the lane's next leg that is not under lease falls due: at or before now where `most` cut the list; `None`
    /// where nothing waits.
    pub next_due: Option<Timestamp>,
}
