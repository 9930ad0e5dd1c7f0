//! The octets of a snapshot: one file with all that is queued, whatever form the queue's own files have.
//!
//! ```text
//! file:    "waypost snapshot 1\n"                            then records
//! record:  kind u8 | size u32 | crc u32 | payload            the checksum covers kind, size and payload
//! kinds:   B  JSON of `Beginning`                            first, once
//!          K  postcard of a name and its record              counters, and what is kept under a name
//!          M  postcard of `Message`                          its content follows
//!          C  octets of content                              up to 64 KiB, until the message has its size
//!          E  JSON of `End`                                  last, once: counts, and the SHA-256 of all before it
//!          X  text                                           instead of an end: why there is none
//! ```
//!
//! Numbers are little-endian. Records of messages are those of the index, each behind its version octet.

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use bytes::{Buf as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::mail::Mid;

const MAGIC: &[u8] = b"waypost snapshot 1\n";
/// What every form of it begins with.
const ANY: &[u8] = b"waypost snapshot ";
const HEADER: usize = 9;
/// Octets of a payload: more than any envelope has.
const LARGEST: usize = 64 << 20;
/// Octets of a piece of content.
pub(super) const PIECE: usize = 64 << 10;

/// What a snapshot says of itself first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// Of the waypost that made it.
    pub version: String,
    /// When it was begun.
    pub taken: String,
    /// About how many messages follow: more may have come or gone meanwhile.
    pub messages: u64,
}

/// And last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub messages: u64,
    /// Parts of messages that wait or are held by themselves.
    pub legs: u64,
    /// Of content.
    pub octets: u64,
    sha256: String,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) mid: Mid,
    pub(super) envelope: Vec<u8>,
    pub(super) legs: Vec<Vec<u8>>,
    /// Octets of its content.
    pub(super) size: u64,
}

/// Why a file is no snapshot that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("it is no snapshot of waypost's")]
    NotOne,
    #[error("it has a form that this version does not know: restore it by the version that made it, or a later one")]
    Newer,
    #[error("it is damaged at octet {at}: {what}; take another copy of it")]
    Damaged { at: u64, what: String },
    #[error("it ends too early, at octet {at}: it was cut off, or never finished; take another copy of it")]
    Cut { at: u64 },
    #[error("it was not finished when it was made: {0}")]
    Unfinished(String),
}

/// One record, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    Beginning(Beginning),
    Kept(String, Vec<u8>),
    Message(Message),
    Content(Bytes),
    End(End),
}

/// Writes records, and counts them.
pub(super) struct Encoder {
    context: digest::Context,
    end: End,
    begun: bool,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("end", &self.end).finish_non_exhaustive()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        let end = End { messages: 0, legs: 0, octets: 0, sha256: String::new() };
        Self { context: digest::Context::new(&SHA256), end, begun: false }
    }
}

impl Encoder {
    pub(super) fn beginning(&mut self, beginning: &Beginning, out: &mut Vec<u8>) {
        self.record(b'B', &json(beginning), out);
    }

    pub(super) fn kept(&mut self, name: &str, record: &[u8], out: &mut Vec<u8>) {
        self.record(b'K', &postcard_of(&(name, record)), out);
    }

    pub(super) fn message(&mut self, message: &Message, out: &mut Vec<u8>) {
        self.end.messages += 1;
        self.end.legs += message.legs.len() as u64;
        self.end.octets += message.size;
        self.record(b'M', &postcard_of(message), out);
    }

    /// All of a message's content, or its next part.
    pub(super) fn content(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        octets.chunks(PIECE).for_each(|piece| self.record(b'C', piece, out));
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        let sha256 = hex(self.context.clone().finish().as_ref());
        let end = End { sha256, ..self.end.clone() };
        self.record(b'E', &json(&end), out);
    }

    fn record(&mut self, kind: u8, payload: &[u8], out: &mut Vec<u8>) {
        let from = out.len();
        if !self.begun {
            self.begun = true;
            out.extend_from_slice(MAGIC);
        }
        let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        out.push(kind);
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&checksum(kind, size, payload).to_le_bytes());
        out.extend_from_slice(payload);
        self.context.update(&out[from..]);
    }
}

/// What ends a snapshot that comes to no end: whoever reads it is told why.
pub fn unfinished(why: &str) -> Bytes {
    let mut out = Vec::new();
    Encoder { begun: true, ..Encoder::default() }.record(b'X', why.as_bytes(), &mut out);
    out.into()
}

/// Reads a snapshot as it comes, piece by piece, and believes nothing that is not checked. Holds one record in memory.
pub(super) struct Decoder {
    buffer: BytesMut,
    context: digest::Context,
    /// Octets of the file before the buffer.
    at: u64,
    /// Of content that the last message still lacks.
    lacks: u64,
    found: End,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Magic,
    Beginning,
    Records,
    Ended,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("at", &self.at).field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            buffer: BytesMut::new(),
            context: digest::Context::new(&SHA256),
            at: 0,
            lacks: 0,
            found: End { messages: 0, legs: 0, octets: 0, sha256: String::new() },
            stage: Stage::Magic,
        }
    }
}

impl Decoder {
    /// More of the file. `next` is to be asked until it has none before more is given.
    pub(super) fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The next whole record; `None`: more octets are needed.
    pub(super) fn next(&mut self) -> Result<Option<Record>, SnapshotError> {
        if self.stage == Stage::Magic && !self.magic()? {
            return Ok(None);
        }
        if self.stage == Stage::Ended {
            return if self.buffer.is_empty() { Ok(None) } else { Err(self.damaged("something follows its end")) };
        }
        let Some(header) = self.buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let [kind, sizes @ .., c0, c1, c2, c3] = *header;
        let (size, crc) = (u32::from_le_bytes(sizes), u32::from_le_bytes([c0, c1, c2, c3]));
        let length = size as usize;
        if length > LARGEST {
            return Err(self.damaged("a record is longer than any can be"));
        }
        if self.buffer.len() < HEADER + length {
            self.buffer.reserve(HEADER + length - self.buffer.len());
            return Ok(None);
        }
        let mut record = self.buffer.split_to(HEADER + length).freeze();
        let before = self.context.clone();
        self.context.update(&record);
        record.advance(HEADER);
        if checksum(kind, size, &record) != crc {
            return Err(self.damaged("a record's checksum does not fit"));
        }
        let read = self.read(kind, record, before)?;
        self.at += (HEADER + length) as u64;
        Ok(Some(read))
    }

    /// After the last octet.
    pub(super) fn finish(&self) -> Result<(), SnapshotError> {
        match self.stage {
            Stage::Ended => Ok(()),
            Stage::Magic | Stage::Beginning | Stage::Records => {
                Err(SnapshotError::Cut { at: self.at + self.buffer.len() as u64 })
            }
        }
    }

    fn magic(&mut self) -> Result<bool, SnapshotError> {
        let there = self.buffer.len().min(MAGIC.len());
        if self.buffer[..there] != MAGIC[..there] {
            let some = self.buffer.len() >= ANY.len() && self.buffer.starts_with(ANY);
            return Err(if some { SnapshotError::Newer } else { SnapshotError::NotOne });
        }
        if there < MAGIC.len() {
            return Ok(false);
        }
        self.context.update(&self.buffer.split_to(MAGIC.len()));
        self.at = MAGIC.len() as u64;
        self.stage = Stage::Beginning;
        Ok(true)
    }

    /// `before`: the digest of all before this record.
    fn read(&mut self, kind: u8, payload: Bytes, before: digest::Context) -> Result<Record, SnapshotError> {
        let fits = match kind {
            b'B' => self.stage == Stage::Beginning,
            b'C' => self.stage == Stage::Records && (1..=self.lacks).contains(&(payload.len() as u64)),
            b'K' | b'M' | b'E' => self.stage == Stage::Records && self.lacks == 0,
            b'X' => return Err(SnapshotError::Unfinished(String::from_utf8_lossy(&payload).into_owned())),
            _ => return Err(self.damaged("a record is of an unknown kind")),
        };
        if !fits {
            return Err(self.damaged("its records are not in their order"));
        }
        let unreadable = || self.damaged("a record does not read back");
        match kind {
            b'B' => {
                let beginning = serde_json::from_slice(&payload).map_err(|_| unreadable())?;
                self.stage = Stage::Records;
                Ok(Record::Beginning(beginning))
            }
            b'K' => {
                let (name, record) = postcard::from_bytes(&payload).map_err(|_| unreadable())?;
                Ok(Record::Kept(name, record))
            }
            b'M' => {
                let message: Message = postcard::from_bytes(&payload).map_err(|_| unreadable())?;
                self.found.messages += 1;
                self.found.legs += message.legs.len() as u64;
                self.found.octets = self.found.octets.saturating_add(message.size);
                self.lacks = message.size;
                Ok(Record::Message(message))
            }
            b'C' => {
                self.lacks -= payload.len() as u64;
                Ok(Record::Content(payload))
            }
            _ => {
                let end: End = serde_json::from_slice(&payload).map_err(|_| unreadable())?;
                let found = End { sha256: hex(before.finish().as_ref()), ..self.found.clone() };
                if end != found {
                    return Err(self.damaged("what is in it is not what its end counts"));
                }
                self.stage = Stage::Ended;
                Ok(Record::End(end))
            }
        }
    }

    fn damaged(&self, what: &str) -> SnapshotError {
        SnapshotError::Damaged { at: self.at, what: what.to_owned() }
    }
}

fn checksum(kind: u8, size: u32, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(&size.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[expect(clippy::expect_used, reason = "these types have no form that serde_json refuses")]
fn json(value: &impl Serialize) -> Vec<u8> {
    let mut octets = serde_json::to_vec(value).expect("it can be written");
    // For people who look into the file.
    octets.push(b'\n');
    octets
}

#[expect(clippy::expect_used, reason = "these types have no form that postcard refuses")]
fn postcard_of(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("it can be written")
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Vec<u8> {
        let (mut encoder, mut out) = (Encoder::default(), Vec::new());
        let beginning = Beginning { version: "0.1.0".to_owned(), taken: "then".to_owned(), messages: 2 };
        encoder.beginning(&beginning, &mut out);
        encoder.kept("quota/ses", &[1, 2, 3], &mut out);
        for (mid, size) in [(1u128, 0usize), (2, PIECE + 7)] {
            let message = Message {
                mid: Mid::from_bits(mid),
                envelope: vec![1; 40],
                legs: vec![vec![2; 9], vec![3; 9]],
                size: size as u64,
            };
            encoder.message(&message, &mut out);
            encoder.content(&vec![b'x'; size], &mut out);
        }
        encoder.end(&mut out);
        out
    }

    /// In pieces of so many octets.
    fn read(file: &[u8], piece: usize) -> Result<Vec<Record>, SnapshotError> {
        let (mut decoder, mut records) = (Decoder::default(), Vec::new());
        for octets in file.chunks(piece) {
            decoder.push(octets);
            while let Some(record) = decoder.next()? {
                records.push(record);
            }
        }
        decoder.finish().map(|()| records)
    }

    #[test]
    fn what_is_written_reads_back_however_it_is_cut() {
        let file = whole();
        let records = read(&file, usize::MAX).unwrap();
        assert_eq!(records.len(), 7, "{records:?}");
        assert!(matches!(&records[6], Record::End(end) if (end.messages, end.legs) == (2, 4)), "{:?}", records[6]);
        for piece in [1, 7, 4096] {
            assert_eq!(read(&file, piece).unwrap(), records, "{piece}");
        }
    }

    #[test]
    fn no_altered_octet_is_taken() {
        let file = whole();
        for at in (0..200).chain((200..file.len()).step_by(977)).chain(file.len() - 300..file.len()) {
            let mut altered = file.clone();
            altered[at] ^= 1 << (at % 8);
            assert!(read(&altered, 5000).is_err(), "octet {at}");
        }
    }

    #[test]
    fn no_part_of_it_is_taken_for_the_whole() {
        let file = whole();
        for size in (1..400).chain((400..file.len()).step_by(1001)).chain(file.len() - 200..file.len()) {
            let cut = read(&file[..size], 5000);
            assert!(matches!(cut, Err(SnapshotError::Cut { at }) if at == size as u64), "{size}: {cut:?}");
        }
        assert_eq!(read(b"", 1), Err(SnapshotError::Cut { at: 0 }));
        let more = [&file[..], b"x"].concat();
        assert!(matches!(read(&more, 5000), Err(SnapshotError::Damaged { .. })));
    }

    #[test]
    fn a_record_that_is_left_out_or_comes_twice_is_seen() {
        let file = whole();
        let records = read(&file, usize::MAX).unwrap();
        // The one of 'quota/ses' follows the beginning.
        let from = file.windows(9).position(|octets| octets == b"quota/ses").unwrap() - 1 - HEADER;
        let size = HEADER + 1 + 9 + 1 + 3;
        let without = [&file[..from], &file[from + size..]].concat();
        let twice = [&file[..from + size], &file[from..]].concat();
        for altered in [without, twice] {
            assert!(matches!(read(&altered, 5000), Err(SnapshotError::Damaged { .. })));
        }
        assert!(matches!(records[1], Record::Kept(..)));
    }

    #[test]
    fn something_else_is_told_apart() {
        assert_eq!(read(b"From a@b.example", 3), Err(SnapshotError::NotOne));
        assert_eq!(read(b"way", 3), Err(SnapshotError::Cut { at: 3 }));
        assert_eq!(read(b"waypost snapshot 2\nx", 100), Err(SnapshotError::Newer));
        let (mut encoder, mut out) = (Encoder::default(), Vec::new());
        encoder.beginning(&Beginning { version: String::new(), taken: String::new(), messages: 0 }, &mut out);
        out.extend_from_slice(&unfinished("the disk is gone"));
        assert_eq!(read(&out, 9), Err(SnapshotError::Unfinished("the disk is gone".to_owned())));
    }
}
