//! What delivery needs of the queue, and nothing more: tests put a queue in memory in its place, so that a paused clock
//! rules all there is.

use std::collections::HashMap;
use std::future::Future;

use crate::mail::{Envelope, Mid, Timestamp};
use crate::queue::{Claim, Claimed, Content, Counter, Lane, LaneDue, Queue, QueueError, Settled};

/// See `queue::Queue`, whose methods these are.
pub trait Backlog: Clone + Send + Sync + 'static {
    fn lanes(&self) -> impl Future<Output = Result<Vec<LaneDue>, QueueError>> + Send;
    /// Loses nothing when it is dropped while it waits.
    fn nudged(&self) -> impl Future<Output = Vec<LaneDue>> + Send;
    fn claim(
        &self,
        lane: &Lane,
        now: Timestamp,
        most: usize,
    ) -> impl Future<Output = Result<Claimed, QueueError>> + Send;
    fn claim_one(&self, mid: Mid, number: u32) -> impl Future<Output = Result<Option<Claim>, QueueError>> + Send;
    fn release(&self, mid: Mid, number: u32);
    fn settle(&self, settled: Settled) -> impl Future<Output = Result<(), QueueError>> + Send;
    fn walk(
        &self,
        after: Option<(Mid, u32)>,
        before: Timestamp,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Claim>, QueueError>> + Send;
    fn keep(
        &self,
        name: String,
        record: Vec<u8>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send + 'static + use<Self>;
    fn kept(&self, prefix: &'static str) -> impl Future<Output = Result<Vec<(String, Vec<u8>)>, QueueError>> + Send;
    fn counters(&self) -> impl Future<Output = Result<HashMap<String, Counter>, QueueError>> + Send;
    fn content(&self, mid: Mid, envelope: &Envelope) -> Content;
}

impl Backlog for Queue {
    async fn lanes(&self) -> Result<Vec<LaneDue>, QueueError> {
        Self::lanes(self).await
    }
    async fn nudged(&self) -> Vec<LaneDue> {
        Self::nudged(self).await
    }
    async fn claim(&self, lane: &Lane, now: Timestamp, most: usize) -> Result<Claimed, QueueError> {
        Self::claim(self, lane, now, most).await
    }
    async fn claim_one(&self, mid: Mid, number: u32) -> Result<Option<Claim>, QueueError> {
        Self::claim_one(self, mid, number).await
    }
    fn release(&self, mid: Mid, number: u32) {
        Self::release(self, mid, number);
    }
    async fn settle(&self, settled: Settled) -> Result<(), QueueError> {
        Self::settle(self, settled).await
    }
    async fn walk(&self, after: Option<(Mid, u32)>, before: Timestamp, most: usize) -> Result<Vec<Claim>, QueueError> {
        Self::walk(self, after, before, most).await
    }
    fn keep(
        &self,
        name: String,
        record: Vec<u8>,
    ) -> impl Future<Output = Result<(), QueueError>> + Send + 'static + use<> {
        Self::keep(self, name, record)
    }
    async fn kept(&self, prefix: &'static str) -> Result<Vec<(String, Vec<u8>)>, QueueError> {
        Self::kept(self, prefix).await
    }
    async fn counters(&self) -> Result<HashMap<String, Counter>, QueueError> {
        Self::counters(self).await
    }
    fn content(&self, mid: Mid, envelope: &Envelope) -> Content {
        Self::content(self, mid, envelope)
    }
}
