//! `pickup` of `waypost.yaml`.

use std::path::PathBuf;

use super::Count;
use crate::config::read::{List, either, record, words};
use crate::config::tree::Value;
use crate::config::{AddressPattern, Rate, Size};

record! {
    /// A folder whose *.eml files are sent.
    struct RawPickupFolder {
        /// The folder. Default: pickup beside the queue.
        may "path" path: PathBuf,
        /// Where files go that cannot be sent, each with its reason. Default: badmail beside the folder.
        may "badmail" badmail: PathBuf,
        /// The largest file. Default: 35MiB.
        may "max_message_size" max_message_size: Size,
        /// Addresses that its files may be sent from. Default: any.
        may "senders" senders: List<AddressPattern>,
        /// The header's From must be one of them too. Default: false.
        may "check_from_header" check_from_header: bool,
        /// How many files are sent in a span, such as 100/m; others wait there. Default: any number.
        may "rate" rate: Rate,
        /// How many of them may go at once after a rest. Default: as many as the rate names.
        may "burst" burst: Count,
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

either! { RawPickup { Folder(Box<RawPickupFolder>) if Value::Map(_), Off(NoPickup) } }
