//! Files that only the relay may read.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a file for reading and writing; where it is made, its owner alone has access.
pub fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a file that is not there yet, for its owner alone.
pub fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Opens a file that must be there, for reading and writing.
pub fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Fills `into` from a place in the file, whatever other threads read or write meanwhile.
pub fn read_at(file: &File, at: u64, into: &mut [u8]) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, into, at);
    #[cfg(windows)]
    {
        let (mut at, mut rest) = (at, into);
        while !rest.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(file, rest, at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => (at, rest) = (at + count as u64, &mut rest[count..]),
            }
        }
        Ok(())
    }
}

/// Gives the room of a range back to the file system; it reads as zeros from then on. `Unsupported` where that cannot be.
pub fn punch(file: &File, at: u64, size: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        Ok(fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, size)?)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, at, size);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Makes a folder and what leads to it, where they are not there yet; what is made is for its owner alone.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes the entries of a folder durable: a new file is lost with power otherwise, though its octets were synced.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(path)?.sync_all()?;
    // Elsewhere folders cannot be opened as files; the file system's journal keeps their entries.
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// How many files and connections may be open at one time, once that is raised to what the system allows; `None`: any
/// number, or it cannot be told.
pub fn open_files() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // Refused, it stays as it was.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        getrlimit(Resource::Nofile).current
    }
    #[cfg(not(target_os = "linux"))]
    None
}
