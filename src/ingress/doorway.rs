//! The place of a listener's door. The door is replaced when the configuration changes: who comes finds the new one, and
//! so does each further command of who is there. What a session was told when it began (its size limit, its extensions)
//! holds to its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::MailMeter;
use super::{Bound, Deps, Door, Handshakes};
use crate::config::Listener;
use crate::metrics::Entered;

/// See above.
pub struct Doorway {
    door: ArcSwap<Door>,
    /// While clients are taken on: a listener of the door's name is up.
    up: Mutex<Option<Entered>>,
}

/// A listener that is ready to serve.
pub struct Open {
    bound: Bound,
    doorway: Arc<Doorway>,
}

impl Doorway {
    pub(super) fn new(door: Arc<Door>) -> Self {
        Self { door: ArcSwap::new(door), up: Mutex::default() }
    }

    pub(super) fn door(&self) -> Arc<Door> {
        self.door.load_full()
    }

    /// Puts another door in place. Connections stay counted, and so does mail where its limits are the same.
    pub fn change(&self, listener: Listener, tls: Option<Arc<Handshakes>>, deps: Arc<Deps>) {
        let before = self.door();
        let mut door = Door::new(listener, tls, deps);
        door.connections = before.connections.clone();
        door.mail = kept(&before.mail, door.mail);
        door.client_mail = kept(&before.client_mail, door.client_mail);
        let mut up = self.up();
        if up.is_some() {
            *up = Some(door.counts.up.enter());
        }
        self.door.store(Arc::new(door));
    }

    fn up(&self) -> MutexGuard<'_, Option<Entered>> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one that has counted so far, where it counts by the same limits.
pub(super) fn kept<K: std::hash::Hash + Eq + Clone>(
    before: &Arc<MailMeter<K>>,
    new: Arc<MailMeter<K>>,
) -> Arc<MailMeter<K>> {
    if before.limits() == new.limits() { before.clone() } else { new }
}

impl Bound {
    /// Its doorway can be changed from now on.
    pub fn open(self, deps: Arc<Deps>) -> Open {
        let door = Door::new(self.listener.clone(), self.tls.clone(), deps);
        let doorway = Doorway::new(Arc::new(door));
        *doorway.up() = Some(doorway.door().counts.up.enter());
        Open { doorway: Arc::new(doorway), bound: self }
    }

    /// Opens and serves; see `Open::serve`.
    pub async fn serve(self, deps: Arc<Deps>, token: CancellationToken, tracker: TaskTracker) {
        self.open(deps).serve(token, tracker).await;
    }
}

impl Open {
    pub fn doorway(&self) -> Arc<Doorway> {
        self.doorway.clone()
    }

    /// Serves until the token is cancelled. The sessions go to `tracker`, which outlives this future: they end by the
    /// token too, each in good order.
    pub async fn serve(self, token: CancellationToken, tracker: TaskTracker) {
        super::accept(&self.bound.socket, &self.doorway, &token, &tracker).await;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        *self.doorway.up() = None;
    }
}
