//! The durable queue: accept, claim, settle, list. redb behind one narrow interface.
//!
//! Acceptances and settlements go to a journal, which is synced; an index (redb) follows it, and is what readers see. The
//! content of small messages lies in the journal, of large ones in files of their own.
//!
//! Promises:
//! - `accept` returns Ok only after the message is on disk (RFC 5321, 4.2.5 and 6.1);
//! - a message is gone only with the settlement of its last recipient;
//! - one thread writes the journal, and writes at once whatever gathered while the previous group was being synced;
//! - callers see in the index what was acknowledged to anyone before they asked;
//! - a claim is a lease in memory: after a crash all that was not settled is due again;
//! - after a failed write the queue goes on by itself when the disk does; nothing needs a restart.

mod batch;
mod bodies;
mod content;
mod error;
mod follow;
mod indexer;
mod job;
mod journal;
mod lease;
mod load;
mod medium;
mod model;
mod progress;
mod reader;
mod recent;
mod reserve;
mod scan;
mod segments;
mod snapshot;
mod space;
mod spool;
mod store;
mod tables;
mod tally;
mod wanted;
mod writer;
mod young;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::config::Size;
use crate::mail::{Envelope, Mid, Timestamp};
use bodies::Bodies;
use error::Fault;
use follow::{Followed, Told};
use indexer::{Indexer, Recovered};
use job::{Entry, Job, Write};
use journal::Journal;
use lease::{Leases, LegId, Nudges, lock};
use load::{Coming, Load};
use medium::{Folder, Medium};
use progress::Progress;
use recent::Recent;
use segments::Segments;
use space::{Probe, Space};
use store::{Opener, Store};
use writer::Writer;
use young::{Fresh, Young};

pub use content::Content;
pub use error::QueueError;
pub use follow::Follower;
pub use journal::Position;
pub use model::{
    Claim, Claimed, Counter, Depth, Lane, LaneDue, Leg, LegRecipient, LegState, Listed, NewContent, NewMessage, Orders,
    Passed, PassedWhy, QueueOptions, RouteDepth, Settled, Tried,
};
pub use reserve::give_reserve;
pub use scan::{Amounts, Found, Step};
pub use snapshot::{
    Beginning, Checker, End, RestoreError, Snapshot, SnapshotError, check as check_snapshot, restore, unfinished,
};
pub use spool::{Spool, Spooled};
pub use store::follower_mark;
pub use wanted::{OfProvider, Party, Wanted};

/// Octets of content on their way to the disk, of all callers together.
const BUDGET: usize = 64 << 20;
/// What a job takes of that beside its content.
const ENTRY: usize = 1024;
/// What the names of records begin with that are no counters.
const KEPT: &str = "kept/";
/// Groups that wait for the index.
const GROUPS: usize = 64;

/// A handle; clones share the queue.
#[derive(Clone)]
pub struct Queue(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    memory: Arc<Memory>,
    bodies: Arc<Bodies>,
    jobs: mpsc::Sender<Job>,
    budget: Arc<Semaphore>,
    /// To the thread of whoever follows the journal.
    follower: Option<mpsc::SyncSender<Told>>,
}

/// What the queue knows beside its files. Shared by readers and writers.
#[derive(Debug)]
struct Memory {
    leases: Leases,
    nudges: Nudges,
    recent: Recent,
    young: Young,
    progress: Progress,
    followed: Followed,
    space: Space,
    load: Load,
    refusal: Mutex<Refusal>,
}

/// While something cannot be written: what acceptances are told.
#[derive(Debug, Default)]
struct Refusal {
    journal: Option<QueueError>,
    index: Option<QueueError>,
}

impl Refusal {
    fn told(&self) -> Option<QueueError> {
        self.journal.clone().or_else(|| self.index.clone())
    }
}

impl Memory {
    /// An entry was made durable, in the group before `next`; the index hears of it later.
    fn tell(
        &self,
        entry: &Entry,
        next: Position,
        recent: Vec<(Mid, recent::Message)>,
        fresh: Option<Fresh>,
        nudges: &mut Vec<LaneDue>,
    ) {
        for (mid, message) in recent {
            self.recent.keep(mid, message);
        }
        nudges.extend(fresh.into_iter().flat_map(|fresh| self.young.accepted(fresh)));
        let Entry::Settle(settlement) = entry else { return };
        if let Some(legs) = self.young.settled(settlement) {
            for number in (0..).take(legs) {
                self.leases.end((settlement.mid, number));
            }
            self.recent.forget(settlement.mid);
        } else {
            self.leases.falls_behind((settlement.mid, settlement.number), next.group);
            if !settlement.legs.is_empty() || !settlement.notices.is_empty() {
                // What moves to the next provider does not wait until the index has rested.
                self.progress.want(next.group);
            }
        }
    }

    fn release(&self, id: LegId) {
        self.nudges.give(self.leases.end(id));
    }

    /// Takes nothing.
    fn admits(&self, octets: u64, path: &Path) -> Result<(), QueueError> {
        self.space.has(octets).map_err(|detail| QueueError::Full { path: path.to_owned(), detail })
    }

    fn room_for(&self, octets: usize, path: &Path) -> Result<(), QueueError> {
        self.space.take(octets).map_err(|detail| QueueError::Full { path: path.to_owned(), detail })
    }
}

/// How a queue is made; tests put in a disk of their own.
struct Parts {
    opener: Opener,
    medium: Arc<dyn Medium>,
    probe: Probe,
    /// How long an answer of `probe` holds.
    probe_every: Duration,
    /// Pause between tries to write again.
    pause: Duration,
    follower: Option<Box<dyn Follower>>,
}

impl Queue {
    /// Opens or creates the files and starts the threads that write them. Blocking; called before the runtime serves
    /// anyone. The index is the file that `options` names; the journal lies in a folder beside it.
    pub fn open(options: QueueOptions) -> Result<Self, QueueError> {
        Self::open_followed(options, None)
    }

    /// The same, with somebody who reads the journal along.
    pub fn open_followed(options: QueueOptions, follower: Option<Box<dyn Follower>>) -> Result<Self, QueueError> {
        let opening = |error| Fault::io(error).opening(&options.path);
        let folder = options.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        std::fs::create_dir_all(&folder).map_err(opening)?;
        let parts = Parts {
            opener: store::file_opener(options.path.clone(), options.cache),
            medium: Arc::new(Folder::at(journal_path(&options.path))),
            probe: Box::new(move || fs4::available_space(&folder)),
            probe_every: Duration::from_secs(1),
            pause: Duration::from_secs(1),
            follower,
        };
        Self::start(&options, parts).inspect(|_| reserve::keep(&options.path, options.min_free.0))
    }

    fn start(options: &QueueOptions, parts: Parts) -> Result<Self, QueueError> {
        let Parts { opener, medium, probe, probe_every, pause, follower } = parts;
        let bodies = Arc::new(Bodies::new(medium.clone()));
        let (store, (recovered, mark, segments)) = Store::open(options.path.clone(), opener, |database| {
            // First the index, whose lock keeps a second relay out.
            medium.prepare().map_err(Fault::io)?;
            let mark = store::mark(database)?;
            let recovered = indexer::recover(database, &*medium, None, &HashMap::new())?;
            segments::remove_orphans(database, &bodies)?;
            Ok((recovered, mark, Segments::load(database, &bodies)?))
        })?;
        let Recovered { reached, next, from, amount, .. } = recovered;
        let store = Arc::new(store);
        let memory = Arc::new(Memory {
            leases: Leases::default(),
            nudges: Nudges::default(),
            recent: Recent::default(),
            young: Young::default(),
            progress: Progress::default(),
            followed: Followed::default(),
            space: Space::new(probe, options.min_free.0, probe_every),
            load: Load::new(options.max_messages, options.max_size),
            refusal: Mutex::default(),
        });
        memory.load.indexed(amount);
        let opening = |error| Fault::io(error).opening(&options.path);
        let following = follower.map(|follower| {
            let beginning = follow::Beginning { from, end: next, mark };
            follow::start(follower, beginning, medium.clone(), &memory, pause)
        });
        let following = following.transpose().map_err(|fault| fault.opening(&options.path))?;
        let (link, follower) = following.unzip();
        let (index, groups) = mpsc::sync_channel(GROUPS);
        let indexer = Indexer {
            store: store.clone(),
            memory: memory.clone(),
            bodies: bodies.clone(),
            segments,
            groups,
            pause,
            reached,
            amount,
            kept: (reached, Instant::now()),
            void: HashMap::new(),
        };
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let indexer = thread("queue-index").spawn(move || indexer.run()).map_err(opening)?;
        let (jobs, receiver) = mpsc::channel();
        let writer = Writer {
            journal: Journal::new(medium, next),
            memory: memory.clone(),
            jobs: receiver,
            index,
            indexer,
            follower: link,
            path: journal_path(&options.path),
            pause,
            state: writer::State::default(),
        };
        thread("queue-journal").spawn(move || writer.run()).map_err(opening)?;
        let budget = Arc::new(Semaphore::new(BUDGET));
        Ok(Self(Arc::new(Inner { store, memory, bodies, jobs, budget, follower })))
    }

    pub fn path(&self) -> &Path {
        self.0.store.path()
    }

    /// Returns once the message is on disk. Dropped after the send, it is written still: a duplicate is possible, a loss
    /// is not.
    pub async fn accept(&self, message: NewMessage) -> Result<(), QueueError> {
        if let Some(refusal) = lock(&self.0.memory.refusal).told() {
            return Err(refusal);
        }
        if let NewContent::Spooled(spooled) = &message.content
            && spooled.mid().is_some_and(|mid| mid != message.mid)
        {
            let detail = "its content was written ahead for another message".to_owned();
            return Err(QueueError::Write { path: self.path().to_owned(), detail });
        }
        // Nobody to serve: nothing to keep.
        if message.legs.iter().all(|leg| leg.recipients.is_empty()) {
            return Ok(());
        }
        let coming = self.coming(message.envelope.size)?;
        let (done, written) = oneshot::channel();
        let mut write = Box::new(Write::accept(message, coming, done));
        write.budget = Some(self.budget(write.octets()).await?);
        self.send(Job::Write(write))?;
        written.await.map_err(|_| QueueError::Closed)?
    }

    /// Returns once a note that belongs to no message in the queue is on disk.
    pub async fn note(&self, note: Vec<u8>) -> Result<(), QueueError> {
        if let Some(refusal) = lock(&self.0.memory.refusal).told() {
            return Err(refusal);
        }
        let (done, written) = oneshot::channel();
        self.send(Job::Write(Box::new(Write::note(note, done))))?;
        written.await.map_err(|_| QueueError::Closed)?
    }

    /// Whether a message of so many octets would be taken now: what a client is told before it sends its content.
    pub fn admits(&self, octets: u64) -> Result<(), QueueError> {
        if let Some(refusal) = lock(&self.0.memory.refusal).told() {
            return Err(refusal);
        }
        self.0.memory.load.room_for(octets).map_err(|detail| self.laden(detail))?;
        self.0.memory.admits(octets, self.path())
    }

    /// Other marks than those it was opened with, from now on.
    pub fn set_marks(&self, min_free: Size, max_messages: u64, max_size: Option<Size>) {
        self.0.memory.space.set(min_free.0);
        self.0.memory.load.set(max_messages, max_size);
    }

    fn coming(&self, octets: u64) -> Result<Coming, QueueError> {
        self.0.memory.load.take(octets).map_err(|detail| self.laden(detail))
    }

    fn laden(&self, detail: String) -> QueueError {
        QueueError::Laden { path: self.path().to_owned(), detail }
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
        let (queue, lane) = (self.clone(), lane.clone());
        // What is not in the index yet is claimed from the memory of young messages.
        let claim = move || {
            let Inner { store, memory, bodies, .. } = &*queue.0;
            let claimed = reader::claim(store, memory, &lane, now, most)?;
            reader::warm(store, memory, bodies, &claimed.0.claims)?;
            Ok(claimed)
        };
        let (claimed, taken) = self.reading(claim).await?;
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
        let (done, written) = oneshot::channel();
        self.send(Job::Write(Box::new(Write::settle(settled, done))))?;
        written.await.map_err(|_| QueueError::Closed)?
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

    /// One step through the legs that are wanted, in the order of acceptance, from behind `after`: up to `most` of them,
    /// and all of a message's. A step without finds is no end: that is where there is no `next`.
    pub async fn find(
        &self,
        wanted: &Arc<Wanted>,
        after: Option<(Mid, u32)>,
        most: usize,
    ) -> Result<Step<Vec<Found>>, QueueError> {
        let (memory, wanted) = (self.memory(), wanted.clone());
        self.step(after, move |store| scan::find(store, &memory, &wanted, after, most)).await
    }

    /// The same, counted alone.
    pub async fn count(&self, wanted: &Arc<Wanted>, after: Option<(Mid, u32)>) -> Result<Step<Amounts>, QueueError> {
        let wanted = wanted.clone();
        self.step(after, move |store| scan::count(store, &wanted, after)).await
    }

    /// The first step sees all that was acknowledged before it; for those behind it the index is not hurried.
    async fn step<T: Send + 'static>(
        &self,
        after: Option<(Mid, u32)>,
        read: impl FnOnce(&Store) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, QueueError> {
        if after.is_none() {
            return self.read(read).await;
        }
        let store = self.0.store.clone();
        self.reading(move || read(&store)).await
    }

    /// Leases of these legs those that are there and free, whatever their due time or state. Dropped, it gives back what
    /// it leased.
    pub async fn claim_these(&self, legs: Vec<(Mid, u32)>) -> Result<Vec<Claim>, QueueError> {
        let memory = self.memory();
        let (claims, taken) = self.read(move |store| reader::claim_these(store, &memory, legs)).await?;
        taken.hand_over();
        Ok(claims)
    }

    /// How much lies in the queue. Cheap: nothing is counted.
    pub async fn depth(&self) -> Result<Depth, QueueError> {
        self.read(reader::depth).await
    }

    /// Octets of content in the queue, what is on its way into the index included.
    pub fn size(&self) -> u64 {
        self.0.memory.load.octets()
    }

    /// How many messages there are, as far as memory tells: also while nothing can be read.
    pub fn messages(&self) -> u64 {
        self.0.memory.load.messages()
    }

    /// The same by route, those that have something queued. What is cheap for `depth` is cheap here.
    pub async fn routes(&self) -> Result<Vec<RouteDepth>, QueueError> {
        self.read(reader::routes).await
    }

    /// Keeps a small record under a name, in place of what was there; an empty one takes the name away. Calls take effect in
    /// their order; each returns once that is on disk.
    pub fn keep(&self, name: String, record: Vec<u8>) -> impl Future<Output = Result<(), QueueError>> + Send + use<> {
        let (done, written) = oneshot::channel();
        let sent = self.send(Job::Write(Box::new(Write::keep(format!("{KEPT}{name}"), record, done))));
        async move {
            sent?;
            written.await.map_err(|_| QueueError::Closed)?
        }
    }

    /// What is kept under names that begin so.
    pub async fn kept(&self, prefix: &'static str) -> Result<Vec<(String, Vec<u8>)>, QueueError> {
        self.read(move |store| reader::kept(store, prefix)).await
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

    /// Writes what is under way and ends the threads.
    pub async fn close(&self) {
        self.0.memory.progress.close();
        let (done, closed) = oneshot::channel();
        if self.send(Job::Close(done)).is_ok() {
            // An error is a writer that has ended, too.
            let _ = closed.await;
        }
    }

    fn send(&self, job: Job) -> Result<(), QueueError> {
        self.0.jobs.send(job).map_err(|_| QueueError::Closed)
    }

    /// A share of the memory for content on its way. What exceeds all of it takes all of it.
    async fn budget(&self, octets: usize) -> Result<OwnedSemaphorePermit, QueueError> {
        let octets = u32::try_from((octets + ENTRY).min(BUDGET)).unwrap_or(u32::MAX);
        self.0.budget.clone().acquire_many_owned(octets).await.map_err(|_| QueueError::Closed)
    }

    fn memory(&self) -> Arc<Memory> {
        self.0.memory.clone()
    }

    fn medium(&self) -> Arc<dyn Medium> {
        self.0.bodies.medium().clone()
    }

    fn room_for(&self, octets: usize) -> Result<(), QueueError> {
        if let Some(refusal) = lock(&self.0.memory.refusal).told() {
            return Err(refusal);
        }
        self.0.memory.room_for(octets, self.path())
    }

    /// Reads what the index has of all that was acknowledged so far.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, QueueError> {
        self.0.memory.progress.caught_up().await;
        let store = self.0.store.clone();
        self.reading(move || read(&store)).await
    }

    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, QueueError> {
        self.off_thread(read).await.map_err(|fault| fault.reading(self.path()))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        write: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, QueueError> {
        self.off_thread(write).await.map_err(|fault| fault.writing(self.path()))
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        match tokio::task::spawn_blocking(run).await {
            Ok(done) => done,
            Err(panic) => Err(Fault::Damaged(format!("it came to a fault: {panic}"))),
        }
    }
}

/// The journal's folder, beside the index.
fn journal_path(index: &Path) -> PathBuf {
    let beside = index.with_extension("journal");
    if beside == index { index.with_extension("journal.journal") } else { beside }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Queue").field(&self.path()).finish()
    }
}
