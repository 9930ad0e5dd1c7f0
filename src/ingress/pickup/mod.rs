//! The pickup folder: *.eml files that are put there are sent, as IIS SMTP and Exchange do it.
//!
//! Promises:
//! - a file is removed once the queue has its message on disk. After a crash in between it is known by its mid and not sent
//!   again while the message is queued; later, a duplicate is possible, a loss is not;
//! - a half-written file is not taken (`watch`); one that cannot be sent goes to `badmail` with the reason beside it; one
//!   that cannot be sent now stays and is tried again;
//! - memory is bounded: so many names, so many files at one time, each read in pieces;
//! - whatever is wrong with the folder is told once, with the remedy, and work goes on when it is mended.
//!
//! It polls: that is known to every system and works on network shares.

mod endings;
pub(super) mod envelope;
mod folder;
mod send;
#[cfg(test)]
mod tests;
mod watch;

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Deps;
use super::limits::{Counted, MailMeter};
use crate::access::Senders;
use crate::config;
use crate::os;
pub(super) use endings::{Endings, Utf16};
use folder::{Found, is_taken, scan};
use send::{Done, send};
use watch::{Ready, Watch};

const POLL: Duration = Duration::from_secs(1);
/// Files that are read at one time.
const AT_ONCE: usize = 16;
/// When the queue or the folder takes nothing: until it is asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// Half-written files of `waypost send` are left over when so old: it writes one in moments.
const LEFTOVER: Duration = Duration::from_secs(3600);
/// Between two looks for these.
const SWEEP: Duration = Duration::from_secs(600);

/// The folder at work.
pub struct Pickup {
    deps: Arc<ArcSwap<Deps>>,
    settings: Arc<config::Pickup>,
    senders: Arc<Senders>,
    mail: MailMeter<()>,
    watch: Watch,
    /// When leftovers are looked for next.
    sweep: Instant,
    /// Keeps other relays out.
    lock: Option<File>,
    /// What is wrong with the folder and was told.
    trouble: Option<Trouble>,
    warned: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    Reading(String),
    Changing(String),
}

impl Pickup {
    pub fn new(deps: Arc<Deps>, settings: config::Pickup) -> Self {
        Self {
            deps: Arc::new(ArcSwap::new(deps)),
            senders: Arc::new(Senders::of_pickup(&settings)),
            mail: MailMeter::new(settings.limits),
            settings: Arc::new(settings),
            watch: Watch::default(),
            sweep: Instant::now(),
            lock: None,
            trouble: None,
            warned: false,
        }
    }

    /// What it works with; from the next look on, what was put in its place.
    pub fn deps(&self) -> Arc<ArcSwap<Deps>> {
        self.deps.clone()
    }

    /// Removes what a crash left and the queue has. To be done before anything is delivered from the queue: of what is
    /// gone from there it could not tell.
    pub async fn recover(&mut self) {
        let path = self.settings.path.clone();
        if self.lock.is_none() {
            let path = path.clone();
            self.lock = blocking(move || lock(&path)).await.ok();
        }
        if self.lock.is_some()
            && let Ok(found) = blocking(move || scan(&path)).await
        {
            for (name, _) in found.into_iter().filter(|(name, _)| is_taken(name)) {
                send::drop_queued(&self.deps.load_full(), &self.settings, &name).await;
            }
        }
    }

    /// Works until the token is cancelled; what is being read then stays where it is.
    pub async fn run(mut self, token: CancellationToken) {
        let mut next = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                () = sleep_until(next) => {}
            }
            let pause = self.round(&token).await;
            next = Instant::now() + pause;
        }
    }

    /// Looks, and sends what is whole; gives the pause up to the next look.
    async fn round(&mut self, token: &CancellationToken) -> Duration {
        let (path, lock) = (self.settings.path.clone(), self.lock.take());
        let found = match blocking(move || open(&path, lock)).await {
            Ok((found, lock, open_to_all)) => {
                self.lock = Some(lock);
                if matches!(self.trouble, Some(Trouble::Reading(_))) {
                    self.mended();
                }
                if open_to_all && !std::mem::replace(&mut self.warned, true) {
                    warn!(
                        folder = %self.settings.path.display(),
                        "every user of this host may put files into the pickup folder, and so send mail as anybody; \
                         to change that: chmod o-w"
                    );
                }
                found
            }
            Err(error) => {
                self.troubled(Trouble::Reading(format!("{error}{}", remedy(&error))));
                return PAUSE;
            }
        };
        if found.len() >= folder::MOST_FILES {
            info!(folder = %self.settings.path.display(), files = found.len(), "the pickup folder is full of work");
        }
        self.sweep().await;
        let ready = self.watch.look(Instant::now(), found, |name| is_taken(name));
        self.send_all(ready, token).await
    }

    /// Removes what a `waypost send` that was killed has left half-written.
    async fn sweep(&mut self) {
        if Instant::now() < self.sweep {
            return;
        }
        self.sweep = Instant::now() + SWEEP;
        let (path, now) = (self.settings.path.clone(), self.deps.load().clock.wall());
        if let Ok(gone) = blocking(move || folder::sweep(&path, now, LEFTOVER)).await
            && gone > 0
        {
            info!(folder = %self.settings.path.display(), files = gone, "removed half-written files of `waypost send`");
        }
    }

    async fn send_all(&mut self, ready: Vec<Ready>, token: &CancellationToken) -> Duration {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let mut sending = JoinSet::new();
        let mut pause = POLL;
        for ready in ready {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
            while let Some(done) = sending.try_join_next() {
                pause = pause.max(self.done(done));
            }
            // Beyond the rate, files wait where they lie.
            if token.is_cancelled() || pause > POLL || self.mail.take(Counted::Message, &()).is_err() {
                break;
            }
            let (deps, settings, token) = (self.deps.load_full(), Arc::clone(&self.settings), token.clone());
            let senders = Arc::clone(&self.senders);
            sending.spawn(async move {
                let done = send(&deps, &settings, senders, &ready, &token).await;
                drop(permit);
                (ready, done)
            });
        }
        while let Some(done) = sending.join_next().await {
            pause = pause.max(self.done(done));
        }
        pause
    }

    /// What follows from the end of one file; gives the pause that it asks for.
    fn done(&mut self, done: Result<(Ready, Done), tokio::task::JoinError>) -> Duration {
        let (ready, done) = match done {
            Ok(done) => done,
            Err(panic) => {
                error!(%panic, "a file of the pickup folder could not be sent; it is tried again");
                return PAUSE;
            }
        };
        let file = folder::plain_name(&ready.name);
        match done {
            Done::Over => {
                self.mended();
                POLL
            }
            Done::Unfinished | Done::Stopped => POLL,
            Done::Later { taken, why, all } => {
                let name = taken.unwrap_or_else(|| ready.name.clone());
                if self.watch.later(Instant::now(), ready, name) {
                    warn!(file, why, "a file of the pickup folder cannot be sent now; it is tried again");
                }
                if all { PAUSE } else { POLL }
            }
            Done::Folder(error) => {
                self.troubled(Trouble::Changing(format!("{error}{}", remedy(&error))));
                PAUSE
            }
        }
    }

    fn troubled(&mut self, trouble: Trouble) {
        if self.trouble.as_ref() == Some(&trouble) {
            return;
        }
        let folder = self.settings.path.display();
        match &trouble {
            Trouble::Reading(why) => warn!(%folder, "the pickup folder cannot be read: {why}"),
            Trouble::Changing(why) => warn!(%folder, "nothing can be taken from the pickup folder: {why}"),
        }
        self.trouble = Some(trouble);
    }

    fn mended(&mut self) {
        if self.trouble.take().is_some() {
            info!(folder = %self.settings.path.display(), "the pickup folder is in order again");
        }
    }
}

/// Makes the folder where it is not there, locks it, and looks at it; also whether it is open to all.
fn open(path: &Path, held: Option<File>) -> io::Result<(Found, File, bool)> {
    let metadata = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            os::create_private_folder(path)?;
            info!(folder = %path.display(), "made the pickup folder; its owner alone may put files there");
            std::fs::metadata(path)?
        }
        metadata => metadata?,
    };
    let lock = match held {
        Some(lock) => lock,
        None => lock(path)?,
    };
    Ok((scan(path)?, lock, os::is_open_to_all(&metadata)))
}

/// Two relays would take each other's files for what a crash left.
fn lock(path: &Path) -> io::Result<File> {
    let file = os::open_private(&path.join(".lock"))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let held = "another waypost works on it: give each a folder of its own by `pickup: {path: ...}`";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, held))
        }
        // Where locks are not known, the user has to see to it.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; give it to the user that the relay runs as (chown), with read, write and search permission (chmod u+rwx), \
             or name another `pickup: {path: ...}`"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; mount it writable, or name another `pickup: {path: ...}`",
        io::ErrorKind::NotADirectory => {
            "; something else has that name: move it, or name another `pickup: {path: ...}`"
        }
        _ => "",
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
