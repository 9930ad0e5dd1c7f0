//! How others ask and steer delivery while it runs: requests into the scheduler's one task, which stays the sole owner of its
//! state and answers each between two events of its own.

use tokio::sync::{mpsc, oneshot};

use super::backlog::Backlog;
use super::change::Change;
use super::scheduler::Scheduler;
use super::snapshot::Snapshot;

/// Requests that wait; whoever comes then waits to ask.
const WAITING: usize = 64;

/// A handle; clones ask the same scheduler.
#[derive(Debug, Clone)]
pub struct Control(mpsc::Sender<Request>);

/// Delivery has ended, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the relay is stopping: delivery answers no more")]
pub struct Stopped;

/// One thing that is asked.
pub(super) enum Request {
    Snapshot(oneshot::Sender<Snapshot>),
    Change(Box<Change>, oneshot::Sender<()>),
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

    /// Has delivery go by a changed configuration. From its return on, whatever is claimed from the queue is routed by it.
    /// Dropped after the send, the change takes place.
    pub async fn change(&self, change: Change) -> Result<(), Stopped> {
        self.ask(|answer| Request::Change(Box::new(change), answer)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.0.send(request(answer)).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }
}

impl<Q: Backlog> Scheduler<Q> {
    pub(super) fn answer(&mut self, request: Request) {
        let now = self.desk.clock.now();
        match request {
            // Whoever asked may have gone.
            Request::Snapshot(answer) => drop(answer.send(self.snapshot(now))),
            Request::Change(change, answer) => {
                self.change(*change, now);
                let _ = answer.send(());
            }
        }
    }
}
