//! The one writer of the journal: a thread.
//!
//! It writes and syncs whatever gathered while the previous group was being synced, and never waits for more: under load
//! the groups grow by themselves, without load each acceptance is synced at once. Settlements alone are written at once
//! and wait a moment for a sync that is needed anyway: a crash of the relay loses none, and one of the machine no more
//! than a few, whose messages are then sent twice.
//!
//! After a failed write or sync nothing of the group is acknowledged. Acceptances are refused at once, settlements are
//! kept and written first when it works again; there are no more of them than legs under lease.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::batch::Lie;
use super::error::Fault;
use super::follow::Link;
use super::indexer::Group;
use super::job::{Job, Write};
use super::journal::{Journal, Position};
use super::lease::lock;
use super::{Memory, QueueError};

/// Bounds of one group.
const JOBS: usize = 1024;
const OCTETS: usize = 16 << 20;
/// How long settlements wait for others to share a sync with.
const LINGER: Duration = Duration::from_millis(5);
/// How often, and for how long without anything to do, an open segment is looked after.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS: u32 = 4;

pub(super) struct Writer {
    pub(super) journal: Journal,
    pub(super) memory: Arc<Memory>,
    pub(super) jobs: Receiver<Job>,
    pub(super) index: SyncSender<Group>,
    pub(super) indexer: JoinHandle<()>,
    /// Whoever follows the journal.
    pub(super) follower: Option<Link>,
    /// The journal's folder, for errors.
    pub(super) path: std::path::PathBuf,
    /// Pause between two tries to write after a failure.
    pub(super) pause: Duration,
    pub(super) state: State,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Written and not synced yet: settlements alone.
    waiting: Vec<(Vec<Write>, Lie, Position)>,
    since: Option<Instant>,
    /// Settlements that could not be written.
    kept: VecDeque<Write>,
    closing: Vec<oneshot::Sender<()>>,
    looked: u32,
}

impl Writer {
    pub(super) fn run(mut self) {
        while let Some(group) = self.gather() {
            self.write(group);
        }
        let closing = std::mem::take(&mut self.state.closing);
        // First the follower: the index's last checkpoint keeps its mark.
        if let Some(follower) = self.follower {
            follower.end();
        }
        // Ends the indexer, which closes the index.
        drop(self.index);
        if self.indexer.join().is_err() {
            error!("the queue's index ended by a fault of its own; the journal has what it lacks");
        }
        for closed in closing {
            let _ = closed.send(());
        }
    }

    /// All that waits, within the bounds of a group; waits itself only where nothing does. `None`: the end.
    fn gather(&mut self) -> Option<Vec<Write>> {
        let mut group: Vec<Write> = self.state.kept.drain(..).collect();
        let mut octets = 0;
        while group.len() < JOBS && octets < OCTETS {
            let job = match self.jobs.try_recv() {
                Ok(job) => job,
                Err(_) if !group.is_empty() => break,
                Err(_) if !self.state.closing.is_empty() && self.state.waiting.is_empty() => return None,
                Err(_) => match self.wait() {
                    Ok(job) => job,
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) if !self.state.waiting.is_empty() => break,
                    Err(RecvTimeoutError::Disconnected) => return None,
                },
            };
            match job {
                Job::Write(write) => {
                    octets += write.octets();
                    group.push(*write);
                }
                Job::Close(closed) => self.state.closing.push(closed),
            }
        }
        Some(group)
    }

    fn wait(&mut self) -> Result<Job, RecvTimeoutError> {
        let linger = self.state.since.map(|since| LINGER.saturating_sub(since.elapsed()));
        let look = (self.journal.is_open() && self.state.looked < LOOKS).then_some(LOOK);
        match linger.or(look) {
            Some(time) => self.jobs.recv_timeout(time),
            None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn write(&mut self, mut group: Vec<Write>) {
        self.refuse_what_cannot_be(&mut group);
        self.state.looked = if group.is_empty() { self.state.looked + 1 } else { 0 };
        let accepts = group.iter().any(|write| write.accepts());
        if !group.is_empty()
            && let Err(fault) = self.append(&mut group)
        {
            return self.mend(group, fault);
        }
        let lingered = self.state.since.is_some_and(|since| since.elapsed() >= LINGER);
        if (accepts || lingered || !self.state.closing.is_empty())
            && let Err(fault) = self.sync()
        {
            return self.mend(Vec::new(), fault);
        }
        let segment = self.journal.synced().segment;
        if self.state.waiting.is_empty() && self.journal.is_open() && self.memory.progress.is_to_seal(segment) {
            self.journal.seal();
            let next = self.journal.synced();
            let lie = Lie { segment, offset: 0 };
            if let Some(follower) = &self.follower {
                follower.tell(Vec::new(), next.group, next);
            }
            let _ = self.index.send(Group { entries: Vec::new(), lie, next });
        }
    }

    fn refuse_what_cannot_be(&self, group: &mut Vec<Write>) {
        let refusal = lock(&self.memory.refusal).told();
        for write in std::mem::take(group) {
            let refused = match &refusal {
                _ if !write.may_be_refused() => None,
                Some(error) => Some(error.clone()),
                None => self.memory.room_for(write.octets(), &self.path).err(),
            };
            match refused {
                None => group.push(write),
                Some(error) => drop(write.done.send(Err(error))),
            }
        }
    }

    /// Leaves in `group` what could not be written.
    fn append(&mut self, group: &mut Vec<Write>) -> Result<(), Fault> {
        if group.iter().any(|write| !write.ahead.is_empty()) {
            // First: whoever finds the entry finds the file.
            self.journal.sync_names().map_err(Fault::io)?;
        }
        let heads: Vec<&[u8]> = group.iter().map(|write| &write.head[..]).collect();
        let bodies: Vec<&[u8]> = group.iter().flat_map(|write| &write.bodies).map(|body| &body[..]).collect();
        let written = self.journal.append(&heads, &bodies).map_err(Fault::io)?;
        let lie = Lie { segment: written.segment, offset: written.bodies };
        self.state.since.get_or_insert_with(Instant::now);
        self.state.waiting.push((std::mem::take(group), lie, written.next));
        Ok(())
    }

    /// Makes what was written durable, then tells of it.
    fn sync(&mut self) -> Result<(), Fault> {
        self.journal.sync().map_err(Fault::io)?;
        self.state.since = None;
        self.memory.progress.journaled(self.journal.synced().group);
        for (group, lie, next) in self.state.waiting.drain(..) {
            let mut entries = Vec::with_capacity(group.len());
            let mut done = Vec::with_capacity(group.len());
            let mut notes = Vec::with_capacity(if self.follower.is_some() { group.len() } else { 0 });
            let mut nudges = Vec::new();
            for write in group {
                self.memory.tell(&write.entry, next, write.recent, write.fresh, &mut nudges);
                entries.push(write.entry);
                if self.follower.is_some() && !write.note.is_empty() {
                    notes.push(write.note);
                }
                write.ahead.into_iter().for_each(super::spool::Ahead::owned);
                done.push(write.done);
            }
            // First: whoever asks the follower for what was acknowledged gets it (`Queue::followed_up`).
            if let Some(follower) = &self.follower {
                follower.tell(notes, next.group - 1, next);
            }
            // Nobody may listen any more: it stands.
            done.into_iter().for_each(|done| drop(done.send(Ok(()))));
            self.memory.nudges.give(nudges);
            // The indexer ends after this thread.
            let _ = self.index.send(Group { entries, lie, next });
        }
        Ok(())
    }

    /// Nothing of what was not synced is acknowledged. Returns when the journal takes writes again, or at the end.
    fn mend(&mut self, group: Vec<Write>, fault: Fault) {
        let error = fault.writing(&self.path);
        error!(%error, jobs = group.len(), "the queue was not written: nothing of it was acknowledged");
        // First, so that whoever comes from now on is refused at once.
        lock(&self.memory.refusal).journal = Some(error.clone());
        self.state.since = None;
        let waiting = std::mem::take(&mut self.state.waiting);
        for write in waiting.into_iter().flat_map(|(group, ..)| group).chain(group) {
            self.set_aside(write, &error);
        }
        let mut next = Instant::now();
        loop {
            while let Ok(job) = self.jobs.try_recv() {
                match job {
                    Job::Write(write) => self.set_aside(*write, &error),
                    Job::Close(closed) => self.state.closing.push(closed),
                }
            }
            let closing = !self.state.closing.is_empty();
            if Instant::now() >= next || closing {
                self.journal.abandon();
                match self.try_again() {
                    Ok(()) => break info!("the queue is written again"),
                    Err(fault) => warn!(error = %fault.writing(&self.path), "the queue is still not written"),
                }
                next = Instant::now() + self.pause;
            }
            if closing {
                // Their legs are due again at the next start.
                warn!(
                    settlements = self.state.kept.len(),
                    "the queue was closed before these outcomes could be written"
                );
                for write in self.state.kept.drain(..) {
                    let _ = write.done.send(Err(error.clone()));
                }
                break;
            }
            std::thread::sleep(self.pause.min(Duration::from_millis(50)));
        }
        lock(&self.memory.refusal).journal = None;
    }

    /// Writes what was kept, or nothing at all, in a segment of its own.
    fn try_again(&mut self) -> Result<(), Fault> {
        let mut kept: Vec<Write> = self.state.kept.drain(..).collect();
        let written = self.append(&mut kept).and_then(|()| self.sync());
        if written.is_err() {
            let waiting = std::mem::take(&mut self.state.waiting).into_iter().flat_map(|(group, ..)| group);
            self.state.kept.extend(waiting.chain(kept));
            self.state.since = None;
        }
        written
    }

    fn set_aside(&mut self, write: Write, error: &QueueError) {
        if write.may_be_refused() {
            let _ = write.done.send(Err(error.clone()));
        } else {
            self.state.kept.push_back(write);
        }
    }
}
