//! A snapshot made a queue again.
//!
//! Promises:
//! - the whole file is checked before anything is made;
//! - nothing that is there is replaced: where a queue lies, it is left as it is;
//! - the new queue is filled beside its place, and put there once it is whole: what is cut off leaves no queue, only a
//!   folder that the next try removes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::oneshot;

use super::form::{Beginning, Decoder, End, Message, Record, SnapshotError};
use crate::config::Size;
use crate::mail::{Envelope, Mid};
use crate::os;
use crate::queue::error::Fault;
use crate::queue::job::{Job, Write};
use crate::queue::tables::{decode, leg_of};
use crate::queue::{NewContent, NewMessage, Queue, QueueError, QueueOptions, Spool, journal_path};

/// Octets that are read at once.
const READ: usize = 1 << 20;
/// Content up to this size goes into the journal, as it does when it comes in by SMTP.
const IN_MEMORY: u64 = 128 << 10;
/// Messages on their way to the disk.
const AT_ONCE: usize = 512;
/// redb's page cache, octets.
const CACHE: usize = 64 << 20;

/// Why no queue was made of it. Nothing that was there is changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("the snapshot {path} cannot be read: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("the snapshot {path} cannot be used: {error}")]
    Snapshot { path: PathBuf, error: SnapshotError },
    #[error(
        "there is a queue at {path} already, be it empty: stop the relay, move the queue away (both {path} and {journal}), \
         and run this again"
    )]
    Occupied { path: PathBuf, journal: PathBuf },
    #[error("the queue {path} cannot be made: {error}")]
    Make { path: PathBuf, error: io::Error },
    #[error(
        "the disk of {folder} is full ({detail}): nothing was made of the snapshot {snapshot}: free as much as that has there, \
         or name another folder with --into, and run this again"
    )]
    Full { folder: PathBuf, snapshot: PathBuf, detail: String },
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("the queue that was made of the snapshot {path} is not what that counts ({what}): it was removed again")]
    Differs { path: PathBuf, what: String },
}

impl RestoreError {
    /// No relay runs that would go on by itself, and what was begun is removed.
    fn of(self, snapshot: &Path, index: &Path) -> Self {
        let detail = match self {
            Self::Queue(QueueError::Full { detail, .. } | QueueError::NoRoom { detail, .. }) => detail,
            Self::Make { error, .. } if error.kind() == io::ErrorKind::StorageFull => error.to_string(),
            other => return other,
        };
        let folder = index.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::Full { folder: folder.to_owned(), snapshot: snapshot.to_owned(), detail }
    }
}

/// Checks a snapshot as its octets come.
#[derive(Debug, Default)]
pub struct Checker {
    decoder: Decoder,
    beginning: Option<Beginning>,
    messages: u64,
    end: Option<End>,
}

impl Checker {
    pub fn push(&mut self, octets: &[u8]) -> Result<(), SnapshotError> {
        self.decoder.push(octets);
        while let Some(record) = self.decoder.next()? {
            match record {
                Record::Beginning(beginning) => self.beginning = Some(beginning),
                Record::Message(_) => self.messages += 1,
                Record::Kept(..) | Record::Content(_) => {}
                Record::End(end) => self.end = Some(end),
            }
        }
        Ok(())
    }

    /// How many messages came so far, and how many it is about.
    pub fn progress(&self) -> (u64, u64) {
        (self.messages, self.beginning.as_ref().map_or(0, |beginning| beginning.messages))
    }

    /// It is whole.
    pub fn finish(self) -> Result<(Beginning, End), SnapshotError> {
        self.decoder.finish()?;
        match (self.beginning, self.end) {
            (Some(beginning), Some(end)) => Ok((beginning, end)),
            _ => Err(SnapshotError::Cut { at: 0 }),
        }
    }
}

/// Goes through a whole file. `told` hears how many octets of it were read. Blocking.
pub fn check(path: &Path, told: &mut dyn FnMut(u64)) -> Result<(Beginning, End), RestoreError> {
    let mut checker = Checker::default();
    let wrong = |error| RestoreError::Snapshot { path: path.to_owned(), error };
    let mut source = Source::open(path, told)?;
    while let Some(octets) = source.next()? {
        checker.push(octets).map_err(wrong)?;
    }
    checker.finish().map_err(wrong)
}

/// Makes a queue of a snapshot: the index at `index`, its journal beside it. `told` hears how many octets of the file were
/// read, twice over: it is checked first. Blocks its thread while it reads.
pub async fn restore(path: &Path, index: &Path, told: &mut dyn FnMut(u64)) -> Result<(Beginning, End), RestoreError> {
    vacant(index)?;
    let (beginning, end) = check(path, told)?;
    let mut beside = index.as_os_str().to_owned();
    beside.push(".restoring");
    let beside = PathBuf::from(beside);
    let making = |error| RestoreError::Make { path: index.to_owned(), error };
    // What an earlier try left.
    remove(&beside).map_err(making)?;
    os::create_private_folder(&beside).map_err(making)?;
    let made = fill(path, &beside.join("queue.redb"), &end, told).await;
    let made = made.map_err(|error| error.of(path, index));
    let placed = made.and_then(|()| {
        vacant(index)?;
        place(&beside.join("queue.redb"), index).map_err(making)
    });
    let removed = remove(&beside).map_err(making);
    placed.and(removed).map(|()| (beginning, end))
}

fn vacant(index: &Path) -> Result<(), RestoreError> {
    let journal = journal_path(index);
    let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
    match is_there(index) || is_there(&journal) {
        true => Err(RestoreError::Occupied { path: index.to_owned(), journal }),
        false => Ok(()),
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The journal first: a start finds in it all that its index lacks.
fn place(made: &Path, index: &Path) -> io::Result<()> {
    fs::rename(journal_path(made), journal_path(index))?;
    fs::rename(made, index)?;
    os::sync_folder(index.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// A snapshot's file, read piece by piece.
struct Source<'a> {
    path: &'a Path,
    file: File,
    octets: Vec<u8>,
    told: &'a mut dyn FnMut(u64),
}

impl<'a> Source<'a> {
    fn open(path: &'a Path, told: &'a mut dyn FnMut(u64)) -> Result<Self, RestoreError> {
        let file = File::open(path).map_err(|error| RestoreError::Read { path: path.to_owned(), error })?;
        Ok(Self { path, file, octets: vec![0; READ], told })
    }

    fn next(&mut self) -> Result<Option<&[u8]>, RestoreError> {
        let count = loop {
            match self.file.read(&mut self.octets) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|error| RestoreError::Read { path: self.path.to_owned(), error })?,
            }
        };
        (self.told)(count as u64);
        Ok((count > 0).then(|| &self.octets[..count]))
    }
}

async fn fill(path: &Path, index: &Path, end: &End, told: &mut dyn FnMut(u64)) -> Result<(), RestoreError> {
    let options = QueueOptions {
        path: index.to_owned(),
        min_free: Size(0),
        max_messages: u64::MAX,
        max_size: None,
        cache: CACHE,
    };
    let queue = Queue::open(options)?;
    let filled = take_all(path, &queue, told).await;
    let depth = match &filled {
        Ok(()) => queue.depth().await,
        Err(_) => Ok(Default::default()),
    };
    queue.close().await;
    filled?;
    let depth = depth?;
    let (messages, legs) = (depth.messages, depth.waiting + depth.held);
    if (messages, legs) != (end.messages, end.legs) {
        let what = format!("{messages} messages in {legs} parts instead of {} in {}", end.messages, end.legs);
        return Err(RestoreError::Differs { path: path.to_owned(), what });
    }
    Ok(())
}

/// A message of which content is still to come.
struct Coming {
    mid: Mid,
    envelope: Envelope,
    legs: Vec<crate::queue::Leg>,
    lacks: u64,
    content: Gathered,
}

enum Gathered {
    Memory(BytesMut),
    Spool(Spool),
}

async fn take_all(path: &Path, queue: &Queue, told: &mut dyn FnMut(u64)) -> Result<(), RestoreError> {
    let mut decoder = Decoder::default();
    let mut coming: Option<Coming> = None;
    let mut under_way = FuturesUnordered::new();
    let mut source = Source::open(path, told)?;
    while let Some(octets) = source.next()? {
        decoder.push(octets);
        // It was whole when it was checked, and may have been altered since.
        let wrong = |error| RestoreError::Snapshot { path: path.to_owned(), error };
        while let Some(record) = decoder.next().map_err(wrong)? {
            match record {
                Record::Beginning(_) | Record::End(_) => {}
                Record::Kept(name, record) => keep(queue, name, record).await?,
                Record::Message(message) => coming = Some(Coming::of(queue, message)?),
                Record::Content(piece) => {
                    if let Some(coming) = &mut coming {
                        coming.take(piece).await?;
                    }
                }
            }
            if coming.as_ref().is_some_and(|coming| coming.lacks == 0)
                && let Some(coming) = coming.take()
            {
                let message = coming.whole().await?;
                under_way.push(queue.accept(message));
            }
            while under_way.len() > AT_ONCE {
                under_way.next().await.transpose()?;
            }
        }
    }
    decoder.finish().map_err(|error| RestoreError::Snapshot { path: path.to_owned(), error })?;
    while let Some(accepted) = under_way.next().await {
        accepted?;
    }
    Ok(())
}

/// Counters, and what others keep, as they were.
async fn keep(queue: &Queue, name: String, record: Vec<u8>) -> Result<(), QueueError> {
    let (done, written) = oneshot::channel();
    queue.send(Job::Write(Box::new(Write::keep(name, record, done))))?;
    written.await.map_err(|_| QueueError::Closed)?
}

impl Coming {
    fn of(queue: &Queue, message: Message) -> Result<Self, QueueError> {
        let reading = |fault: Fault| fault.reading(queue.path());
        let Message { mid, envelope, legs, size } = message;
        let envelope = decode("an envelope", &envelope).map_err(reading)?;
        let legs = legs.iter().map(|leg| leg_of(leg)).collect::<Result<Vec<_>, _>>().map_err(reading)?;
        let content = match size <= IN_MEMORY {
            true => Gathered::Memory(BytesMut::with_capacity(usize::try_from(size).unwrap_or(0))),
            false => Gathered::Spool(queue.spool(mid)),
        };
        Ok(Self { mid, envelope, legs, lacks: size, content })
    }

    async fn take(&mut self, piece: Bytes) -> Result<(), QueueError> {
        self.lacks = self.lacks.saturating_sub(piece.len() as u64);
        match &mut self.content {
            Gathered::Memory(content) => {
                content.extend_from_slice(&piece);
                Ok(())
            }
            Gathered::Spool(spool) => spool.write(piece).await,
        }
    }

    async fn whole(self) -> Result<NewMessage, QueueError> {
        let Self { mid, envelope, legs, content, .. } = self;
        let content = match content {
            Gathered::Memory(content) => NewContent::Memory(content.freeze()),
            Gathered::Spool(spool) => NewContent::Spooled(spool.finish().await?),
        };
        Ok(NewMessage { mid, envelope, legs, content, note: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is to be freed is there, and nobody waits for a relay that does not run.
    #[test]
    fn a_full_disk_is_told_of_the_place_that_was_named() {
        let (detail, path) = ("no space".to_owned(), PathBuf::from("/data/queue.redb.restoring/queue.redb"));
        let full = QueueError::Full { path: path.clone(), detail: detail.clone() };
        let no_room = QueueError::NoRoom { folder: path.clone(), path, detail };
        let making = RestoreError::Make { path: PathBuf::new(), error: io::ErrorKind::StorageFull.into() };
        for error in [RestoreError::Queue(full), RestoreError::Queue(no_room), making] {
            let told = error.of(Path::new("my.snapshot"), Path::new("/data/queue.redb")).to_string();
            assert!(told.starts_with("the disk of /data is full ("), "{told}");
            assert!(!told.contains("goes on by itself") && !told.contains(".restoring"), "{told}");
        }
    }
}
