//! The lanes that have mail, and which of them is to be looked at next.
//!
//! Memory holds a lane's state, never its backlog: that stays on disk and is claimed in small windows. A lane without
//! mail is forgotten.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::config::Priority;
use crate::mail::{Domain, HeaderSection, ProviderName, RouteName, Timestamp};
use crate::queue::{Claim, Lane};

/// A leg under lease, with what routing needs of its content.
pub struct Ready {
    pub claim: Claim,
    pub header: Option<HeaderSection>,
}

/// What a lane waits for when it is neither runnable nor sleeping.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Spot {
    /// A free slot of the provider.
    Provider(ProviderName),
    /// A free slot of the route.
    Route(RouteName),
    /// Settlements to be written.
    Writer,
}

#[derive(Default)]
pub struct LaneState {
    /// When its next leg on disk that is not under lease falls due.
    pub due: Option<Timestamp>,
    /// Claimed, not started.
    pub window: VecDeque<Ready>,
    pub claiming: bool,
    /// Came in while a claim was being read, which may have missed it.
    pub nudged: Option<Timestamp>,
    pub attempts: usize,
    sleeping_until: Option<Timestamp>,
    queued: bool,
}

/// Lanes by priority; first come, first served within one.
#[derive(Default)]
struct Line([VecDeque<Lane>; 3]);

impl Line {
    fn push(&mut self, lane: Lane, priority: Priority) {
        self.0[rank(priority)].push_back(lane);
    }

    fn pop(&mut self) -> Option<Lane> {
        self.0.iter_mut().find_map(VecDeque::pop_front)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(VecDeque::is_empty)
    }
}

fn rank(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Bulk => 2,
    }
}

/// All lanes, each in at most one place: runnable, parked at a spot, asleep until a time, or waiting for one of its own
/// events.
#[derive(Default)]
pub struct Lanes {
    states: HashMap<Lane, LaneState>,
    runnable: Line,
    parked: HashMap<Spot, Line>,
    asleep: BTreeSet<(Timestamp, Lane)>,
    /// Asleep as well, but woken when the health of that provider (or destination) changes.
    on_health: HashMap<(ProviderName, Option<Domain>), HashSet<Lane>>,
}

impl Lanes {
    pub fn len(&self) -> usize {
        self.states.len()
    }

    pub fn state(&mut self, lane: &Lane) -> &mut LaneState {
        self.states.entry(lane.clone()).or_default()
    }

    pub fn peek(&self, lane: &Lane) -> Option<&LaneState> {
        self.states.get(lane)
    }

    /// Legs came into the lane.
    pub fn nudge(&mut self, lane: &Lane, due: Timestamp, priority: Priority) {
        let state = self.states.entry(lane.clone()).or_default();
        if state.claiming {
            state.nudged = Some(state.nudged.map_or(due, |other| other.min(due)));
            return;
        }
        let sooner = state.due.is_none_or(|known| due < known);
        if sooner {
            state.due = Some(due);
        }
        // A lane that sleeps until its next leg is due wakes; one that waits for health, a permit or a slot goes on
        // waiting, for the new leg waits for the same.
        let idle = state.window.is_empty() && !state.queued && state.sleeping_until.is_none();
        if idle || (sooner && state.window.is_empty() && !state.queued) {
            self.run(lane, priority);
        }
    }

    /// The lane is to be looked at, unless it stands in line already.
    pub fn run(&mut self, lane: &Lane, priority: Priority) {
        let Some(state) = self.states.get_mut(lane) else { return };
        if let Some(until) = state.sleeping_until.take() {
            self.asleep.remove(&(until, lane.clone()));
        }
        if !state.queued && !state.claiming {
            state.queued = true;
            self.runnable.push(lane.clone(), priority);
        }
    }

    pub fn next_runnable(&mut self) -> Option<Lane> {
        let lane = self.runnable.pop()?;
        if let Some(state) = self.states.get_mut(&lane) {
            state.queued = false;
        }
        Some(lane)
    }

    pub fn park(&mut self, lane: &Lane, spot: Spot, priority: Priority) {
        let Some(state) = self.states.get_mut(lane) else { return };
        if !state.queued {
            state.queued = true;
            self.parked.entry(spot).or_default().push(lane.clone(), priority);
        }
    }

    /// Moves up to `most` lanes that wait at the spot to the runnable ones.
    pub fn unpark(&mut self, spot: &Spot, most: usize, priority: impl Fn(&Lane) -> Priority) {
        let Some(line) = self.parked.get_mut(spot) else { return };
        for _ in 0..most {
            let Some(lane) = line.pop() else { break };
            let priority = priority(&lane);
            self.runnable.push(lane, priority);
        }
        if line.is_empty() {
            self.parked.remove(spot);
        }
    }

    pub fn spots(&self) -> Vec<Spot> {
        self.parked.keys().cloned().collect()
    }

    pub fn sleep(&mut self, lane: &Lane, until: Timestamp) {
        let Some(state) = self.states.get_mut(lane) else { return };
        if let Some(before) = state.sleeping_until.replace(until) {
            self.asleep.remove(&(before, lane.clone()));
        }
        self.asleep.insert((until, lane.clone()));
    }

    /// Sleeps until that time, or until the health of the provider changes.
    pub fn sleep_on_health(
        &mut self,
        lane: &Lane,
        until: Timestamp,
        provider: ProviderName,
        destination: Option<Domain>,
    ) {
        self.sleep(lane, until);
        self.on_health.entry((provider, destination)).or_default().insert(lane.clone());
    }

    pub fn health_changed(
        &mut self,
        provider: &ProviderName,
        destination: Option<&Domain>,
        priority: impl Fn(&Lane) -> Priority,
    ) {
        let Some(lanes) = self.on_health.remove(&(provider.clone(), destination.cloned())) else { return };
        for lane in lanes {
            let priority = priority(&lane);
            self.run(&lane, priority);
        }
    }

    /// When the first sleeper is to be woken.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.asleep.first().map(|(at, _)| *at)
    }

    pub fn wake(&mut self, now: Timestamp, priority: impl Fn(&Lane) -> Priority) {
        while let Some((at, _)) = self.asleep.first()
            && *at <= now
        {
            let Some((_, lane)) = self.asleep.pop_first() else { break };
            if let Some(state) = self.states.get_mut(&lane) {
                state.sleeping_until = None;
            }
            let priority = priority(&lane);
            self.run(&lane, priority);
        }
    }

    /// Forgets the lane if it has nothing left.
    pub fn forget_if_empty(&mut self, lane: &Lane) {
        if let Some(state) = self.states.get(lane)
            && state.due.is_none()
            && state.window.is_empty()
            && !state.claiming
            && state.attempts == 0
            && !state.queued
        {
            if let Some(until) = state.sleeping_until {
                self.asleep.remove(&(until, lane.clone()));
            }
            self.states.remove(lane);
        }
    }

    pub fn drain_windows(&mut self) -> Vec<Claim> {
        self.states.values_mut().flat_map(|state| state.window.drain(..)).map(|ready| ready.claim).collect()
    }
}
