//! How far the journal is, and how far the index follows it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Numbers of groups: the next one to come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    journaled: AtomicU64,
    applied: AtomicU64,
    moved: Notify,
    /// The index is wanted up to here by somebody who waits.
    wanted: AtomicU64,
    closing: AtomicBool,
    seal: AtomicU32,
}

impl Progress {
    pub(super) fn journaled(&self, group: u64) {
        self.journaled.store(group, Ordering::Release);
    }

    /// The group that follows the last durable one.
    pub(super) fn journaled_to(&self) -> u64 {
        self.journaled.load(Ordering::Acquire)
    }

    /// `u64::MAX`: the index is out, and nobody need wait for it.
    pub(super) fn applied(&self, group: u64) {
        self.applied.store(group, Ordering::Release);
        self.moved.notify_waiters();
    }

    /// Returns when the index has all that was acknowledged before the call: callers see what they did.
    pub(super) async fn caught_up(&self) {
        let wanted = self.journaled.load(Ordering::Acquire);
        self.want(wanted);
        while self.applied.load(Ordering::Acquire) < wanted {
            let moved = self.moved.notified();
            if self.applied.load(Ordering::Acquire) >= wanted {
                break;
            }
            moved.await;
        }
    }

    /// Asks the index to come that far without delay.
    pub(super) fn want(&self, group: u64) {
        self.wanted.fetch_max(group, Ordering::AcqRel);
    }

    /// Somebody waits for the index to come further than `reached`.
    pub(super) fn is_wanted_beyond(&self, reached: u64) -> bool {
        self.wanted.load(Ordering::Acquire) > reached
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Asks the writer to end a segment.
    pub(super) fn request_seal(&self, segment: u32) {
        self.seal.store(segment, Ordering::Release);
    }

    pub(super) fn is_to_seal(&self, segment: u32) -> bool {
        self.seal.load(Ordering::Acquire) == segment
    }
}
