//! The one thread that writes the index: applies what the journal has made durable, in its order.
//!
//! It rests between two transactions and takes whatever gathered meanwhile, less what came and went (`young`). Readers see
//! each transaction at once; on disk it is with the next checkpoint, and what a crash takes of it is replayed from the
//! journal. After a fault of the index its file is opened anew, at once and then once a second, and the journal replayed,
//! until that works.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use redb::Database;
use tracing::{error, info, warn};

use super::Memory;
use super::batch::{Batch, Effects, Lie};
use super::bodies::Bodies;
use super::error::Fault;
use super::job::Entry;
use super::journal::{Position, replay};
use super::lease::lock;
use super::load::{self, Amount};
use super::medium::Medium;
use super::segments::Segments;
use super::store::{Keep, Store, begin_write, position};
use super::tally;
use crate::mail::Mid;

/// Entries of one transaction.
const ENTRIES: usize = 4096;
/// So long it leaves what came to itself, unless somebody waits for the index: what is settled by then never gets there.
const DELAY: Duration = Duration::from_millis(100);
/// Between two looks at what gathers.
const LOOK: Duration = Duration::from_millis(2);
/// A checkpoint comes at the latest after so long, or so much of the journal: what a start after a crash has to replay.
const EVERY: Duration = Duration::from_secs(1);
const OCTETS: u64 = 32 << 20;

/// A group that is durable in the journal.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) entries: Vec<Entry>,
    pub(super) lie: Lie,
    /// Where the journal goes on behind it.
    pub(super) next: Position,
}

pub(super) struct Indexer {
    pub(super) store: Arc<Store>,
    pub(super) memory: Arc<Memory>,
    pub(super) bodies: Arc<Bodies>,
    pub(super) segments: Segments,
    pub(super) groups: Receiver<Group>,
    /// Pause between two tries to open the file anew.
    pub(super) pause: Duration,
    /// What the tables have of the journal.
    pub(super) reached: Position,
    /// And what they hold.
    pub(super) amount: Amount,
    /// The last checkpoint: its position and moment.
    pub(super) kept: (Position, Instant),
    /// Messages that it passes over, each with the group up to which their settlements come.
    pub(super) void: HashMap<Mid, u64>,
}

impl Indexer {
    pub(super) fn run(mut self) {
        loop {
            let due = EVERY.saturating_sub(self.kept.1.elapsed());
            // Once the follower has come further, there may be something to remove.
            let behind = self.memory.followed.floor() < self.kept.0.segment;
            let first = if self.reached == self.kept.0 && !behind {
                self.groups.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.groups.recv_timeout(due)
            };
            match first {
                Ok(first) => self.take(first),
                Err(RecvTimeoutError::Timeout) if self.reached == self.kept.0 => {
                    self.kept.1 = Instant::now();
                    self.tidy();
                }
                Err(RecvTimeoutError::Timeout) => self.checkpoint(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let written = self.reached.group > self.kept.0.group && self.kept.1.elapsed() >= EVERY;
            if written || self.segments.since(self.kept.0, self.reached) >= OCTETS {
                self.checkpoint();
            }
        }
        // Where this fails, the next start replays the journal.
        if (self.reached != self.kept.0 || self.memory.followed.mark().is_some())
            && let Err(fault) = self.try_checkpoint()
        {
            warn!(error = %fault.writing(self.store.path()), "the queue's index is behind its journal: the next start mends it");
        }
        self.store.close();
        // Readers hear that it is closed.
        self.memory.progress.applied(u64::MAX);
    }

    /// What gathers behind a group while it rests.
    fn gather(&self, first: Group) -> Vec<Group> {
        let since = Instant::now();
        let mut entries = first.entries.len();
        let mut groups = vec![first];
        loop {
            let gone = loop {
                match self.groups.try_recv() {
                    Ok(group) if entries < ENTRIES => {
                        entries += group.entries.len();
                        groups.push(group);
                    }
                    Ok(group) => {
                        groups.push(group);
                        return groups;
                    }
                    Err(error) => break error == TryRecvError::Disconnected,
                }
            };
            if gone || since.elapsed() >= DELAY || self.memory.progress.is_wanted_beyond(self.reached.group) {
                return groups;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Applies a group, and those that gather behind it.
    fn take(&mut self, first: Group) {
        let mut groups = self.gather(first);
        // After a replay what was in the channel is in the tables already.
        groups.retain(|group| group.next.group > self.reached.group || group.entries.is_empty());
        let Some(last) = groups.last().map(|group| group.next) else { return };
        let accepted = groups.iter().flat_map(|group| &group.entries).filter_map(Entry::accepted);
        let leaving = self.memory.young.leave(accepted);
        // Their last settlements are durable by now, if not all among these groups.
        let settled = self.memory.progress.journaled_to();
        self.void.extend(leaving.void.into_iter().map(|mid| (mid, settled)));
        let (size, void) = (self.amount.octets, &self.void);
        let applied = self.store.with(|database| apply(database, &groups, last, size, void));
        match applied {
            Ok((mut effects, amount)) => {
                // Before what it took over stops being counted as coming.
                self.hold(amount);
                effects.nudges.extend(self.memory.young.left(&leaving.mids));
                self.memory.leases.caught_up(last.group);
                self.publish(effects);
                self.reached = last;
                self.void.retain(|_, settled| *settled > last.group);
                self.memory.progress.applied(last.group);
            }
            Err(fault) => {
                self.mend(fault, last);
                self.memory.nudges.give(self.memory.young.left(&leaving.mids));
            }
        }
    }

    fn hold(&mut self, amount: Amount) {
        self.amount = amount;
        self.memory.load.indexed(amount);
    }

    /// What the commit made true, before anybody hears of it.
    fn publish(&mut self, effects: Effects) {
        self.segments.count(&effects);
        self.tell(effects);
    }

    fn tell(&self, effects: Effects) {
        for (mid, place) in effects.gone {
            self.memory.recent.forget(mid);
            self.bodies.remove(mid, place);
        }
        for leg in effects.ended {
            self.memory.leases.end(leg);
        }
        self.memory.nudges.give(effects.nudges);
    }

    fn checkpoint(&mut self) {
        match self.try_checkpoint() {
            Ok(()) => self.tidy(),
            Err(fault) => self.mend(fault, self.reached),
        }
    }

    fn tidy(&mut self) {
        self.segments.tidy(&self.store, &self.bodies, &self.memory, self.kept.0);
    }

    fn try_checkpoint(&mut self) -> Result<(), Fault> {
        let mark = self.memory.followed.mark();
        self.store.with(|database| keep(database, self.reached, self.amount, mark.as_deref()))?;
        self.kept = (self.reached, Instant::now());
        Ok(())
    }

    /// Opens the index anew and replays the journal up to what it had synced when this fault came; returns when that
    /// worked, or when the queue is closed meanwhile.
    fn mend(&mut self, fault: Fault, last: Position) {
        let error = fault.writing(self.store.path());
        error!(%error, "the queue's index was not written; nothing is lost: the journal has it");
        self.store.take_out(error.to_string());
        lock(&self.memory.refusal).index = Some(error);
        self.memory.progress.applied(u64::MAX);
        while !self.memory.progress.is_closing() {
            match self.recover(last) {
                Ok(()) => {
                    info!("the queue's index is written again");
                    break;
                }
                Err(fault) => {
                    warn!(error = %fault.writing(self.store.path()), "the queue's index is still not written")
                }
            }
            std::thread::sleep(self.pause);
        }
        lock(&self.memory.refusal).index = None;
    }

    fn recover(&mut self, last: Position) -> Result<(), Fault> {
        let database = self.store.reopen()?;
        let Recovered { mut reached, effects, amount, .. } =
            recover(&database, &**self.bodies.medium(), Some(last), &self.void)?;
        if reached.group == last.group {
            reached = last;
        }
        self.segments = Segments::load(&database, &self.bodies)?;
        // Nobody reads before the index has all that was told, or what is settled would be claimed again.
        self.memory.progress.applied(reached.group);
        self.store.put(database);
        self.hold(amount);
        self.memory.leases.caught_up(reached.group);
        (self.reached, self.kept) = (reached, (reached, Instant::now()));
        // What was published before does no harm: an ended lease is never taken again, a nudge is only a hint.
        for effects in effects {
            self.tell(effects);
        }
        Ok(())
    }
}

/// What came of a replay.
pub(super) struct Recovered {
    /// What the tables have now, durably.
    pub(super) reached: Position,
    /// Where new groups go.
    pub(super) next: Position,
    /// Where the tables were before.
    pub(super) from: Position,
    pub(super) amount: Amount,
    effects: Vec<Effects>,
}

/// Applies to an index what it lacks of the journal, and makes it durable.
pub(super) fn recover(
    database: &Database,
    medium: &dyn Medium,
    until: Option<Position>,
    void: &HashMap<Mid, u64>,
) -> Result<Recovered, Fault> {
    tally::mend(database)?;
    let from = position(database)?;
    let (mut reached, mut effects, mut amount) = (from, Vec::new(), load::amount(database)?);
    let next = replay(medium, from, until, |group| {
        let lie = Lie { segment: group.segment, offset: group.bodies };
        let group = Group { entries: group.entries, lie, next: group.next };
        reached = group.next;
        let (effect, now) = apply(database, std::slice::from_ref(&group), reached, amount.octets, void)?;
        effects.push(effect);
        amount = now;
        Ok(())
    })?;
    if reached != from {
        keep(database, reached, amount, None)?;
    }
    Ok(Recovered { reached, next, from, amount, effects })
}

/// `size`: octets of all content before it.
fn apply(
    database: &Database,
    groups: &[Group],
    last: Position,
    size: u64,
    void: &HashMap<Mid, u64>,
) -> Result<(Effects, Amount), Fault> {
    let txn = begin_write(database, Keep::Seen)?;
    let mut batch = Batch::new(&txn, size, void)?;
    for group in groups {
        let mut lie = group.lie;
        for entry in &group.entries {
            batch.apply(entry, &mut lie)?;
        }
    }
    batch.reached(last)?;
    let amount = batch.amount()?;
    let effects = batch.effects();
    txn.commit()?;
    Ok((effects, amount))
}

/// Makes all that was applied durable.
fn keep(database: &Database, reached: Position, amount: Amount, mark: Option<&[u8]>) -> Result<(), Fault> {
    let txn = begin_write(database, Keep::Durable)?;
    {
        let void = HashMap::new();
        let mut batch = Batch::new(&txn, amount.octets, &void)?;
        // A transaction that changes nothing would keep nothing.
        batch.reached(reached)?;
        mark.map_or(Ok(()), |mark| batch.mark(mark))?;
    }
    Ok(txn.commit()?)
}
