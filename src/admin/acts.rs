//! What operators do: the one place where an act is recorded, with who and why.

use tracing::warn;

use super::{Operator, Shared};
use crate::audit;

/// Something that an operator did. `what` is a few words that stay (`provider pause`), `on` whom it was done to.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    pub what: &'static str,
    pub on: &'a str,
    /// Empty: none was given.
    pub reason: &'a str,
    /// Further facts, for people.
    pub detail: &'a str,
}

/// To be called once the act is done.
pub async fn record(deps: &Shared, operator: &Operator, act: Act<'_>) {
    let Act { what, on, reason, detail } = act;
    warn!(operator = operator.0, act = what, on, reason, detail, "an operator acted");
    if deps.trail.is_none() {
        return;
    }
    let act = audit::record::Act {
        act: what.into(),
        who: operator.0.as_str().into(),
        why: reason.into(),
        to: format!("{on}: {detail}").into(),
        recipients: Vec::new(),
    };
    let note = audit::Notes::new(true).act(deps.clock.now(), None, act);
    if let Err(error) = deps.queue.note(note).await {
        warn!(%error, "the trail does not have this act: the log alone tells it");
    }
}
