//! Open sessions kept for the next message.
//!
//! Invariants: an idle session is kept for a bounded time, then it takes its leave; their number is bounded, for each key
//! and in all; the lock is held for map work alone, never across an await. Dropping the pool closes all it holds.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::connection::Connection;

#[derive(Debug, Clone, Copy)]
pub(super) struct PoolLimits {
    /// How long a session may wait for mail.
    pub(super) idle: Duration,
    /// Transactions on one connection.
    pub(super) transactions: u32,
    pub(super) most_per_key: usize,
    pub(super) most: usize,
}

pub(super) struct Pool<K> {
    limits: PoolLimits,
    idle: Arc<Mutex<Idle<K>>>,
}

struct Idle<K> {
    /// Per key the oldest first.
    sessions: HashMap<K, Vec<Kept>>,
    count: usize,
    /// Sees the expired ones off; runs while there are any.
    usher: Option<AbortHandle>,
}

struct Kept {
    connection: Connection,
    since: Instant,
}

impl<K: Eq + Hash + Clone + Send + 'static> Pool<K> {
    pub(super) fn new(limits: PoolLimits) -> Self {
        Self { limits, idle: Arc::new(Mutex::new(Idle { sessions: HashMap::new(), count: 0, usher: None })) }
    }

    /// The session that was used last, of those that fit and are still alive.
    pub(super) fn take(&self, key: &K, fits: impl Fn(&Connection) -> bool) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        let mut found = None;
        let sessions = idle.sessions.get_mut(key)?;
        let before = sessions.len();
        while let Some(at) = sessions.iter().rposition(|kept| fits(&kept.connection)) {
            let mut kept = sessions.remove(at);
            if kept.since.elapsed() < self.limits.idle && kept.connection.is_alive() {
                found = Some(kept.connection);
                break;
            }
        }
        let gone = before - sessions.len();
        if sessions.is_empty() {
            idle.sessions.remove(key);
        }
        idle.count -= gone;
        found
    }

    /// Keeps a session, if it can be used again and there is room.
    pub(super) fn put(&self, key: K, connection: Connection) {
        if !connection.is_ready() || connection.transactions() >= self.limits.transactions {
            return;
        }
        let mut idle = lock(&self.idle);
        if idle.count >= self.limits.most {
            return;
        }
        let sessions = idle.sessions.entry(key).or_default();
        if sessions.len() >= self.limits.most_per_key {
            return;
        }
        sessions.push(Kept { connection, since: Instant::now() });
        idle.count += 1;
        if idle.usher.is_none() {
            let task = tokio::spawn(usher(Arc::downgrade(&self.idle), self.limits.idle));
            idle.usher = Some(task.abort_handle());
        }
    }

    /// Drops all sessions of a key: one of them turned out to be dead.
    pub(super) fn purge(&self, key: &K) {
        let mut idle = lock(&self.idle);
        if let Some(gone) = idle.sessions.remove(key) {
            idle.count -= gone.len();
        }
    }
}

impl<K> Drop for Pool<K> {
    fn drop(&mut self) {
        if let Some(usher) = lock(&self.idle).usher.take() {
            usher.abort();
        }
    }
}

fn lock<K>(idle: &Mutex<Idle<K>>) -> MutexGuard<'_, Idle<K>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends sessions when their time is over. Ends itself with the last one, or with the pool.
async fn usher<K: Eq + Hash + Clone>(pool: Weak<Mutex<Idle<K>>>, patience: Duration) {
    loop {
        let next = {
            let Some(idle) = pool.upgrade() else { return };
            let mut idle = lock(&idle);
            match idle.sessions.values().flatten().map(|kept| kept.since).min() {
                Some(oldest) => oldest + patience,
                None => {
                    idle.usher = None;
                    return;
                }
            }
        };
        tokio::time::sleep_until(next).await;
        let expired = {
            let Some(idle) = pool.upgrade() else { return };
            let mut idle = lock(&idle);
            idle.expired(patience)
        };
        join_all(expired.into_iter().map(Connection::quit)).await;
    }
}

impl<K: Eq + Hash> Idle<K> {
    fn expired(&mut self, patience: Duration) -> Vec<Connection> {
        let mut expired = Vec::new();
        for sessions in self.sessions.values_mut() {
            let count = sessions.iter().take_while(|kept| kept.since.elapsed() >= patience).count();
            expired.extend(sessions.drain(..count).map(|kept| kept.connection));
        }
        self.sessions.retain(|_, sessions| !sessions.is_empty());
        self.count -= expired.len();
        expired
    }
}
