//! `pickup` of `waypost.yaml`.

use std::path::PathBuf;

use crate::config::Size;
use crate::config::read::{either, record, words};
use crate::config::tree::Value;

record! {
    /// A folder whose *.eml files are sent.
    struct RawPickupFolder {
        /// The folder. Default: pickup beside the queue.
        may "path" path: PathBuf,
        /// Where files go that cannot be sent, each with its reason. Default: badmail beside the folder.
        may "badmail" badmail: PathBuf,
        /// The largest file. Default: 35MiB.
        may "max_message_size" max_message_size: Size,
    }
    later []
}

/// `none`.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct NoPickup;

words! {
    NoPickup {
        "none" => NoPickup,
    }
    later []
}

either! { RawPickup { Folder(RawPickupFolder) if Value::Map(_), Off(NoPickup) } }
