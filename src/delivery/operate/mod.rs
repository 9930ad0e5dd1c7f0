//! What a person does to the queue: looks at it, and changes what waits in it, while the relay runs or with it stopped.
//!
//! Promises:
//! - what is acknowledged is on disk, by the way that outcomes take;
//! - a leg is changed under its lease, so that no attempt is made of what is being changed; one in an attempt is left alone, and
//!   that is told;
//! - work is done in steps of a bounded size: memory does not grow with what is looked at;
//! - dropped between two awaits, it gives back each lease that it has.

mod acts;
mod export;
mod form;
mod record;
mod select;
mod show;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::{Duration, sleep};

use super::Settings;
use super::control::Control;
use super::desk::{Desk, Rules};
use super::recall::{Leased, Recalled};
use crate::audit::Notes;
use crate::mail::{Domain, Mid, MidSource, ProviderName, Timestamp};
use crate::os::Clock;
use crate::queue::{Amounts, Found, Queue, QueueError, Wanted};
use crate::routing::Table;

pub use export::{ORIGIN, head as export_head};
pub use form::{
    Act, ActAnswer, ActRequest, Count, Entry, Filter, InAttempt, LegShown, Message, Page, PassedShown, RecipientShown,
    Refused, State,
};
pub use record::{By, Deed, record_import};
pub use select::Cursor;

/// Entries of a part of the list where nothing is said, and at most.
pub const USUAL_PART: usize = 100;
pub const LARGEST_PART: usize = 1000;
/// Legs that one step of an act takes on.
const LEGS: usize = 1024;
/// Messages that one request names.
const MIDS: usize = 10_000;
/// How long an act waits, in turns, for legs that are in hand: most attempts are over by then.
const TURNS: [Duration; 4] =
    [Duration::from_millis(10), Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(700)];

/// Why it was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OperateError {
    /// It cannot be what was meant.
    #[error("{0}")]
    Asked(String),
    #[error("no message {0} is in the queue: it was delivered, bounced or deleted, or never came here")]
    NoMessage(Mid),
    #[error("{0}")]
    Queue(#[from] QueueError),
}

/// A handle; clones are the same.
#[derive(Clone)]
pub struct Operator {
    pub(super) desk: Arc<Desk<Queue>>,
    /// The running scheduler, which has legs in hand.
    control: Option<Control>,
}

/// What is needed where no relay runs.
pub struct Offline {
    pub queue: Queue,
    pub table: Arc<Table>,
    pub clock: Clock,
    pub mids: Arc<MidSource>,
    pub settings: Settings,
}

impl Operator {
    pub(super) fn online(desk: Arc<Desk<Queue>>, control: Control) -> Self {
        Self { desk, control: Some(control) }
    }

    /// On a queue that no relay has open.
    pub fn offline(parts: Offline) -> Self {
        let Offline { queue, table, clock, mids, settings } = parts;
        let rules = ArcSwap::from_pointee(Rules { table, settings });
        Self { desk: Arc::new(Desk { queue, clock, mids, meter: Arc::default(), rules }), control: None }
    }

    pub fn queue(&self) -> &Queue {
        &self.desk.queue
    }

    /// In force.
    pub fn table(&self) -> Arc<Table> {
        self.desk.rules().table.clone()
    }

    pub fn clock(&self) -> &Clock {
        &self.desk.clock
    }

    pub fn mids(&self) -> &MidSource {
        &self.desk.mids
    }

    /// Of what is done, for the trail.
    pub fn notes(&self) -> Notes {
        self.desk.rules().settings.notes
    }

    pub fn hostname(&self) -> Domain {
        self.desk.rules().settings.hostname.clone()
    }

    /// A part of the list, of `most` entries at most.
    pub async fn list(&self, filter: &Filter, after: Option<&str>, most: usize) -> Result<Page, OperateError> {
        let Selection { wanted, began, mut after } = self.selection(filter, after)?;
        let most = most.clamp(1, LARGEST_PART);
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let step = self.desk.queue.find(&wanted, after, most - entries.len()).await?;
            for found in step.found {
                if entries.len() == most {
                    return Ok(Page { entries, next: after.map(|behind| Cursor { behind, began }.to_string()) });
                }
                after = Some((found.mid, found.number));
                entries.push(show::entry(&found));
            }
            after = step.next;
            if after.is_none() || entries.len() == most {
                return Ok(Page { entries, next: after.map(|behind| Cursor { behind, began }.to_string()) });
            }
        }
    }

    pub async fn count(&self, filter: &Filter) -> Result<Count, OperateError> {
        let Selection { wanted, mut after, .. } = self.selection(filter, None)?;
        let mut amounts = Amounts::default();
        loop {
            let step = self.desk.queue.count(&wanted, after).await?;
            amounts.add(step.found);
            after = step.next;
            if after.is_none() {
                let Amounts { messages, recipients, octets } = amounts;
                return Ok(Count { messages, recipients, octets });
            }
        }
    }

    /// What an act would be done with: these messages' parts that the filter chooses.
    pub async fn count_of(&self, request: &ActRequest) -> Result<Count, OperateError> {
        self.check(request)?;
        if request.mids.is_empty() {
            return self.count(&request.filter).await;
        }
        let wanted = self.selection(&request.filter, None)?.wanted;
        let mut amounts = Amounts::default();
        for mid in &request.mids {
            let wanted = Arc::new((*wanted).clone().of(select::mid(mid)?));
            amounts.add(self.desk.queue.count(&wanted, None).await?.found);
        }
        let Amounts { messages, recipients, octets } = amounts;
        Ok(Count { messages, recipients, octets })
    }

    pub async fn show(&self, mid: &str) -> Result<Message, OperateError> {
        let mid = select::mid(mid)?;
        let listed = self.desk.queue.message(mid).await?.ok_or(OperateError::NoMessage(mid))?;
        let header = self.desk.queue.content(mid, &listed.envelope).header().await;
        Ok(show::message(self, mid, &listed, header.ok()))
    }

    /// Does one step of it. With a filter there is more to do while the answer has a `next`.
    pub async fn act(&self, request: &ActRequest, by: &By) -> Result<ActAnswer, OperateError> {
        self.check(request)?;
        let Selection { wanted, began, after } = self.selection(&request.filter, request.after.as_deref())?;
        let mut answer = ActAnswer::default();
        let order = acts::Order::new(self, request, by)?;
        if request.mids.is_empty() {
            let step = self.desk.queue.find(&wanted, after, LEGS).await?;
            // What its legs became has higher numbers, and is behind the message as well.
            answer.next = step.next.map(|(mid, _)| Cursor { behind: (mid, u32::MAX), began }.to_string());
            self.perform(&order, step.found, &wanted, &mut answer).await?;
            return Ok(answer);
        }
        let mut found = Vec::new();
        for text in &request.mids {
            let mid = select::mid(text)?;
            let of_one = Arc::new((*wanted).clone().of(mid));
            let step = self.desk.queue.find(&of_one, None, usize::MAX).await?;
            if step.found.is_empty() && self.desk.queue.message(mid).await?.is_none() {
                answer.missing.push(text.clone());
            }
            found.extend(step.found);
            if found.len() >= LEGS {
                self.perform(&order, std::mem::take(&mut found), &wanted, &mut answer).await?;
            }
        }
        self.perform(&order, found, &wanted, &mut answer).await?;
        Ok(answer)
    }

    fn check(&self, request: &ActRequest) -> Result<(), OperateError> {
        let asked = |text: &str| Err(OperateError::Asked(text.to_owned()));
        if request.mids.is_empty() && request.filter.is_empty() && !request.all {
            return asked("say which mail: message ids, a filter, or all of it");
        }
        if request.mids.len() > MIDS {
            return asked("no more than 10000 message ids in one request");
        }
        Ok(())
    }

    fn selection(&self, filter: &Filter, after: Option<&str>) -> Result<Selection, OperateError> {
        let cursor = after.map(str::parse::<Cursor>).transpose()?;
        let began = cursor.map_or_else(|| self.desk.clock.now(), |cursor| cursor.began);
        let wanted = select::wanted(filter, &self.table(), began)?;
        Ok(Selection { wanted: Arc::new(wanted), began, after: cursor.map(|cursor| cursor.behind) })
    }

    /// Does it with all that was found, and tells what of it could not be had.
    async fn perform(
        &self,
        order: &acts::Order<'_>,
        mut found: Vec<Found>,
        wanted: &Arc<Wanted>,
        answer: &mut ActAnswer,
    ) -> Result<(), OperateError> {
        let mut touched: Vec<Mid> = Vec::new();
        let mut turns = TURNS.iter();
        while !found.is_empty() {
            let had = self.take(&found).await?;
            order.carry_out(had.leased, wanted, answer, &mut touched).await?;
            if had.missed.is_empty() {
                break;
            }
            let Some(turn) = turns.next() else {
                // It is told who has them; those that are merely on their way through memory count as well.
                for missed in &found {
                    let id = (missed.mid, missed.number);
                    if had.missed.contains(&id) {
                        let provider =
                            had.under_way.iter().find(|(leg, _)| *leg == id).map(|(_, name)| name.to_string());
                        let recipients = missed.chosen.len() as u64;
                        answer.in_attempt.push(InAttempt { mid: missed.mid.to_string(), recipients, provider });
                    }
                }
                break;
            };
            sleep(*turn).await;
            found = self.again(&had.missed, wanted).await?;
        }
        touched.sort_unstable();
        touched.dedup();
        answer.messages += touched.len() as u64;
        Ok(())
    }

    /// Leases what is free, and what the scheduler has in hand and not begun.
    async fn take(&self, found: &[Found]) -> Result<Had, OperateError> {
        let ids: Vec<(Mid, u32)> = found.iter().map(|found| (found.mid, found.number)).collect();
        let claims = self.desk.queue.claim_these(ids.clone()).await?;
        let mut leased = Leased::of(&self.desk.queue, claims);
        let had = |leased: &[Leased]| leased.iter().map(Leased::id).collect::<std::collections::HashSet<_>>();
        let first = had(&leased);
        let mut missed: Vec<_> = ids.into_iter().filter(|id| !first.contains(id)).collect();
        let mut under_way = Vec::new();
        if let Some(control) = &self.control
            && !missed.is_empty()
            && let Ok(Recalled { handed, flying }) = control.recall(missed.clone()).await
        {
            let second = had(&handed);
            missed.retain(|id| !second.contains(id));
            leased.extend(handed);
            under_way = flying;
        }
        Ok(Had { leased, missed, under_way })
    }

    /// What has become of legs that could not be had.
    async fn again(&self, missed: &[(Mid, u32)], wanted: &Arc<Wanted>) -> Result<Vec<Found>, OperateError> {
        let mut mids: Vec<Mid> = missed.iter().map(|(mid, _)| *mid).collect();
        mids.dedup();
        let mut found = Vec::new();
        for mid in mids {
            let of_one = Arc::new((**wanted).clone().of(mid));
            let legs = self.desk.queue.find(&of_one, None, usize::MAX).await?.found;
            // What was done with others of the message is found again, and nothing is to be done with it any more.
            found.extend(legs);
        }
        Ok(found)
    }
}

/// What a filter and a cursor mean.
struct Selection {
    wanted: Arc<Wanted>,
    began: Timestamp,
    after: Option<(Mid, u32)>,
}

/// What of the legs could be had.
struct Had {
    leased: Vec<Leased>,
    missed: Vec<(Mid, u32)>,
    under_way: Vec<((Mid, u32), ProviderName)>,
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator").field("queue", &self.desk.queue).finish_non_exhaustive()
    }
}
