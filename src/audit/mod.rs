//! The audit trail: what became of each message, from whom it came to the reply of the last remote.
//!
//! It follows the queue's journal: what is to be remembered of a message is written with the entry that makes it true, so
//! that the trail lacks nothing that was acknowledged, and has nothing that did not happen; nobody waits for its file.
//!
//! Promises:
//! - each record once, in the journal's order, also after a crash;
//! - each record is linked to the one before by its hash: what is altered, missing or cut off is found (`verify`);
//! - no subject, no content; with hashed addresses no local part of one either;
//! - a file that cannot be read is left as it is, and none begins anew without saying so.

mod block;
mod error;
mod event;
mod filter;
mod hide;
mod keeper;
mod note;
mod reader;
pub mod record;
mod replay;
mod store;
mod verify;
mod words;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use hide::{Hider, key_path};
use store::Slot;

pub use error::AuditError;
pub use event::{EVENTS, Event};
pub use keeper::{Keeper, KeeperOptions, Tap};
pub use note::{Arrival, Notes, message_id, millis, note, said};
pub use reader::{Filter, Found};
pub use replay::{Key, Mails, PageError, shown};
pub use store::Head;
pub use verify::{Flaw, Verified};
pub use words::timeline;

/// Reads a trail; clones share it. All calls block.
#[derive(Clone)]
pub struct Trail {
    path: PathBuf,
    slot: Slot,
    /// Where there is a key: addresses may be hashed.
    hider: Option<Hider>,
}

impl Trail {
    /// Opens the trail of a relay that does not run.
    pub fn open_to_read(path: &Path) -> Result<Self, AuditError> {
        let slot = Slot::new(store::open_to_read(path).map_err(|fault| fault.opening(path))?);
        let key = key_path(path);
        let hider = Hider::find(&key).map_err(|error| AuditError::Key { path: key, detail: error.to_string() })?;
        Ok(Self { path: path.to_owned(), slot, hider })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Trail").field(&self.path).finish()
    }
}
