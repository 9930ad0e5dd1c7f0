//! The trail's file (redb).
//!
//! | table | key | value |
//! |---|---|---|
//! | blocks | number of the first record | `block` |
//! | filters | the same | what the block has, without reading it |
//! | meta | name | position in the journal; the end of the chain; octets of all blocks; the form |
//!
//! It is written about once a second, in one transaction: blocks, filters, and how far the journal has been read. The last
//! block is written anew until it is full.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use super::block::{Block, Hash, Packed, Span, Tail};
use super::error::Fault;
use crate::os;
use crate::queue::Position;

pub(super) const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
pub(super) const FILTERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("filters");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

const FORM_KEY: &str = "trail";
const FORM: &[u8] = &[1];
const POSITION_KEY: &str = "position";
const HEAD_KEY: &str = "head";
const SIZE_KEY: &str = "size";

/// redb's page cache: the end is written, and the rest seldom read.
const CACHE: usize = 4 << 20;

/// The file, for its one writer and for readers; empty while it is opened anew.
#[derive(Clone)]
pub(super) struct Slot(Arc<RwLock<Option<Opened>>>);

/// However it was opened.
pub(super) enum Opened {
    Whole(Database),
    ToRead(redb::ReadOnlyDatabase),
}

/// Where the chain ends: so many records, and the hash after the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub records: u64,
    pub hash: Hash,
}

impl Slot {
    pub(super) fn new(opened: Opened) -> Self {
        Self(Arc::new(RwLock::new(Some(opened))))
    }

    /// For one transaction at a time: readers are short, or read on in the next one.
    pub(super) fn read<T>(&self, run: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, Fault> {
        let slot = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let txn = match slot.as_ref().ok_or(Fault::Out)? {
            Opened::Whole(database) => database.begin_read()?,
            Opened::ToRead(database) => database.begin_read()?,
        };
        drop(slot);
        // An altered file may trip an assertion of redb's.
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&txn)))
            .unwrap_or_else(|_| Err(Fault::Damaged("it is damaged (reading it failed)".to_owned())))
    }

    fn with<T>(&self, run: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, Fault> {
        match self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(Opened::Whole(database)) => run(database),
            Some(Opened::ToRead(_)) | None => Err(Fault::Out),
        }
    }

    pub(super) fn reopen(&self, path: &Path) -> Result<(), Fault> {
        let mut slot = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Its lock goes first.
        drop(slot.take());
        *slot = Some(Opened::Whole(open(path)?));
        Ok(())
    }
}

/// Opens the file of a trail, or makes one.
pub(super) fn open(path: &Path) -> Result<Database, Fault> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(Fault::io)?;
    if std::fs::metadata(path).map_or(true, |found| found.len() == 0) {
        // Made beside its place first: a start that is cut off leaves nothing there that is no trail.
        let new = beside(path);
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Fault::io(error)),
            _ => {}
        }
        prepare(&open_file(&new)?)?;
        std::fs::rename(&new, path).map_err(Fault::io)?;
        os::sync_folder(folder).map_err(Fault::io)?;
    }
    let database = open_file(path)?;
    prepare(&database)?;
    Ok(database)
}

fn beside(path: &Path) -> PathBuf {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    new.into()
}

fn open_file(path: &Path) -> Result<Database, Fault> {
    let backend = FileBackend::new(os::open_private(path).map_err(Fault::io)?)?;
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        Database::builder().set_cache_size(CACHE).create_with_backend(backend)
    }));
    Ok(opened.map_err(|_| Fault::Damaged("it is damaged, or no trail (reading it failed)".to_owned()))??)
}

/// Opens a trail that no relay has, to read it. One that a crash left is mended first.
pub(super) fn open_to_read(path: &Path) -> Result<Opened, Fault> {
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| redb::ReadOnlyDatabase::open(path)));
    let opened = opened.map_err(|_| Fault::Damaged("it is damaged, or no trail (reading it failed)".to_owned()))?;
    let opened = match opened {
        Ok(database) => Opened::ToRead(database),
        Err(redb::DatabaseError::RepairAborted) => Opened::Whole(open_file(path)?),
        Err(error) => return Err(error.into()),
    };
    let txn = match &opened {
        Opened::Whole(database) => database.begin_read()?,
        Opened::ToRead(database) => database.begin_read()?,
    };
    match txn.open_table(META) {
        Ok(meta) => known(meta.get(FORM_KEY)?.as_ref().map(|form| form.value()))?,
        Err(redb::TableError::TableDoesNotExist(_)) => known(None)?,
        Err(error) => return Err(error.into()),
    }
    drop(txn);
    Ok(opened)
}

fn known(form: Option<&[u8]>) -> Result<(), Fault> {
    match form {
        Some(FORM) => Ok(()),
        Some(form) => {
            Err(Fault::Damaged(format!("another release of waypost wrote it (form {form:?}, this one knows {FORM:?})")))
        }
        None => Err(Fault::Damaged("it is a redb file, but no trail of waypost".to_owned())),
    }
}

fn prepare(database: &Database) -> Result<(), Fault> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    let fresh = txn.list_tables()?.next().is_none();
    {
        let mut meta = txn.open_table(META)?;
        if fresh {
            meta.insert(FORM_KEY, FORM)?;
        }
        known(meta.get(FORM_KEY)?.as_ref().map(|form| form.value()))?;
    }
    txn.open_table(BLOCKS)?;
    txn.open_table(FILTERS)?;
    if fresh { Ok(txn.commit()?) } else { Ok(txn.abort()?) }
}

/// What a writer begins with.
pub(super) struct State {
    pub(super) position: Option<Position>,
    pub(super) tail: Tail,
    /// Octets of all blocks and filters.
    pub(super) size: u64,
    /// Of those, the block that `tail` is.
    pub(super) of_tail: u64,
}

/// Reads the end of the trail; a last block that does not fit is damage.
pub(super) fn state(slot: &Slot) -> Result<State, Fault> {
    slot.read(|txn| {
        let meta = txn.open_table(META)?;
        let value = |key| Ok::<_, Fault>(meta.get(key)?.map(|value| value.value().to_vec()));
        let position = value(POSITION_KEY)?.map(|octets| position(&octets)).transpose()?;
        let size = value(SIZE_KEY)?.and_then(|octets| Some(u64::from_le_bytes(octets.try_into().ok()?))).unwrap_or(0);
        let head = value(HEAD_KEY)?.map(|octets| head(&octets)).transpose()?;
        let blocks = txn.open_table(BLOCKS)?;
        let Some((first, block)) = blocks.last()? else {
            let head = head.unwrap_or(Head { records: 0, hash: [0; 32] });
            return Ok(State { position, tail: Tail::new(head.records + 1, head.hash, 0, 0), size, of_tail: 0 });
        };
        let (first, block) = (first.value(), block.value());
        let filter = txn.open_table(FILTERS)?.get(first)?.map(|filter| filter.value().to_vec()).unwrap_or_default();
        let latest = Span::read(&filter).map_or(0, |span| span.latest);
        let wrong =
            || Fault::Damaged(format!("it is damaged: its last block, from record {first} on, does not fit its hash"));
        let tail = Tail::reopen(first, &Block::unpack(block).ok_or_else(wrong)?, latest).ok_or_else(wrong)?;
        if head != Some(Head { records: tail.next() - 1, hash: tail.after }) {
            return Err(Fault::Damaged(format!("it is damaged: it does not end with record {}", tail.next() - 1)));
        }
        let of_tail = (block.len() + filter.len()) as u64;
        if tail.is_full() {
            let packed = tail.pack();
            return Ok(State { position, tail: tail.follow(&packed), size, of_tail: 0 });
        }
        Ok(State { position, tail, size, of_tail })
    })
}

/// What one transaction writes.
pub(super) struct Change<'a> {
    pub(super) blocks: &'a [Packed],
    pub(super) trimmed: &'a [u64],
    pub(super) position: Option<Position>,
    pub(super) head: Head,
    pub(super) size: u64,
}

pub(super) fn write(slot: &Slot, change: &Change<'_>) -> Result<(), Fault> {
    slot.with(|database| {
        let mut txn = database.begin_write()?;
        // Else a start after a crash would read all of the file.
        txn.set_quick_repair(true);
        {
            let (mut blocks, mut filters) = (txn.open_table(BLOCKS)?, txn.open_table(FILTERS)?);
            for packed in change.blocks {
                blocks.insert(packed.first, &packed.block[..])?;
                filters.insert(packed.first, &packed.filter[..])?;
            }
            for first in change.trimmed {
                blocks.remove(first)?;
                filters.remove(first)?;
            }
            let mut meta = txn.open_table(META)?;
            if let Some(position) = change.position {
                let (segment, offset, group) = position.parts();
                let octets = [&segment.to_le_bytes()[..], &offset.to_le_bytes(), &group.to_le_bytes()].concat();
                meta.insert(POSITION_KEY, &octets[..])?;
            }
            meta.insert(HEAD_KEY, &change.head.octets()[..])?;
            meta.insert(SIZE_KEY, &change.size.to_le_bytes()[..])?;
        }
        Ok(txn.commit()?)
    })
}

pub(super) fn head_of(txn: &ReadTransaction) -> Result<Head, Fault> {
    let meta = txn.open_table(META)?;
    let octets = meta.get(HEAD_KEY)?.map(|value| value.value().to_vec());
    octets.map_or(Ok(Head { records: 0, hash: [0; 32] }), |octets| head(&octets))
}

pub(super) fn size_of(txn: &ReadTransaction) -> Result<u64, Fault> {
    let octets = txn.open_table(META)?.get(SIZE_KEY)?.map(|value| value.value().to_vec());
    Ok(octets.and_then(|octets| Some(u64::from_le_bytes(octets.try_into().ok()?))).unwrap_or(0))
}

fn position(octets: &[u8]) -> Result<Position, Fault> {
    (|| {
        let segment = u32::from_le_bytes(octets.get(..4)?.try_into().ok()?);
        let offset = u64::from_le_bytes(octets.get(4..12)?.try_into().ok()?);
        Some(Position::from_parts(segment, offset, u64::from_le_bytes(octets.get(12..)?.try_into().ok()?)))
    })()
    .ok_or_else(|| Fault::Damaged("it is damaged: its position does not read back".to_owned()))
}

fn head(octets: &[u8]) -> Result<Head, Fault> {
    Head::read(octets).ok_or_else(|| Fault::Damaged("it is damaged: its head does not read back".to_owned()))
}

impl Head {
    pub fn octets(&self) -> Vec<u8> {
        [&self.records.to_le_bytes()[..], &self.hash].concat()
    }

    pub fn read(octets: &[u8]) -> Option<Self> {
        let (records, hash) = octets.split_at_checked(8)?;
        Some(Self { records: u64::from_le_bytes(records.try_into().ok()?), hash: hash.try_into().ok()? })
    }
}

/// `RECORDS:HASH`, as logs and `trace --verify` have it.
impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.records)?;
        self.hash.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl std::str::FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is no RECORDS:HASH, as the log tells it");
        let (records, hex) = text.split_once(':').ok_or_else(bad)?;
        let mut hash = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(bad());
        }
        for (n, octet) in hash.iter_mut().enumerate() {
            *octet = u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self { records: records.parse().map_err(|_| bad())?, hash })
    }
}
