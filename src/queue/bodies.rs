//! Reading content, wherever it lies: a part of a journal segment, or a file of its own.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};

use super::error::Fault;
use super::journal::segment_name;
use super::lease::lock;
use super::medium::{Blob, Medium};
use super::tables::Place;
use crate::mail::Mid;

/// Segments that are kept open for reading.
const OPEN: usize = 64;

/// The name of the file that has a message's content.
pub(super) fn file_name(mid: Mid) -> String {
    format!("{mid}.body")
}

pub(super) fn mid_of(name: &str) -> Option<Mid> {
    name.strip_suffix(".body")?.parse().ok()
}

#[derive(Debug)]
pub(super) struct Bodies {
    medium: Arc<dyn Medium>,
    open: Mutex<Opened>,
}

#[derive(Debug, Default)]
struct Opened {
    segments: HashMap<u32, Arc<dyn Blob>>,
    /// Opened first, first.
    order: VecDeque<u32>,
}

impl Bodies {
    pub(super) fn new(medium: Arc<dyn Medium>) -> Self {
        Self { medium, open: Mutex::default() }
    }

    pub(super) fn medium(&self) -> &Arc<dyn Medium> {
        &self.medium
    }

    /// All of a body that lies in the journal; an error where its checksum does not fit.
    pub(super) fn whole(&self, mid: Mid, segment: u32, offset: u64, size: u32, crc: u32) -> Result<Bytes, Fault> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let file = self.segment(segment)?;
        let mut octets = BytesMut::zeroed(size as usize);
        file.read(offset, &mut octets).map_err(Fault::io)?;
        if crc32fast::hash(&octets) != crc {
            return Err(Fault::Damaged(format!("the content of {mid} is damaged, in {}", segment_name(segment))));
        }
        Ok(octets.freeze())
    }

    pub(super) fn file(&self, mid: Mid) -> Result<Arc<dyn Blob>, Fault> {
        self.medium.open(&file_name(mid)).map_err(Fault::io)
    }

    fn segment(&self, segment: u32) -> Result<Arc<dyn Blob>, Fault> {
        if let Some(file) = lock(&self.open).segments.get(&segment) {
            return Ok(file.clone());
        }
        let file = self.medium.open(&segment_name(segment)).map_err(Fault::io)?;
        let mut open = lock(&self.open);
        while open.order.len() >= OPEN {
            let Some(first) = open.order.pop_front() else { break };
            open.segments.remove(&first);
        }
        if open.segments.insert(segment, file.clone()).is_none() {
            open.order.push_back(segment);
        }
        Ok(file)
    }

    /// Nothing in the segment is wanted any more.
    pub(super) fn remove_segment(&self, segment: u32) -> std::io::Result<()> {
        let mut open = lock(&self.open);
        open.segments.remove(&segment);
        open.order.retain(|kept| *kept != segment);
        drop(open);
        self.medium.remove(&segment_name(segment))
    }

    pub(super) fn size_of_segment(&self, segment: u32) -> std::io::Result<u64> {
        self.medium.open(&segment_name(segment))?.size()
    }

    /// Gives back the room of a part of a segment that is not wanted.
    pub(super) fn punch_segment(&self, segment: u32, at: u64, size: u64) -> std::io::Result<()> {
        self.medium.open(&segment_name(segment))?.punch(at, size)
    }

    /// Removes what a message had outside of the journal. Its file may be gone already.
    pub(super) fn remove(&self, mid: Mid, place: Place) {
        if let Place::File = place {
            let _ = self.medium.remove(&file_name(mid));
        }
    }
}
