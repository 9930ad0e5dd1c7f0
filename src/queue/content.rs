//! A message's content for reading, wherever it lies.
//!
//! Piece 0 is the header section alone; the body's pieces follow. What lies in the journal is small and read whole, its
//! checksum with it; what has a file of its own is read in pieces of `CHUNK` octets.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};

use super::error::Fault;
use super::medium::Blob;
use super::tables::Place;
use super::{Queue, QueueError, reader};
use crate::mail::Mid;

/// Octets of a piece that is read from a file.
pub(super) const CHUNK: usize = 64 << 10;

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
    found: OnceLock<Found>,
}

#[derive(Clone)]
enum Found {
    Whole(Bytes),
    File(Arc<dyn Blob>),
}

impl Content {
    /// Content that lies in memory.
    pub fn memory(octets: Bytes, header_size: usize) -> Self {
        let header_size = header_size.min(octets.len());
        Self { size: octets.len() as u64, header_size, source: Source::Memory(octets) }
    }

    pub(super) fn stored(queue: Queue, mid: Mid, size: u64, header_size: u32) -> Self {
        let header_size = usize::try_from(size).unwrap_or(usize::MAX).min(header_size as usize);
        let stored = Stored { queue, mid, found: OnceLock::new() };
        Self { source: Source::Disk(Arc::new(stored)), size, header_size }
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
        self.range(0, self.header_size).await
    }

    /// The pieces in order: piece 0 is the header section and nothing else, the body's pieces follow; `None` behind the
    /// last.
    pub async fn chunk(&self, n: u32) -> Result<Option<Bytes>, QueueError> {
        if n == 0 {
            return self.header().await.map(Some);
        }
        let body = self.size - self.header_size as u64;
        let whole = match &self.source {
            Source::Memory(_) => true,
            Source::Disk(stored) => matches!(stored.found(self.size).await?, Found::Whole(_)),
        };
        // A body that is in memory is one piece.
        let piece = if whole { body } else { CHUNK as u64 };
        let start = u64::from(n - 1) * piece;
        if start >= body {
            return Ok(None);
        }
        let length = usize::try_from(piece.min(body - start)).unwrap_or(usize::MAX);
        self.range(self.header_size as u64 + start, length).await.map(Some)
    }

    /// All of it, for transports that need it whole.
    pub async fn all(&self) -> Result<Bytes, QueueError> {
        self.range(0, usize::try_from(self.size).unwrap_or(usize::MAX)).await
    }

    /// The first octets, or all where there are fewer.
    pub async fn beginning(&self, most: usize) -> Result<Bytes, QueueError> {
        self.range(0, usize::try_from(self.size).unwrap_or(usize::MAX).min(most)).await
    }

    /// A part that lies within the content.
    async fn range(&self, start: u64, length: usize) -> Result<Bytes, QueueError> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        let cut = |octets: &Bytes| {
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            octets.slice(start..start + length)
        };
        match &self.source {
            Source::Memory(octets) => Ok(cut(octets)),
            Source::Disk(stored) => match stored.found(self.size).await? {
                Found::Whole(octets) => Ok(cut(&octets)),
                Found::File(file) => {
                    let read = move || {
                        let mut octets = BytesMut::zeroed(length);
                        file.read(start, &mut octets).map_err(Fault::io)?;
                        Ok(octets.freeze())
                    };
                    stored.queue.reading(read).await
                }
            },
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

impl Stored {
    /// Where the content lies, looked up once.
    async fn found(&self, size: u64) -> Result<Found, QueueError> {
        if let Some(found) = self.found.get() {
            return Ok(found.clone());
        }
        let (queue, mid) = (self.queue.clone(), self.mid);
        self.queue.0.memory.progress.caught_up().await;
        let found = self.queue.reading(move || find(&queue, mid, size)).await?;
        Ok(self.found.get_or_init(|| found).clone())
    }
}

fn find(queue: &Queue, mid: Mid, expected: u64) -> Result<Found, Fault> {
    let inner = &queue.0;
    let gone = || Fault::Damaged(format!("the message {mid} is not there"));
    match reader::place(&inner.store, mid)?.ok_or_else(gone)? {
        Place::Segment { segment, offset, size, crc } if u64::from(size) == expected => {
            inner.bodies.whole(mid, segment, offset, size, crc).map(Found::Whole)
        }
        Place::File => {
            let file = inner.bodies.file(mid)?;
            match file.size().map_err(Fault::io)? {
                size if size == expected => Ok(Found::File(file)),
                size => Err(Fault::Damaged(format!("the content of {mid} has {size} octets instead of {expected}"))),
            }
        }
        Place::Segment { size, .. } => {
            Err(Fault::Damaged(format!("the content of {mid} has {size} octets instead of {expected}")))
        }
    }
}
