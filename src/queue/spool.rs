//! Content that is written ahead of its message, into a file of its own, while it is still coming in.
//!
//! - No more than `BUFFER` octets of a spool wait in memory; what never fills that goes with its message.
//! - The file is durable before the message that owns it is written. A spool that is dropped takes its file along; what a
//!   crash left is removed at the next start.

use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::bodies::file_name;
use super::error::Fault;
use super::medium::{Blob, Medium};
use super::{Queue, QueueError};
use crate::mail::Mid;

/// Octets that are gathered before they are written.
const BUFFER: usize = 64 << 10;

/// Writes large content ahead of its acceptance, with back-pressure. Dropped unfinished, or after a crash, what it wrote is
/// removed.
pub struct Spool {
    queue: Queue,
    mid: Mid,
    file: Option<(Arc<dyn Blob>, Ahead)>,
    buffer: BytesMut,
    size: u64,
    /// A write is under way, was cut off, or failed.
    failed: Option<QueueError>,
}

/// Content that was written ahead under its mid and waits for `accept`.
#[derive(Debug)]
pub struct Spooled {
    file: Option<Ahead>,
    /// Where there is no file: all of it.
    octets: Bytes,
    size: u64,
}

impl Spool {
    pub(super) fn new(queue: Queue, mid: Mid) -> Self {
        Self { queue, mid, file: None, buffer: BytesMut::new(), size: 0, failed: None }
    }

    /// After an error, or cancelled, the spool can only be dropped: a part of `octets` may have been taken.
    pub async fn write(&mut self, octets: Bytes) -> Result<(), QueueError> {
        self.check()?;
        let detail = "content was cut off while it was written ahead".to_owned();
        self.failed = Some(QueueError::Write { path: self.queue.path().to_owned(), detail });
        self.failed = self.append(octets).await.err();
        self.check()
    }

    async fn append(&mut self, octets: Bytes) -> Result<(), QueueError> {
        self.size += octets.len() as u64;
        // A full buffer leaves only when more comes: what just fits goes with its message.
        if self.buffer.len() + octets.len() <= BUFFER {
            self.buffer.extend_from_slice(&octets);
            return Ok(());
        }
        let buffered = self.buffer.split().freeze();
        self.flush(vec![buffered, octets]).await
    }

    async fn flush(&mut self, pieces: Vec<Bytes>) -> Result<(), QueueError> {
        self.queue.room_for(pieces.iter().map(Bytes::len).sum())?;
        let file = match &self.file {
            Some((file, _)) => file.clone(),
            None => {
                let (medium, mid) = (self.queue.medium(), self.mid);
                let (file, ahead) = self.queue.blocking(move || create(medium, mid)).await?;
                self.file.insert((file, ahead)).0.clone()
            }
        };
        self.queue
            .blocking(move || {
                let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
                file.append(&mut slices).map_err(Fault::io)
            })
            .await
    }

    fn check(&self) -> Result<(), QueueError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Octets written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns when the content is on disk, where it has a file of its own.
    pub async fn finish(mut self) -> Result<Spooled, QueueError> {
        self.check()?;
        let octets = self.buffer.split().freeze();
        if self.file.is_none() {
            return Ok(Spooled { file: None, octets, size: self.size });
        }
        if !octets.is_empty() {
            self.flush(vec![octets]).await?;
        }
        let Some((file, ahead)) = self.file.take() else {
            return Err(QueueError::Closed);
        };
        self.queue.blocking(move || file.sync().map_err(Fault::io)).await?;
        Ok(Spooled { file: Some(ahead), octets: Bytes::new(), size: self.size })
    }
}

fn create(medium: Arc<dyn Medium>, mid: Mid) -> Result<(Arc<dyn Blob>, Ahead), Fault> {
    let file = medium.create(&file_name(mid)).map_err(Fault::io)?;
    Ok((file, Ahead { medium, mid, owned: false }))
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("mid", &self.mid).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Spooled {
    /// Octets in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn into_parts(self) -> (Option<Ahead>, Bytes) {
        (self.file, self.octets)
    }

    /// The mid whose content it is, where that matters.
    pub(super) fn mid(&self) -> Option<Mid> {
        self.file.as_ref().map(|ahead| ahead.mid)
    }
}

/// The claim to a file that was written ahead; dropped before a message owns it, it removes the file.
#[derive(Debug)]
pub(super) struct Ahead {
    medium: Arc<dyn Medium>,
    mid: Mid,
    owned: bool,
}

impl Ahead {
    pub(super) fn owned(mut self) {
        self.owned = true;
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if !self.owned {
            // What cannot be removed now is removed at the next start.
            let _ = self.medium.remove(&file_name(self.mid));
        }
    }
}
