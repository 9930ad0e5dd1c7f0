//! Content that is written ahead of its message, chunk by chunk, while it is still coming in.
//!
//! - No more than `AHEAD` chunks of a spool wait in memory: the next write waits for a commit.
//! - What fits one chunk is never written ahead: it goes with its message.
//! - Chunks of a mid are marked in the `spooling` table until a message owns them. A spool that is dropped has them
//!   removed by the writer; what a crash left is removed after the next start.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Semaphore, mpsc};

use super::job::{ChunkJob, Job};
use super::lease::lock;
use super::tables::CHUNK;
use super::{Memory, Queue, QueueError};
use crate::mail::Mid;

/// Chunks of one spool that wait for their commit.
const AHEAD: usize = 4;

/// Writes large content ahead of its acceptance, in chunks, with back-pressure. Dropped unfinished, or after a crash,
/// what it wrote is removed.
pub struct Spool {
    queue: Queue,
    ahead: Ahead,
    /// Chunks handed to the writer.
    written: u32,
    chunk: BytesMut,
    size: u64,
    share: Arc<Semaphore>,
    /// A write is under way, or was cut off.
    writing: bool,
}

/// Content that was written ahead under its mid and waits for `accept`.
#[derive(Debug)]
pub struct Spooled {
    ahead: Ahead,
    written: u32,
    tail: Bytes,
    size: u64,
}

impl Spool {
    pub(super) fn new(queue: Queue, mid: Mid) -> Self {
        let state = SpoolState {
            mid,
            failed: OnceLock::new(),
            abandoned: AtomicBool::new(false),
            marked: AtomicBool::new(false),
            owned: AtomicBool::new(false),
        };
        let ahead = Ahead { state: Arc::new(state), memory: queue.memory(), wake: queue.jobs() };
        Self {
            queue,
            ahead,
            written: 0,
            chunk: BytesMut::new(),
            size: 0,
            share: Arc::new(Semaphore::new(AHEAD)),
            writing: false,
        }
    }

    /// After an error, or cancelled, the spool can only be dropped: a part of `octets` may have been taken.
    pub async fn write(&mut self, octets: Bytes) -> Result<(), QueueError> {
        self.check()?;
        self.writing = true;
        let written = self.append(octets).await;
        self.writing = false;
        if let Err(error) = &written {
            self.ahead.state.fail(error.clone());
        }
        written
    }

    async fn append(&mut self, octets: Bytes) -> Result<(), QueueError> {
        self.size += octets.len() as u64;
        let mut rest = &octets[..];
        while !rest.is_empty() {
            // A full chunk leaves only when more comes: the last one goes with the message, however it was cut.
            if self.chunk.len() == CHUNK {
                self.flush().await?;
            }
            let (now, later) = rest.split_at(rest.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            rest = later;
        }
        self.lost()
    }

    async fn flush(&mut self) -> Result<(), QueueError> {
        self.lost()?;
        self.queue.refusal()?;
        let share = self.share.clone().acquire_owned().await.map_err(|_| QueueError::Closed)?;
        let budget = self.queue.budget(self.chunk.len()).await?;
        self.lost()?;
        let octets = std::mem::take(&mut self.chunk).freeze();
        let job = ChunkJob { spool: self.ahead.state.clone(), n: self.written, octets, _permits: [share, budget] };
        self.ahead.state.marked.store(true, Ordering::Release);
        self.written += 1;
        self.queue.jobs().send(Job::Chunk(job)).await.map_err(|_| QueueError::Closed)
    }

    fn check(&self) -> Result<(), QueueError> {
        if self.writing {
            let detail = "content was cut off while it was written ahead".to_owned();
            return Err(QueueError::Write { path: self.queue.path().to_owned(), detail });
        }
        self.lost()
    }

    fn lost(&self) -> Result<(), QueueError> {
        self.ahead.state.failed().map_or(Ok(()), Err)
    }

    /// Octets written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Does not wait for the disk: `accept` does, and refuses where a chunk was lost.
    pub async fn finish(self) -> Result<Spooled, QueueError> {
        self.check()?;
        Ok(Spooled { ahead: self.ahead, written: self.written, tail: self.chunk.freeze(), size: self.size })
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("mid", &self.ahead.state.mid).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Spooled {
    /// Octets in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn into_parts(self) -> (Ahead, u32, Bytes) {
        (self.ahead, self.written, self.tail)
    }
}

/// What a spool and the writer share.
#[derive(Debug)]
pub(super) struct SpoolState {
    mid: Mid,
    /// A chunk was lost with this error.
    failed: OnceLock<QueueError>,
    /// Dropped: chunks that are still on their way are not to be written.
    abandoned: AtomicBool,
    /// Something may lie on the disk.
    marked: AtomicBool,
    /// A message owns it.
    owned: AtomicBool,
}

impl SpoolState {
    pub(super) fn mid(&self) -> Mid {
        self.mid
    }

    pub(super) fn failed(&self) -> Option<QueueError> {
        self.failed.get().cloned()
    }

    pub(super) fn fail(&self, error: QueueError) {
        // The first error tells most.
        let _ = self.failed.set(error);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    pub(super) fn owned(&self) {
        self.owned.store(true, Ordering::Release);
    }
}

/// The claim to what was written ahead; dropped before a message owns it, the writer removes it.
pub(super) struct Ahead {
    state: Arc<SpoolState>,
    memory: Arc<Memory>,
    wake: mpsc::Sender<Job>,
}

impl Ahead {
    pub(super) fn state(&self) -> &Arc<SpoolState> {
        &self.state
    }
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if !self.state.marked.load(Ordering::Acquire) || self.state.owned.load(Ordering::Acquire) {
            return;
        }
        // In this order: a chunk that the writer meets later is not written, one that it met before is removed.
        self.state.abandoned.store(true, Ordering::Release);
        lock(&self.memory.orphans).push(self.state.mid);
        // A full channel wakes the writer anyway.
        let _ = self.wake.try_send(Job::Wake);
    }
}
