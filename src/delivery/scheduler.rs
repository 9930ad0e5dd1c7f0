//! The scheduler: one task that owns all of delivery's state, woken by a closed set of events.
//!
//! Promises:
//! - what is accepted is attempted until each recipient is delivered, bounced, discarded or held: no error, panic or stop
//!   loses one, and only an outcome of `unknown` can double one;
//! - a lane that waits for anything holds back no other lane;
//! - it sleeps while there is nothing to do: no timer ticks for a wait whose end is known;
//! - memory grows with lanes that have mail, not with the mail in them.
//!
//! What it does on failure: a queue that cannot be read is asked again after a second; one that cannot be written holds
//! the outcomes back in their tasks, and no more attempts are begun than `Gate::Writing` allows.

use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Deps;
use super::attempt::Flight;
use super::backlog::Backlog;
use super::board::{AT_HAND, Board, Gate};
use super::control::{self, Control, Request, Requests};
use super::desk::{Desk, Rules, Window};
use super::health::Health;
use super::limits::Pace;
use super::operate::Operator;
use super::order::{KEPT, Orders};
use super::orders::route_of;
use super::pending::{Draft, Pending};
use super::plan::chain;
use super::pulse::Pulse;
use super::quota::Quotas;
use super::span::{after, until};
use super::stations::{self, Limits, Station};
use super::status::Meter;
use super::sweep;
use crate::config::Priority;
use crate::mail::{ProviderName, RouteName, Timestamp};
use crate::queue::{Lane, LaneDue, Queue, QueueError};
use crate::transport::Outcome;

/// Reads of the queue at one time.
pub(super) const READS: usize = 16;
/// Legs that one lane has claimed and not started, at most.
const WINDOW: usize = 64;
/// Legs that all lanes together have claimed and not started. Half of it is for lanes that wait; beyond, theirs go back.
const CLAIMED: usize = 4096;
/// Outcomes that may wait to be written, beside the attempts that all providers may have under way.
pub(super) const UNWRITTEN: usize = 512;
/// A lane that waits longer than this gives its window back, so that expiry sees what is in it.
const SHORT: Duration = Duration::from_secs(1);
/// Pause after an error of the queue.
const BACK_OFF: Duration = Duration::from_secs(1);
/// A sleep is cut to this, so that a clock that was set, or a machine that slept, is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Owner of all of delivery's state. See `run`.
pub struct Scheduler<Q = Queue> {
    pub(super) desk: Arc<Desk<Q>>,
    /// The desk's.
    pub(super) rules: Arc<Rules>,
    pub(super) stations: HashMap<ProviderName, Station>,
    pub(super) route_paces: HashMap<RouteName, Pace>,
    pub(super) board: Board,
    pub(super) health: Health,
    pub(super) quotas: Quotas,
    pub(super) orders: Orders,
    pub(super) attempts: JoinSet<Vec<Outcome>>,
    pub(super) flights: HashMap<Id, Flight>,
    pub(super) chores: JoinSet<Done>,
    reads: HashMap<Id, Lane>,
    pub(super) sweep_at: Option<Timestamp>,
    sweeping: Option<Id>,
    pub(super) most_unwritten: usize,
    control: Control,
    requests: Requests,
    pulse: Arc<Pulse>,
}

/// All that wakes the scheduler.
enum Event {
    /// Legs came into lanes, or came back.
    Nudged(Vec<LaneDue>),
    Attempted(Result<(Id, Vec<Outcome>), JoinError>),
    Done(Result<(Id, Done), JoinError>),
    Asked(Request),
    /// Something that waited for a time may go on.
    Time,
    /// Somebody asks whether it comes round.
    Pulse,
    Stop,
}

/// Work of delivery's own that ended.
pub(super) enum Done {
    Read(Lane, Result<Window, QueueError>),
    /// A settlement; some of it goes to the next provider at once.
    Written {
        moved: Option<Lane>,
    },
    Swept(Duration),
    /// What is ordered of a provider.
    Kept,
}

/// What a lane could not pass.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    pub gates: BTreeSet<Gate>,
    pub until: Option<Timestamp>,
    /// Every leg of the lane is held back by it: no need to look at the others.
    pub whole_lane: bool,
}

impl<Q: Backlog> Scheduler<Q> {
    pub fn new(deps: Deps<Q>) -> Self {
        let Deps { queue, table, transports, clock, mids, settings } = deps;
        let meter = Arc::<Meter>::default();
        let stations = stations::of(&table, transports, &meter);
        let paces = table.routes().filter_map(|route| Some((route.name.clone(), Pace::new(route.limit?))));
        let route_paces = paces.collect();
        let most_unwritten = stations::under_way(&stations).saturating_add(UNWRITTEN);
        let rules = Arc::new(Rules { table, settings });
        let desk = Desk { queue, clock, mids, meter, rules: ArcSwap::new(rules.clone()) };
        let (control, requests) = control::channel();
        Self {
            desk: Arc::new(desk),
            rules,
            stations,
            route_paces,
            board: Board::default(),
            health: Health::default(),
            quotas: Quotas::default(),
            orders: Orders::default(),
            attempts: JoinSet::new(),
            flights: HashMap::new(),
            chores: JoinSet::new(),
            reads: HashMap::new(),
            sweep_at: None,
            sweeping: None,
            most_unwritten,
            control,
            requests,
            pulse: Arc::default(),
        }
    }

    /// What delivery counts, to be read while it runs.
    pub fn meter(&self) -> Arc<Meter> {
        self.desk.meter.clone()
    }

    /// By which it is known that it still comes round.
    pub fn pulse(&self) -> Arc<Pulse> {
        self.pulse.clone()
    }

    /// To ask and steer it by while it runs.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Delivers until `token` is cancelled. Then nothing new begins, attempts under way get the grace time, and it returns
    /// when all they came to is on disk.
    pub async fn run(mut self, token: CancellationToken) {
        let pulse = self.pulse.clone();
        if token.run_until_cancelled(pulse.answering(self.resume())).await.is_none() {
            return;
        }
        let desk = self.desk.clone();
        loop {
            self.pump(&token);
            let sleep = self.sleep();
            let event = tokio::select! {
                biased;
                () = token.cancelled() => Event::Stop,
                event = async { tokio::select! {
                    lanes = desk.queue.nudged() => Event::Nudged(lanes),
                    Some(joined) = self.attempts.join_next_with_id() => Event::Attempted(joined),
                    Some(joined) = self.chores.join_next_with_id() => Event::Done(joined),
                    () = pulse.asked() => Event::Pulse,
                    Some(request) = self.requests.recv() => Event::Asked(request),
                    () = tokio::time::sleep(sleep) => Event::Time,
                } } => event,
            };
            match event {
                Event::Stop => break,
                event => self.take(event),
            }
        }
        self.stop().await;
    }

    fn take(&mut self, event: Event) {
        let now = self.desk.clock.now();
        match event {
            Event::Nudged(lanes) => {
                for lane in lanes {
                    self.nudge(lane, now);
                }
            }
            Event::Attempted(joined) => {
                let (id, joined) = match joined {
                    Ok((id, outcomes)) => (id, Ok(outcomes)),
                    Err(error) => (error.id(), Err(error)),
                };
                self.ended(id, joined, now);
            }
            Event::Done(Ok((id, done))) => {
                self.reads.remove(&id);
                self.done(done, now);
            }
            Event::Done(Err(panic)) => self.chore_failed(&panic, now),
            Event::Asked(request) => self.answer(request),
            Event::Time => self.board.ring(now),
            Event::Pulse => self.pulse.answer(),
            Event::Stop => {}
        }
    }

    fn done(&mut self, done: Done, now: Timestamp) {
        match done {
            Done::Read(lane, read) => self.has_read(&lane, read, now),
            Done::Written { moved } => {
                self.board.leave(&Gate::Writing);
                // It may pass where the lane waits.
                if let Some(lane) = moved {
                    self.board.wake(&lane);
                }
            }
            Done::Swept(interval) => {
                self.sweeping = None;
                self.health.prune(now);
                self.sweep_at = Some(after(now, interval));
            }
            Done::Kept => {}
        }
    }

    fn chore_failed(&mut self, panic: &JoinError, now: Timestamp) {
        error!(%panic, "delivery failed in work of its own");
        match self.reads.remove(&panic.id()) {
            Some(lane) => self.has_read(&lane, Ok(Window { troubled: true, ..Window::default() }), now),
            None if self.sweeping == Some(panic.id()) => self.done(Done::Swept(LONGEST_SLEEP), now),
            None => self.done(Done::Written { moved: None }, now),
        }
    }

    /// Takes up what an earlier run left.
    async fn resume(&mut self) {
        let queue = &self.desk.queue;
        let (lanes, counters, orders) = loop {
            match (queue.lanes().await, queue.counters().await, queue.kept(KEPT).await) {
                (Ok(lanes), Ok(counters), Ok(orders)) => break (lanes, counters, orders),
                (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => {
                    error!(%error, "the queue cannot be read: tried again in a second");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        };
        let now = self.desk.clock.now();
        self.quotas = Quotas::new(self.stations.values().map(|station| &*station.settings), &counters);
        self.orders = Orders::new(orders);
        if !lanes.is_empty() {
            info!(lanes = lanes.len(), "delivery resumes what is queued");
        }
        for lane in lanes {
            self.nudge(lane, now);
        }
        self.sweep_at = Some(now);
    }

    fn nudge(&mut self, nudge: LaneDue, now: Timestamp) {
        let route = self.rules.table.route_named(&nudge.lane.route);
        let priority = route.map_or(Priority::default(), |route| route.priority);
        self.board.nudge(nudge, priority, now);
    }

    /// Does all that can be done now.
    fn pump(&mut self, token: &CancellationToken) {
        let now = self.desk.clock.now();
        self.end_orders(now);
        self.board.ring(now);
        loop {
            while let Some(lane) = self.board.next() {
                self.look_at(&lane, now);
            }
            let Self { board, health, stations, rules, most_unwritten, .. } = self;
            let limits = Limits { health, stations, table: &rules.table, most_unwritten: *most_unwritten };
            let is_open = |gate: &Gate, in_use: usize| limits.is_open(gate, in_use);
            if !board.let_on(is_open) {
                break;
            }
        }
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep_at = None;
            for lane in self.board.parked_with_windows() {
                self.give_up_window(&lane);
            }
            let (desk, token) = (self.desk.clone(), token.clone());
            let task = self.chores.spawn(async move { Done::Swept(sweep::sweep(&desk, &token).await) });
            self.sweeping = Some(task.id());
        }
    }

    fn sleep(&self) -> Duration {
        let now = self.desk.clock.now();
        let next = [self.board.next_alarm(), self.sweep_at, self.orders.next_end()].into_iter().flatten().min();
        next.map_or(LONGEST_SLEEP, |at| until(now, at).min(LONGEST_SLEEP))
    }

    pub(super) fn is_open(&self, gate: &Gate) -> bool {
        let Self { board, health, stations, rules, most_unwritten, .. } = self;
        let limits = Limits { health, stations, table: &rules.table, most_unwritten: *most_unwritten };
        limits.is_open(gate, board.in_use(gate))
    }

    /// Reads the lane's next window, unless it is not the time for it.
    pub(super) fn refill(&mut self, lane: &Lane, most: usize) {
        if most == 0 || !self.is_open(&Gate::Reading) || !self.is_open(&Gate::Writing) {
            return;
        }
        self.board.enter(Gate::Reading);
        self.board.reading(lane);
        let (desk, of) = (self.desk.clone(), lane.clone());
        let task = self.chores.spawn(async move {
            let read = desk.read(&of, most).await;
            Done::Read(of, read)
        });
        self.reads.insert(task.id(), lane.clone());
    }

    /// Legs worth having at hand for a lane whose providers have so many slots: what its limits could let through soon.
    pub(super) fn window(&self, lane: &Lane, slots: usize) -> usize {
        let mut most = CLAIMED.saturating_sub(self.board.claimed()).min(WINDOW).min(slots.saturating_mul(2));
        if let Some(route) = self.rules.table.route_named(&lane.route) {
            most = most.min(route.concurrency.unwrap_or(most).saturating_mul(2));
            most = most.min(self.route_paces.get(&route.name).map_or(most, Pace::soon));
        }
        most.max(1)
    }

    /// Attempts that one provider may have under way for a lane.
    pub(super) fn slots(&self, lane: &Lane, provider: &ProviderName) -> usize {
        let Some(station) = self.stations.get(provider) else { return 0 };
        let patient = station.patient(lane);
        self.health.concurrency(&patient, station.most_at(&patient))
    }

    fn has_read(&mut self, lane: &Lane, read: Result<Window, QueueError>, now: Timestamp) {
        self.board.leave(&Gate::Reading);
        let mut window = read.unwrap_or_else(|error| {
            warn!(route = %lane.route, %error, "the queue cannot be read: tried again in a second");
            Window { troubled: true, ..Window::default() }
        });
        if window.rules.as_ref().is_some_and(|rules| !Arc::ptr_eq(rules, &self.rules)) {
            // The rules have changed meanwhile.
            for pending in std::mem::take(&mut window.legs) {
                window.next_due = Some(window.next_due.map_or(pending.leg.due, |due| due.min(pending.leg.due)));
                self.give_back(pending);
            }
        }
        for draft in window.leaving {
            self.write(draft);
        }
        // Nothing due although there should be: somebody else has it under lease just now.
        let vain = window.legs.is_empty() && window.next_due.is_some_and(|due| due <= now);
        if window.troubled || vain {
            let again = after(now, if window.troubled { BACK_OFF } else { BACK_OFF / 10 });
            let due = window.next_due.map_or(again, |due| due.max(again));
            self.board.has_read(lane, window.legs, Some(due), now);
        } else {
            self.board.has_read(lane, window.legs, window.next_due, now);
        }
    }

    /// Writes a settlement in a task of its own. It counts as unwritten until that ends.
    pub(super) fn write(&mut self, draft: Draft) {
        self.board.enter(Gate::Writing);
        self.write_entered(draft);
    }

    /// The same for one that counts already.
    pub(super) fn write_entered(&mut self, draft: Draft) {
        let desk = self.desk.clone();
        let now = desk.clock.now();
        let moved = draft.legs.iter().find(|leg| !leg.passed.is_empty() && leg.due <= now).map(|leg| leg.lane.clone());
        self.chores.spawn(async move {
            desk.write(draft).await;
            Done::Written { moved }
        });
    }

    /// Parks the lane where it was stopped.
    pub(super) fn park(&mut self, lane: &Lane, blocks: Blocks, now: Timestamp) {
        let long = blocks.until.is_some_and(|until| until > after(now, SHORT));
        self.board.park(lane, blocks.gates, blocks.until);
        if long || self.board.claimed() > CLAIMED / 2 {
            self.give_up_window(lane);
        } else if !blocks.whole_lane && self.board.wants_more(lane, 2 * AT_HAND, now) && self.shares_by_weight(lane) {
            // The next legs may go to another provider than these wait for.
            self.refill(lane, AT_HAND);
        }
    }

    fn shares_by_weight(&self, lane: &Lane) -> bool {
        let route = route_of(&self.rules.table, lane);
        route.is_some_and(|route| chain(&route).iter().any(|tier| tier.0.len() > 1))
    }

    pub(super) fn give_up_window(&mut self, lane: &Lane) {
        for pending in self.board.give_up_window(lane) {
            self.give_back(pending);
        }
    }

    fn give_back(&mut self, pending: Pending) {
        if pending.started {
            let draft = split(pending);
            self.write(draft);
        } else {
            self.desk.queue.release(pending.mid, pending.number);
        }
    }

    async fn stop(mut self) {
        // Whoever asks now is told so, and does not wait.
        self.requests.close();
        while self.requests.try_recv().is_ok() {}
        let now = self.desk.clock.now();
        info!(attempts = self.attempts.len(), grace_s = self.rules.settings.grace.as_secs(), "delivery stops");
        let lanes: Vec<_> = self.board.lanes().cloned().collect();
        for lane in lanes {
            self.give_up_window(&lane);
        }
        let mut grace = pin!(tokio::time::sleep(self.rules.settings.grace));
        let mut cut_off = false;
        while !(self.attempts.is_empty() && self.chores.is_empty()) {
            tokio::select! {
                Some(joined) = self.attempts.join_next_with_id() => self.take(Event::Attempted(joined)),
                Some(joined) = self.chores.join_next_with_id() => match joined {
                    Ok((_, Done::Read(_, Ok(window)))) => {
                        for pending in window.legs {
                            self.desk.queue.release(pending.mid, pending.number);
                        }
                        for draft in window.leaving {
                            self.write(draft);
                        }
                    }
                    Ok((_, Done::Read(_, Err(_)) | Done::Written { .. } | Done::Swept(_) | Done::Kept)) => {}
                    Err(panic) => self.chore_failed(&panic, now),
                },
                () = &mut grace, if !cut_off => {
                    cut_off = true;
                    if !self.attempts.is_empty() {
                        warn!(attempts = self.attempts.len(), "attempts are cut off: the grace time is over");
                    }
                    self.attempts.abort_all();
                }
            }
        }
        info!("delivery has stopped");
    }
}

/// What is left of a leg under way becomes a leg of its own, which is not under lease.
fn split(pending: Pending) -> Draft {
    let mut draft = pending.draft(&pending.left);
    draft.legs.push(crate::queue::Leg { recipients: pending.left, ..pending.leg });
    draft.silent = true;
    draft
}

impl Scheduler<Queue> {
    /// What a person may do to the queue while it runs.
    pub fn operator(&self) -> Operator {
        Operator::online(self.desk.clone(), self.control.clone())
    }
}
