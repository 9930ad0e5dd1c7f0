//! The DSNs that settlements call for: made from the bounce floor's reports, routed like other mail.

use super::Shared;
use crate::mail::Diagnosis;
use crate::queue::{Claim, NewMessage};

/// For recipients that will not get the message.
pub async fn failure(shared: &Shared, claim: &Claim, bounced: &[(u32, Diagnosis)]) -> Option<NewMessage> {
    let _ = (shared, claim, bounced);
    None
}

/// For recipients whose sender asked to hear of success.
pub async fn success(shared: &Shared, claim: &Claim, delivered: &[(u32, Diagnosis)]) -> Option<NewMessage> {
    let _ = (shared, claim, delivered);
    None
}

/// For recipients that still wait.
pub async fn delay(shared: &Shared, claim: &Claim) -> Option<NewMessage> {
    let _ = (shared, claim);
    None
}
