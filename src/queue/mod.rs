//! The durable queue: accept, claim, settle, list. redb behind one narrow interface.
//!
//! Promises:
//! - `accept` returns Ok only after the message is on disk (RFC 5321, 4.2.5 and 6.1);
//! - a message is gone only with the commit that settles its last recipient;
//! - one writer owns the write transaction and commits whatever gathered while the previous commit was being synced;
//! - a claim is a lease in memory: after a crash all that was not settled is due again;
//! - after a failed write the file is opened anew until it works again; nothing needs a restart.

mod batch;
mod content;
mod error;
mod job;
mod lease;
mod model;
mod reader;
mod recent;
mod spool;
mod store;
mod tables;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::mail::{Envelope, Mid, Timestamp};
use error::Fault;
use job::{Job, Prepared, SettleJob, Settlement};
use lease::{Leases, LegId, Nudges, lock};
use recent::Recent;
use store::{Opener, Store};
use writer::{Probe, Space, Writer};

pub use content::Content;
pub use error::QueueError;
pub use model::{
    Claim, Claimed, Counter, Depth, Lane, LaneDue, Leg, LegRecipient, LegState, Listed, NewContent, NewMessage, Passed,
    PassedWhy, QueueOptions, Settled,
};
pub use spool::{Spool, Spooled};

/// Octets of content on their way to the disk, of all callers together.
const BUDGET: usize = 64 << 20;
/// Jobs that wait for the writer.
const WAITING: usize = 2048;

/// A handle; clones share the queue.
#[derive(Clone)]
pub struct Queue(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    memory: Arc<Memory>,
    jobs: mpsc::Sender<Job>,
    budget: Arc<Semaphore>,
}

/// What the queue knows beside its file. Shared by readers and the writer.
#[derive(Debug, Default)]
struct Memory {
    leases: Leases,
    nudges: Nudges,
    recent: Recent,
    /// Mids whose content was written ahead and abandoned: the writer removes it.
    orphans: Mutex<Vec<Mid>>,
    /// While the file cannot be written: what acceptances are told.
    refusal: Mutex<Option<QueueError>>,
}

impl Memory {
    fn release(&self, id: LegId) {
        self.nudges.give(self.leases.end(id));
    }
}

/// How a queue is made; tests put in a disk of their own.
struct Parts {
    opener: Opener,
    probe: Probe,
    /// How long an answer of `probe` holds.
    probe_every: Duration,
    /// Pause between tries to open the file anew.
    pause: Duration,
}

impl Queue {
    /// Opens or creates the file and starts the writer. Blocking; called before the runtime serves anyone.
    pub fn open(options: QueueOptions) -> Result<Self, QueueError> {
        let folder = options.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        let parts = Parts {
            opener: store::file_opener(options.path.clone(), options.cache),
            probe: Box::new(move || fs4::available_space(&folder)),
            probe_every: Duration::from_secs(1),
            pause: Duration::from_secs(1),
        };
        Self::start(&options, parts)
    }

    fn start(options: &QueueOptions, parts: Parts) -> Result<Self, QueueError> {
        let Parts { opener, probe, probe_every, pause } = parts;
        let store = Arc::new(Store::open(options.path.clone(), opener)?);
        let opening = |fault: Fault| fault.opening(&options.path);
        let memory = Arc::new(Memory::default());
        // What a crash left of content written ahead. The writer removes it while the relay already works.
        *lock(&memory.orphans) = store.unfinished().map_err(opening)?;
        let (jobs, receiver) = mpsc::channel(WAITING);
        let writer = Writer {
            store: store.clone(),
            memory: memory.clone(),
            jobs: receiver,
            space: Space { probe, least: options.min_free.0, every: probe_every, checked: None },
            pause,
            kept: VecDeque::new(),
            closing: Vec::new(),
            given_up: false,
        };
        std::thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| opening(Fault::io(error)))?;
        Ok(Self(Arc::new(Inner { store, memory, jobs, budget: Arc::new(Semaphore::new(BUDGET)) })))
    }

    pub fn path(&self) -> &Path {
        self.0.store.path()
    }

    /// Returns once the message is on disk. Dropped after the send, the commit still happens: a duplicate is possible, a
    /// loss is not.
    pub async fn accept(&self, message: NewMessage) -> Result<(), QueueError> {
        self.refusal()?;
        let message = Box::new(Prepared::new(message));
        let _budget = self.budget(message.octets()).await?;
        let (done, committed) = oneshot::channel();
        self.send(Job::Accept { message, done, _budget }).await?;
        committed.await.map_err(|_| QueueError::Closed)?
    }

    /// Content too large to be kept in memory until it is accepted.
    pub fn spool(&self, mid: Mid) -> Spool {
        Spool::new(self.clone(), mid)
    }

    /// All lanes with waiting legs: what a start resumes. Reads the index alone.
    pub async fn lanes(&self) -> Result<Vec<LaneDue>, QueueError> {
        self.read(reader::lanes).await
    }

    /// Waits until legs came or came back since the last call, and gives their lanes with the earliest due time of each.
    pub async fn nudged(&self) -> Vec<LaneDue> {
        self.0.memory.nudges.wait().await
    }

    /// Leases up to `most` legs of a lane that are due at `now`, oldest due first, those under lease left out. Dropped,
    /// it gives back what it leased.
    pub async fn claim(&self, lane: &Lane, now: Timestamp, most: usize) -> Result<Claimed, QueueError> {
        let (memory, lane) = (self.memory(), lane.clone());
        let (claimed, taken) = self.read(move |store| reader::claim(store, &memory, &lane, now, most)).await?;
        taken.hand_over();
        Ok(claimed)
    }

    /// Leases one leg, whatever its due time or state; `None` where it is gone or under lease.
    pub async fn claim_one(&self, mid: Mid, number: u32) -> Result<Option<Claim>, QueueError> {
        let memory = self.memory();
        let claimed = self.read(move |store| reader::claim_one(store, &memory, (mid, number))).await?;
        Ok(claimed.map(|(claim, taken)| {
            taken.hand_over();
            claim
        }))
    }

    /// Ends a lease; the leg stays as it was, and its lane is nudged.
    pub fn release(&self, mid: Mid, number: u32) {
        self.0.memory.release((mid, number));
    }

    /// Returns once the settlement is on disk. The lease ends when the leg has no recipient left. While the disk is full
    /// it waits and tries again: an outcome is never dropped. Dropped after the send, it is written all the same.
    pub async fn settle(&self, settled: Settled) -> Result<(), QueueError> {
        let settlement = Settlement::new(settled);
        let (done, committed) = oneshot::channel();
        self.send(Job::Settle(SettleJob { settlement, done })).await?;
        committed.await.map_err(|_| QueueError::Closed)?
    }

    /// Legs not under lease of messages accepted before `before`, in the order of acceptance, from behind `after`: what
    /// the sweep for expiry and delay warnings walks through in windows. Nothing is leased: `claim_one` does that for
    /// those that something is to be done with.
    pub async fn walk(
        &self,
        after: Option<(Mid, u32)>,
        before: Timestamp,
        most: usize,
    ) -> Result<Vec<Claim>, QueueError> {
        let memory = self.memory();
        self.read(move |store| reader::walk(store, &memory, after, before, most)).await
    }

    /// One message with all its legs; `None` where it is not in the queue (any more).
    pub async fn message(&self, mid: Mid) -> Result<Option<Listed>, QueueError> {
        let memory = self.memory();
        self.read(move |store| reader::message(store, &memory, mid)).await
    }

    /// How much lies in the queue. Cheap: nothing is counted.
    pub async fn depth(&self) -> Result<Depth, QueueError> {
        self.read(reader::depth).await
    }

    pub async fn counters(&self) -> Result<HashMap<String, Counter>, QueueError> {
        self.read(reader::counters).await
    }

    pub fn content(&self, mid: Mid, envelope: &Envelope) -> Content {
        match self.0.memory.recent.find(mid) {
            Some(message) => Content::memory(message.content, envelope.header_size as usize),
            None => Content::stored(self.clone(), mid, envelope.size, envelope.header_size),
        }
    }

    /// Commits what is under way and ends the writer.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.send(Job::Close(done)).await.is_ok() {
            // An error is a writer that has ended, too.
            let _ = closed.await;
        }
    }

    async fn send(&self, job: Job) -> Result<(), QueueError> {
        self.0.jobs.send(job).await.map_err(|_| QueueError::Closed)
    }

    fn refusal(&self) -> Result<(), QueueError> {
        lock(&self.0.memory.refusal).clone().map_or(Ok(()), Err)
    }

    /// A share of the memory for content on its way. What exceeds all of it takes all of it.
    async fn budget(&self, octets: usize) -> Result<OwnedSemaphorePermit, QueueError> {
        let octets = u32::try_from(octets.min(BUDGET)).unwrap_or(u32::MAX);
        self.0.budget.clone().acquire_many_owned(octets).await.map_err(|_| QueueError::Closed)
    }

    fn memory(&self) -> Arc<Memory> {
        self.0.memory.clone()
    }

    fn jobs(&self) -> mpsc::Sender<Job> {
        self.0.jobs.clone()
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, QueueError> {
        let store = self.0.store.clone();
        match tokio::task::spawn_blocking(move || read(&store)).await {
            Ok(read) => read.map_err(|fault| fault.reading(self.path())),
            Err(panic) => Err(Fault::Damaged(format!("reading it failed: {panic}")).reading(self.path())),
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Queue").field(&self.path()).finish()
    }
}
