//! The lanes that have mail, and which of them is looked at next.
//!
//! Invariants:
//! - a lane is in one place: in line to be looked at, parked at gates, or idle until an alarm or an event of its own;
//! - memory holds a lane's state and a small window of its legs, never its backlog; a lane without mail is forgotten;
//! - whoever waits at a gate keeps its turn: higher priority first, then whoever came first. A lane that was let go on and
//!   found the gate shut again has the turn it had;
//! - a gate that opens lets on one lane after the other until it is shut or nobody waits: nobody is left behind at an open
//!   gate.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::health::Patient;
use super::pending::Pending;
use crate::config::Priority;
use crate::mail::{Domain, Mid, ProviderName, RouteName, Timestamp};
use crate::queue::{Lane, LaneDue};

/// A parked lane with no more legs than these at hand looks at what comes in.
pub const AT_HAND: usize = 32;

/// What holds lanes back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gate {
    /// Settlements that are not written yet.
    Writing,
    /// Reads of the queue under way.
    Reading,
    /// Concurrency of a route, of a provider, and of one destination of it.
    Route(RouteName),
    Provider(ProviderName),
    Destination(ProviderName, Domain),
    /// Rates.
    RouteRate(RouteName),
    ProviderRate(ProviderName),
    /// A breaker that is open, a pause, a spent quota.
    Health(Patient),
}

/// Place in a line: priority, then order of arrival.
type Turn = (Reverse<Priority>, u64);

#[derive(Debug, Default)]
pub struct Board {
    lanes: HashMap<Lane, State>,
    ready: BTreeMap<Turn, Lane>,
    gates: HashMap<Gate, Crowd>,
    /// Gates that may have become open.
    stirred: BTreeSet<Gate>,
    alarms: BTreeSet<(Timestamp, Alarm)>,
    arrivals: u64,
    /// Legs in all windows.
    claimed: usize,
}

#[derive(Debug)]
struct State {
    priority: Priority,
    /// When the first leg that lies on disk and is not under lease falls due.
    due: Option<Timestamp>,
    /// Claimed, and not yet wholly started.
    window: VecDeque<Pending>,
    reading: bool,
    /// What came while a read was under way, which may have missed it.
    nudged: Option<Timestamp>,
    place: Place,
    alarm: Option<Timestamp>,
    /// The turns it had where it was let go on last.
    turns: Vec<(Gate, Turn)>,
}

#[derive(Debug, PartialEq)]
enum Place {
    Idle,
    Ready(Turn),
    Parked(Vec<(Gate, Turn)>),
}

#[derive(Debug, Default)]
struct Crowd {
    in_use: usize,
    waiting: BTreeMap<Turn, Lane>,
    shut_until: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Lane(Lane),
    Gate(Gate),
}

impl Board {
    /// Legs came into a lane, or came back.
    pub fn nudge(&mut self, nudge: LaneDue, priority: Priority, now: Timestamp) {
        let LaneDue { lane, due } = nudge;
        let state = self.lanes.entry(lane.clone()).or_insert_with(|| State::new(priority));
        if state.reading {
            state.nudged = sooner(state.nudged, due);
        }
        state.due = sooner(state.due, due);
        // Legs of one lane may wait for different providers: a new one may pass those at hand. Where none is at hand all
        // of the lane waits for the same.
        let at_hand = state.window.len();
        if matches!(state.place, Place::Parked(_)) && due <= now && (1..=AT_HAND).contains(&at_hand) && !state.reading {
            self.wake(&lane);
        }
        self.idle(&lane, now);
    }

    /// The next lane to be looked at. It is idle then: `park`, `idle` or a read decide how it goes on.
    pub fn next(&mut self) -> Option<Lane> {
        let (_, lane) = self.ready.pop_first()?;
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.place = Place::Idle;
        }
        Some(lane)
    }

    /// Puts an idle lane where its own state says: into line if it has something to do now, to sleep until it has, or
    /// out of memory.
    pub fn idle(&mut self, lane: &Lane, now: Timestamp) {
        let Some(state) = self.lanes.get(lane) else { return };
        if state.place != Place::Idle {
            return;
        }
        match (state.window.is_empty(), state.due, state.reading) {
            (false, _, _) => self.queue_up(lane),
            (true, _, true) => {}
            (true, None, false) => {
                self.silence(lane);
                self.lanes.remove(lane);
            }
            (true, Some(due), false) if due <= now => self.queue_up(lane),
            (true, Some(due), false) => self.alarm(lane, due),
        }
    }

    /// Lets a lane wait at gates, and until a time, whichever lets it go on first.
    pub fn park(&mut self, lane: &Lane, gates: impl IntoIterator<Item = Gate>, until: Option<Timestamp>) {
        let Some(state) = self.lanes.get_mut(lane) else { return };
        let mut places = Vec::new();
        for gate in gates {
            let before = state.turns.iter().find(|(known, _)| *known == gate).map(|(_, turn)| *turn);
            let turn = before.unwrap_or_else(|| {
                self.arrivals += 1;
                (Reverse(state.priority), self.arrivals)
            });
            self.gates.entry(gate.clone()).or_default().waiting.insert(turn, lane.clone());
            places.push((gate, turn));
        }
        state.place = Place::Parked(places);
        self.silence(lane);
        if let Some(until) = until {
            self.alarm(lane, until);
        }
    }

    /// A parked lane goes on.
    pub fn wake(&mut self, lane: &Lane) {
        let Some(state) = self.lanes.get_mut(lane) else { return };
        let Place::Parked(places) = &mut state.place else { return };
        state.turns = std::mem::take(places);
        state.place = Place::Idle;
        for (gate, turn) in &state.turns {
            if let Some(crowd) = self.gates.get_mut(gate) {
                crowd.waiting.remove(turn);
                if crowd.is_forgettable() {
                    self.gates.remove(gate);
                }
            }
        }
        self.queue_up(lane);
    }

    /// It started something: its old turns are used up.
    pub fn took_its_turn(&mut self, lane: &Lane) {
        if let Some(state) = self.lanes.get_mut(lane) {
            state.turns.clear();
        }
    }

    fn queue_up(&mut self, lane: &Lane) {
        self.silence(lane);
        let Some(state) = self.lanes.get_mut(lane) else { return };
        self.arrivals += 1;
        let turn = (Reverse(state.priority), self.arrivals);
        state.place = Place::Ready(turn);
        self.ready.insert(turn, lane.clone());
    }

    fn alarm(&mut self, lane: &Lane, at: Timestamp) {
        self.silence(lane);
        if let Some(state) = self.lanes.get_mut(lane) {
            state.alarm = Some(at);
            self.alarms.insert((at, Alarm::Lane(lane.clone())));
        }
    }

    fn silence(&mut self, lane: &Lane) {
        if let Some(at) = self.lanes.get_mut(lane).and_then(|state| state.alarm.take()) {
            self.alarms.remove(&(at, Alarm::Lane(lane.clone())));
        }
    }
}

/// Windows and reads.
impl Board {
    pub fn take_window(&mut self, lane: &Lane) -> VecDeque<Pending> {
        let window = self.lanes.get_mut(lane).map(|state| std::mem::take(&mut state.window)).unwrap_or_default();
        self.claimed -= window.len();
        window
    }

    /// What `take_window` gave, less what was started.
    pub fn put_window(&mut self, lane: &Lane, window: VecDeque<Pending>) {
        if let Some(state) = self.lanes.get_mut(lane) {
            self.claimed += window.len();
            state.window = window;
        }
    }

    /// Legs in all windows.
    pub fn claimed(&self) -> usize {
        self.claimed
    }

    /// True where the lane's window has run low, more is due on disk, and nobody is reading it.
    pub fn wants_more(&self, lane: &Lane, window: usize, now: Timestamp) -> bool {
        self.lanes.get(lane).is_some_and(|state| {
            !state.reading && state.window.len() <= window / 2 && state.due.is_some_and(|due| due <= now)
        })
    }

    pub fn reading(&mut self, lane: &Lane) {
        if let Some(state) = self.lanes.get_mut(lane) {
            state.reading = true;
            state.nudged = None;
        }
    }

    /// A read has ended. `due`: when the first leg falls due that it left on disk.
    pub fn has_read(&mut self, lane: &Lane, legs: Vec<Pending>, due: Option<Timestamp>, now: Timestamp) {
        let Some(state) = self.lanes.get_mut(lane) else { return };
        state.reading = false;
        // A nudge that came meanwhile may be of a leg that the read's snapshot did not have.
        state.due = match (due, state.nudged.take()) {
            (Some(due), nudged) => sooner(nudged, due),
            (None, nudged) => nudged,
        };
        let some = !legs.is_empty();
        self.claimed += legs.len();
        state.window.extend(legs);
        match state.place {
            Place::Parked(_) if some => self.wake(lane),
            Place::Idle => self.idle(lane, now),
            Place::Parked(_) | Place::Ready(_) => {}
        }
    }

    /// Empties the window of a lane; what was in it lies on disk and is read again when the lane goes on.
    pub fn give_up_window(&mut self, lane: &Lane) -> VecDeque<Pending> {
        let window = self.take_window(lane);
        if let (Some(state), Some(first)) = (self.lanes.get_mut(lane), window.iter().map(|leg| leg.leg.due).min()) {
            state.due = sooner(state.due, first);
        }
        window
    }

    /// Takes these legs out of whatever window has them, but for those that are begun.
    pub fn recall(&mut self, wanted: &HashSet<(Mid, u32)>) -> Vec<Pending> {
        let mut taken = Vec::new();
        for state in self.lanes.values_mut().filter(|state| !state.window.is_empty()) {
            let (out, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut state.window)
                .into_iter()
                .partition(|leg| !leg.started && wanted.contains(&(leg.mid, leg.number)));
            state.window = kept;
            taken.extend(out);
        }
        self.claimed -= taken.len();
        taken
    }

    pub fn parked_with_windows(&self) -> Vec<Lane> {
        let parked =
            self.lanes.iter().filter(|(_, state)| matches!(state.place, Place::Parked(_)) && !state.window.is_empty());
        parked.map(|(lane, _)| lane.clone()).collect()
    }

    /// Lanes that wait at gates.
    pub fn parked(&self) -> Vec<Lane> {
        let parked = self.lanes.iter().filter(|(_, state)| matches!(state.place, Place::Parked(_)));
        parked.map(|(lane, _)| lane.clone()).collect()
    }

    pub fn with_windows(&self) -> Vec<Lane> {
        self.lanes.iter().filter(|(_, state)| !state.window.is_empty()).map(|(lane, _)| lane.clone()).collect()
    }

    /// From their next turn on, lanes have these priorities.
    pub fn reprioritize(&mut self, priority: impl Fn(&Lane) -> Priority) {
        for (lane, state) in &mut self.lanes {
            let new = priority(lane);
            if state.priority != new {
                state.priority = new;
                state.turns.clear();
            }
        }
    }

    pub fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.keys()
    }
}

/// Gates and alarms.
impl Board {
    pub fn in_use(&self, gate: &Gate) -> usize {
        self.gates.get(gate).map_or(0, |crowd| crowd.in_use)
    }

    pub fn enter(&mut self, gate: Gate) {
        self.gates.entry(gate).or_default().in_use += 1;
    }

    pub fn leave(&mut self, gate: &Gate) {
        if let Some(crowd) = self.gates.get_mut(gate) {
            crowd.in_use = crowd.in_use.saturating_sub(1);
        }
        self.stir(gate);
    }

    pub fn is_shut(&self, gate: &Gate) -> bool {
        self.gates.get(gate).is_some_and(|crowd| crowd.shut_until.is_some())
    }

    pub fn shut(&mut self, gate: Gate, until: Timestamp) {
        let crowd = self.gates.entry(gate.clone()).or_default();
        if let Some(before) = crowd.shut_until.replace(until) {
            self.alarms.remove(&(before, Alarm::Gate(gate.clone())));
        }
        self.alarms.insert((until, Alarm::Gate(gate)));
    }

    /// Opens all that were shut until a time.
    pub fn unshut(&mut self) {
        let shut = self.gates.iter_mut().filter_map(|(gate, crowd)| Some((gate.clone(), crowd.shut_until.take()?)));
        for (gate, until) in shut.collect::<Vec<_>>() {
            self.alarms.remove(&(until, Alarm::Gate(gate.clone())));
            self.stir(&gate);
        }
    }

    pub fn wake_all(&mut self, gate: &Gate) {
        let crowd = self.gates.get(gate);
        for lane in crowd.map(|crowd| crowd.waiting.values().cloned().collect::<Vec<_>>()).unwrap_or_default() {
            self.wake(&lane);
        }
        self.stir(gate);
    }

    /// Lets go on whoever waits for the health of a provider, at whatever destination.
    pub fn wake_provider(&mut self, provider: &ProviderName) {
        let of_it = |gate: &&Gate| matches!(gate, Gate::Health(patient) if patient.provider == *provider);
        let gates: Vec<Gate> = self.gates.keys().filter(of_it).cloned().collect();
        for gate in gates {
            self.wake_all(&gate);
        }
    }

    /// The gate may be open now.
    pub fn stir(&mut self, gate: &Gate) {
        let Some(crowd) = self.gates.get(gate) else { return };
        if crowd.is_forgettable() {
            self.gates.remove(gate);
            self.stirred.remove(gate);
        } else if !crowd.waiting.is_empty() {
            self.stirred.insert(gate.clone());
        }
    }

    /// Lets the next lane of each gate go on that may be open and is. To be called again when those have been looked at,
    /// until it gives false.
    pub fn let_on(&mut self, is_open: impl Fn(&Gate, usize) -> bool) -> bool {
        let mut any = false;
        for gate in std::mem::take(&mut self.stirred) {
            let Some(crowd) = self.gates.get(&gate) else { continue };
            let Some(first) = crowd.waiting.values().next().cloned() else {
                self.stir(&gate);
                continue;
            };
            if crowd.shut_until.is_none() && is_open(&gate, crowd.in_use) {
                self.wake(&first);
                any = true;
                // Looked at again when that lane was: it may have passed by.
                self.stirred.insert(gate);
            }
        }
        any
    }

    pub fn next_alarm(&self) -> Option<Timestamp> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Lets go on what waits for a time that has come.
    pub fn ring(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.alarms.first()
            && *at <= now
            && let Some((_, alarm)) = self.alarms.pop_first()
        {
            match alarm {
                Alarm::Lane(lane) => {
                    if let Some(state) = self.lanes.get_mut(&lane) {
                        state.alarm = None;
                    }
                    self.wake(&lane);
                    self.idle(&lane, now);
                }
                Alarm::Gate(gate) => {
                    if let Some(crowd) = self.gates.get_mut(&gate) {
                        crowd.shut_until = None;
                    }
                    self.stir(&gate);
                }
            }
        }
    }
}

impl State {
    fn new(priority: Priority) -> Self {
        Self {
            priority,
            due: None,
            window: VecDeque::new(),
            reading: false,
            nudged: None,
            place: Place::Idle,
            alarm: None,
            turns: Vec::new(),
        }
    }
}

impl Crowd {
    fn is_forgettable(&self) -> bool {
        self.in_use == 0 && self.waiting.is_empty() && self.shut_until.is_none()
    }
}

fn sooner(known: Option<Timestamp>, due: Timestamp) -> Option<Timestamp> {
    Some(known.map_or(due, |known| known.min(due)))
}

#[cfg(test)]
mod tests;
