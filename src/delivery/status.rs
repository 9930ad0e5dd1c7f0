//! What delivery counts, readable while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::transport::Outcome;

/// Counts since the start. Recipients, where nothing else is said.
#[derive(Debug, Default)]
pub struct Meter {
    attempts: AtomicU64,
    delivered: AtomicU64,
    bounced: AtomicU64,
    held: AtomicU64,
    possible_duplicates: AtomicU64,
}

impl Meter {
    /// Attempts begun.
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub fn bounced(&self) -> u64 {
        self.bounced.load(Ordering::Relaxed)
    }

    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Recipients that were sent to once more although a provider may have had the message.
    pub fn possible_duplicates(&self) -> u64 {
        self.possible_duplicates.load(Ordering::Relaxed)
    }

    pub(super) fn began(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, outcomes: &[Outcome]) {
        let delivered = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Delivered { .. })).count();
        add(&self.delivered, delivered);
    }

    pub(super) fn add_bounced(&self, recipients: usize) {
        add(&self.bounced, recipients);
    }

    pub(super) fn add_held(&self, recipients: usize) {
        add(&self.held, recipients);
    }

    pub(super) fn add_possible_duplicates(&self, recipients: usize) {
        add(&self.possible_duplicates, recipients);
    }
}

fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(more as u64, Ordering::Relaxed);
}
