//! The audit trail's settings, checked.

use std::path::PathBuf;
use std::time::Duration;

use super::Size;

/// The audit trail.
#[derive(Debug, Clone)]
pub struct Audit {
    pub path: PathBuf,
    pub keep: Duration,
    pub max_size: Size,
    pub addresses: AuditAddresses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAddresses {
    Clear,
    /// With a key that lies beside the trail.
    Hashed,
}
