//! What the queue keeps: lanes, legs, and what is done with them.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Spooled;
use crate::config::Size;
use crate::mail::{Diagnosis, Domain, Envelope, Mid, ProviderName, RouteName, Timestamp};

/// Where recipients wait: those of one lane go the same way, so what holds back one holds back all of it, and
/// nothing else. On disk the due index is ordered by lane.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    pub route: RouteName,
    /// The recipients' domain, where the route's chain has a provider that delivers by destination (`mx`).
    pub destination: Option<Domain>,
    /// The one provider that a person moved it to, instead of the route's chain.
    pub via: Option<ProviderName>,
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
    // Both lie behind the rest in the record, and take no room where there is neither: see `tables::leg_record`.
    /// What a person ordered; holds until the leg is done.
    #[serde(skip)]
    pub orders: Orders,
    /// The last attempt.
    #[serde(skip)]
    pub tried: Option<Tried>,
}

/// What a person ordered for a leg, beside `Lane::via`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// A person chose the lane's route: the table is not asked for another.
    pub route: bool,
    /// Routes with `hold` that it was released from: the table is asked as if they were not there.
    pub past: Vec<RouteName>,
    /// When it was let go: expiry counts from here.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::optional")]
    pub since: Option<Timestamp>,
}

/// The last attempt of a leg: who made it, and when it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    pub provider: ProviderName,
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub at: Timestamp,
}

impl Orders {
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Leg {
    /// A person said where it goes.
    pub fn is_moved(&self) -> bool {
        self.orders.route || self.lane.via.is_some()
    }
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
    /// For whoever follows the journal (`Follower`): durable with the acceptance. Empty: nothing.
    pub note: Vec<u8>,
}

/// Content on its way in.
#[derive(Debug)]
pub enum NewContent {
    /// All of it, in a buffer of its own: the memory of recent messages keeps it for a while.
    Memory(Bytes),
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
    /// For whoever follows the journal; those of the notices follow it.
    pub note: Vec<u8>,
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
    /// With so many messages, or so much content, `accept` answers `QueueError::Laden`.
    pub max_messages: u64,
    pub max_size: Option<Size>,
    /// redb's page cache, octets.
    pub cache: usize,
}

/// What `claim` found.
#[derive(Debug)]
pub struct Claimed {
    pub claims: Vec<Claim>,
    /// When the lane's next leg that is not under lease falls due: at or before now where `most` cut the list; `None`
    /// where nothing waits.
    pub next_due: Option<Timestamp>,
}

/// A message as it lies in the queue.
#[derive(Debug, Clone)]
pub struct Listed {
    pub envelope: Arc<Envelope>,
    /// Number, leg, and whether it is under lease: an attempt is under way.
    pub legs: Vec<(u32, Leg, bool)>,
}

/// How much of a route lies in the queue: parts of messages, as many as a message has lanes and histories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDepth {
    pub route: RouteName,
    pub waiting: u64,
    pub held: u64,
    /// When the oldest of those that wait was accepted; where hundreds came with it, up to ten seconds too early.
    pub oldest: Option<Timestamp>,
}

/// How much lies in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    pub messages: u64,
    /// Legs that fall due by themselves.
    pub waiting: u64,
    pub held: u64,
}

/// What follows the route's name in a lane's form. The first two are an `Option`'s: a lane that nobody moved takes no room
/// for it.
#[derive(Serialize)]
enum Tail<'a> {
    None,
    Destination(&'a Domain),
    Via(&'a ProviderName),
    Both(&'a Domain, &'a ProviderName),
}

#[derive(Deserialize)]
#[serde(rename = "Tail")]
enum OwnTail {
    None,
    Destination(Domain),
    Via(ProviderName),
    Both(Domain, ProviderName),
}

impl Serialize for Lane {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tail = match (&self.destination, &self.via) {
            (None, None) => Tail::None,
            (Some(destination), None) => Tail::Destination(destination),
            (None, Some(via)) => Tail::Via(via),
            (Some(destination), Some(via)) => Tail::Both(destination, via),
        };
        (&self.route, tail).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lane {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (route, tail) = Deserialize::deserialize(deserializer)?;
        let (destination, via) = match tail {
            OwnTail::None => (None, None),
            OwnTail::Destination(destination) => (Some(destination), None),
            OwnTail::Via(via) => (None, Some(via)),
            OwnTail::Both(destination, via) => (Some(destination), Some(via)),
        };
        Ok(Self { route, destination, via })
    }
}
