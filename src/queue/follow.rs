//! Somebody who reads the journal along: each entry's note, in the journal's order, once.
//!
//! The writer tells what it made durable; what the follower was too slow for is read from the journal. Its notes cost nobody
//! a sync: they are durable with their entries, and a part of the journal stays until the follower has it durably too.
//!
//! A follower that cannot write keeps nobody's mail back. It is asked again every second, and then reads what it lacks.
//! Until then the journal grows, and the queue's marks for free space bound it.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::error::Fault;
use super::journal::{Position, beginning, replay};
use super::lease::lock;
use super::medium::Medium;
use super::{Memory, Queue};

/// Groups that wait for the follower; beyond, it reads them from the journal.
const GROUPS: usize = 1024;
/// The same in octets of notes.
const WAITING: usize = 4 << 20;
/// What was taken is made durable after so long, or so many octets.
const EVERY: Duration = Duration::from_secs(1);
const HOLDS: usize = 4 << 20;
/// Between two words about a follower that fails.
const REPEAT: Duration = Duration::from_secs(60);

/// Reads the notes of the journal's entries. All calls come from one thread.
pub trait Follower: Send {
    /// Up to where it has the journal, durably; `None`: it is new.
    fn position(&self) -> Option<Position>;
    /// Told before all else: the last mark of its that the queue has made durable.
    fn begin(&mut self, mark: Option<&[u8]>);
    /// Notes in the journal's order; what follows them is at `next`. Kept in memory until `keep`.
    fn take(&mut self, notes: &[Vec<u8>], next: Position);
    /// Octets taken and not durable.
    fn holds(&self) -> usize;
    /// Makes all that was taken durable. Gives a mark of where that ends, which the queue keeps.
    fn keep(&mut self) -> Result<Vec<u8>, String>;
    /// After an error: goes back to what is durable.
    fn reopen(&mut self) -> Result<(), String>;
    /// These groups of the journal will never come.
    fn missed(&mut self, groups: Range<u64>, why: &str);
}

/// What a follower's thread shares with the writer and the index.
#[derive(Debug)]
pub(super) struct Followed {
    /// The first segment that the follower may still have to read.
    floor: AtomicU32,
    /// For the next checkpoint of the index.
    mark: Mutex<Option<Vec<u8>>>,
    /// Where what is durable in the journal ends.
    end: Mutex<Position>,
    waiting: AtomicUsize,
    /// Why the follower cannot write.
    fails: Mutex<Option<String>>,
}

impl Default for Followed {
    /// As it is where nobody follows.
    fn default() -> Self {
        Self {
            floor: AtomicU32::new(u32::MAX),
            mark: Mutex::default(),
            end: Mutex::new(Position::START),
            waiting: AtomicUsize::new(0),
            fails: Mutex::default(),
        }
    }
}

impl Followed {
    /// Segments before this one nobody follows any more.
    pub(super) fn floor(&self) -> u32 {
        self.floor.load(Ordering::Acquire)
    }

    pub(super) fn mark(&self) -> Option<Vec<u8>> {
        lock(&self.mark).clone()
    }

    pub(super) fn fails(&self) -> Option<String> {
        lock(&self.fails).clone()
    }
}

#[derive(Debug)]
pub(super) enum Told {
    Group {
        /// Of its notes, those that are not empty.
        notes: Vec<Vec<u8>>,
        /// Its number.
        number: u64,
        next: Position,
    },
    /// Somebody wants all that is in the journal made durable.
    Keep(oneshot::Sender<Result<(), String>>),
    End,
}

impl Queue {
    /// Somebody follows the journal: notes are read.
    pub fn is_followed(&self) -> bool {
        self.0.follower.is_some()
    }

    /// Returns when whoever follows the journal has all that was acknowledged so far, durably. At once where nobody does.
    pub async fn followed_up(&self) -> Result<(), String> {
        let Some(follower) = self.0.follower.clone() else { return Ok(()) };
        let (done, kept) = oneshot::channel();
        // The line may be full for a moment.
        let told = tokio::task::spawn_blocking(move || follower.send(Told::Keep(done))).await;
        match told {
            Ok(Ok(())) => kept.await.unwrap_or_else(|_| Err("the queue has been closed".to_owned())),
            Ok(Err(_)) | Err(_) => Err("the queue has been closed".to_owned()),
        }
    }

    /// Why whoever follows the journal is behind: it cannot be written. Mail goes on.
    pub fn follower_fails(&self) -> Option<String> {
        self.0.memory.followed.fails()
    }
}

/// The writer's end.
#[derive(Debug)]
pub(super) struct Link {
    told: SyncSender<Told>,
    followed: Arc<Memory>,
    thread: JoinHandle<()>,
}

impl Link {
    /// A group was made durable.
    pub(super) fn tell(&self, notes: Vec<Vec<u8>>, number: u64, next: Position) {
        let Followed { end, waiting, .. } = &self.followed.followed;
        *lock(end) = next;
        let octets = notes.iter().map(Vec::len).sum();
        if waiting.load(Ordering::Acquire).saturating_add(octets) > WAITING {
            return;
        }
        waiting.fetch_add(octets, Ordering::AcqRel);
        // What finds no room is read from the journal.
        if let Err(TrySendError::Full(Told::Group { .. })) = self.told.try_send(Told::Group { notes, number, next }) {
            waiting.fetch_sub(octets, Ordering::AcqRel);
        }
    }

    pub(super) fn end(self) {
        let _ = self.told.send(Told::End);
        if self.thread.join().is_err() {
            error!("a follower of the queue ended by a fault of its own; the journal has what it lacks");
        }
    }
}

/// The follower's thread.
struct Following {
    follower: Box<dyn Follower>,
    told: Receiver<Told>,
    medium: Arc<dyn Medium>,
    memory: Arc<Memory>,
    pause: Duration,
    /// From here on all of the journal was readable at the start.
    from: Position,
    /// What the follower has taken ends here.
    reached: Position,
    /// Where it began, and begins again if nothing of it is durable.
    began: Position,
    /// Since when something is taken and not durable.
    since: Option<Instant>,
    failing: Option<Failing>,
    /// What `begin` is told, until what it noted is durable.
    beginning: Option<Option<Vec<u8>>>,
}

struct Failing {
    again: Instant,
    told: Instant,
}

/// Where a follower begins.
pub(super) struct Beginning {
    /// The index's position before the start: from there on all of the journal is readable.
    pub(super) from: Position,
    /// Where new groups go.
    pub(super) end: Position,
    pub(super) mark: Option<Vec<u8>>,
}

/// Starts the follower's thread. Nothing may tidy the journal before.
pub(super) fn start(
    mut follower: Box<dyn Follower>,
    start: Beginning,
    medium: Arc<dyn Medium>,
    memory: &Arc<Memory>,
    pause: Duration,
) -> Result<(Link, SyncSender<Told>), Fault> {
    let Beginning { from, end, mark } = start;
    follower.begin(mark.as_deref());
    let first = beginning(&*medium)?;
    let reached = match follower.position() {
        // It may have been there and never written anything. What cannot be read any more, it passes over.
        None => first.unwrap_or(from),
        Some(at) if at.group > end.group => {
            follower.missed(from.group..from.group, "it followed another queue before");
            from
        }
        Some(at) if at.group < from.group && first.is_none_or(|first| first.segment > at.segment) => {
            follower.missed(at.group..from.group, "the queue's journal does not reach back so far");
            from
        }
        Some(at) => at,
    };
    memory.followed.floor.store(reached.segment, Ordering::Release);
    *lock(&memory.followed.end) = end;
    let (sender, told) = std::sync::mpsc::sync_channel(GROUPS);
    // What `begin` and `missed` noted is to be kept as well.
    let since = Some(Instant::now());
    let following = Following {
        follower,
        told,
        medium,
        memory: memory.clone(),
        pause,
        from,
        reached,
        began: reached,
        since,
        failing: None,
        beginning: Some(mark),
    };
    let thread = std::thread::Builder::new().name("queue-follow".to_owned());
    let thread = thread.spawn(move || following.run()).map_err(Fault::io)?;
    Ok((Link { told: sender.clone(), followed: memory.clone(), thread }, sender))
}

impl Following {
    fn run(mut self) {
        let _ = self.follow_up();
        loop {
            let deadline = match (&self.failing, self.since) {
                (Some(failing), _) => Some(failing.again),
                (None, Some(since)) => Some(since + EVERY),
                (None, None) => None,
            };
            let told = match deadline {
                Some(at) => self.told.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => self.told.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match told {
                Ok(Told::Group { notes, number, next }) => self.take(notes, number, next),
                Ok(Told::Keep(done)) => {
                    let _ = done.send(self.follow_up());
                }
                Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            match &self.failing {
                Some(failing) if failing.again <= Instant::now() => drop(self.follow_up()),
                Some(_) => {}
                None if self.since.is_some_and(|since| since.elapsed() >= EVERY) || self.follower.holds() >= HOLDS => {
                    if let Err(why) = self.keep() {
                        self.fails(&why);
                    }
                }
                None => {}
            }
        }
        if let Err(why) = self.follow_up() {
            warn!(error = why, "a follower of the queue is behind its journal: the next start mends it");
        }
    }

    fn take(&mut self, notes: Vec<Vec<u8>>, number: u64, next: Position) {
        let octets = notes.iter().map(Vec::len).sum();
        self.memory.followed.waiting.fetch_sub(octets, Ordering::AcqRel);
        if self.failing.is_some() || (next.group, next.segment) <= (self.reached.group, self.reached.segment) {
            return;
        }
        if number > self.reached.group
            && let Err(why) = self.catch_up()
        {
            return self.fails(&why);
        }
        // The catching up may have taken this one too.
        if next.group > self.reached.group || next.segment > self.reached.segment {
            if next.group > self.reached.group {
                self.follower.take(&notes, next);
            } else {
                self.follower.take(&[], next);
            }
            self.reached = next;
            self.since.get_or_insert_with(Instant::now);
        }
    }

    /// Takes all that the journal has, and makes it durable.
    fn follow_up(&mut self) -> Result<(), String> {
        let mended = match &self.failing {
            Some(_) => self.mend(),
            None => Ok(()),
        };
        let done = mended.and_then(|()| self.catch_up()).and_then(|()| self.keep());
        match &done {
            Ok(()) if self.failing.take().is_some() => {
                *lock(&self.memory.followed.fails) = None;
                info!("the queue's follower is written again, and lacks nothing")
            }
            Ok(()) => {}
            Err(why) => self.fails(why),
        }
        done
    }

    fn mend(&mut self) -> Result<(), String> {
        self.follower.reopen()?;
        // Until something of it is durable, its position may be one of another queue.
        let durable = if self.beginning.is_none() { self.follower.position() } else { None };
        self.reached = durable.unwrap_or(self.began);
        if let Some(mark) = &self.beginning {
            self.follower.begin(mark.as_deref());
        }
        // It has something to write, if it is only how far it is.
        self.since = Some(Instant::now());
        Ok(())
    }

    fn fails(&mut self, why: &str) {
        let now = Instant::now();
        let told = match &self.failing {
            None => {
                error!(error = why, "the queue's follower fails: mail goes on, and the journal keeps what it lacks");
                now
            }
            Some(failing) if failing.told.elapsed() >= REPEAT => {
                warn!(error = why, "the queue's follower still fails: the journal grows meanwhile");
                now
            }
            Some(failing) => failing.told,
        };
        self.failing = Some(Failing { again: now + self.pause, told });
        *lock(&self.memory.followed.fails) = Some(why.to_owned());
    }

    fn keep(&mut self) -> Result<(), String> {
        if self.since.is_none() {
            return Ok(());
        }
        let mark = self.follower.keep()?;
        (self.since, self.beginning) = (None, None);
        *lock(&self.memory.followed.mark) = Some(mark);
        self.memory.followed.floor.store(self.reached.segment, Ordering::Release);
        Ok(())
    }

    /// Reads from the journal what the follower lacks.
    fn catch_up(&mut self) -> Result<(), String> {
        let end = *lock(&self.memory.followed.end);
        if (end.group, end.segment) <= (self.reached.group, self.reached.segment) {
            return Ok(());
        }
        while end.group > self.reached.group {
            let (medium, from) = (self.medium.clone(), self.reached);
            let replayed = replay(&*medium, from, Some(end), |group| {
                self.follower.take(&group.notes, group.next);
                self.reached = group.next;
                self.since.get_or_insert_with(Instant::now);
                if self.follower.holds() >= HOLDS {
                    self.keep().map_err(|why| Fault::io(std::io::Error::other(why)))?;
                }
                Ok(())
            });
            match replayed {
                Ok(_) if self.reached.group >= end.group => {}
                Ok(_) => self.skip(end, "the journal does not have them"),
                // The files will not mend by themselves.
                Err(Fault::Damaged(why)) => self.skip(end, &why),
                Err(fault) => return Err(fault.to_string()),
            }
        }
        self.follower.take(&[], end);
        self.reached = end;
        self.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Goes on where the journal is readable for sure.
    fn skip(&mut self, end: Position, why: &str) {
        let to = if self.reached.group < self.from.group { self.from } else { end };
        let groups = self.reached.group..to.group;
        if self.follower.position().is_some() {
            error!(?groups, error = why, "a follower of the queue misses a part of the journal for good");
            self.follower.missed(groups, why);
        }
        self.reached = to;
    }
}
