//! A line of bounded length before a few counters.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Debug)]
pub(super) struct Line {
    counters: Arc<Semaphore>,
    places: Semaphore,
}

/// Being served, until it is dropped.
pub(super) type Turn = OwnedSemaphorePermit;

impl Line {
    pub fn new(counters: usize, places: usize) -> Self {
        Self { counters: Arc::new(Semaphore::new(counters)), places: Semaphore::new(places) }
    }

    /// `None`: the line is full.
    pub async fn turn(&self) -> Option<Turn> {
        if let Ok(turn) = Arc::clone(&self.counters).try_acquire_owned() {
            return Some(turn);
        }
        let _place = self.places.try_acquire().ok()?;
        Arc::clone(&self.counters).acquire_owned().await.ok()
    }
}
