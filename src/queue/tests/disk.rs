//! A disk that runs full, fails to sync, and forgets at a power cut what was not synced.

use std::io;
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redb::StorageBackend;

use crate::queue::lease::lock;

#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What reads see.
    seen: Vec<u8>,
    /// What surely survives a power cut.
    synced: Vec<u8>,
    /// What happened since: each may survive, or a part of it.
    unsynced: Vec<Change>,
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
    off: bool,
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

impl Disk {
    pub(super) fn attach(&self) -> Backend {
        let mut state = lock(&self.0);
        state.generation += 1;
        Backend { disk: self.clone(), generation: state.generation }
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
        for change in std::mem::take(&mut state.unsynced) {
            if !random.random_bool(share) {
                continue;
            }
            match change {
                Change::Write(at, mut octets) if random.random_bool(0.2) => {
                    // Sectors are written whole.
                    octets.truncate(octets.len() * random.random_range(0..=8) / 8 / 512 * 512);
                    apply(&mut state.synced, &Change::Write(at, octets));
                }
                change => apply(&mut state.synced, &change),
            }
        }
        state.seen = state.synced.clone();
        (state.room, state.syncs, state.left, state.off) = (None, None, None, false);
    }

    pub(super) fn leave_room(&self, octets: Option<u64>) {
        lock(&self.0).room = octets;
    }

    pub(super) fn fail_sync_after(&self, syncs: Option<u64>, lying: bool) {
        let mut state = lock(&self.0);
        (state.syncs, state.lying) = (syncs, lying);
    }
}

pub(super) struct Backend {
    disk: Disk,
    generation: u64,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
            run(state)
        })
    }
}

fn full() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.with(|state| Ok(state.seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.with(|state| {
            let from = state.seen.get(offset as usize..offset as usize + out.len());
            out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.change(|state| {
            let change = Change::Length(len as usize);
            apply(&mut state.seen, &change);
            state.unsynced.push(change);
            Ok(())
        })
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.change(|state| {
            let fails = match &mut state.syncs {
                Some(0) => true,
                Some(left) => {
                    *left -= 1;
                    false
                }
                None => false,
            };
            if !fails || state.lying {
                for change in std::mem::take(&mut state.unsynced) {
                    apply(&mut state.synced, &change);
                }
            }
            if fails { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.change(|state| {
            if let Some(room) = &mut state.room {
                *room = room.checked_sub(data.len() as u64).ok_or_else(full)?;
            }
            let change = Change::Write(offset as usize, data.to_vec());
            apply(&mut state.seen, &change);
            state.unsynced.push(change);
            Ok(())
        })
    }
}
