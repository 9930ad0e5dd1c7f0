//! Starting attempts: a lane's legs, one at a time, through plan, gates and permits.

use std::time::Duration;

use tokio::time::Instant;

use super::attempt::{self, Flight};
use super::backlog::Backlog;
use super::board::Gate;
use super::health::Patient;
use super::order::OrderKind;
use super::orders::route_of;
use super::pending::{Pending, What};
use super::plan::{Draw, Question, Standing, Step, chain, plan};
use super::schedule::{Jitter, Schedule};
use super::scheduler::{Blocks, Scheduler};
use super::settle::{History, expired, permanent, round_over};
use super::span::after;
use crate::config::{OnUnknown, Route, Sticky};
use crate::mail::{Diagnosis, EnhancedStatus, ProviderName, Severity, Timestamp};
use crate::queue::{Lane, LegRecipient, Passed, PassedWhy};
use crate::transport::{Attempt, Progress};

/// How long mail waits for a provider that has no transport, before it looks again.
const MISSING: Duration = Duration::from_secs(60);
/// How long mail waits for a provider that is paused, before it looks again.
const PAUSED: Duration = Duration::from_secs(300);

/// How many legs are worth having at hand; where that is none, what for.
#[derive(Default)]
struct Reach {
    most: usize,
    blocks: Blocks,
}

/// What one leg came to when it was looked at.
enum Advanced {
    Started,
    /// Nothing of it is left, or what is left must wait.
    Not,
}

impl<Q: Backlog> Scheduler<Q> {
    /// Gives the lane its turn: at most one attempt is started, so that lanes of equal priority share what there is.
    pub(super) fn look_at(&mut self, lane: &Lane, now: Timestamp) {
        let mut window = self.board.take_window(lane);
        let mut blocks = Blocks::default();
        let mut started = false;
        let mut nth = 0;
        while let Some(pending) = window.get_mut(nth) {
            if started || blocks.whole_lane {
                break;
            }
            started = matches!(self.advance(lane, pending, &mut blocks, now), Advanced::Started);
            if pending.left.is_empty() {
                window.remove(nth);
            } else {
                nth += 1;
            }
        }
        self.board.put_window(lane, window);
        if started {
            self.board.took_its_turn(lane);
        }
        if started || blocks.is_none() {
            self.go_on(lane, now);
        } else {
            self.park(lane, blocks, now);
        }
    }

    /// Reads more of the lane if that is of use, and puts it where it will be woken.
    fn go_on(&mut self, lane: &Lane, now: Timestamp) {
        let reach = self.reach(lane, now);
        if !self.board.wants_more(lane, reach.most, now) {
            return self.board.idle(lane, now);
        }
        if self.board.wants_more(lane, 0, now) {
            // Nothing is at hand: what stops it from reading is what it waits for.
            if reach.most == 0 {
                return self.park(lane, reach.blocks, now);
            }
            for gate in [Gate::Writing, Gate::Reading] {
                if !self.is_open(&gate) {
                    return self.board.park(lane, [gate], None);
                }
            }
        }
        self.refill(lane, reach.most);
        self.board.idle(lane, now);
    }

    /// What a lane's legs could reach now, as far as the chain's health goes.
    fn reach(&self, lane: &Lane, now: Timestamp) -> Reach {
        let mut reach = Reach::default();
        let Some(route) = &route_of(&self.rules.table, lane) else {
            // Its mail is to be routed anew.
            return Reach { most: self.window(lane, usize::MAX), ..reach };
        };
        let mut slots = 0usize;
        for (provider, _) in chain(route).iter().flat_map(|tier| &tier.0) {
            let patient = self.stations.get(provider).map(|station| station.patient(lane));
            match self.standing(lane, provider, now) {
                Standing::Ready => slots = slots.saturating_add(self.slots(lane, provider)),
                Standing::Probe => slots = slots.saturating_add(1),
                Standing::Out { until } | Standing::Throttled { until } => {
                    reach.blocks.gates.extend(patient.map(Gate::Health));
                    reach.blocks.until(until);
                }
            }
        }
        if slots > 0 || chain(route).is_empty() {
            reach.most = self.window(lane, slots.max(1));
        }
        reach
    }

    fn advance(&mut self, lane: &Lane, pending: &mut Pending, blocks: &mut Blocks, now: Timestamp) -> Advanced {
        if !self.is_open(&Gate::Writing) {
            blocks.whole_lane(Gate::Writing);
            return Advanced::Not;
        }
        if now >= pending.expires_at {
            self.bounce_expired(pending);
            return Advanced::Not;
        }
        if let Some(most) = pending.route.concurrency {
            let gate = Gate::Route(lane.route.clone());
            if self.board.in_use(&gate) >= most {
                blocks.whole_lane(gate);
                return Advanced::Not;
            }
        }
        for (step, recipients) in self.steps(lane, pending, now) {
            match step {
                Step::Go { provider, probe } => match self.admit(lane, pending, &provider, recipients.len(), now) {
                    Ok(most) => {
                        let recipients = recipients.into_iter().take(most).collect();
                        self.launch(lane, pending, &provider, (probe, recipients), now);
                        return Advanced::Started;
                    }
                    Err(gate) => blocks.gate(gate),
                },
                Step::Wait { until, on } => {
                    if self.is_its_own_wait(lane, pending, &recipients, now) {
                        self.send_back(pending, &recipients, Some(until), now);
                    } else {
                        for provider in on {
                            let patient = self.stations.get(&provider).map(|station| station.patient(lane));
                            blocks.gates.extend(patient.map(Gate::Health));
                        }
                        blocks.until(until);
                    }
                }
                Step::RoundOver => self.send_back(pending, &recipients, None, now),
                Step::Impossible => self.bounce_impossible(pending, &recipients),
            }
        }
        Advanced::Not
    }

    /// What the plan says to each of a leg's recipients, those with the same answer together.
    fn steps(&self, lane: &Lane, pending: &Pending, now: Timestamp) -> Vec<(Step, Vec<LegRecipient>)> {
        let mut steps: Vec<(Step, Vec<LegRecipient>)> = Vec::new();
        match pending.route.sticky {
            Sticky::Message => {
                let first = pending.left.first();
                steps
                    .extend(first.map(|first| {
                        (self.step(lane, pending, first, &pending.leg.passed, now), pending.left.clone())
                    }));
            }
            Sticky::Recipient => {
                for recipient in &pending.left {
                    let step = self.step(lane, pending, recipient, &pending.leg.passed, now);
                    match steps.iter_mut().find(|(known, _)| *known == step) {
                        Some((_, recipients)) => recipients.push(recipient.clone()),
                        None => steps.push((step, vec![recipient.clone()])),
                    }
                }
            }
        }
        steps
    }

    pub(super) fn step(
        &self,
        lane: &Lane,
        pending: &Pending,
        recipient: &LegRecipient,
        passed: &[Passed],
        now: Timestamp,
    ) -> Step {
        let envelope = &pending.envelope;
        let Some(to) = envelope.recipients.get(recipient.index as usize) else { return Step::Impossible };
        let draw = Draw::new(pending.route.sticky, pending.mid, &to.address);
        let shy = self.shy(&pending.route, envelope.reverse_path.as_ref().map(|sender| sender.domain()), now);
        let question = Question { route: &pending.route, passed, shy: &shy, draw };
        plan(&question, &|provider| self.standing(lane, provider, now))
    }

    fn standing(&self, lane: &Lane, provider: &ProviderName, now: Timestamp) -> Standing {
        let Some(station) = self.stations.get(provider) else {
            return Standing::Out { until: after(now, MISSING) };
        };
        self.standing_for(&station.patient(lane), now)
    }

    pub(super) fn standing_for(&self, patient: &Patient, now: Timestamp) -> Standing {
        let order = self.orders.of(&patient.provider, now).filter(|order| order.kind == OrderKind::Pause);
        if let Some(order) = order {
            // Whoever waits is woken when it is taken back; this is for what lies on disk meanwhile.
            return Standing::Out { until: order.until.min(after(now, PAUSED)) };
        }
        match self.quotas.spent(&patient.provider, now) {
            Some(until) => Standing::Out { until },
            None => self.health.standing(patient, now),
        }
    }

    /// Providers of the chain that lately refused this sender as unverified.
    fn shy(&self, route: &Route, sender: Option<&crate::mail::Domain>, now: Timestamp) -> Vec<ProviderName> {
        let Some(sender) = sender else { return Vec::new() };
        let members = chain(route).iter().flat_map(|tier| &tier.0).map(|(provider, _)| provider);
        members.filter(|provider| self.health.refuses_sender(provider, sender, now)).cloned().collect()
    }

    /// It waits because of whom it tried before; another leg of its lane need not.
    fn is_its_own_wait(&self, lane: &Lane, pending: &Pending, recipients: &[LegRecipient], now: Timestamp) -> bool {
        !pending.leg.passed.is_empty()
            && recipients
                .first()
                .is_some_and(|first| matches!(self.step(lane, pending, first, &[], now), Step::Go { .. }))
    }

    /// How many of the recipients one attempt of the provider may have now, its permits taken; or what stops it.
    fn admit(
        &mut self,
        lane: &Lane,
        pending: &Pending,
        provider: &ProviderName,
        recipients: usize,
        now: Timestamp,
    ) -> Result<usize, Gate> {
        let Self { board, stations, health, route_paces, quotas, .. } = self;
        let slots = Gate::Provider(provider.clone());
        // The plan names only providers that are there.
        let Some(station) = stations.get_mut(provider) else { return Err(slots) };
        if board.in_use(&slots) >= station.slots(provider, health) {
            return Err(slots);
        }
        if let Some(destination) = station.patient(lane).destination
            && board.in_use(&Gate::Destination(provider.clone(), destination.clone()))
                >= station.slots_of(provider, &destination, health)
        {
            return Err(Gate::Destination(provider.clone(), destination));
        }
        let mut route_pace = route_paces.get_mut(&pending.route.name);
        let most = recipients
            .min(station.transport.most_recipients())
            .min(quotas.most_recipients(provider, now))
            .min(route_pace.as_ref().map_or(usize::MAX, |pace| pace.most_recipients()))
            .min(station.pace.as_ref().map_or(usize::MAX, |pace| pace.most_recipients()))
            .max(1);
        let instant = Instant::now();
        if let Some(pace) = &mut route_pace {
            let gate = Gate::RouteRate(pending.route.name.clone());
            if board.is_shut(&gate) {
                return Err(gate);
            }
            if let Err(wait) = pace.take(pace.cost(most), instant) {
                board.shut(gate.clone(), after(now, wait));
                return Err(gate);
            }
        }
        if let Some(pace) = &mut station.pace {
            let gate = Gate::ProviderRate(provider.clone());
            let taken =
                if board.is_shut(&gate) { Err(None) } else { pace.take(pace.cost(most), instant).map_err(Some) };
            if let Err(wait) = taken {
                if let Some(pace) = &mut route_pace {
                    pace.give_back(pace.cost(most));
                }
                if let Some(wait) = wait {
                    board.shut(gate.clone(), after(now, wait));
                }
                return Err(gate);
            }
        }
        Ok(most)
    }

    fn launch(
        &mut self,
        lane: &Lane,
        pending: &mut Pending,
        provider: &ProviderName,
        (probe, recipients): (bool, Vec<LegRecipient>),
        now: Timestamp,
    ) {
        let Some(station) = self.stations.get(provider) else { return };
        let skipped = self.skipped(lane, pending, provider, now);
        pending.left.retain(|left| !recipients.iter().any(|taken| taken.index == left.index));
        pending.started = true;
        let patient = station.patient(lane);
        let progress = Progress::default();
        let attempt = Attempt {
            mid: pending.mid,
            envelope: pending.envelope.clone(),
            recipients: recipients.iter().map(|recipient| recipient.index).collect(),
            destination: patient.destination.clone(),
            content: self.desk.queue.content(pending.mid, &pending.envelope),
            tls: pending.route.tls,
            at_once: pending.route.on_unknown == OnUnknown::Next,
            progress: progress.clone(),
        };
        if probe {
            self.health.probing(&patient);
            tracing::info!(provider = %provider, destination = patient.destination.as_ref().map(|domain| domain.as_str()), breaker = "half-open", mid = %pending.mid, "breaker probes");
        }
        let reserved = self.quotas.reserve(provider, recipients.len());
        for gate in gates(lane, &patient, pending) {
            self.board.enter(gate);
        }
        let drill = self.orders.of(provider, now).filter(|order| order.kind == OrderKind::Drill);
        let task = match drill {
            Some(order) => self.attempts.spawn(attempt::drilled(recipients.len(), order.reason.clone())),
            None => self.attempts.spawn(attempt::run(station.transport.clone(), attempt)),
        };
        let flight = Flight {
            lane: lane.clone(),
            pending: Pending { left: recipients, ..pending.clone() },
            patient,
            probe,
            reserved,
            progress,
            provider: station.settings.clone(),
            began: Instant::now(),
            decided: now,
            skipped,
        };
        self.flights.insert(task.id(), flight);
        self.desk.meter.began();
    }

    fn bounce_expired(&mut self, pending: &mut Pending) {
        let expire = self.rules.expire(Some(&pending.route));
        let recipients = std::mem::take(&mut pending.left);
        let mut draft = pending.draft(&recipients);
        for recipient in &recipients {
            draft.tell(recipient.index, What::Failed, expired(expire, recipient.last.as_ref()));
        }
        tracing::info!(mid = %pending.mid, route = %pending.route.name, recipients = recipients.len(), "expired: bounced");
        pending.started = true;
        self.write(draft);
    }

    fn bounce_impossible(&mut self, pending: &mut Pending, recipients: &[LegRecipient]) {
        let mut draft = pending.draft(recipients);
        for recipient in recipients {
            if pending.leg.is_moved() {
                draft.held(
                    &pending.leg,
                    recipient,
                    super::finish::cannot_carry(&pending.leg.lane),
                    recipient.last.clone(),
                );
                continue;
            }
            let diagnosis = recipient.last.as_ref().map_or_else(
                || {
                    let text = format!("no provider of route {} can carry it", pending.route.name);
                    Diagnosis::local(EnhancedStatus::new(Severity::Permanent, 3, 0), text)
                },
                permanent,
            );
            draft.tell(recipient.index, What::Failed, diagnosis);
        }
        let (mid, route, count) = (pending.mid, &pending.route.name, recipients.len());
        let ends = if pending.leg.is_moved() { "held" } else { "bounced" };
        tracing::info!(%mid, %route, recipients = count, "no provider of the chain can carry it: {ends}");
        leave(pending, recipients);
        self.write(draft);
    }

    /// Back to disk, without an attempt: until its round begins anew, or, where it was not tried at all, until then.
    fn send_back(
        &mut self,
        pending: &mut Pending,
        recipients: &[LegRecipient],
        until: Option<Timestamp>,
        now: Timestamp,
    ) {
        let retry = pending.route.retry.as_deref().unwrap_or(&self.rules.settings.retry);
        let history =
            History { due: pending.leg.due, attempts: pending.leg.attempts, passed: &pending.leg.passed, last: None };
        let jitter = Jitter::new(rand::random());
        let mut again = round_over(&history, Schedule::new(retry), until, jitter, now);
        if let Some(until) = until
            && !pending.leg.passed.iter().any(|passed| passed.why == PassedWhy::Tried)
        {
            again.due = until.max(now);
            again.attempts = pending.leg.attempts;
        }
        again.due = again.due.min(pending.expires_at);
        let mut draft = pending.draft(recipients);
        for recipient in recipients {
            draft.goes_on(&pending.leg, recipient, again.clone());
        }
        leave(pending, recipients);
        self.write(draft);
    }
}

/// What an attempt occupies while it is under way.
pub(super) fn gates(lane: &Lane, patient: &Patient, pending: &Pending) -> Vec<Gate> {
    let mut gates = vec![Gate::Writing, Gate::Provider(patient.provider.clone())];
    gates.extend(patient.destination.clone().map(|domain| Gate::Destination(patient.provider.clone(), domain)));
    gates.extend(pending.route.concurrency.map(|_| Gate::Route(lane.route.clone())));
    gates
}

fn leave(pending: &mut Pending, recipients: &[LegRecipient]) {
    pending.left.retain(|left| !recipients.iter().any(|gone| gone.index == left.index));
    pending.started = true;
}

impl Blocks {
    fn gate(&mut self, gate: Gate) {
        self.gates.insert(gate);
    }

    fn whole_lane(&mut self, gate: Gate) {
        self.gates.insert(gate);
        self.whole_lane = true;
    }

    fn until(&mut self, until: Timestamp) {
        self.until = Some(self.until.map_or(until, |known| known.min(until)));
    }

    fn is_none(&self) -> bool {
        self.gates.is_empty() && self.until.is_none()
    }
}
