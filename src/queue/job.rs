//! What the writer is asked to do, in the form in which it is written: records are made by the caller's task, so that the
//! one writer only passes them on.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::journal;
use super::load::Coming;
use super::recent::Message;
use super::spool::Ahead;
use super::tables::{at, encode, lane_key, leg_record, ms};
use super::young::Fresh;
use super::{Counter, Lane, LaneDue, Leg, LegState, NewContent, NewMessage, QueueError, Settled};
use crate::mail::{Envelope, Mid, Timestamp};

pub(super) type Done = oneshot::Sender<Result<(), QueueError>>;

#[derive(Debug)]
pub(super) enum Job {
    Write(Box<Write>),
    Close(oneshot::Sender<()>),
}

/// One entry of the journal on its way.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) entry: Entry,
    /// The entry as the journal has it.
    pub(super) head: Vec<u8>,
    /// The bodies that lie in the journal, in the order of the entry's messages.
    pub(super) bodies: Vec<Bytes>,
    /// Of the entry's messages, those that the memory of recent ones takes.
    pub(super) recent: Vec<(Mid, Message)>,
    /// Of an acceptance: what can be claimed before the index has it.
    pub(super) fresh: Option<Fresh>,
    /// Content in files of their own.
    pub(super) ahead: Vec<Ahead>,
    /// For whoever follows the journal; the head has it too.
    pub(super) note: Vec<u8>,
    pub(super) done: Done,
    /// Given back when it is on disk.
    pub(super) budget: Option<OwnedSemaphorePermit>,
}

/// One thing that the queue was told.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Entry {
    Accept(Prepared),
    Settle(Settlement),
    /// A note that stands by itself.
    Note,
}

/// The same for writing. Both have one form.
#[derive(Debug, Serialize)]
pub(super) enum EntryRef<'a> {
    Accept(&'a Prepared),
    Settle(&'a Settlement),
    Note,
}

/// A message that comes in.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Prepared {
    pub(super) mid: Mid,
    /// The envelope, as the index has it.
    pub(super) record: Vec<u8>,
    pub(super) legs: Vec<PreparedLeg>,
    pub(super) body: Body,
}

/// Where a message's content lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Body {
    /// Behind the heads of its group.
    Journal { size: u32, crc: u32 },
    /// In a file of its own.
    File,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PreparedLeg {
    pub(super) lane: Lane,
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub(super) due: Timestamp,
    pub(super) waiting: bool,
    pub(super) record: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settlement {
    pub(super) mid: Mid,
    pub(super) number: u32,
    /// Sorted.
    pub(super) recipients: Vec<u32>,
    pub(super) legs: Vec<PreparedLeg>,
    pub(super) notices: Vec<Prepared>,
    pub(super) counters: Vec<(String, Vec<u8>)>,
}

/// Content beside its message's record.
#[derive(Debug, Default)]
struct Contents {
    bodies: Vec<Bytes>,
    recent: Vec<(Mid, Message)>,
    ahead: Vec<Ahead>,
    note: Vec<u8>,
}

impl Write {
    pub(super) fn accept(message: NewMessage, coming: Coming, done: Done) -> Self {
        let mut contents = Contents::default();
        let (message, mut fresh) = contents.prepare(message);
        fresh.coming = Some(coming);
        let head = journal::head(EntryRef::Accept(&message), &contents.note);
        Self { fresh: Some(fresh), ..contents.write(Entry::Accept(message), head, done) }
    }

    pub(super) fn settle(settled: Settled, done: Done) -> Self {
        let Settled { mid, number, mut recipients, legs, notices, counters, note } = settled;
        recipients.sort_unstable();
        let mut contents = Contents { note, ..Contents::default() };
        let record = |(name, counter): (String, Counter)| (name, encode(&counter));
        let settlement = Settlement {
            mid,
            number,
            recipients,
            legs: prepare_legs(&legs),
            // Reports follow a settlement: they wait for the index.
            notices: notices.into_iter().map(|notice| contents.prepare(notice).0).collect(),
            counters: counters.into_iter().map(record).collect(),
        };
        let head = journal::head(EntryRef::Settle(&settlement), &contents.note);
        contents.write(Entry::Settle(settlement), head, done)
    }

    /// A record under a name; an empty one takes the name away. In the form of a settlement, of a message that never was.
    pub(super) fn keep(name: String, record: Vec<u8>, done: Done) -> Self {
        let settlement = Settlement {
            mid: Mid::from_bits(0),
            number: 0,
            recipients: Vec::new(),
            legs: Vec::new(),
            notices: Vec::new(),
            counters: vec![(name, record)],
        };
        let head = journal::head(EntryRef::Settle(&settlement), &[]);
        Contents::default().write(Entry::Settle(settlement), head, done)
    }

    pub(super) fn note(note: Vec<u8>, done: Done) -> Self {
        let head = journal::head(EntryRef::Note, &note);
        Contents { note, ..Contents::default() }.write(Entry::Note, head, done)
    }

    /// Octets that it holds in memory until it is written.
    pub(super) fn octets(&self) -> usize {
        self.head.len() + self.bodies.iter().map(Bytes::len).sum::<usize>()
    }

    /// An acceptance brings octets; a settlement leads to octets that go.
    pub(super) fn accepts(&self) -> bool {
        matches!(self.entry, Entry::Accept(_))
    }

    /// While the disk fails, its caller is told so; an outcome waits.
    pub(super) fn may_be_refused(&self) -> bool {
        match self.entry {
            Entry::Accept(_) | Entry::Note => true,
            Entry::Settle(_) => false,
        }
    }
}

impl Contents {
    fn prepare(&mut self, message: NewMessage) -> (Prepared, Fresh) {
        let NewMessage { mid, envelope, mut legs, content, mut note } = message;
        self.note.append(&mut note);
        // A leg without recipients would never be settled: it is none.
        legs.retain(|leg| !leg.recipients.is_empty());
        // As the index has it.
        legs.iter_mut().for_each(|leg| leg.due = at(ms(leg.due)));
        let record = encode(&envelope);
        let envelope = Arc::new(envelope);
        let body = match content {
            NewContent::Memory(octets) => self.take(mid, &envelope, octets),
            NewContent::Spooled(spooled) => match spooled.into_parts() {
                (Some(ahead), _) => {
                    self.ahead.push(ahead);
                    Body::File
                }
                (None, octets) => self.take(mid, &envelope, octets),
            },
        };
        (Prepared { mid, record, legs: prepare_legs(&legs), body }, Fresh { mid, envelope, legs, coming: None })
    }

    fn take(&mut self, mid: Mid, envelope: &Arc<Envelope>, content: Bytes) -> Body {
        // What comes in memory is far below 4 GiB: larger messages are spooled.
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let crc = crc32fast::hash(&content);
        self.bodies.push(content.clone());
        self.recent.push((mid, Message { envelope: envelope.clone(), content }));
        Body::Journal { size, crc }
    }

    fn write(self, entry: Entry, head: Vec<u8>, done: Done) -> Write {
        let Self { bodies, recent, ahead, note } = self;
        Write { entry, head, bodies, recent, fresh: None, ahead, note, done, budget: None }
    }
}

impl Entry {
    /// The message that an acceptance brings.
    pub(super) fn accepted(&self) -> Option<Mid> {
        match self {
            Self::Accept(message) => Some(message.mid),
            Self::Settle(_) | Self::Note => None,
        }
    }

    /// The messages that it brings, in the order of their bodies.
    pub(super) fn messages(&self) -> &[Prepared] {
        match self {
            Self::Accept(message) => std::slice::from_ref(message),
            Self::Settle(settlement) => &settlement.notices,
            Self::Note => &[],
        }
    }
}

impl PreparedLeg {
    pub(super) fn key(&self) -> Vec<u8> {
        lane_key(&self.lane)
    }

    pub(super) fn nudge(&self) -> Option<LaneDue> {
        self.waiting.then(|| LaneDue { lane: self.lane.clone(), due: self.due })
    }
}

/// A leg without recipients would never be settled: it is none.
fn prepare_legs(legs: &[Leg]) -> Vec<PreparedLeg> {
    let prepare = |leg: &Leg| PreparedLeg {
        due: leg.due,
        waiting: matches!(leg.state, LegState::Waiting),
        record: leg_record(leg),
        lane: leg.lane.clone(),
    };
    legs.iter().filter(|leg| !leg.recipients.is_empty()).map(prepare).collect()
}
