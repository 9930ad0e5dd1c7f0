//! Why the queue did not do it, and whose fault it is: the disk's, the file's, or the caller's.

use std::io;
use std::path::{Path, PathBuf};

/// Why the queue did not do it. Nothing was acknowledged that is not on disk.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    #[error("the disk of the queue {path} is full ({detail}): free some space, the relay goes on by itself")]
    Full { path: PathBuf, detail: String },
    #[error("the queue {path} holds as much as it may ({detail}): new mail is put off until some has left")]
    Laden { path: PathBuf, detail: String },
    #[error("the queue {path} cannot be written: {detail}")]
    Write { path: PathBuf, detail: String },
    #[error("the queue {path} cannot be read: {detail}")]
    Read { path: PathBuf, detail: String },
    #[error(
        "the queue {path} cannot be opened: another waypost runs on it: stop that one first, or give this one a queue of its own"
    )]
    InUse { path: PathBuf },
    #[error(
        "the queue {path} cannot be opened, for the disk of {folder} is full ({detail}): make a few MiB free there and start again; \
         nothing that is queued is lost"
    )]
    NoRoom { path: PathBuf, folder: PathBuf, detail: String },
    #[error("the queue {path} cannot be opened: {detail}")]
    Open { path: PathBuf, detail: String },
    #[error("the queue has been closed")]
    Closed,
}

/// What went wrong beneath, before it is told to a caller.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Redb(Box<redb::Error>),
    /// A record that does not read back.
    #[error("{0}")]
    Damaged(String),
    /// The file is dropped and opened anew after a failed write.
    #[error("{0}; it is being opened anew")]
    Out(String),
    #[error("the queue has been closed")]
    Closed,
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::Redb(Box::new(error.into()))
            }
        }
    )*};
}
from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError,
    redb::SetDurabilityError
);

impl Fault {
    pub(super) fn io(error: io::Error) -> Self {
        Self::Redb(Box::new(redb::Error::Io(error)))
    }

    pub(super) fn reading(self, path: &Path) -> QueueError {
        match self {
            Self::Closed => QueueError::Closed,
            fault => QueueError::Read { path: path.to_owned(), detail: fault.to_string() },
        }
    }

    pub(super) fn writing(self, path: &Path) -> QueueError {
        let path = path.to_owned();
        match self {
            Self::Closed => QueueError::Closed,
            Self::Redb(error) => match *error {
                redb::Error::Io(error) if no_room(&error) => QueueError::Full { path, detail: error.to_string() },
                error => QueueError::Write { path, detail: error.to_string() },
            },
            fault => QueueError::Write { path, detail: fault.to_string() },
        }
    }

    /// In the words of someone who must get the relay started again.
    pub(super) fn opening(self, path: &Path) -> QueueError {
        const DAMAGED: &str =
            "It was left as it is: put a copy back, or move it away (queued mail with it) to begin anew";
        let detail = match self {
            Self::Redb(error) => match *error {
                redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                    return QueueError::InUse { path: path.to_owned() };
                }
                redb::Error::Io(error)
                    if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
                {
                    format!("it is damaged, or no queue ({error}). {DAMAGED}")
                }
                redb::Error::Io(error) if no_room(&error) => {
                    let folder =
                        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                    let (path, folder) = (path.to_owned(), folder.to_owned());
                    return QueueError::NoRoom { path, folder, detail: error.to_string() };
                }
                redb::Error::Corrupted(what) => format!("it is damaged ({what}). {DAMAGED}"),
                error @ (redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. }) => {
                    format!("it is no queue of waypost ({error}). {DAMAGED}")
                }
                error => error.to_string(),
            },
            Self::Damaged(what) => what,
            fault => fault.to_string(),
        };
        QueueError::Open { path: path.to_owned(), detail }
    }
}

fn no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
