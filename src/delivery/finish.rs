//! What an attempt's end leads to: the provider's health, the gates it occupied, and the settlement of its recipients.

use std::sync::Arc;

use tokio::task::{Id, JoinError};
use tracing::{error, info, warn};

use super::attempt::{Ended, Flight};
use super::backlog::Backlog;
use super::board::Gate;
use super::breaker::Change;
use super::health::{Patient, worst};
use super::lately;
use super::pending::{Draft, Pending, Tried, What};
use super::plan::chain;
use super::schedule::{Jitter, Schedule};
use super::scheduler::Scheduler;
use super::settle::{Case, History, Settlement, settle};
use super::snapshot::LastError;
use super::span::until;
use super::start::gates;
use crate::config::Transport;
use crate::mail::Timestamp;
use crate::queue::{self, Lane, LegState};
use crate::transport::Outcome;

impl<Q: Backlog> Scheduler<Q> {
    pub(super) fn ended(&mut self, id: Id, joined: Result<Vec<Outcome>, JoinError>, now: Timestamp) {
        let Some(flight) = self.flights.remove(&id) else {
            error!("an attempt ended that nobody began");
            return;
        };
        let ended = flight.end(joined);
        flight.log(&ended.outcomes);
        self.desk.meter.ended(&ended.outcomes);
        self.remember(&flight, &ended.outcomes, now);
        let paused_until = self.record(&flight, &ended, now);
        let reserved = flight.reserved;
        let counter = self.quotas.spend(&flight.patient.provider, reserved, &ended.outcomes, now);
        if reserved > 0 && counter.is_none() {
            // What was reserved and not used may let others go on.
            self.board.wake_all(&Gate::Health(flight.patient.clone()));
        }
        for gate in gates(&flight.lane, &flight.patient, &flight.pending) {
            // It counts as unwritten until its settlement is.
            if gate != Gate::Writing {
                self.board.leave(&gate);
            }
        }
        let mut draft = self.settlement(&flight, &ended.outcomes, paused_until, now);
        draft.counter = counter;
        draft.last_attempt = Some(now);
        draft.tried = Some(Tried {
            provider: flight.patient.provider.clone(),
            destination: flight.patient.destination.clone(),
            round: flight.pending.leg.attempts.saturating_add(1),
            probe: flight.probe,
            took: flight.began.elapsed(),
            decided: flight.decided,
            outcomes: flight.recipients().iter().map(|recipient| recipient.index).zip(ended.outcomes).collect(),
            skipped: flight.skipped,
        });
        self.write_entered(draft);
    }

    /// For people: what the provider's attempts came to, and how long they took.
    fn remember(&mut self, flight: &Flight, outcomes: &[Outcome], now: Timestamp) {
        let Some(station) = self.stations.get_mut(&flight.patient.provider) else { return };
        let (kinds, took) = (lately::kinds(outcomes), flight.began.elapsed());
        station.lately.ended(kinds, took, now);
        station.meter.ended(kinds, took);
        if let Some(worst) = worst(outcomes) {
            station.last_error = Some(LastError {
                at: now,
                outcome: worst.name(),
                text: worst.diagnosis().to_string(),
                destination: flight.patient.destination.clone(),
            });
        }
    }

    /// Tells the provider's health. Gives the end of the pause it asked for.
    fn record(&mut self, flight: &Flight, ended: &Ended, now: Timestamp) -> Option<Timestamp> {
        let Flight { patient, probe, .. } = flight;
        // Of a provider that is set up anew since, or gone, it says nothing.
        let station = self.stations.get(&patient.provider).filter(|station| station.goes_out_as(&flight.provider))?;
        let signs = (&ended.outcomes[..], ended.sign, *probe);
        let most = station.most_at(patient);
        let recorded = self.health.record(patient, &station.settings.breaker, most, signs, flight.pending.mid, now);
        if let Some(sender) = &flight.pending.envelope.reverse_path {
            self.health.refuse_sender(&patient.provider, sender.domain(), &ended.outcomes, now);
        }
        if let Some(change) = recorded.change {
            log_change(patient, change, &ended.outcomes, now);
        }
        if recorded.news {
            self.board.wake_all(&Gate::Health(patient.clone()));
        }
        recorded.paused_until
    }

    fn settlement(
        &self,
        flight: &Flight,
        outcomes: &[Outcome],
        paused_until: Option<Timestamp>,
        now: Timestamp,
    ) -> Draft {
        let Flight { lane, pending, patient, .. } = flight;
        let (renewed, gone) = self.renewed(pending);
        let pending = renewed.as_ref().unwrap_or(pending);
        let (mid, provider) = (pending.mid, &patient.provider);
        let retry = pending.route.retry.as_deref().unwrap_or(&self.rules.settings.retry);
        // One for all: those of a leg that are deferred together stay together.
        let jitter = Jitter::new(rand::random());
        let mut draft = pending.draft(flight.recipients());
        let mut duplicates = 0;
        for (recipient, outcome) in flight.recipients().iter().zip(outcomes) {
            let history = History {
                due: pending.leg.due,
                attempts: pending.leg.attempts,
                passed: &pending.leg.passed,
                last: recipient.last.as_ref(),
            };
            let case = Case {
                route: &pending.route,
                provider,
                history,
                schedule: Schedule::new(retry),
                paused_until,
                expires_at: pending.expires_at,
                now,
                jitter,
                plan: &|passed| self.step(lane, pending, recipient, passed, now),
            };
            match settle(outcome, &case) {
                Settlement::Done => {
                    draft.tell(recipient.index, self.taken(flight, outcome), outcome.diagnosis().clone())
                }
                // Nothing is bounced for where a person sent it.
                Settlement::Bounce(diagnosis)
                    if pending.leg.is_moved() && matches!(outcome, Outcome::Unsupported(_)) =>
                {
                    let reason = cannot_carry(lane);
                    warn!(%mid, route = %lane.route, %provider, reason, "held");
                    draft.held(&pending.leg, recipient, reason, Some(diagnosis));
                }
                Settlement::Bounce(diagnosis) => {
                    draft.tell(recipient.index, What::Failed, diagnosis);
                }
                Settlement::Again(mut again) => {
                    if gone && again.state == LegState::Waiting {
                        // Whatever its route would have it wait for: it is to be routed anew.
                        again.due = now;
                    }
                    if let LegState::Held { reason } = &again.state {
                        warn!(%mid, route = %lane.route, %provider, reason, "held");
                    }
                    duplicates += usize::from(again.possible_duplicate);
                    draft.goes_on(&pending.leg, recipient, again);
                }
            }
        }
        for leg in &mut draft.legs {
            leg.tried = Some(queue::Tried { provider: provider.clone(), at: now });
        }
        if duplicates > 0 {
            self.desk.meter.add_possible_duplicates(duplicates);
            warn!(
                %mid, route = %lane.route, %provider, recipients = duplicates, possible_duplicate = true,
                "all was sent and no answer came: it will be sent again"
            );
        }
        draft
    }

    /// How a leg goes on whose route has changed while it was under way: by the route of that name as it is now; or, where
    /// none of the name delivers any more, it is to be routed anew.
    fn renewed(&self, pending: &Pending) -> (Option<Pending>, bool) {
        match self.rules.table.route_named(&pending.route.name) {
            Some(route) if Arc::ptr_eq(route, &pending.route) => (None, false),
            Some(route) if !chain(route).is_empty() => {
                (Some(Pending { route: route.clone(), ..pending.clone() }), false)
            }
            Some(_) | None => (None, true),
        }
    }

    fn taken(&self, flight: &Flight, outcome: &Outcome) -> What {
        if matches!(outcome, Outcome::Delivered { dsn: true, .. }) {
            return What::PassedOn;
        }
        let transport = self.stations.get(&flight.patient.provider).map(|station| &station.settings.transport);
        match transport {
            Some(Transport::Maildir(_) | Transport::Lmtp(_)) => What::Delivered,
            // Nobody behind it reports success to our sender (RFC 3461, 5.2.2).
            Some(
                Transport::Mx(_)
                | Transport::Smtp(_)
                | Transport::SendGrid(_)
                | Transport::Mailgun(_)
                | Transport::Ses(_),
            )
            | None => What::Relayed,
        }
    }
}

/// Why a moved leg that its providers cannot carry waits for a person.
pub(super) fn cannot_carry(lane: &Lane) -> String {
    match &lane.via {
        Some(provider) => {
            format!("provider {provider}, to which it was moved, cannot carry it: move it to another one")
        }
        None => {
            format!("no provider of route {}, to which it was moved, can carry it: move it to another one", lane.route)
        }
    }
}

fn log_change(patient: &Patient, change: Change, outcomes: &[Outcome], now: Timestamp) {
    let Patient { provider, destination } = patient;
    let destination = destination.as_ref().map(|domain| domain.as_str());
    let cause = outcomes.iter().find(|outcome| matches!(outcome, Outcome::Unavailable(_) | Outcome::Unknown(_)));
    let cause = cause.map(|outcome| outcome.diagnosis().to_string()).unwrap_or_default();
    match change {
        Change::Opened { until: at } => {
            warn!(%provider, destination, breaker = "open", cause, probe_in_s = until(now, at).as_secs(), "breaker opened");
        }
        Change::StaysOpen { until: at } => {
            info!(%provider, destination, breaker = "open", cause, probe_in_s = until(now, at).as_secs(), "the probe failed, the breaker stays open");
        }
        Change::Closed => info!(%provider, destination, breaker = "closed", "breaker closed"),
    }
}
