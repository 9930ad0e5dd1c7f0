//! What a file is, beside what it holds.

use std::path::Path;
use std::time::SystemTime;

/// Tells a file from what stands in its place later: another file, or the same one written anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    modified: Option<SystemTime>,
    size: u64,
    /// Device and number, where files have such.
    id: (u64, u64),
}

/// The stamp of the file behind all links; `None` where there is none.
pub fn stamp(path: &Path) -> Option<FileStamp> {
    let found = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    let id = {
        use std::os::unix::fs::MetadataExt as _;
        (found.dev(), found.ino())
    };
    #[cfg(not(unix))]
    let id = (0, 0);
    Some(FileStamp { modified: found.modified().ok(), size: found.len(), id })
}

/// The file's mode, where others than its owner may read it.
pub fn mode_for_others(path: &Path) -> Option<u32> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).ok()?) & 0o7777;
        (mode & 0o044 != 0).then_some(mode)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}
