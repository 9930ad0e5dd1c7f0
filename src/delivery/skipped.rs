//! Why an attempt goes to a later provider of its chain: how each earlier one stood at that moment. For the trail.

use super::backlog::Backlog;
use super::health::Chart;
use super::order::OrderKind;
use super::pending::Pending;
use super::plan::{Standing, chain};
use super::scheduler::Scheduler;
use super::snapshot::ProviderState;
use crate::mail::{ProviderName, Timestamp};
use crate::queue::Lane;

/// Octets of what was said of it that are kept.
const WORDS: usize = 160;

/// A provider that was passed over without an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub provider: ProviderName,
    /// `paused`, `open`, `half-open`, `quota`, `throttled`, `sender`, `missing`.
    pub state: &'static str,
    pub since: Option<Timestamp>,
    /// When that ends by itself, or it is tried again.
    pub until: Option<Timestamp>,
    /// Who paused it and why, or what was said last that counted against it.
    pub why: String,
}

impl<Q: Backlog> Scheduler<Q> {
    /// Those of the chain before the chosen one, and of its own tier, that could not be chosen now. What the leg itself has
    /// tried or cannot use, the trail has already.
    pub(super) fn skipped(
        &self,
        lane: &Lane,
        pending: &Pending,
        chosen: &ProviderName,
        now: Timestamp,
    ) -> Vec<Skipped> {
        let mut skipped = Vec::new();
        if !self.rules.settings.notes.are_on() {
            return skipped;
        }
        for tier in chain(&pending.route) {
            for (provider, _) in tier.0.iter().filter(|(provider, _)| provider != chosen) {
                if !pending.leg.passed.iter().any(|passed| passed.provider == *provider) {
                    skipped.extend(self.skip(lane, pending, provider, now));
                }
            }
            if tier.0.iter().any(|(provider, _)| provider == chosen) {
                break;
            }
        }
        skipped
    }

    /// `None`: it could have been chosen.
    fn skip(&self, lane: &Lane, pending: &Pending, provider: &ProviderName, now: Timestamp) -> Option<Skipped> {
        let one = |state, since, until, why| Some(Skipped { provider: provider.clone(), state, since, until, why });
        let Some(station) = self.stations.get(provider) else {
            return one("missing", None, None, String::new());
        };
        let patient = station.patient(lane);
        let until = match self.standing_for(&patient, now) {
            Standing::Out { until } | Standing::Throttled { until } => until,
            Standing::Ready | Standing::Probe => {
                let sender = pending.envelope.reverse_path.as_ref().map(|sender| sender.domain());
                let refused = sender.filter(|sender| self.health.refuses_sender(provider, sender, now))?;
                return one("sender", None, None, format!("it lately refused the sender's domain {refused}"));
            }
        };
        if let Some(order) = self.orders.of(provider, now).filter(|order| order.kind == OrderKind::Pause) {
            let reason = if order.reason.is_empty() { String::new() } else { format!(": {}", order.reason) };
            return one("paused", Some(order.since), Some(order.until), format!("by {}{reason}", order.by));
        }
        if self.quotas.spent(provider, now).is_some() {
            return one("quota", None, Some(until), String::new());
        }
        let chart = self.health.charts(provider, now).find(|chart| chart.destination == patient.destination);
        let cause = chart.as_ref().and_then(|chart| chart.cause.as_ref()).map(|(_, text)| text.as_str());
        let mut words = cause.unwrap_or_default().to_owned();
        words.truncate(words.floor_char_boundary(WORDS));
        let (state, since) = match chart.as_ref().map(Chart::state) {
            Some((ProviderState::HalfOpen, since, _)) => ("half-open", since),
            Some((ProviderState::Throttled, since, _)) => ("throttled", since),
            Some((_, since, _)) => ("open", since),
            None => ("open", None),
        };
        one(state, since, Some(until), words)
    }
}
