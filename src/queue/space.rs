//! The guard over the disk's room: acceptance stops while settling still has some.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::warn;

use super::lease::lock;

/// Asks how much room the queue's disk has.
pub(super) type Probe = Box<dyn Fn() -> io::Result<u64> + Send + Sync>;

pub(super) struct Space {
    probe: Probe,
    /// What is kept back.
    least: AtomicU64,
    /// How long an answer of `probe` holds.
    every: Duration,
    /// The last answer, less what was taken since; `None`: it could not be told.
    known: Mutex<Option<(Instant, Option<u64>)>>,
}

impl std::fmt::Debug for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Space").field("least", &self.least).finish_non_exhaustive()
    }
}

impl Space {
    pub(super) fn new(probe: Probe, least: u64, every: Duration) -> Self {
        Self { probe, least: AtomicU64::new(least), every, known: Mutex::new(None) }
    }

    /// Keeps so much back from now on.
    pub(super) fn set(&self, least: u64) {
        self.least.store(least, Ordering::Relaxed);
    }

    fn least(&self) -> u64 {
        self.least.load(Ordering::Relaxed)
    }

    /// Takes room for octets; the error says how much is left.
    pub(super) fn take(&self, octets: usize) -> Result<(), String> {
        self.left(octets as u64, |left| *left -= octets as u64)
    }

    /// Whether there is room for octets.
    pub(super) fn has(&self, octets: u64) -> Result<(), String> {
        self.left(octets, |_| ())
    }

    fn left(&self, octets: u64, take: impl FnOnce(&mut u64)) -> Result<(), String> {
        let mut known = lock(&self.known);
        let Some(left) = self.free(&mut known) else { return Ok(()) };
        let least = self.least();
        if *left < least.saturating_add(octets) {
            return Err(format!("{} MiB are free, {} MiB are kept back", *left >> 20, least >> 20));
        }
        take(left);
        Ok(())
    }

    /// Little is left beyond what is kept back.
    pub(super) fn is_short(&self) -> bool {
        let mut known = lock(&self.known);
        let least = self.least().saturating_mul(2);
        self.free(&mut known).is_some_and(|free| *free < least)
    }

    fn free<'a>(&self, known: &'a mut Option<(Instant, Option<u64>)>) -> Option<&'a mut u64> {
        let now = Instant::now();
        if !known.is_some_and(|(at, _)| now.duration_since(at) < self.every) {
            let free = (self.probe)();
            if let Err(error) = &free {
                warn!(%error, "the free space of the queue's disk cannot be told");
            }
            *known = Some((now, free.ok()));
        }
        known.as_mut().and_then(|(_, free)| free.as_mut())
    }
}
