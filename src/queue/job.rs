//! What the writer is asked to do, in the form in which it is written: records are made by the caller's task, so that the
//! one writer only inserts them.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::recent::Message;
use super::spool::Ahead;
use super::tables::{CHUNK, encode, lane_key};
use super::{Counter, Lane, LaneDue, Leg, LegState, NewContent, NewMessage, QueueError, Settled};
use crate::mail::{Envelope, Mid, Timestamp};

pub(super) type Done = oneshot::Sender<Result<(), QueueError>>;

#[derive(Debug)]
pub(super) enum Job {
    Accept {
        message: Box<Prepared>,
        done: Done,
        _budget: OwnedSemaphorePermit,
    },
    Settle(SettleJob),
    /// Content ahead of its message.
    Chunk(ChunkJob),
    /// There are abandoned spools.
    Wake,
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(super) struct SettleJob {
    pub(super) settlement: Settlement,
    pub(super) done: Done,
}

#[derive(Debug)]
pub(super) struct ChunkJob {
    pub(super) spool: Arc<super::spool::SpoolState>,
    pub(super) n: u32,
    pub(super) octets: Bytes,
    /// Given back after the commit: the spool's own share, and the queue's.
    pub(super) _permits: [OwnedSemaphorePermit; 2],
}

#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) mid: Mid,
    pub(super) record: Vec<u8>,
    pub(super) legs: Vec<PreparedLeg>,
    pub(super) body: Body,
    /// For the memory of recent messages, where it is small enough.
    pub(super) recent: Option<Message>,
}

#[derive(Debug)]
pub(super) enum Body {
    Chunks(Vec<Bytes>),
    /// Chunks up to `written` are on their way before this job; `tail` is the last one.
    Ahead {
        ahead: Ahead,
        written: u32,
        tail: Bytes,
    },
}

#[derive(Debug)]
pub(super) struct PreparedLeg {
    pub(super) lane: Lane,
    pub(super) key: Vec<u8>,
    pub(super) due: Timestamp,
    pub(super) waiting: bool,
    pub(super) record: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Settlement {
    pub(super) mid: Mid,
    pub(super) number: u32,
    /// Sorted.
    pub(super) recipients: Vec<u32>,
    pub(super) legs: Vec<PreparedLeg>,
    pub(super) notices: Vec<Prepared>,
    pub(super) counters: Vec<(String, Vec<u8>)>,
}

impl Prepared {
    pub(super) fn new(message: NewMessage) -> Self {
        let NewMessage { mid, envelope, legs, content } = message;
        let record = encode(&envelope);
        let legs = prepare_legs(legs);
        let (body, recent) = match content {
            NewContent::Memory(pieces) => {
                let chunks = chunks(&pieces);
                let recent = recent(envelope, &chunks);
                (Body::Chunks(chunks), recent)
            }
            NewContent::Spooled(spooled) => {
                let (ahead, written, tail) = spooled.into_parts();
                (Body::Ahead { ahead, written, tail }, None)
            }
        };
        Self { mid, record, legs, body, recent }
    }

    /// Octets that this message brings into memory.
    pub(super) fn octets(&self) -> usize {
        match &self.body {
            Body::Chunks(chunks) => chunks.iter().map(Bytes::len).sum(),
            Body::Ahead { tail, .. } => tail.len(),
        }
    }
}

impl PreparedLeg {
    pub(super) fn nudge(&self) -> Option<LaneDue> {
        self.waiting.then(|| LaneDue { lane: self.lane.clone(), due: self.due })
    }
}

impl Settlement {
    pub(super) fn new(settled: Settled) -> Self {
        let Settled { mid, number, mut recipients, legs, notices, counters } = settled;
        recipients.sort_unstable();
        let record = |(name, counter): (String, Counter)| (name, encode(&counter));
        Self {
            mid,
            number,
            recipients,
            legs: prepare_legs(legs),
            notices: notices.into_iter().map(Prepared::new).collect(),
            counters: counters.into_iter().map(record).collect(),
        }
    }

    pub(super) fn octets(&self) -> usize {
        self.notices.iter().map(Prepared::octets).sum()
    }
}

/// A leg without recipients would never be settled: it is none.
fn prepare_legs(legs: Vec<Leg>) -> Vec<PreparedLeg> {
    let prepare = |leg: Leg| PreparedLeg {
        key: lane_key(&leg.lane),
        due: leg.due,
        waiting: matches!(leg.state, LegState::Waiting),
        record: encode(&leg),
        lane: leg.lane,
    };
    legs.into_iter().filter(|leg| !leg.recipients.is_empty()).map(prepare).collect()
}

/// The pieces cut anew into full chunks. Copied: a piece may be a small part of a large buffer, which the memory of recent
/// messages must not keep alive.
fn chunks(pieces: &[Bytes]) -> Vec<Bytes> {
    let total = pieces.iter().map(Bytes::len).sum::<usize>();
    let mut chunks = Vec::with_capacity(total.div_ceil(CHUNK));
    let mut chunk = BytesMut::with_capacity(total.min(CHUNK));
    let mut left = total;
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(CHUNK - chunk.len()));
            chunk.extend_from_slice(now);
            rest = later;
            left -= now.len();
            if chunk.len() == CHUNK {
                chunks.push(std::mem::replace(&mut chunk, BytesMut::with_capacity(left.min(CHUNK))).freeze());
            }
        }
    }
    if !chunk.is_empty() {
        chunks.push(chunk.freeze());
    }
    chunks
}

fn recent(envelope: Envelope, chunks: &[Bytes]) -> Option<Message> {
    let content = match chunks {
        [] => Bytes::new(),
        [one] => one.clone(),
        _ => return None,
    };
    Some(Message { envelope: Arc::new(envelope), content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_full_but_for_the_last() {
        for total in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5] {
            let octets: Vec<u8> = (0..total).map(|n| n as u8).collect();
            for piece in [1000, 4096, CHUNK, CHUNK + 1, 10 * CHUNK] {
                let pieces: Vec<Bytes> = octets.chunks(piece).map(Bytes::copy_from_slice).collect();
                let chunks = chunks(&pieces);
                assert_eq!(chunks.concat(), octets, "{total} {piece}");
                let (last, full) = chunks.split_last().map_or((0, &[][..]), |(last, full)| (last.len(), full));
                assert!(full.iter().all(|chunk| chunk.len() == CHUNK) && last <= CHUNK && (last > 0 || total == 0));
            }
        }
    }
}
