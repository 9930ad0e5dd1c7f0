//! `pickup` of `waypost.yaml`: the folder whose files are sent.

use std::path::Path;

use super::{Files, clients, users};
use crate::config::fault::Fault;
use crate::config::model::{Pickup, QueueSettings};
use crate::config::raw::RawPickup;
use crate::config::read::{Cx, Record};
use crate::config::{MailLimits, Size};

const USUAL_SIZE: Size = Size(35 << 20);

/// On unless it is turned off: a message that `waypost send` cannot hand over waits there for the relay.
pub(super) fn check(files: &Files, queue: &QueueSettings, cx: &mut Cx<'_>) -> Option<Pickup> {
    let beside = |path: &Path, name: &str| path.parent().unwrap_or(path).join(name);
    let raw = match files.server.as_ref().and_then(|(_, file)| file.pickup.get()) {
        Some(RawPickup::Off(_)) => return None,
        Some(RawPickup::Folder(raw)) => Some(raw),
        None => None,
    };
    let path = raw.and_then(|raw| raw.path.get().cloned()).unwrap_or_else(|| beside(&queue.path, "pickup"));
    let badmail = raw.and_then(|raw| raw.badmail.get().cloned()).unwrap_or_else(|| beside(&path, "badmail"));
    let max_message_size = raw.and_then(|raw| raw.max_message_size.get().copied()).unwrap_or(USUAL_SIZE);
    if let Some(raw) = raw {
        if max_message_size.0 == 0 {
            cx.error(raw.max_message_size.spot(raw.spot()), Fault::ZeroSize);
        }
        if path == badmail {
            let spot = raw.badmail.key.or(raw.path.key).unwrap_or(raw.spot());
            cx.error(spot, Fault::BadmailIsPickup(path.display().to_string()));
        }
    }
    Some(Pickup {
        path,
        badmail,
        max_message_size,
        senders: raw.map_or_else(Vec::new, |raw| users::senders(raw.senders.get())),
        check_from_header: raw.is_some_and(|raw| raw.check_from_header.or(false)),
        limits: raw.map_or_else(MailLimits::default, |raw| clients::of_pickup(raw, cx)),
    })
}
