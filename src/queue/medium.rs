//! Where the queue's files lie: a folder, or in tests a disk that fails as real ones do.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::os;

/// A flat folder of files. Blocking.
pub(super) trait Medium: fmt::Debug + Send + Sync {
    /// Makes the folder where it is not there.
    fn prepare(&self) -> io::Result<()>;

    /// Makes a file that is not there yet. Its name is durable after the next `sync_names`.
    fn create(&self, name: &str) -> io::Result<Arc<dyn Blob>>;

    fn open(&self, name: &str) -> io::Result<Arc<dyn Blob>>;

    /// Every name, in no order.
    fn names(&self) -> io::Result<Vec<String>>;

    fn remove(&self, name: &str) -> io::Result<()>;

    fn sync_names(&self) -> io::Result<()>;
}

/// One file. Reads may come from any thread; one thread appends.
pub(super) trait Blob: fmt::Debug + Send + Sync {
    fn size(&self) -> io::Result<u64>;

    /// Writes all of it behind what was written before; after an error a part of it may be there.
    fn append(&self, octets: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Fills `into`, or fails.
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()>;

    /// Makes what was appended durable.
    fn sync(&self) -> io::Result<()>;

    fn truncate(&self, size: u64) -> io::Result<()>;

    /// Gives a range's room back where the file system can; its octets are lost, sizes and positions stay.
    fn punch(&self, at: u64, size: u64) -> io::Result<()>;
}

/// A folder of the file system, made where it is not there.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Medium for Folder {
    fn prepare(&self) -> io::Result<()> {
        if self.0.is_dir() {
            return Ok(());
        }
        os::create_private_folder(&self.0)?;
        os::sync_folder(self.0.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Blob>> {
        Ok(Arc::new(PlainFile(os::create_private(&self.path(name))?)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Blob>> {
        Ok(Arc::new(PlainFile(os::open_existing(&self.path(name))?)))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.0)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        os::sync_folder(&self.0)
    }
}

#[derive(Debug)]
struct PlainFile(File);

impl Blob for PlainFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn append(&self, mut octets: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut octets, 0);
        while !octets.is_empty() {
            match (&self.0).write_vectored(octets) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut octets, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        os::read_at(&self.0, at, into)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn punch(&self, at: u64, size: u64) -> io::Result<()> {
        os::punch(&self.0, at, size)
    }
}
