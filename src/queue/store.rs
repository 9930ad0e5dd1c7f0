//! The file: opening it, reading from it, and dropping and opening it anew after a failed write.
//!
//! redb refuses everything after an I/O error until it is opened again. So the database sits in a slot: readers and the
//! writer borrow it for one short transaction, and the writer alone takes it out and puts a fresh one in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};

use super::QueueError;
use super::error::Fault;
use super::tables::{BODIES, COUNTERS, DUE, LEGS, MESSAGES, META, SCHEMA, SCHEMA_KEY, SPOOLING};
use crate::mail::Mid;
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
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(Fault::io)?;
        }
        let file = os::open_private(&path).map_err(Fault::io)?;
        let new = file.metadata().map_err(Fault::io)?.len() == 0;
        let backend = FileBackend::new(file)?;
        // redb checks what it reads at opening, yet a file altered from outside may still trip one of its assertions.
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Database::builder().set_cache_size(cache).create_with_backend(backend)
        }))
        .map_err(|_| Fault::Damaged("it is damaged, or no queue (reading it failed)".to_owned()))?;
        let database = opened?;
        if new {
            os::sync_folder(folder.unwrap_or(Path::new("."))).map_err(Fault::io)?;
        }
        Ok(database)
    })
}

/// A write transaction as the queue wants it: durable, and quick to open after a crash.
pub(super) fn begin_write(database: &Database) -> Result<WriteTransaction, Fault> {
    let mut txn = database.begin_write()?;
    // Durability::Immediate is redb's default. Without quick repair, opening after a crash reads the whole file.
    txn.set_quick_repair(true);
    Ok(txn)
}

impl Store {
    pub(super) fn open(path: PathBuf, opener: Opener) -> Result<Self, QueueError> {
        let database = opener()
            .and_then(|database| prepare(&database).map(|()| database))
            .map_err(|fault| fault.opening(&path))?;
        Ok(Self { path, opener, slot: RwLock::new(Slot::Open(database)) })
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

    /// Drops the database after a fault: readers fail until `mend` has succeeded.
    pub(super) fn take_out(&self, why: String) {
        self.replace(Slot::Out(why));
    }

    /// Opens the file anew and proves by a commit (`repair` adds what must be undone) that it takes writes again.
    pub(super) fn mend(&self, repair: impl FnOnce(&WriteTransaction) -> Result<(), Fault>) -> Result<(), Fault> {
        let database = (self.opener)()?;
        prepare(&database)?;
        let txn = begin_write(&database)?;
        repair(&txn)?;
        {
            // A transaction that changes nothing would prove nothing.
            let mut meta = txn.open_table(META)?;
            let mended = meta.get("mended")?.map_or(0, |count| count.value());
            meta.insert("mended", mended.wrapping_add(1))?;
        }
        txn.commit()?;
        self.replace(Slot::Open(database));
        Ok(())
    }

    pub(super) fn close(&self) {
        self.replace(Slot::Closed);
    }

    fn replace(&self, new: Slot) {
        let old = std::mem::replace(&mut *self.slot.write().unwrap_or_else(PoisonError::into_inner), new);
        drop(old);
    }

    /// Messages whose content was written ahead and that were never accepted.
    pub(super) fn unfinished(&self) -> Result<Vec<Mid>, Fault> {
        self.read(|txn| {
            let spooling = txn.open_table(SPOOLING)?;
            spooling.iter()?.map(|row| Ok(Mid::from_bits(row?.0.value()))).collect()
        })
    }
}

/// Makes the tables of a new file; refuses one of a newer schema, and one that is somebody else's.
fn prepare(database: &Database) -> Result<(), Fault> {
    let txn = begin_write(database)?;
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
            Some(_) => {}
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
    txn.open_table(SPOOLING)?;
    txn.open_table(COUNTERS)?;
    // Opening an old file writes nothing.
    if fresh { Ok(txn.commit()?) } else { Ok(txn.abort()?) }
}
