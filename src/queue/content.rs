//! A message's content for reading, wherever it lies.
//!
//! Piece 0 is the header section alone; the body's pieces follow. On disk the content lies in chunks of `CHUNK` octets, so
//! that small content is one value; pieces are cut from those without copies.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};

use super::error::Fault;
use super::tables::{BODIES, CHUNK};
use super::{Queue, QueueError};
use crate::mail::Mid;

/// A message's content for reading. Cheap to clone; reads nothing until asked.
#[derive(Clone)]
pub struct Content {
    source: Source,
    size: u64,
    header_size: usize,
}

#[derive(Clone)]
enum Source {
    Memory(Bytes),
    Disk(Arc<Stored>),
}

struct Stored {
    queue: Queue,
    mid: Mid,
    /// Chunk 0, once read: header and first piece of the body lie in it.
    first: OnceLock<Bytes>,
}

impl Content {
    /// Content that lies in memory.
    pub fn memory(octets: Bytes, header_size: usize) -> Self {
        let header_size = header_size.min(octets.len());
        Self { size: octets.len() as u64, header_size, source: Source::Memory(octets) }
    }

    pub(super) fn stored(queue: Queue, mid: Mid, size: u64, header_size: u32) -> Self {
        let header_size = usize::try_from(size).unwrap_or(usize::MAX).min(header_size as usize);
        Self { source: Source::Disk(Arc::new(Stored { queue, mid, first: OnceLock::new() })), size, header_size }
    }

    /// Octets in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn header_size(&self) -> usize {
        self.header_size
    }

    /// The header section, empty line included.
    pub async fn header(&self) -> Result<Bytes, QueueError> {
        match &self.source {
            Source::Memory(octets) => Ok(octets.slice(..self.header_size)),
            Source::Disk(_) if self.header_size == 0 => Ok(Bytes::new()),
            Source::Disk(stored) if self.header_size <= CHUNK => cut(stored, 0, 0, self.header_size).await,
            Source::Disk(stored) => stored.span(self.header_size).await,
        }
    }

    /// The pieces in order: piece 0 is the header section and nothing else, the body's pieces follow; `None` behind the
    /// last.
    pub async fn chunk(&self, n: u32) -> Result<Option<Bytes>, QueueError> {
        if n == 0 {
            return self.header().await.map(Some);
        }
        match &self.source {
            Source::Memory(octets) if n == 1 && octets.len() > self.header_size => {
                Ok(Some(octets.slice(self.header_size..)))
            }
            Source::Memory(_) => Ok(None),
            Source::Disk(stored) => {
                // The body's first piece is what is left of the chunk in which the header ends.
                let chunk = (self.header_size / CHUNK) as u64 + u64::from(n - 1);
                let start = chunk * CHUNK as u64;
                if start.max(self.header_size as u64) >= self.size {
                    return Ok(None);
                }
                let from = if n == 1 { self.header_size % CHUNK } else { 0 };
                let to = usize::try_from(self.size - start).unwrap_or(CHUNK).min(CHUNK);
                // A u32 of chunks is far more than any message has.
                let chunk = u32::try_from(chunk).unwrap_or(u32::MAX);
                cut(stored, chunk, from, to).await.map(Some)
            }
        }
    }

    /// All of it, for transports that need it whole.
    pub async fn all(&self) -> Result<Bytes, QueueError> {
        match &self.source {
            Source::Memory(octets) => Ok(octets.clone()),
            Source::Disk(stored) => {
                let size = usize::try_from(self.size).unwrap_or(usize::MAX);
                if size == 0 { Ok(Bytes::new()) } else { stored.span(size).await }
            }
        }
    }

    /// The first octets, or all where there are fewer.
    pub async fn beginning(&self, most: usize) -> Result<Bytes, QueueError> {
        let most = usize::try_from(self.size).unwrap_or(usize::MAX).min(most);
        match &self.source {
            Source::Memory(octets) => Ok(octets.slice(..most)),
            Source::Disk(_) if most == 0 => Ok(Bytes::new()),
            Source::Disk(stored) => stored.span(most).await,
        }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content")
            .field("size", &self.size)
            .field("header_size", &self.header_size)
            .finish_non_exhaustive()
    }
}

async fn cut(stored: &Arc<Stored>, chunk: u32, from: usize, to: usize) -> Result<Bytes, QueueError> {
    let octets = stored.chunk(chunk).await?;
    if to > octets.len() || from > to {
        return Err(stored.short(chunk));
    }
    Ok(octets.slice(from..to))
}

impl Stored {
    async fn chunk(&self, n: u32) -> Result<Bytes, QueueError> {
        if let (0, Some(first)) = (n, self.first.get()) {
            return Ok(first.clone());
        }
        let mid = self.mid;
        let read = self.queue.read(move |store| {
            store.read(|txn| {
                let bodies = txn.open_table(BODIES)?;
                Ok(bodies.get((mid.bits(), n))?.map(|chunk| Bytes::copy_from_slice(chunk.value())))
            })
        });
        let octets = read.await?.ok_or_else(|| self.short(n))?;
        if n == 0 {
            let _ = self.first.set(octets.clone());
        }
        Ok(octets)
    }

    /// The first `size` octets, in one transaction.
    async fn span(&self, size: usize) -> Result<Bytes, QueueError> {
        if size <= CHUNK {
            let first = self.chunk(0).await?;
            return if first.len() >= size { Ok(first.slice(..size)) } else { Err(self.short(0)) };
        }
        let mid = self.mid;
        let read = self.queue.read(move |store| {
            store.read(|txn| {
                let bodies = txn.open_table(BODIES)?;
                let mut octets = BytesMut::with_capacity(size);
                for n in 0u32.. {
                    let Some(chunk) = bodies.get((mid.bits(), n))? else {
                        return Err(Fault::Damaged(format!("chunk {n} of {mid} is not there")));
                    };
                    let chunk = chunk.value();
                    octets.extend_from_slice(chunk.get(..size - octets.len()).unwrap_or(chunk));
                    if octets.len() == size {
                        break;
                    }
                }
                Ok(octets.freeze())
            })
        });
        read.await
    }

    fn short(&self, chunk: u32) -> QueueError {
        Fault::Damaged(format!("chunk {chunk} of {} is not there, or too short", self.mid)).reading(self.queue.path())
    }
}
