//! A message's content for reading, wherever it lies.
//!
//! Piece 0 is the header section alone; the body's pieces follow. On disk the content lies in chunks of `CHUNK` octets, so
//! that small content is one value; pieces are cut from those without copies.

use bytes::Bytes;

use super::QueueError;

/// A message's content for reading. Cheap to clone; reads nothing until asked.
#[derive(Clone)]
pub struct Content {
    octets: Bytes,
    header_size: usize,
}

impl Content {
    /// Content that lies in memory.
    pub fn memory(octets: Bytes, header_size: usize) -> Self {
        let header_size = header_size.min(octets.len());
        Self { octets, header_size }
    }

    /// Octets in all.
    pub fn size(&self) -> u64 {
        self.octets.len() as u64
    }

    pub fn header_size(&self) -> usize {
        self.header_size
    }

    /// The header section, empty line included.
    pub async fn header(&self) -> Result<Bytes, QueueError> {
        Ok(self.octets.slice(..self.header_size))
    }

    /// The pieces in order: piece 0 is the header section and nothing else, the body's pieces follow; `None` behind the
    /// last.
    pub async fn chunk(&self, n: u32) -> Result<Option<Bytes>, QueueError> {
        Ok(match n {
            0 => Some(self.octets.slice(..self.header_size)),
            1 if self.octets.len() > self.header_size => Some(self.octets.slice(self.header_size..)),
            _ => None,
        })
    }

    /// All of it, for transports that need it whole.
    pub async fn all(&self) -> Result<Bytes, QueueError> {
        Ok(self.octets.clone())
    }
}
