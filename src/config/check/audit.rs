//! `audit` of `waypost.yaml`: the trail of each message.

use std::time::Duration;

use super::Files;
use crate::config::Size;
use crate::config::fault::Fault;
use crate::config::model::QueueSettings;
use crate::config::raw::RawAudit;
use crate::config::read::{Cx, Record};
use crate::config::{Audit, AuditAddresses};

const USUAL_KEEP: Duration = Duration::from_secs(90 * 24 * 3600);
const USUAL_SIZE: Size = Size(5 << 30);

/// On unless it is turned off.
pub(super) fn check(files: &Files, queue: &QueueSettings, cx: &mut Cx<'_>) -> Option<Audit> {
    let raw = match files.server.as_ref().and_then(|(_, file)| file.audit.get()) {
        Some(RawAudit::Off(_)) => return None,
        Some(RawAudit::Trail(raw)) => Some(raw),
        None => None,
    };
    let max_size = raw.and_then(|raw| raw.max_size.get().copied()).unwrap_or(USUAL_SIZE);
    if let Some(raw) = raw.filter(|_| max_size.0 == 0) {
        cx.error(raw.max_size.spot(raw.spot()), Fault::ZeroSize);
    }
    Some(Audit {
        path: raw.and_then(|raw| raw.path.get().cloned()).unwrap_or_else(|| queue.path.with_file_name("audit.redb")),
        keep: raw.and_then(|raw| raw.keep.get()).map_or(USUAL_KEEP, |keep| keep.0),
        max_size,
        addresses: raw.and_then(|raw| raw.addresses.get().copied()).unwrap_or(AuditAddresses::Clear),
    })
}
