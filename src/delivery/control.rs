//! How others ask and steer delivery while it runs: requests into the scheduler's one task, which stays the sole owner of its
//! state and answers each between two events of its own.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::backlog::Backlog;
use super::change::Change;
use super::order::{KEPT, Order, OrderKind};
use super::recall::Recalled;
use super::scheduler::{Done, Scheduler};
use super::snapshot::Snapshot;
use super::span::after;
use crate::mail::{Mid, ProviderName, Timestamp};
use crate::queue::QueueError;

/// Requests that wait; whoever comes then waits to ask.
const WAITING: usize = 64;

/// A handle; clones ask the same scheduler.
#[derive(Debug, Clone)]
pub struct Control(mpsc::Sender<Request>);

/// Delivery has ended, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the relay is stopping: delivery answers no more")]
pub struct Stopped;

/// Why an order was not followed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OrderError {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("there is no provider '{name}'; there are: {known}")]
    UnknownProvider { name: ProviderName, known: String },
    #[error("provider '{0}' is neither paused nor in a drill")]
    NotOrdered(ProviderName),
    #[error("provider '{provider}': it holds now, and would be forgotten at a restart: {error}")]
    NotKept { provider: ProviderName, error: QueueError },
}

/// What is wanted of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub kind: OrderKind,
    /// For so long.
    pub span: Duration,
    pub by: String,
    pub reason: String,
}

type Answer<T> = oneshot::Sender<T>;

/// One thing that is asked.
pub(super) enum Request {
    Snapshot(Answer<Snapshot>),
    Order(ProviderName, Wish, Answer<Result<Order, OrderError>>),
    Resume(ProviderName, Answer<Result<Order, OrderError>>),
    Recall(Vec<(Mid, u32)>, Answer<Recalled>),
    Change(Box<Change>, Answer<()>),
}

pub(super) type Requests = mpsc::Receiver<Request>;

pub(super) fn channel() -> (Control, Requests) {
    let (sender, requests) = mpsc::channel(WAITING);
    (Control(sender), requests)
}

impl Control {
    /// How delivery stands at this moment.
    pub async fn snapshot(&self) -> Result<Snapshot, Stopped> {
        self.ask(Request::Snapshot).await
    }

    /// Hands over those of the legs that delivery has in hand and has not begun.
    pub(super) async fn recall(&self, legs: Vec<(Mid, u32)>) -> Result<Recalled, Stopped> {
        self.ask(|answer| Request::Recall(legs, answer)).await
    }

    /// Has delivery go by a changed configuration. From its return on, whatever is claimed from the queue is routed by it.
    /// Dropped after the send, the change takes place.
    pub async fn change(&self, change: Change) -> Result<(), Stopped> {
        self.ask(|answer| Request::Change(Box::new(change), answer)).await
    }

    /// Pauses a provider or begins a drill, in place of what is ordered of it now. Returns once that would survive a restart.
    pub async fn order(&self, provider: ProviderName, wish: Wish) -> Result<Order, OrderError> {
        self.ask(|answer| Request::Order(provider, wish, answer)).await?
    }

    /// Ends what is ordered of a provider, and gives it.
    pub async fn resume(&self, provider: ProviderName) -> Result<Order, OrderError> {
        self.ask(|answer| Request::Resume(provider, answer)).await?
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.0.send(request(answer)).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }
}

impl<Q: Backlog> Scheduler<Q> {
    pub(super) fn answer(&mut self, request: Request) {
        let now = self.desk.clock.now();
        match request {
            // Whoever asked may have gone; what was ordered holds all the same.
            Request::Snapshot(answer) => drop(answer.send(self.snapshot(now))),
            Request::Order(provider, wish, answer) => self.order(provider, wish, answer, now),
            Request::Resume(provider, answer) => self.resume_provider(provider, answer, now),
            Request::Recall(legs, answer) => drop(answer.send(self.recall(legs))),
            Request::Change(change, answer) => {
                self.change(*change, now);
                let _ = answer.send(());
            }
        }
    }

    fn order(&mut self, provider: ProviderName, wish: Wish, answer: Answer<Result<Order, OrderError>>, now: Timestamp) {
        if !self.stations.contains_key(&provider) {
            return drop(answer.send(Err(self.unknown(provider))));
        }
        let Wish { kind, span, by, reason } = wish;
        let order = Order { kind, since: now, until: after(now, span), by, reason };
        self.orders.give(provider.clone(), order.clone());
        self.board.wake_provider(&provider);
        self.keep_order(provider, order.record(), Some((order, answer)));
    }

    fn resume_provider(&mut self, provider: ProviderName, answer: Answer<Result<Order, OrderError>>, now: Timestamp) {
        match self.orders.end(&provider) {
            None if self.stations.contains_key(&provider) => drop(answer.send(Err(OrderError::NotOrdered(provider)))),
            None => drop(answer.send(Err(self.unknown(provider)))),
            Some(order) => {
                self.released(&provider, now);
                self.keep_order(provider, Vec::new(), Some((order, answer)));
            }
        }
    }

    fn unknown(&self, name: ProviderName) -> OrderError {
        let mut known: Vec<&str> = self.rules.table.providers().map(|provider| provider.name.as_str()).collect();
        known.sort_unstable();
        OrderError::UnknownProvider { name, known: known.join(", ") }
    }

    /// Orders whose time is over.
    pub(super) fn end_orders(&mut self, now: Timestamp) {
        for (provider, order) in self.orders.ended(now) {
            info!(%provider, order = order.kind.name(), by = order.by, reason = order.reason, "what was ordered has ended by itself");
            self.released(&provider, now);
            self.keep_order(provider, Vec::new(), None);
        }
    }

    fn released(&mut self, provider: &ProviderName, now: Timestamp) {
        // A drill has opened its breakers, and nothing is wrong with it.
        self.health.probe_at_once(provider, now);
        self.board.wake_provider(provider);
    }

    /// Has the queue keep an order, or forget it; then whoever gave it hears so.
    fn keep_order(
        &mut self,
        provider: ProviderName,
        record: Vec<u8>,
        told: Option<(Order, Answer<Result<Order, OrderError>>)>,
    ) {
        let kept = self.desk.queue.keep(format!("{KEPT}{provider}"), record);
        self.chores.spawn(async move {
            let kept = kept.await;
            if let Err(error) = &kept {
                error!(%provider, %error, "what is ordered of a provider cannot be written down: it holds until a restart");
            }
            if let Some((order, answer)) = told {
                let _ = answer.send(kept.map(|()| order).map_err(|error| OrderError::NotKept { provider, error }));
            }
            Done::Kept
        });
    }
}
