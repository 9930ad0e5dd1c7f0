//! The one writer: a thread that owns the write transaction.
//!
//! It commits whatever gathered while the previous commit was being synced, and never waits for more: under load the
//! groups grow by themselves, without load each job is committed at once. What follows from a commit (leases ended, lanes
//! nudged, acknowledgements) comes after it.
//!
//! After a failed write the database is dropped and opened anew, at once and then once a second, until a commit succeeds.
//! Meanwhile acceptances are refused at once, settlements are kept and applied first when it works again; there are no
//! more of them than legs under lease.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::batch::{Batch, Effects, Refusal};
use super::error::Fault;
use super::job::{Body, Job, Prepared, SettleJob};
use super::lease::lock;
use super::store::{Store, begin_write};
use super::{Memory, QueueError};
use crate::mail::Mid;

/// Bounds of one commit.
const JOBS: usize = 1024;
const OCTETS: usize = 16 << 20;
/// Abandoned spools that one commit removes.
const ORPHANS: usize = 8;

/// Asks how much room the queue's disk has.
pub(super) type Probe = Box<dyn Fn() -> io::Result<u64> + Send>;

pub(super) struct Writer {
    pub(super) store: Arc<Store>,
    pub(super) memory: Arc<Memory>,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) space: Space,
    /// Pause between two tries to open the file anew.
    pub(super) pause: Duration,
    /// Settlements whose commit failed.
    pub(super) kept: VecDeque<SettleJob>,
    pub(super) closing: Vec<oneshot::Sender<()>>,
    /// Closed while the file could not be written: there is nothing left to try.
    pub(super) given_up: bool,
}

/// The guard over free space: refuses acceptances while settlements still have room.
pub(super) struct Space {
    pub(super) probe: Probe,
    pub(super) least: u64,
    pub(super) every: Duration,
    pub(super) checked: Option<(Instant, Option<u64>)>,
}

impl Space {
    /// `Some` with what is left, where that is too little.
    fn short(&mut self) -> Option<u64> {
        let now = Instant::now();
        let fresh = self.checked.filter(|(at, _)| now.duration_since(*at) < self.every);
        let (_, free) = *self.checked.insert(fresh.unwrap_or_else(|| {
            let free = (self.probe)();
            if let Err(error) = &free {
                warn!(%error, "the free space of the queue's disk cannot be told");
            }
            (now, free.ok())
        }));
        free.filter(|free| *free < self.least)
    }
}

impl Writer {
    pub(super) fn run(mut self) {
        while !self.given_up
            && let Some(group) = self.gather()
        {
            self.commit(group);
        }
        self.store.close();
        for closed in self.closing.drain(..) {
            let _ = closed.send(());
        }
    }

    /// All that waits, within the bounds of a commit; waits itself only where nothing does. `None`: the end.
    fn gather(&mut self) -> Option<Vec<Job>> {
        let mut group = Vec::new();
        let mut octets = 0;
        while group.len() < JOBS && octets < OCTETS {
            let job = if let Some(kept) = self.kept.pop_front() {
                Job::Settle(kept)
            } else {
                match self.jobs.try_recv() {
                    Ok(job) => job,
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) if !group.is_empty() => break,
                    Err(_) if !lock(&self.memory.orphans).is_empty() => break,
                    Err(_) => self.jobs.blocking_recv()?,
                }
            };
            octets += size(&job);
            match job {
                Job::Close(closed) => self.close(closed),
                job => group.push(job),
            }
        }
        Some(group)
    }

    /// Takes no new jobs; those that wait are done before the end.
    fn close(&mut self, closed: oneshot::Sender<()>) {
        self.jobs.close();
        self.closing.push(closed);
    }

    fn commit(&mut self, mut group: Vec<Job>) {
        self.refuse_where_space_is_short(&mut group);
        let orphans = {
            let mut orphans = lock(&self.memory.orphans);
            let from = orphans.len().saturating_sub(ORPHANS);
            orphans.split_off(from)
        };
        if orphans.is_empty() && group.iter().all(|job| matches!(job, Job::Wake)) {
            return;
        }
        let mut refusals = Vec::with_capacity(group.len());
        let mut inserted = Vec::new();
        let written = self.store.with(|database| {
            let txn = begin_write(database)?;
            let mut batch = Batch::new(&txn)?;
            for &mid in &orphans {
                batch.drop_spooled(mid)?;
            }
            for job in &group {
                refusals.push(apply(&mut batch, job, &mut inserted)?);
            }
            let effects = batch.effects();
            txn.commit()?;
            Ok(effects)
        });
        match written {
            Ok(effects) => {
                self.publish(effects);
                self.acknowledge(group, refusals);
            }
            Err(fault) => {
                lock(&self.memory.orphans).extend(orphans);
                self.mend(group, inserted, fault);
            }
        }
    }

    fn refuse_where_space_is_short(&mut self, group: &mut Vec<Job>) {
        let brings_octets = |job: &Job| match job {
            Job::Accept { .. } | Job::Chunk(_) => true,
            Job::Settle(_) | Job::Wake | Job::Close(_) => false,
        };
        if !group.iter().any(brings_octets) {
            return;
        }
        if let Some(free) = self.space.short() {
            let detail = format!("{free} octets are free, {} are kept back", self.space.least);
            let error = QueueError::Full { path: self.store.path().to_owned(), detail };
            for job in group.extract_if(.., |job| brings_octets(job)) {
                refuse(job, &error);
            }
        }
    }

    /// What the commit made true, before anybody hears of it.
    fn publish(&self, effects: Effects) {
        for (mid, message) in effects.accepted {
            self.memory.recent.keep(mid, message);
        }
        for mid in effects.gone {
            self.memory.recent.forget(mid);
        }
        for leg in effects.ended {
            self.memory.leases.end(leg);
        }
        self.memory.nudges.give(effects.nudges);
    }

    fn acknowledge(&self, group: Vec<Job>, refusals: Vec<Option<Refusal>>) {
        let outcome = |refusal: Option<Refusal>| match refusal {
            None => Ok(()),
            Some(detail) => Err(QueueError::Write { path: self.store.path().to_owned(), detail }),
        };
        for (job, refusal) in group.into_iter().zip(refusals) {
            // Nobody may listen any more: the commit stands.
            match job {
                Job::Accept { message, done, _budget } => {
                    if refusal.is_none() {
                        owned(&message);
                    }
                    let _ = done.send(outcome(refusal));
                }
                Job::Settle(SettleJob { settlement, done }) => {
                    if refusal.is_none() {
                        settlement.notices.iter().for_each(owned);
                    }
                    let _ = done.send(outcome(refusal));
                }
                Job::Chunk(_) | Job::Wake | Job::Close(_) => {}
            }
        }
    }

    /// The write failed: nothing of the group is acknowledged. Returns when the file takes writes again, or at the end.
    fn mend(&mut self, group: Vec<Job>, inserted: Vec<Mid>, fault: Fault) {
        let error = fault.writing(self.store.path());
        error!(%error, jobs = group.len(), "the queue was not written: nothing of it was acknowledged");
        // First, so that whoever comes from now on is refused at once.
        *lock(&self.memory.refusal) = Some(error.clone());
        self.store.take_out(error.to_string());
        let kept = self.kept.len();
        for job in group {
            self.set_aside(job, &error);
        }
        // These were tried before those that waited behind them.
        self.kept.rotate_left(kept);
        let mut next = Instant::now();
        loop {
            while let Ok(job) = self.jobs.try_recv() {
                self.set_aside(job, &error);
            }
            if Instant::now() >= next || !self.closing.is_empty() {
                match self.reopen(&inserted) {
                    Ok(()) => break info!("the queue is written again"),
                    Err(fault) => warn!(error = %fault.writing(self.store.path()), "the queue is still not written"),
                }
                next = Instant::now() + self.pause;
            }
            if !self.closing.is_empty() {
                // Their legs are due again at the next start.
                warn!(settlements = self.kept.len(), "the queue was closed before these outcomes could be written");
                for SettleJob { done, .. } in self.kept.drain(..) {
                    let _ = done.send(Err(error.clone()));
                }
                self.given_up = true;
                break;
            }
            std::thread::sleep(self.pause.min(Duration::from_millis(50)));
        }
        *lock(&self.memory.refusal) = None;
    }

    fn set_aside(&mut self, job: Job, error: &QueueError) {
        match job {
            Job::Settle(settle) => self.kept.push_back(settle),
            Job::Close(closed) => self.close(closed),
            job @ (Job::Accept { .. } | Job::Chunk(_) | Job::Wake) => refuse(job, error),
        }
    }

    /// A failed commit may have reached the disk all the same. What was refused then is taken out before anyone sees it.
    fn reopen(&self, refused: &[Mid]) -> Result<(), Fault> {
        self.store.mend(|txn| {
            let mut batch = Batch::new(txn)?;
            for &mid in refused {
                batch.unaccept(mid)?;
            }
            Ok(())
        })
    }
}

fn apply(batch: &mut Batch<'_>, job: &Job, inserted: &mut Vec<Mid>) -> Result<Option<Refusal>, Fault> {
    let applied = match job {
        Job::Accept { message, .. } => {
            let applied = batch.accept(message)?;
            if applied.is_ok() {
                inserted.push(message.mid);
            }
            applied
        }
        Job::Settle(SettleJob { settlement, .. }) => batch.settle(settlement)?,
        Job::Chunk(chunk) => {
            batch.write_ahead(chunk)?;
            Ok(())
        }
        Job::Wake | Job::Close(_) => Ok(()),
    };
    Ok(applied.err())
}

fn refuse(job: Job, error: &QueueError) {
    match job {
        Job::Accept { done, .. } => drop(done.send(Err(error.clone()))),
        Job::Settle(SettleJob { done, .. }) => drop(done.send(Err(error.clone()))),
        Job::Chunk(chunk) => chunk.spool.fail(error.clone()),
        Job::Wake | Job::Close(_) => {}
    }
}

fn owned(message: &Prepared) {
    match &message.body {
        Body::Ahead { ahead, .. } => ahead.state().owned(),
        Body::Chunks(_) => {}
    }
}

fn size(job: &Job) -> usize {
    match job {
        Job::Accept { message, .. } => message.octets(),
        Job::Settle(SettleJob { settlement, .. }) => settlement.octets(),
        Job::Chunk(chunk) => chunk.octets.len(),
        Job::Wake | Job::Close(_) => 0,
    }
}
