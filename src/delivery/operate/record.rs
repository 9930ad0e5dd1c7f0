//! The one place where an operator's acts are recorded: who did what to which mail, or to what else, and why. In the log, each
//! under the same names; and in the trail, where acts on mail stand in the settlement that they are.

use tracing::{info, warn};

use super::Operator;
use super::form::Act;
use crate::audit;
use crate::queue::Claim;

/// Who acts, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// A user of the host, or what the request's token or certificate says.
    pub who: String,
    pub why: Option<String>,
}

impl By {
    /// For the trail.
    pub fn note<'a>(&'a self, act: &'a str) -> audit::record::Act<'a> {
        audit::record::Act {
            act: act.into(),
            who: self.who.as_str().into(),
            why: self.why.as_deref().unwrap_or_default().into(),
            to: "".into(),
            recipients: Vec::new(),
        }
    }

    pub fn reason_of_hold(&self) -> String {
        let Self { who, why } = self;
        why.as_ref().map_or_else(|| format!("held by {who}"), |why| format!("held by {who}: {why}"))
    }
}

/// Something that was done to no mail. `act` is a few words that stay (`provider pause`), `on` whom or what it was done to.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    pub act: &'static str,
    pub on: &'a str,
    /// Further facts, for people.
    pub detail: &'a str,
}

impl Operator {
    /// To be called once it is done.
    pub async fn record(&self, deed: Deed<'_>, by: &By) {
        let Deed { act, on, detail } = deed;
        warn!(act, on, detail, who = by.who, why = by.why, "operator");
        let act = audit::record::Act { to: format!("{on}: {detail}").into(), ..by.note(act) };
        let note = self.notes().act(self.clock().now(), None, act);
        if note.is_empty() {
            return;
        }
        if let Err(error) = self.queue().note(note).await {
            warn!(%error, "the trail does not have this act: the log alone tells it");
        }
    }
}

/// Called for each leg once what was done with it is on disk. `recipients`: so many of the leg's.
pub(super) fn record(act: &Act, claim: &Claim, recipients: usize, by: &By) {
    let (to_route, to_provider) = match act {
        Act::Move { route, provider } => (route.as_deref(), provider.as_deref()),
        Act::Retry | Act::Hold | Act::Release | Act::Delete | Act::Bounce => (None, None),
    };
    info!(
        mid = %claim.mid,
        act = act.name(),
        route = %claim.leg.lane.route,
        recipients,
        to_route,
        to_provider,
        who = by.who,
        why = by.why,
        "operator"
    );
}

/// The same for a message that a person brought.
pub fn record_import(mid: crate::mail::Mid, recipients: usize, by: &By) {
    info!(%mid, act = "import", recipients, who = by.who, why = by.why, "operator");
}
