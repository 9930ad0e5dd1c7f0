//! Runs one attempt in a task of its own, so that a panic in a transport ends that attempt alone.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::mail::{Diagnosis, EnhancedStatus, Severity};
use crate::transport::{Attempt, Outcome, Transport};

/// Makes the attempt and gives one outcome per recipient, whatever happens: a transport that panics or is cut off leaves
/// `Deferred` where the provider cannot have the message yet, else `Unknown`; never `Unavailable`, so that one odd
/// message opens no breaker.
pub async fn run(
    transport: Arc<dyn Transport>,
    attempt: Attempt,
    cut_off: CancellationToken,
) -> (Vec<Outcome>, Duration) {
    let began = tokio::time::Instant::now();
    let wanted = attempt.recipients.len();
    let task = attempt.clone();
    let mut inner = tokio::spawn(async move { transport.attempt(&task).await });
    let joined = tokio::select! {
        joined = &mut inner => joined,
        () = cut_off.cancelled() => {
            inner.abort();
            inner.await
        }
    };
    let outcomes = match joined {
        Ok(outcomes) if outcomes.len() == wanted => outcomes,
        Ok(outcomes) => {
            let said = format!("the transport gave {} outcomes for {wanted} recipients", outcomes.len());
            attempt.all(broken_off(&attempt, said))
        }
        Err(error) if error.is_cancelled() => {
            attempt.all(broken_off(&attempt, "cut off by the relay's stop".to_owned()))
        }
        Err(error) => {
            let panic = error.into_panic();
            let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            attempt.all(broken_off(&attempt, format!("the relay failed in this attempt: {said}")))
        }
    };
    (outcomes, began.elapsed())
}

fn broken_off(attempt: &Attempt, said: String) -> Outcome {
    let diagnosis = Diagnosis::local(EnhancedStatus::new(Severity::Transient, 3, 0), said);
    if attempt.progress.may_have_it() { Outcome::Unknown(diagnosis) } else { Outcome::Deferred(diagnosis) }
}
