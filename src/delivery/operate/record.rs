//! Where an operator's acts are recorded: who did what to which mail, and why.

use tracing::info;

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
