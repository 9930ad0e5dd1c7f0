//! The one thread that writes the index: applies what the journal has made durable, in its order.
//!
//! It takes whatever gathered while it applied what came before. Readers see each transaction at once; on disk it is with
//! the next checkpoint, and what a crash takes of it is replayed from the journal. After a fault of the index its file is
//! opened anew, at once and then once a second, and the journal replayed, until that works.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
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
use super::load::{self, Amount, Coming};
use super::medium::Medium;
use super::recent::Message;
use super::segments::Segments;
use super::store::{Keep, Store, begin_write, position};
use crate::mail::Mid;

/// Entries of one transaction.
const ENTRIES: usize = 4096;
/// Transactions keep this distance: one of ten groups costs little more than one of one.
const PACE: Duration = Duration::from_millis(2);
/// A checkpoint comes at the latest after so long, or so much of the journal: what a start after a crash has to replay.
const EVERY: Duration = Duration::from_secs(1);
const OCTETS: u64 = 32 << 20;

/// A group that is durable in the journal.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) entries: Vec<Entry>,
    pub(super) lie: Lie,
    pub(super) recent: Vec<(Mid, Message)>,
    /// Of its messages, that they are coming.
    pub(super) coming: Vec<Coming>,
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
    /// When the last transaction began.
    pub(super) taken: Instant,
}

impl Indexer {
    pub(super) fn run(mut self) {
        loop {
            let due = EVERY.saturating_sub(self.kept.1.elapsed());
            let first = if self.reached == self.kept.0 {
                self.groups.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.groups.recv_timeout(due)
            };
            match first {
                Ok(first) => self.take(first),
                Err(RecvTimeoutError::Timeout) => self.checkpoint(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let written = self.reached.group > self.kept.0.group && self.kept.1.elapsed() >= EVERY;
            if written || self.segments.since(self.kept.0, self.reached) >= OCTETS {
                self.checkpoint();
            }
        }
        // Where this fails, the next start replays the journal.
        if self.reached != self.kept.0
            && let Err(fault) = self.try_checkpoint()
        {
            warn!(error = %fault.writing(self.store.path()), "the queue's index is behind its journal: the next start mends it");
        }
        self.store.close();
        // Readers hear that it is closed.
        self.memory.progress.applied(u64::MAX);
    }

    /// Applies a group, and those that wait behind it.
    fn take(&mut self, first: Group) {
        std::thread::sleep(PACE.saturating_sub(self.taken.elapsed()));
        self.taken = Instant::now();
        let mut groups = vec![first];
        let mut entries = groups[0].entries.len();
        while entries < ENTRIES
            && let Ok(group) = self.groups.try_recv()
        {
            entries += group.entries.len();
            groups.push(group);
        }
        // After a replay what was in the channel is in the tables already.
        groups.retain(|group| group.next.group > self.reached.group || group.entries.is_empty());
        let Some(last) = groups.last().map(|group| group.next) else { return };
        match self.store.with(|database| apply(database, &groups, last, self.amount.octets)) {
            Ok((effects, amount)) => {
                for group in groups {
                    for (mid, message) in group.recent {
                        self.memory.recent.keep(mid, message);
                    }
                    drop(group.coming);
                }
                self.hold(amount);
                self.publish(effects);
                self.reached = last;
                self.memory.progress.applied(last.group);
            }
            Err(fault) => self.mend(fault, last),
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
            Ok(()) => self.segments.tidy(&self.store, &self.bodies, &self.memory, self.reached),
            Err(fault) => self.mend(fault, self.reached),
        }
    }

    fn try_checkpoint(&mut self) -> Result<(), Fault> {
        self.store.with(|database| keep(database, self.reached, self.amount))?;
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
        let Recovered { mut reached, effects, amount, .. } = recover(&database, &**self.bodies.medium(), Some(last))?;
        if reached.group == last.group {
            reached = last;
        }
        self.segments = Segments::load(&database, &self.bodies)?;
        // Nobody reads before the index has all that was told, or what is settled would be claimed again.
        self.memory.progress.applied(reached.group);
        self.store.put(database);
        self.hold(amount);
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
    pub(super) amount: Amount,
    effects: Vec<Effects>,
}

/// Applies to an index what it lacks of the journal, and makes it durable.
pub(super) fn recover(database: &Database, medium: &dyn Medium, until: Option<Position>) -> Result<Recovered, Fault> {
    let from = position(database)?;
    let (mut reached, mut effects, mut amount) = (from, Vec::new(), load::amount(database)?);
    let next = replay(medium, from, until, |group| {
        let lie = Lie { segment: group.segment, offset: group.bodies };
        let group = Group { entries: group.entries, lie, recent: Vec::new(), coming: Vec::new(), next: group.next };
        reached = group.next;
        let (effect, now) = apply(database, std::slice::from_ref(&group), reached, amount.octets)?;
        effects.push(effect);
        amount = now;
        Ok(())
    })?;
    if reached != from {
        keep(database, reached, amount)?;
    }
    Ok(Recovered { reached, next, amount, effects })
}

/// `size`: octets of all content before it.
fn apply(database: &Database, groups: &[Group], last: Position, size: u64) -> Result<(Effects, Amount), Fault> {
    let txn = begin_write(database, Keep::Seen)?;
    let mut batch = Batch::new(&txn, size)?;
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
fn keep(database: &Database, reached: Position, amount: Amount) -> Result<(), Fault> {
    let txn = begin_write(database, Keep::Durable)?;
    // A transaction that changes nothing would keep nothing.
    Batch::new(&txn, amount.octets)?.reached(reached)?;
    Ok(txn.commit()?)
}
