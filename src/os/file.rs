//! Files that only the relay may read.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
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

/// Opens a file that somebody else may have put there, for reading: a plain file and nothing else. A link is not followed,
/// and a pipe is not waited for.
pub fn open_plain(path: &Path) -> io::Result<File> {
    let odd = || io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file");
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(odd());
    }
    let mut options = OpenOptions::new();
    options.read(true);
    // It may have been exchanged since.
    #[cfg(target_os = "linux")]
    {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(odd()) }
}

/// Makes a file for its owner alone, whatever the process' mask says. Where files of the folder belong to the folder's group
/// (setgid), that group may read it.
pub fn create_in(folder: &Path, name: &str) -> io::Result<File> {
    let file = create_private(&folder.join(name))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
        let of_group = std::fs::metadata(folder)?.mode() & 0o2000 != 0;
        file.set_permissions(std::fs::Permissions::from_mode(if of_group { 0o640 } else { 0o600 }))?;
    }
    Ok(file)
}

/// Whether both are the same file; where the system does not say, they are.
pub fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        let _ = (one, other);
        true
    }
}

/// Every user of this host may put files into the folder.
pub fn is_open_to_all(folder: &Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::mode(folder) & 0o002 != 0;
    #[cfg(not(unix))]
    {
        let _ = folder;
        false
    }
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

/// Takes room for so many octets, which read as zeros, at the beginning of a new file. Durable where it is not only promised.
pub fn allocate(mut file: &File, size: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        if fallocate(file, FallocateFlags::empty(), 0, size).is_ok() {
            return file.sync_all();
        }
    }
    // Also where a file system knows no better way.
    io::copy(&mut io::Read::take(io::repeat(0), size), &mut file)?;
    file.sync_all()
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

/// Gives a file its place in the same file system; `AlreadyExists`: there is one, which stays as it is.
pub fn place(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => std::fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // Not every file system has links.
        #[cfg(target_os = "linux")]
        Err(_) => {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
        }
        #[cfg(not(target_os = "linux"))]
        Err(error) => Err(error),
    }
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
