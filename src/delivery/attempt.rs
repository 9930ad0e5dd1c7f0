//! One attempt in a task of its own: what is remembered of it while it runs, and what it came to however it ended.

use std::panic;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::{error, info};

use super::breaker::Sign;
use super::health::Patient;
use super::pending::Pending;
use super::skipped::Skipped;
use crate::config::{Provider, Route};
use crate::mail::{Diagnosis, EnhancedStatus, Severity, Timestamp};
use crate::queue::{Lane, LegRecipient};
use crate::transport::{Attempt, Outcome, Progress, Transport, Trouble, TroubleKind};

/// An attempt under way, as the scheduler knows it.
pub struct Flight {
    pub lane: Lane,
    /// The leg, with the recipients of this attempt in `left`.
    pub pending: Pending,
    pub patient: Patient,
    pub probe: bool,
    pub reserved: u64,
    pub progress: Progress,
    /// The provider as it was when it began.
    pub provider: Arc<Provider>,
    pub began: Instant,
    /// When it was decided, and who was passed over then.
    pub decided: Timestamp,
    pub skipped: Vec<Skipped>,
}

/// What an attempt came to: one outcome a recipient, and what it says of the provider's health.
pub struct Ended {
    pub outcomes: Vec<Outcome>,
    pub sign: Sign,
}

/// The task of an attempt.
pub async fn run(transport: Arc<dyn Transport>, attempt: Attempt) -> Vec<Outcome> {
    transport.attempt(&attempt).await
}

/// An attempt that is not made: what it comes to while an outage is played.
pub async fn drilled(recipients: usize, reason: String) -> Vec<Outcome> {
    let text = if reason.is_empty() { "a drill: no attempt is made".to_owned() } else { format!("a drill: {reason}") };
    let diagnosis = Diagnosis::local(EnhancedStatus::new(Severity::Transient, 4, 1), text);
    vec![Outcome::Unavailable(Trouble { kind: TroubleKind::Connection, diagnosis }); recipients]
}

impl Flight {
    pub fn route(&self) -> &Route {
        &self.pending.route
    }

    pub fn recipients(&self) -> &[LegRecipient] {
        &self.pending.left
    }

    /// Whatever the task came to, there is one outcome for each recipient. A panic or an abort is `Deferred` where the
    /// provider cannot have the message, else `Unknown`; and it says nothing of the provider's health, so that one odd
    /// message opens no breaker.
    pub fn end(&self, joined: Result<Vec<Outcome>, JoinError>) -> Ended {
        let wanted = self.recipients().len();
        let broken_off = |text: String| Ended { outcomes: vec![self.broken_off(text); wanted], sign: Sign::Silent };
        match joined {
            Ok(outcomes) if outcomes.len() == wanted => Ended { sign: Sign::of(&outcomes), outcomes },
            Ok(outcomes) => {
                let mid = self.pending.mid;
                error!(%mid, provider = %self.patient.provider, outcomes = outcomes.len(), wanted, "a transport lost count");
                broken_off("the relay failed in this attempt: outcomes and recipients differ in number".to_owned())
            }
            Err(join) if join.is_cancelled() => broken_off("the attempt was cut off: the relay stops".to_owned()),
            Err(join) => {
                let said = panic_text(join);
                error!(mid = %self.pending.mid, provider = %self.patient.provider, panic = said, "an attempt panicked");
                broken_off(format!("the relay failed in this attempt: {said}"))
            }
        }
    }

    fn broken_off(&self, text: String) -> Outcome {
        let diagnosis = Diagnosis::local(EnhancedStatus::new(Severity::Transient, 3, 0), text);
        if self.progress.may_have_it() { Outcome::Unknown(diagnosis) } else { Outcome::Deferred(diagnosis) }
    }

    /// One line an attempt; where its recipients fared differently, one for each way.
    pub fn log(&self, outcomes: &[Outcome]) {
        let duration = self.began.elapsed();
        let mut logged: Vec<&str> = Vec::new();
        for outcome in outcomes {
            if !logged.contains(&outcome.name()) {
                logged.push(outcome.name());
                let recipients = outcomes.iter().filter(|other| other.name() == outcome.name()).count();
                self.log_one(outcome, recipients, duration);
            }
        }
    }

    fn log_one(&self, outcome: &Outcome, recipients: usize, duration: Duration) {
        let diagnosis = outcome.diagnosis();
        let provider_id = match outcome {
            Outcome::Delivered { provider_id, .. } => provider_id.as_ref().map(|id| id.0.as_str()),
            Outcome::Rejected(_)
            | Outcome::Deferred(_)
            | Outcome::Throttled { .. }
            | Outcome::Unavailable(_)
            | Outcome::Unsupported(_)
            | Outcome::Unknown(_) => None,
        };
        info!(
            mid = %self.pending.mid,
            route = %self.route().name,
            provider = %self.patient.provider,
            destination = self.patient.destination.as_ref().map(|domain| domain.as_str()),
            recipients,
            outcome = outcome.name(),
            code = diagnosis.code,
            status = %diagnosis.status,
            reply = diagnosis.text,
            remote = diagnosis.remote,
            provider_id,
            duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            attempt = self.pending.leg.attempts.saturating_add(1),
            probe = self.probe,
            "attempt"
        );
    }
}

fn panic_text(join: JoinError) -> String {
    let Ok(payload) = join.try_into_panic() else { return "cut off".to_owned() };
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    // The payload may itself panic when it is dropped.
    let _ = panic::catch_unwind(panic::AssertUnwindSafe(move || drop(payload)));
    text.unwrap_or_else(|| "panic".to_owned())
}
