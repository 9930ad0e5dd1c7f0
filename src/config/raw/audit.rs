//! `audit` of `waypost.yaml`.

use std::path::PathBuf;

use super::Span;
use crate::config::read::{either, record, words};
use crate::config::tree::Value;
use crate::config::{AuditAddresses, Size};

record! {
    /// The audit trail: what became of each message.
    struct RawAuditTrail {
        /// Its file. Default: audit.redb beside the queue.
        may "path" path: PathBuf,
        /// How long records are kept. Default: 90d.
        may "keep" keep: Span,
        /// With more than this, the oldest go sooner. Default: 5GiB.
        may "max_size" max_size: Size,
        /// How addresses stand in it: clear, or hashed with a key that lies beside it. Default: clear.
        may "addresses" addresses: AuditAddresses,
    }
    later []
}

/// `off`.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct NoAudit;

words! {
    NoAudit {
        "off" => NoAudit,
    }
    later []
}

words! {
    AuditAddresses {
        "clear" => AuditAddresses::Clear,
        "hashed" => AuditAddresses::Hashed,
    }
    later []
}

either! { RawAudit { Trail(Box<RawAuditTrail>) if Value::Map(_), Off(NoAudit) } }
