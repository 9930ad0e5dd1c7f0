//! Room that is kept back on the queue's disk for a start on a full one: opening an index that a crash left takes some, and so
//! does writing down what is delivered, which is what makes room again. A file, given back when it is needed, and made anew at a
//! start that finds room for it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use tracing::{info, warn};

use crate::os;

/// Octets that are kept back, where `min_free` is large enough.
const MOST: u64 = 8 << 20;

/// The file beside the index.
fn path(index: &Path) -> PathBuf {
    index.with_extension("reserve")
}

fn free(index: &Path) -> io::Result<u64> {
    fs4::available_space(index.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Gives the reserve back. False: there is none.
pub fn give_reserve(index: &Path) -> bool {
    match fs::remove_file(path(index)) {
        Ok(()) => {
            warn!(
                reserve = %path(index).display(),
                "the queue's disk is full: its reserve was removed, so that what is queued can be delivered; free some space"
            );
            true
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            warn!(reserve = %path(index).display(), %error, "the queue's disk is full, and its reserve cannot be removed");
            false
        }
    }
}

/// With the queue open: makes the reserve where there is room for it, and gives it where there is hardly any.
pub(super) fn keep(index: &Path, min_free: u64) {
    let most = MOST.min(min_free / 4);
    // It cannot be told: then as if there were enough for now, and not for a reserve.
    let Ok(free) = free(index) else { return };
    if fs::metadata(path(index)).is_ok_and(|found| found.len() > 0) {
        if free < most / 8 {
            give_reserve(index);
        }
        return;
    }
    if most == 0 || free < min_free.saturating_mul(2).saturating_add(most) {
        return;
    }
    let made = os::create_private(&path(index)).and_then(|file| os::allocate(&file, most));
    match made {
        Ok(()) => {
            info!(reserve = %path(index).display(), octets = most, "room is kept back for a start on a full disk")
        }
        Err(error) => {
            let _ = fs::remove_file(path(index));
            warn!(reserve = %path(index).display(), %error, "no room could be kept back for a start on a full disk");
        }
    }
}
