//! Tells the supervisor that the relay works, as long as it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::admin::Reloads;
use crate::delivery::{Meter, Pulse};
use crate::os::{self, Condition};

/// Between two lines of status, where there is no watchdog to be kept quiet.
const USUAL: Duration = Duration::from_secs(15);

/// Says so while the scheduler comes round. When it does not, nothing is said, and the supervisor starts the relay anew: a
/// process that takes mail and delivers none would be noticed by nobody.
pub(super) async fn watch(pulse: Arc<Pulse>, meter: Arc<Meter>, reloads: Reloads, token: CancellationToken) {
    if !os::is_supervised() {
        return;
    }
    // Half of it would do; a machine that is busy gets another chance.
    let pace = os::watchdog().map_or(USUAL, |watchdog| watchdog / 3);
    let mut looks = interval(pace.max(Duration::from_millis(10)));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = looks.tick() => {}
        }
        match timeout(pace, pulse.beat()).await {
            Ok(()) => os::tell(&[Condition::Alive, Condition::Status(&status(&meter, &reloads))]),
            Err(_) => {
                error!(waited_s = pace.as_secs_f32(), "the scheduler does not answer: the supervisor is told nothing")
            }
        }
    }
}

/// One line for whoever looks.
pub(super) fn status(meter: &Meter, reloads: &Reloads) -> String {
    let (delivered, bounced, held) = (meter.delivered(), meter.bounced(), meter.held());
    let refused = match reloads.last() {
        Some(last) if !last.applied => format!(
            "its changed configuration was REFUSED at {:.0} and the old one is in force (`waypost check` says why); ",
            last.at
        ),
        Some(_) | None => String::new(),
    };
    format!("Serving; {refused}since the start {delivered} recipients delivered, {bounced} bounced, {held} held")
}
