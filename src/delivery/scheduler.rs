//! The scheduler: one task that owns all delivery state, and one closed set of events that can wake it.
//!
//! Invariants:
//! - what is not due or not permitted stays on disk; memory holds lanes and small windows of claimed legs;
//! - a lane that waits (health, permit, slot) holds back no other;
//! - an outcome is settled before its lease ends, and while settlements cannot be written no new attempts start;
//! - a permit taken and not used is given back: none is burnt.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::attempt;
use super::health::{Admits, Health};
use super::lanes::{Lanes, Ready, Spot};
use super::limits::Gate;
use super::plan::{Plan, Question, draw, plan};
use super::report;
use super::resort::{self, Destiny};
use super::schedule::{Jitter, Schedule, after};
use super::settle::{self, Attempted, Settlement};
use super::sweep;
use super::writer::{Finish, write};
use super::{Deps, Shared};
use crate::config::{Action, OnThrottle, Priority, Provider, Route, Sticky, Tier, Transport as Kind};
use crate::mail::{Domain, HeaderSection, ProviderName, RouteName, Timestamp};
use crate::queue::{Claim, Claimed, Counter, Lane, QueueError};
use crate::transport::{Attempt, Outcome, Progress, Transport};

/// Legs that one lane may hold claimed and unstarted; less where there are many lanes.
const WINDOW: usize = 64;
const WINDOWS_TOGETHER: usize = 8192;
/// Settlements on their way to disk beyond which no attempt starts.
const UNWRITTEN_MOST: usize = 1024;
/// Lanes looked at before other events get their turn.
const TURN: usize = 256;
/// After a queue that cannot be read.
const READ_PAUSE: Duration = Duration::from_secs(1);
/// A lane that waits longer than this gives its window back to the disk.
const KEEP_WINDOW: Duration = Duration::from_secs(2);

/// All that can wake the scheduler beside nudges, timers and the stop.
enum Event {
    Claimed { lane: Lane, result: Result<(Claimed, Vec<Option<HeaderSection>>), QueueError> },
    Attempted { job: Box<Job>, outcomes: Vec<Outcome>, took: Duration },
    Written { lane: Lane },
    Swept,
}

/// An attempt under way.
struct Job {
    claim: Claim,
    route: Arc<Route>,
    provider: Arc<Provider>,
    destination: Option<Domain>,
    probe: bool,
}

/// What stopped a lane from starting its first leg.
enum Halt {
    /// Started, settled or set aside: go on with the next.
    Next,
    /// The lane waits; its window stays only if the wait is short.
    Sleep(Timestamp),
    Health {
        until: Timestamp,
        provider: ProviderName,
        destination: Option<Domain>,
    },
    Park(Spot),
    /// One of its own attempts must end first.
    Own,
}

pub struct Scheduler {
    shared: Arc<Shared>,
    transports: HashMap<ProviderName, Arc<dyn Transport>>,
    lanes: Lanes,
    health: Health,
    providers: HashMap<ProviderName, Gate>,
    routes: HashMap<RouteName, Gate>,
    schedules: HashMap<RouteName, Schedule>,
    tasks: JoinSet<Event>,
    unwritten: usize,
    cut_off: CancellationToken,
}

impl Scheduler {
    pub fn new(deps: Deps) -> Self {
        let shared = Arc::new(Shared::new(&deps));
        let table = &deps.table;
        let providers = table.providers().map(|p| (p.name.clone(), Gate::new(p.limit, p.concurrency))).collect();
        let routes = table
            .routes()
            .map(|route| (route.name.clone(), Gate::new(route.limit, route.concurrency.unwrap_or(usize::MAX))))
            .collect();
        let schedules = table.routes().map(|route| (route.name.clone(), shared.schedule(route))).collect();
        Self {
            health: Health::new(table.providers().map(AsRef::as_ref), &HashMap::new()),
            shared,
            transports: deps.transports,
            lanes: Lanes::default(),
            providers,
            routes,
            schedules,
            tasks: JoinSet::new(),
            unwritten: 0,
            cut_off: CancellationToken::new(),
        }
    }

    /// Resumes what is queued and delivers until the token is cancelled; then waits for what is in flight, at most the
    /// grace time, and until all outcomes are settled.
    pub async fn run(mut self, token: CancellationToken) {
        if !self.resume(&token).await {
            return;
        }
        let mut sweep_at = tokio::time::Instant::now() + sweep::interval(&self.shared);
        let mut sweeping = false;
        loop {
            self.turn();
            let wake = self.next_wake();
            tokio::select! {
                () = token.cancelled() => break,
                legs = self.shared.queue.nudged() => {
                    for lane_due in legs {
                        let priority = self.priority(&lane_due.lane);
                        self.lanes.nudge(&lane_due.lane, lane_due.due, priority);
                    }
                }
                Some(done) = self.tasks.join_next() => match done {
                    Ok(Event::Swept) => {
                        sweeping = false;
                        sweep_at = tokio::time::Instant::now() + sweep::interval(&self.shared);
                    }
                    Ok(event) => self.take(event),
                    Err(failed) => error!(%failed, "a delivery task failed; its mail stays in the queue"),
                },
                () = tokio::time::sleep_until(wake) => {
                    let (now, shared) = (self.shared.clock.now(), &self.shared);
                    self.lanes.wake(now, |lane| priority_of(shared, lane));
                }
                () = tokio::time::sleep_until(sweep_at), if !sweeping => {
                    sweeping = true;
                    let shared = self.shared.clone();
                    self.tasks.spawn(async move {
                        sweep::sweep(&shared).await;
                        Event::Swept
                    });
                }
            }
        }
        self.drain().await;
    }

    /// Reads what a start resumes; false when asked to stop before that worked.
    async fn resume(&mut self, token: &CancellationToken) -> bool {
        loop {
            let read: Result<(HashMap<String, Counter>, _), QueueError> =
                async { Ok((self.shared.queue.counters().await?, self.shared.queue.lanes().await?)) }.await;
            match read {
                Ok((counters, lanes)) => {
                    self.health = Health::new(self.shared.table.providers().map(AsRef::as_ref), &counters);
                    for lane_due in lanes {
                        let priority = self.priority(&lane_due.lane);
                        self.lanes.nudge(&lane_due.lane, lane_due.due, priority);
                    }
                    if self.lanes.len() > 0 {
                        info!(lanes = self.lanes.len(), "resuming what is queued");
                    }
                    return true;
                }
                Err(error) => {
                    error!(%error, "the queue cannot be read; trying again");
                    tokio::select! {
                        () = token.cancelled() => return false,
                        () = tokio::time::sleep(READ_PAUSE) => {}
                    }
                }
            }
        }
    }

    async fn drain(&mut self) {
        for claim in self.lanes.drain_windows() {
            self.shared.queue.release(claim.mid, claim.number);
        }
        let grace = tokio::time::sleep(self.shared.settings.grace);
        tokio::pin!(grace);
        loop {
            tokio::select! {
                done = self.tasks.join_next() => match done {
                    None => return,
                    Some(Ok(Event::Claimed { result: Ok((claimed, _)), .. })) => {
                        for claim in claimed.claims {
                            self.shared.queue.release(claim.mid, claim.number);
                        }
                    }
                    Some(Ok(event @ Event::Attempted { .. })) => self.take(event),
                    Some(Ok(Event::Claimed { .. } | Event::Written { .. } | Event::Swept)) => {}
                    Some(Err(failed)) => error!(%failed, "a delivery task failed; its mail stays in the queue"),
                },
                () = &mut grace, if !self.cut_off.is_cancelled() => {
                    warn!("the grace time is over: attempts in flight are cut off");
                    self.cut_off.cancel();
                }
            }
        }
    }

    fn next_wake(&self) -> tokio::time::Instant {
        // Wall time may be set while a lane sleeps: a look every minute bounds what that costs.
        const LOOK: Duration = Duration::from_secs(60);
        let wait = self.lanes.next_wake().map_or(LOOK, |at| {
            Duration::try_from(at.duration_since(self.shared.clock.now())).unwrap_or(Duration::ZERO).min(LOOK)
        });
        tokio::time::Instant::now() + wait
    }

    fn priority(&self, lane: &Lane) -> Priority {
        priority_of(&self.shared, lane)
    }

    /// Looks at the runnable lanes.
    fn turn(&mut self) {
        for _ in 0..TURN {
            self.unpark();
            let Some(lane) = self.lanes.next_runnable() else { return };
            self.advance(&lane);
        }
        // More are runnable: the select comes back at once for them.
        self.tasks.spawn(async { Event::Written { lane: nobody() } });
    }

    fn unpark(&mut self) {
        for spot in self.lanes.spots() {
            let free = match &spot {
                Spot::Provider(name) => self.providers.get(name).map_or(usize::MAX, |gate| {
                    let ramp = self.health.ramp(name, None).unwrap_or(usize::MAX);
                    gate.free().min(ramp.saturating_sub(gate.in_flight()))
                }),
                Spot::Route(name) => self.routes.get(name).map_or(usize::MAX, Gate::free),
                Spot::Writer if self.unwritten < UNWRITTEN_MOST => UNWRITTEN_MOST - self.unwritten,
                Spot::Writer => 0,
            };
            let shared = &self.shared;
            self.lanes.unpark(&spot, free, |lane| priority_of(shared, lane));
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Claimed { lane, result } => self.claimed(&lane, result),
            Event::Attempted { job, outcomes, took } => self.attempted(*job, &outcomes, took),
            Event::Written { lane } => {
                self.unwritten = self.unwritten.saturating_sub(usize::from(lane != nobody()));
                self.lanes.forget_if_empty(&lane);
            }
            Event::Swept => {}
        }
    }

    fn claimed(&mut self, lane: &Lane, result: Result<(Claimed, Vec<Option<HeaderSection>>), QueueError>) {
        let priority = self.priority(lane);
        let now = self.shared.clock.now();
        let state = self.lanes.state(lane);
        state.claiming = false;
        let nudged = state.nudged.take();
        match result {
            Ok((claimed, headers)) => {
                state.due = [claimed.next_due, nudged].into_iter().flatten().min();
                let ready = claimed.claims.into_iter().zip(headers);
                state.window.extend(ready.map(|(claim, header)| Ready { claim, header }));
                self.lanes.run(lane, priority);
            }
            Err(error) => {
                error!(%error, route = %lane.route, "the queue cannot be read; trying again");
                state.due = Some(now);
                self.lanes.sleep(lane, after(now, READ_PAUSE));
            }
        }
    }

    /// Starts as much of a lane as may start now, and leaves the lane where it will be woken.
    fn advance(&mut self, lane: &Lane) {
        let priority = self.priority(lane);
        loop {
            let now = self.shared.clock.now();
            if self.unwritten >= UNWRITTEN_MOST {
                return self.lanes.park(lane, Spot::Writer, priority);
            }
            let state = self.lanes.state(lane);
            let Some(ready) = state.window.pop_front() else {
                match state.due {
                    Some(due) if due <= now => self.claim(lane, now),
                    Some(due) => self.lanes.sleep(lane, due),
                    None => self.lanes.forget_if_empty(lane),
                }
                return;
            };
            let halt = self.start(&ready, now);
            if let Halt::Next = halt {
                continue;
            }
            self.lanes.state(lane).window.push_front(ready);
            return match halt {
                Halt::Next | Halt::Own => {}
                Halt::Park(spot) => self.lanes.park(lane, spot, priority),
                Halt::Sleep(until) => {
                    if until > after(now, KEEP_WINDOW) {
                        self.give_window_back(lane, now);
                    }
                    self.lanes.sleep(lane, until);
                }
                Halt::Health { until, provider, destination } => {
                    self.give_window_back(lane, now);
                    self.lanes.sleep_on_health(lane, until, provider, destination);
                }
            };
        }
    }

    fn give_window_back(&mut self, lane: &Lane, now: Timestamp) {
        let state = self.lanes.state(lane);
        // Set first: the releases nudge, and those nudges are to find nothing new.
        state.due = Some(state.window.iter().map(|ready| ready.claim.leg.due).chain(state.due).min().unwrap_or(now));
        for ready in std::mem::take(&mut state.window) {
            self.shared.queue.release(ready.claim.mid, ready.claim.number);
        }
    }

    fn claim(&mut self, lane: &Lane, now: Timestamp) {
        let most = (WINDOWS_TOGETHER / self.lanes.len().max(1)).clamp(1, WINDOW);
        let state = self.lanes.state(lane);
        state.claiming = true;
        let (shared, lane) = (self.shared.clone(), lane.clone());
        self.tasks.spawn(async move {
            let result = shared.claim(&lane, now, most).await;
            Event::Claimed { lane, result }
        });
    }

    /// Starts one leg, or says what it waits for.
    fn start(&mut self, ready: &Ready, now: Timestamp) -> Halt {
        let claim = &ready.claim;
        let destiny = resort::destiny(&self.shared, claim, ready.header.as_ref(), now);
        let (route, most) = match destiny {
            Destiny::Deliver { route } => {
                let most = self.most_recipients(&route);
                (route, most)
            }
            Destiny::Settle(finish) => {
                self.write(claim.clone(), finish);
                return Halt::Next;
            }
        };
        let Action::Deliver(chain) = &route.action else { return Halt::Next };
        if claim.leg.recipients.len() > most {
            self.write(claim.clone(), Finish::legs(resort::cut(&claim.leg, most)));
            return Halt::Next;
        }
        if route.sticky == Sticky::Recipient
            && claim.leg.recipients.len() > 1
            && chain.iter().any(|tier| tier.0.len() > 1)
        {
            let legs = self.by_provider(claim, &route, chain, now);
            if legs.len() > 1 {
                self.write(claim.clone(), Finish::legs(legs));
                return Halt::Next;
            }
        }
        self.place(claim, &route, chain, now)
    }

    /// The least that any provider of the chain carries: a leg so cut fits wherever it goes.
    fn most_recipients(&self, route: &Route) -> usize {
        let Action::Deliver(chain) = &route.action else { return usize::MAX };
        let members = chain.iter().flat_map(|tier| &tier.0);
        let most =
            members.filter_map(|(name, _)| self.transports.get(name)).map(|transport| transport.most_recipients());
        most.min().unwrap_or(usize::MAX).max(1)
    }

    fn admits(&self, name: &ProviderName, claim: &Claim, now: Timestamp) -> Admits {
        let sender = claim.envelope.reverse_path.as_ref().map(crate::mail::Address::domain);
        self.health.admits(name, self.destination(name, claim), sender, now)
    }

    fn destination<'a>(&self, name: &ProviderName, claim: &'a Claim) -> Option<&'a Domain> {
        let by_destination = self.transports.get(name).is_some_and(|transport| transport.by_destination());
        claim.leg.lane.destination.as_ref().filter(|_| by_destination)
    }

    fn draw(&self, claim: &Claim, index: u32, sticky: Sticky) -> u64 {
        let recipient = claim.envelope.recipients.get(index as usize);
        recipient.map_or(0, |recipient| draw(sticky, claim.mid, &recipient.address))
    }

    /// The leg's recipients, grouped by the provider that each one draws.
    fn by_provider(&self, claim: &Claim, route: &Route, chain: &[Tier], now: Timestamp) -> Vec<crate::queue::Leg> {
        resort::group(&claim.leg, |recipient| {
            let draw = self.draw(claim, recipient.index, route.sticky);
            let question = Question { route, chain, passed: &claim.leg.passed, busy: &[], draw };
            match plan(&question, |name| self.admits(name, claim, now)) {
                Plan::Start { provider, .. } => Some(provider),
                Plan::Wait { .. } | Plan::Postpone { .. } | Plan::NextRound | Plan::Exhausted => None,
            }
        })
    }

    fn place(&mut self, claim: &Claim, route: &Arc<Route>, chain: &[Tier], now: Timestamp) -> Halt {
        let recipients = claim.leg.recipients.len();
        let first = claim.leg.recipients.first().map_or(0, |recipient| recipient.index);
        let draw = self.draw(claim, first, route.sticky);
        let mut busy: Vec<ProviderName> = Vec::new();
        let mut soonest_permit: Option<Timestamp> = None;
        loop {
            let question = Question { route, chain, passed: &claim.leg.passed, busy: &busy, draw };
            let (name, probe) = match plan(&question, |name| self.admits(name, claim, now)) {
                Plan::Start { provider, probe } => (provider, probe),
                Plan::Wait { .. } | Plan::Postpone { .. } if soonest_permit.is_some() => {
                    return Halt::Sleep(soonest_permit.unwrap_or(now));
                }
                Plan::Wait { until, provider } => {
                    let destination = self.destination(&provider, claim).cloned();
                    return Halt::Health {
                        until: until.unwrap_or_else(|| after(now, KEEP_WINDOW)),
                        provider,
                        destination,
                    };
                }
                Plan::Postpone { until } => {
                    let mut leg = claim.leg.clone();
                    leg.due = until.unwrap_or_else(|| after(now, KEEP_WINDOW));
                    self.write(claim.clone(), Finish::legs(vec![leg]));
                    return Halt::Next;
                }
                Plan::NextRound => {
                    let schedule = self.schedule(route);
                    let leg = settle::round_after(&claim.leg, &schedule, now, jitter());
                    self.write(claim.clone(), Finish::legs(vec![leg]));
                    return Halt::Next;
                }
                Plan::Exhausted => {
                    self.write(claim.clone(), resort::exhausted(&claim.leg));
                    return Halt::Next;
                }
            };
            let (Some(provider), Some(transport)) =
                (self.shared.table.provider(&name).cloned(), self.transports.get(&name).cloned())
            else {
                busy.push(name);
                continue;
            };
            let destination = self.destination(&name, claim).cloned();
            if let Some(halt) = self.slot(&provider, route, &claim.leg.lane, destination.as_ref()) {
                return halt;
            }
            if let Some(gate) = self.routes.get_mut(&route.name)
                && let Err(wait) = gate.permit(recipients)
            {
                return Halt::Sleep(after(now, wait));
            }
            if let Some(gate) = self.providers.get_mut(&name)
                && let Err(wait) = gate.permit(recipients)
            {
                if let Some(gate) = self.routes.get_mut(&route.name) {
                    gate.give_back(recipients);
                }
                let at = after(now, wait);
                if route.on_throttle == OnThrottle::Wait {
                    return Halt::Sleep(at);
                }
                soonest_permit = Some(soonest_permit.map_or(at, |other| other.min(at)));
                busy.push(name);
                continue;
            }
            let job = Job { claim: claim.clone(), route: route.clone(), provider, destination, probe };
            self.launch(job, transport);
            return Halt::Next;
        }
    }

    /// What keeps an attempt from starting though provider and route would take it: slots.
    fn slot(&self, provider: &Provider, route: &Route, lane: &Lane, destination: Option<&Domain>) -> Option<Halt> {
        let in_lane = self.lanes_attempts(lane);
        if let (Some(_), Kind::Mx(mx)) = (destination, &provider.transport)
            && in_lane >= mx.destination_concurrency
        {
            return Some(Halt::Own);
        }
        if self.routes.get(&route.name).is_some_and(|gate| gate.free() == 0) {
            return Some(Halt::Park(Spot::Route(route.name.clone())));
        }
        let gate = self.providers.get(&provider.name)?;
        if gate.free() == 0 {
            return Some(Halt::Park(Spot::Provider(provider.name.clone())));
        }
        let in_flight = if destination.is_some() { in_lane } else { gate.in_flight() };
        let ramp = self.health.ramp(&provider.name, destination)?;
        if in_flight < ramp {
            return None;
        }
        // While the provider comes back, its own attempts' ends let the next ones start.
        Some(if in_lane > 0 { Halt::Own } else { Halt::Park(Spot::Provider(provider.name.clone())) })
    }

    fn lanes_attempts(&self, lane: &Lane) -> usize {
        self.lanes.peek(lane).map_or(0, |state| state.attempts)
    }

    fn launch(&mut self, job: Job, transport: Arc<dyn Transport>) {
        let claim = &job.claim;
        if job.probe {
            self.health.start_probe(&job.provider.name, job.destination.as_ref());
            info!(provider = %job.provider.name, destination = job.destination.as_ref().map(Domain::as_str), mid = %claim.mid, "breaker is half-open: one message probes");
        }
        if let Some(gate) = self.providers.get_mut(&job.provider.name) {
            gate.enter();
        }
        if let Some(gate) = self.routes.get_mut(&job.route.name) {
            gate.enter();
        }
        self.lanes.state(&claim.leg.lane).attempts += 1;
        let attempt = Attempt {
            mid: claim.mid,
            envelope: claim.envelope.clone(),
            recipients: claim.leg.recipients.iter().map(|recipient| recipient.index).collect(),
            destination: job.destination.clone(),
            content: self.shared.queue.content(claim.mid, &claim.envelope),
            tls: job.route.tls,
            progress: Progress::default(),
        };
        let cut_off = self.cut_off.clone();
        self.tasks.spawn(async move {
            let (outcomes, took) = attempt::run(transport, attempt, cut_off).await;
            Event::Attempted { job: Box::new(job), outcomes, took }
        });
    }

    fn attempted(&mut self, job: Job, outcomes: &[Outcome], took: Duration) {
        let now = self.shared.clock.now();
        let Job { claim, route, provider, destination, probe } = job;
        if let Some(gate) = self.providers.get_mut(&provider.name) {
            gate.leave();
        }
        if let Some(gate) = self.routes.get_mut(&route.name) {
            gate.leave();
        }
        let lane = claim.leg.lane.clone();
        let state = self.lanes.state(&lane);
        state.attempts = state.attempts.saturating_sub(1);
        report::attempt(&claim, &route, &provider, outcomes, took);

        let sender = claim.envelope.reverse_path.as_ref().map(crate::mail::Address::domain);
        let change = self.health.record(&provider, destination.as_ref(), sender, outcomes, probe, now);
        if let Some(change) = change {
            report::breaker(&provider, destination.as_ref(), change, outcomes);
        }
        if change.is_some() || probe {
            let shared = &self.shared;
            self.lanes.health_changed(&provider.name, destination.as_ref(), |lane| priority_of(shared, lane));
        }
        let chain: &[Tier] = if let Action::Deliver(chain) = &route.action { chain } else { &[] };
        let schedule = self.schedule(&route);
        let settlement = settle::settle(&Attempted {
            leg: &claim.leg,
            route: &route,
            chain,
            provider: &provider.name,
            outcomes,
            schedule: &schedule,
            now,
            jitter: jitter(),
        });
        report::settlement(&claim, &route, &provider, &settlement);
        let Settlement { legs, delivered, bounced, .. } = settlement;
        let spent = outcomes.iter().filter(|o| matches!(o, Outcome::Delivered { .. } | Outcome::Unknown(_))).count();
        let per_recipient = provider.limit.is_some_and(|limit| limit.per == crate::config::Per::Recipient);
        let spent = if per_recipient { spent } else { spent.min(1) };
        let counter = self.health.spend(&provider.name, spent as u64, now);
        self.write(
            claim,
            Finish { legs, delivered, bounced, discarded: Vec::new(), counters: counter.into_iter().collect() },
        );
        let priority = self.priority(&lane);
        self.lanes.run(&lane, priority);
    }

    fn schedule(&self, route: &Route) -> Schedule {
        self.schedules.get(&route.name).cloned().unwrap_or_else(|| self.shared.schedule(route))
    }

    fn write(&mut self, claim: Claim, finish: Finish) {
        self.unwritten += 1;
        let shared = self.shared.clone();
        self.tasks.spawn(async move {
            let lane = claim.leg.lane.clone();
            write(&shared, claim, finish).await;
            Event::Written { lane }
        });
    }
}

fn priority_of(shared: &Shared, lane: &Lane) -> Priority {
    shared.table.route_named(&lane.route).map_or(Priority::default(), |route| route.priority)
}

/// The lane of no mail: wakes the loop.
fn nobody() -> Lane {
    Lane { route: RouteName::new(""), destination: None }
}

fn jitter() -> Jitter {
    Jitter(rand::random::<f64>())
}
