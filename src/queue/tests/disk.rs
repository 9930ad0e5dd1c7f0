//! A disk that runs full, fails to sync, and forgets at a power cut what was not synced: the queue's index and all files of
//! its journal lie on it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redb::StorageBackend;

use crate::queue::Position;
use crate::queue::lease::lock;
use crate::queue::medium::{Blob, Medium};

/// The name of the index.
const INDEX: &str = "queue.redb";

#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<String, FileState>,
    /// Octets that may still be written; `None`: any number.
    room: Option<u64>,
    /// Syncs until one fails; `None`: none does.
    syncs: Option<u64>,
    /// Does a failing sync reach the platter all the same?
    lying: bool,
    /// Raised at each attach and power cut: older backends write nothing any more.
    generation: u64,
    /// Writes and syncs until the power goes; `None`: it stays.
    left: Option<u64>,
    /// Operations until some fail, how many, and how.
    fault: Option<(u64, u64, Fault)>,
    off: bool,
    /// What the journal's follower has durably.
    followed: Kept,
}

/// What a follower that writes to this disk has.
#[derive(Debug, Default, Clone)]
pub(super) struct Kept {
    pub(super) notes: Vec<String>,
    pub(super) position: Option<Position>,
    /// So many of its writes fail.
    pub(super) fails: u64,
}

/// What an operation comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Writes find no room.
    Full,
    /// Writes and syncs fail.
    Broken,
    /// Reads fail.
    Unreadable,
}

#[derive(Default)]
struct FileState {
    /// What reads see.
    seen: Vec<u8>,
    /// What surely survives a power cut.
    synced: Vec<u8>,
    /// What happened since: each may survive, or a part of it.
    unsynced: Vec<Change>,
    /// The folder was synced since it was made.
    named: bool,
    /// Removed, and the folder not synced since: it may come back.
    removed: bool,
}

enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

fn apply(image: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(size) => image.resize(*size, 0),
        Change::Write(at, octets) => {
            if image.len() < at + octets.len() {
                image.resize(at + octets.len(), 0);
            }
            image[*at..at + octets.len()].copy_from_slice(octets);
        }
    }
}

impl FileState {
    fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            apply(&mut self.synced, &change);
        }
    }

    /// Of what was not synced, a share is there, whole or torn.
    fn cut(&mut self, random: &mut StdRng, share: f64) {
        for change in std::mem::take(&mut self.unsynced) {
            if !random.random_bool(share) {
                continue;
            }
            match change {
                Change::Write(at, mut octets) if random.random_bool(0.2) => {
                    // Sectors are written whole.
                    octets.truncate(octets.len() * random.random_range(0..=8) / 8 / 512 * 512);
                    apply(&mut self.synced, &Change::Write(at, octets));
                }
                change => apply(&mut self.synced, &change),
            }
        }
        self.seen = self.synced.clone();
    }
}

impl Disk {
    /// The index; whoever had the disk before has it no more.
    pub(super) fn attach(&self) -> Backend {
        let mut state = lock(&self.0);
        state.generation += 1;
        state.files.entry(INDEX.to_owned()).or_default().named = true;
        Backend { disk: self.clone(), generation: state.generation }
    }

    /// The journal's folder, for whoever attached last.
    pub(super) fn folder(&self) -> Arc<dyn Medium> {
        Arc::new(Backend { disk: self.clone(), generation: lock(&self.0).generation })
    }

    pub(super) fn names(&self) -> Vec<String> {
        let state = lock(&self.0);
        let there = state.files.iter().filter(|(name, file)| !file.removed && *name != INDEX);
        there.map(|(name, _)| name.clone()).collect()
    }

    /// Octets in the files of the journal's folder.
    pub(super) fn octets(&self) -> usize {
        lock(&self.0).files.iter().filter(|(name, _)| *name != INDEX).map(|(_, file)| file.seen.len()).sum()
    }

    /// Turns one bit of what is on the platter.
    pub(super) fn damage(&self, name: &str, at: usize) {
        let mut state = lock(&self.0);
        let file = state.files.get_mut(name).unwrap();
        file.sync();
        file.synced[at] ^= 1;
        file.seen = file.synced.clone();
    }

    /// The power goes in the middle of a write or sync to come. `cut_power` says what is left then.
    pub(super) fn off_after(&self, changes: u64) {
        lock(&self.0).left = Some(changes);
    }

    /// The power was gone and is back: of what was not synced, a random part is there, whole or torn.
    pub(super) fn cut_power(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let state = &mut *lock(&self.0);
        state.generation += 1;
        let share = random.random_range(0.0..=1.0);
        state.files.retain(|_, file| match (file.named, file.removed) {
            (true, removed) => !(removed && random.random_bool(share)),
            (false, removed) => !removed && random.random_bool(share),
        });
        for file in state.files.values_mut() {
            (file.named, file.removed) = (true, false);
            file.cut(&mut random, share);
        }
        (state.room, state.syncs, state.left, state.off, state.fault) = (None, None, None, false, None);
    }

    /// After so many operations that `fault` concerns, so many fail. False later: it did not come to that.
    pub(super) fn fail_after(&self, operations: u64, count: u64, fault: Fault) {
        lock(&self.0).fault = Some((operations, count, fault));
    }

    pub(super) fn has_failed(&self) -> bool {
        lock(&self.0).fault.is_none_or(|(left, ..)| left == 0)
    }

    pub(super) fn followed<T>(&self, run: impl FnOnce(&mut Kept) -> T) -> T {
        run(&mut lock(&self.0).followed)
    }

    /// Writes what the follower has taken, all or nothing, if the power is there.
    pub(super) fn keep(&self, generation: u64, notes: &mut Vec<String>, position: Option<Position>) -> io::Result<()> {
        Backend { disk: self.clone(), generation }.change(|state| {
            if state.followed.fails > 0 {
                state.followed.fails -= 1;
                return Err(io::Error::other("the follower's disk is gone"));
            }
            state.followed.notes.append(notes);
            state.followed.position = position;
            Ok(())
        })
    }

    pub(super) fn generation(&self) -> u64 {
        lock(&self.0).generation
    }

    pub(super) fn leave_room(&self, octets: Option<u64>) {
        lock(&self.0).room = octets;
    }

    pub(super) fn fail_sync_after(&self, syncs: Option<u64>, lying: bool) {
        let mut state = lock(&self.0);
        (state.syncs, state.lying) = (syncs, lying);
    }
}

#[derive(Clone)]
pub(super) struct Backend {
    disk: Disk,
    generation: u64,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({})", self.generation)
    }
}

impl Backend {
    fn with<T>(&self, run: impl FnOnce(&mut State) -> io::Result<T>) -> Result<T, io::Error> {
        let mut state = lock(&self.disk.0);
        if state.off || state.generation != self.generation {
            return Err(io::Error::other("the power is gone"));
        }
        run(&mut state)
    }

    fn change<T>(&self, run: impl FnOnce(&mut State) -> io::Result<T>) -> Result<T, io::Error> {
        self.with(|state| {
            if let Some(left) = &mut state.left {
                if *left == 0 {
                    state.off = true;
                    return Err(io::Error::other("the power is gone"));
                }
                *left -= 1;
            }
            state.may_fail(&[Fault::Full, Fault::Broken])?;
            run(state)
        })
    }

    fn size_of(&self, name: &str) -> io::Result<u64> {
        self.with(|state| Ok(state.file(name)?.seen.len() as u64))
    }

    fn read_of(&self, name: &str, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|state| {
            state.may_fail(&[Fault::Unreadable])?;
            let from = state.file(name)?.seen.get(offset as usize..offset as usize + out.len());
            out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_to(&self, name: &str, offset: Option<u64>, data: &[u8]) -> io::Result<()> {
        self.change(|state| {
            if let Some(room) = &mut state.room {
                *room = room.checked_sub(data.len() as u64).ok_or_else(full)?;
            }
            let file = state.file(name)?;
            let at = offset.map_or(file.seen.len(), |offset| offset as usize);
            file.change(Change::Write(at, data.to_vec()));
            Ok(())
        })
    }

    fn resize(&self, name: &str, len: u64) -> io::Result<()> {
        self.change(|state| {
            state.file(name)?.change(Change::Length(len as usize));
            Ok(())
        })
    }

    fn sync_of(&self, name: &str) -> io::Result<()> {
        self.change(|state| {
            let fails = state.sync_fails();
            if !fails || state.lying {
                state.file(name)?.sync();
            }
            if fails { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
        })
    }
}

impl State {
    fn may_fail(&mut self, kinds: &[Fault]) -> io::Result<()> {
        match &mut self.fault {
            Some((left, _, fault)) if *left > 0 && kinds.contains(fault) => *left -= 1,
            Some((0, count, fault)) if *count > 0 && kinds.contains(fault) => {
                *count -= 1;
                return Err(if *fault == Fault::Full { full() } else { io::Error::other("the disk is gone") });
            }
            _ => {}
        }
        Ok(())
    }

    fn file(&mut self, name: &str) -> io::Result<&mut FileState> {
        self.files.get_mut(name).filter(|file| !file.removed).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_fails(&mut self) -> bool {
        match &mut self.syncs {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

fn full() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.size_of(INDEX)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.read_of(INDEX, offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.resize(INDEX, len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.sync_of(INDEX)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.write_to(INDEX, Some(offset), data)
    }
}

impl Medium for Backend {
    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Blob>> {
        self.change(|state| {
            if state.file(name).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.files.insert(name.to_owned(), FileState::default());
            Ok(())
        })?;
        self.open(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Blob>> {
        self.with(|state| state.file(name).map(|_| ()))?;
        Ok(Arc::new(Part { backend: self.clone(), name: name.to_owned() }))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.with(|_| Ok(()))?;
        Ok(self.disk.names())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|state| {
            state.file(name)?.removed = true;
            Ok(())
        })
    }

    fn sync_names(&self) -> io::Result<()> {
        self.change(|state| {
            if state.sync_fails() {
                return Err(io::Error::other("the disk is gone"));
            }
            state.files.retain(|_, file| !file.removed);
            state.files.values_mut().for_each(|file| file.named = true);
            Ok(())
        })
    }
}

#[derive(Debug)]
struct Part {
    backend: Backend,
    name: String,
}

impl Blob for Part {
    fn size(&self) -> io::Result<u64> {
        self.backend.size_of(&self.name)
    }

    fn append(&self, octets: &mut [IoSlice<'_>]) -> io::Result<()> {
        octets.iter().try_for_each(|slice| self.backend.write_to(&self.name, None, slice))
    }

    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.backend.read_of(&self.name, at, into)
    }

    fn sync(&self) -> io::Result<()> {
        self.backend.sync_of(&self.name)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.backend.resize(&self.name, size)
    }

    fn punch(&self, at: u64, size: u64) -> io::Result<()> {
        self.backend.write_to(&self.name, Some(at), &vec![0; size as usize])
    }
}
