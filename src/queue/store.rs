//! The file: opening it, reading from it, and dropping and opening it anew after a failed write.
//!
//! redb refuses everything after an I/O error until it is opened again. So the database sits in a slot: readers and the
//! writer borrow it for one short transaction, and the writer alone takes it out and puts a fresh one in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};

use super::QueueError;
use super::error::Fault;
use super::journal::Position;
use super::tables::{BODIES, COUNTERS, DUE, FOLLOWER_KEY, JOURNAL, LEGS, MARKS, MESSAGES, META, SCHEMA, SCHEMA_KEY};
use super::tally::TALLY;
use crate::os;

/// Opens the database itself: the file's, or a test's.
pub(super) type Opener = Box<dyn Fn() -> Result<Database, Fault> + Send + Sync>;

pub(super) struct Store {
    path: PathBuf,
    opener: Opener,
    slot: RwLock<Slot>,
}

enum Slot {
    Open(Database),
    /// Taken out after this fault.
    Out(String),
    Closed,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The opener of a queue's file.
pub(super) fn file_opener(path: PathBuf, cache: usize) -> Opener {
    Box::new(move || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(Fault::io)?;
        if std::fs::metadata(&path).map_or(true, |found| found.len() == 0) {
            create(&path, cache)?;
            os::sync_folder(folder).map_err(Fault::io)?;
        }
        open(&path, cache)
    })
}

/// Makes the file beside its place first: a start that is cut off leaves nothing there that is no queue.
fn create(path: &Path, cache: usize) -> Result<(), Fault> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Fault::io(error)),
        _ => {}
    }
    prepare(&open(Path::new(&new), cache)?)?;
    std::fs::rename(&new, path).map_err(Fault::io)
}

fn open(path: &Path, cache: usize) -> Result<Database, Fault> {
    let backend = FileBackend::new(os::open_private(path).map_err(Fault::io)?)?;
    // redb checks what it reads at opening, yet a file altered from outside may still trip one of its assertions.
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        Database::builder().set_cache_size(cache).create_with_backend(backend)
    }))
    .map_err(|_| Fault::Damaged("it is damaged, or no queue (reading it failed)".to_owned()))?;
    Ok(opened?)
}

/// How a transaction of the index ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Seen by readers at once; after a crash the journal has it.
    Seen,
    /// On disk, and quick to open after a crash: a checkpoint.
    Durable,
}

pub(super) fn begin_write(database: &Database, keep: Keep) -> Result<WriteTransaction, Fault> {
    let mut txn = database.begin_write()?;
    match keep {
        Keep::Seen => txn.set_durability(Durability::None)?,
        // Durability::Immediate is redb's default. Without quick repair, opening after a crash reads the whole file.
        Keep::Durable => txn.set_quick_repair(true),
    }
    Ok(txn)
}

impl Store {
    /// `ready` makes the index ready for readers.
    pub(super) fn open<T>(
        path: PathBuf,
        opener: Opener,
        ready: impl FnOnce(&Database) -> Result<T, Fault>,
    ) -> Result<(Self, T), QueueError> {
        let opening = |fault: Fault| fault.opening(&path);
        let database = opener().map_err(opening)?;
        prepare(&database).map_err(opening)?;
        let made = ready(&database).map_err(opening)?;
        Ok((Self { path, opener, slot: RwLock::new(Slot::Open(database)) }, made))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Borrows the database for one short transaction.
    pub(super) fn with<T>(&self, run: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, Fault> {
        match &*self.slot.read().unwrap_or_else(PoisonError::into_inner) {
            Slot::Open(database) => run(database),
            Slot::Out(why) => Err(Fault::Out(why.clone())),
            Slot::Closed => Err(Fault::Closed),
        }
    }

    /// Blocking; the transaction must be short, since it pins the pages that it sees.
    pub(super) fn read<T>(&self, run: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, Fault> {
        self.with(|database| run(&database.begin_read()?))
    }

    /// Drops the database after a fault: readers fail until `put`.
    pub(super) fn take_out(&self, why: String) {
        self.replace(Slot::Out(why));
    }

    /// Opens the file anew, for the caller alone; what was not durable is gone from it.
    pub(super) fn reopen(&self) -> Result<Database, Fault> {
        let database = (self.opener)()?;
        prepare(&database)?;
        Ok(database)
    }

    /// Hands it to the readers.
    pub(super) fn put(&self, database: Database) {
        self.replace(Slot::Open(database));
    }

    pub(super) fn close(&self) {
        self.replace(Slot::Closed);
    }

    fn replace(&self, new: Slot) {
        let old = std::mem::replace(&mut *self.slot.write().unwrap_or_else(PoisonError::into_inner), new);
        drop(old);
    }
}

/// Up to where an index has the journal.
pub(super) fn position(database: &Database) -> Result<Position, Fault> {
    let row = database.begin_read()?.open_table(JOURNAL)?.get(())?.map(|row| row.value());
    Ok(row.map_or(Position::START, |(segment, offset, group)| Position { segment, offset, group }))
}

/// The mark that the journal's follower has told last.
pub(super) fn mark(database: &impl ReadableDatabase) -> Result<Option<Vec<u8>>, Fault> {
    match database.begin_read()?.open_table(MARKS) {
        Ok(marks) => Ok(marks.get(FOLLOWER_KEY)?.map(|mark| mark.value().to_vec())),
        // Nobody has followed it yet.
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The mark of whoever follows the journal, from the index of a queue that nobody has open; `None` where it has none, or
/// cannot be read.
pub fn follower_mark(index: &Path) -> Option<Vec<u8>> {
    let read = || mark(&redb::ReadOnlyDatabase::open(index).ok()?).ok()?;
    // An altered file may trip an assertion of redb's.
    std::panic::catch_unwind(read).ok().flatten()
}

/// Makes the tables of a new file; refuses one of a newer schema, and one that is somebody else's.
fn prepare(database: &Database) -> Result<(), Fault> {
    let txn = begin_write(database, Keep::Durable)?;
    let fresh = txn.list_tables()?.next().is_none();
    {
        let mut meta = txn.open_table(META)?;
        let schema = meta.get(SCHEMA_KEY)?.map(|schema| schema.value());
        match schema {
            Some(schema) if schema > SCHEMA => {
                return Err(Fault::Damaged(format!(
                    "a newer waypost wrote it (schema {schema}, this one knows {SCHEMA}): run that one; it was left as it is"
                )));
            }
            Some(SCHEMA) => {}
            Some(schema) => {
                return Err(Fault::Damaged(format!(
                    "an older waypost wrote it (schema {schema}, this one knows {SCHEMA}): let that one deliver what is queued, \
                     then move the file away; it was left as it is"
                )));
            }
            None if fresh => drop(meta.insert(SCHEMA_KEY, SCHEMA)?),
            None => {
                return Err(Fault::Damaged(
                    "it is a redb file, but no queue of waypost: it was left as it is".to_owned(),
                ));
            }
        }
    }
    txn.open_table(MESSAGES)?;
    txn.open_table(LEGS)?;
    txn.open_table(DUE)?;
    txn.open_table(BODIES)?;
    txn.open_table(JOURNAL)?;
    txn.open_table(COUNTERS)?;
    txn.open_table(TALLY)?;
    // Opening an old file writes nothing.
    if fresh { Ok(txn.commit()?) } else { Ok(txn.abort()?) }
}
