//! Why the trail cannot be opened, read or written, and what to do about it.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("the audit trail {path} cannot be opened: {detail}")]
    Open { path: PathBuf, detail: String },
    #[error(
        "the audit trail {path} cannot be opened, for its disk is full ({detail}): make a few MiB free there and start again"
    )]
    NoRoom { path: PathBuf, detail: String },
    #[error("the key of the audit trail, {path}, cannot be used: {detail}")]
    Key { path: PathBuf, detail: String },
    #[error("the audit trail {path} cannot be read: {detail}")]
    Read { path: PathBuf, detail: String },
    /// A relay has it.
    #[error("the audit trail {path} is in use: a relay runs on it")]
    Busy { path: PathBuf },
}

/// What went wrong beneath.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Redb(Box<redb::Error>),
    #[error("{0}")]
    Damaged(String),
    #[error("it is being opened anew")]
    Out,
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
from_redb!(redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError, redb::DatabaseError);

impl Fault {
    pub(super) fn io(error: std::io::Error) -> Self {
        Self::Redb(Box::new(redb::Error::Io(error)))
    }

    pub(super) fn reading(self, path: &Path) -> AuditError {
        AuditError::Read { path: path.to_owned(), detail: self.to_string() }
    }

    pub(super) fn opening(self, path: &Path) -> AuditError {
        const DAMAGED: &str = "It was left as it is: put a copy back, or move it away to begin a new one (which says so), or turn \
                               the trail off with `audit: off`";
        let path = path.to_owned();
        match self {
            Self::Redb(error) => match *error {
                redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => AuditError::Busy { path },
                redb::Error::Io(error) if is_full(&error) => AuditError::NoRoom { path, detail: error.to_string() },
                redb::Error::Io(error) if error.kind() == std::io::ErrorKind::PermissionDenied => AuditError::Open {
                    path,
                    detail: format!("{error}; it belongs to the relay's user: run this as that one"),
                },
                error @ (redb::Error::Io(_) | redb::Error::Corrupted(_)) if is_damage(&error) => {
                    AuditError::Open { path, detail: format!("it is damaged, or no trail ({error}). {DAMAGED}") }
                }
                error => AuditError::Open { path, detail: error.to_string() },
            },
            Self::Damaged(what) => AuditError::Open { path, detail: format!("{what}. {DAMAGED}") },
            Self::Out => AuditError::Open { path, detail: Self::Out.to_string() },
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

fn is_damage(error: &redb::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        redb::Error::Io(error) => matches!(error.kind(), InvalidData | UnexpectedEof),
        _ => true,
    }
}
