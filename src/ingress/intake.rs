//! Content on its way from the session into the queue.
//!
//! Promises:
//! - memory is bounded: the header section, and then `IN_MEMORY` octets; what is larger is written ahead as it comes;
//! - a fault is remembered and told at the end, for the client hears nothing before that;
//! - `Ok` means that the queue has it on disk, or that a route discards it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use tracing::info;

use super::head::{self, HeadFault, HeadReader, MOST_HEADER};
use super::legs::{self, Fate};
use super::limits::{self, Held};
use super::{Deps, author, refusal};
use crate::access::Senders;
use crate::audit::{Arrival, message_id};
use crate::mail::{BodyKind, Envelope, HeaderSection, Mid, Origin, Received, RouteName};
use crate::queue::{NewContent, NewMessage, QueueError, Spool};
use crate::smtp::reply::Reply;
use crate::smtp::server::Transaction;

/// Bodies up to this size stay in memory until the queue writes them.
const IN_MEMORY: usize = 128 * 1024;
/// Room for a body before its size is known.
const USUAL: usize = 4 * 1024;

/// One message on its way in.
pub(super) struct Intake {
    mid: Mid,
    began: Instant,
    envelope: Envelope,
    transaction: Transaction,
    /// What the header's From is held to.
    senders: Option<Arc<Senders>>,
    stage: Stage,
    memory: Held,
}

enum Stage {
    Head(HeadReader),
    Body(Box<Body>),
    Failed(Reply),
}

struct Body {
    header: HeaderSection,
    sink: Sink,
    size: u64,
}

enum Sink {
    Memory(BytesMut),
    Spool(Spool),
}

impl Intake {
    pub fn new(deps: &Deps, transaction: Transaction, origin: Origin) -> Self {
        Self::with_mid(deps, deps.next_mid(), transaction, origin)
    }

    pub fn with_mid(deps: &Deps, mid: Mid, mut transaction: Transaction, origin: Origin) -> Self {
        let now = deps.clock.now();
        Self {
            mid,
            began: Instant::now(),
            envelope: Envelope {
                reverse_path: transaction.reverse_path.take(),
                recipients: std::mem::take(&mut transaction.recipients),
                dsn: std::mem::take(&mut transaction.dsn),
                body: BodyKind::default(),
                smtputf8: transaction.smtputf8,
                origin,
                accepted_at: now,
                header_size: 0,
                size: 0,
            },
            transaction,
            senders: None,
            stage: Stage::Head(HeadReader::default()),
            memory: deps.limits.memory(),
        }
    }

    /// Only these may stand in the header's From.
    pub fn held_to(self, senders: Option<Arc<Senders>>) -> Self {
        Self { senders, ..self }
    }

    /// Takes a piece of content. Waits where the queue is slower than the client.
    pub async fn write(&mut self, deps: &Deps, octets: Bytes) {
        let held = match &self.stage {
            Stage::Head(reader) => reader.held() + octets.len(),
            Stage::Body(body) => body.held() + octets.len(),
            Stage::Failed(_) => 0,
        };
        if !self.memory.hold(held as u64) {
            self.stage = Stage::Failed(limits::no_memory());
        }
        let done = match &mut self.stage {
            Stage::Failed(_) => Ok(()),
            Stage::Body(body) => body.write(deps, self.mid, octets).await.map_err(|error| of_queue(&error)),
            Stage::Head(reader) => match reader.push(octets) {
                Ok(None) => Ok(()),
                Ok(Some(head)) => self.begin_body(deps, head).await,
                Err(fault) => Err(of_head(fault)),
            },
        };
        if let Err(reply) = done {
            self.stage = Stage::Failed(reply);
        }
    }

    /// The header section is whole: puts the relay's fields in front of it.
    async fn begin_body(&mut self, deps: &Deps, head: head::Head) -> Result<(), Reply> {
        if let Some(senders) = &self.senders {
            author::check(&head.section, senders)?;
        }
        let alone = match &self.envelope.recipients[..] {
            // Beyond ASCII only with SMTPUTF8 could it stand there; it tells nothing that the envelope does not.
            [only] if !only.address.needs_smtputf8() => Some(&only.address),
            _ => None,
        };
        let received = Received {
            helo: self.transaction.has_session().then_some(&self.transaction.helo),
            client: self.envelope.origin.client,
            by: deps.hostname.as_str(),
            protocol: self.transaction.protocol,
            mid: self.mid,
            recipient: alone,
            at: deps.clock.wall(),
        };
        let header = head::assemble(&head.section, &received, &deps.hostname).map_err(of_head)?;
        self.envelope.header_size = u32::try_from(header.octets().len()).unwrap_or(u32::MAX);
        let mut gathered = BytesMut::with_capacity(header.octets().len() + head.body.len().max(USUAL));
        gathered.extend_from_slice(header.octets());
        let size = gathered.len() as u64;
        let mut body = Body { sink: Sink::Memory(gathered), size, header };
        body.write(deps, self.mid, head.body).await.map_err(|error| of_queue(&error))?;
        self.stage = Stage::Body(Box::new(body));
        Ok(())
    }

    /// All content is in: routes it and stores it.
    pub async fn finish(self, deps: &Deps, kind: BodyKind) -> Result<Mid, Reply> {
        let listener = deps.counts.listeners.of(&self.envelope.origin.listener);
        let began = Instant::now();
        match self.store(deps, kind).await {
            Ok((mid, routes)) => {
                listener.took(began.elapsed());
                deps.counts.routed(&routes);
                Ok(mid)
            }
            Err(reply) => {
                listener.refused.add(1);
                Err(reply)
            }
        }
    }

    /// The id, and how many recipients each route has taken.
    async fn store(mut self, deps: &Deps, kind: BodyKind) -> Result<(Mid, Vec<(RouteName, usize)>), Reply> {
        if let Stage::Head(reader) = &mut self.stage {
            let head = std::mem::take(reader).end();
            if let Err(reply) = self.begin_body(deps, head).await {
                self.stage = Stage::Failed(reply);
            }
        }
        let body = match std::mem::replace(&mut self.stage, Stage::Head(HeadReader::default())) {
            Stage::Body(body) => body,
            Stage::Failed(reply) => return Err(self.refused(deps, reply).await),
            // `begin_body` leaves no head behind; were it so, nothing must be acknowledged.
            Stage::Head(_) => return Err(self.refused(deps, refusal(451, 3, 0, "Local error, try again later")).await),
        };
        self.envelope.body = kind;
        self.envelope.size = body.size;
        let notes = deps.notes();
        let id = if notes.are_on() { message_id(&body.header) } else { None };
        let protocol = if self.transaction.has_session() { self.transaction.protocol.keyword() } else { String::new() };
        let arrival = Arrival { protocol: &protocol, ..Arrival::default() };
        let (legs, discarded) = match legs::sort(&deps.table, &self.envelope, &body.header, deps.clock.now()) {
            Fate::Queue(legs, discarded) => (legs, discarded),
            Fate::Discard(routes) => {
                let arrival = Arrival { message_id: id.as_deref(), took: self.began.elapsed(), ..arrival };
                let note = notes.discarded(self.mid, &self.envelope, &routes, arrival, deps.table.revision());
                if notes.are_on()
                    && let Err(error) = deps.queue.note(note).await
                {
                    return Err(self.refused(deps, of_queue(&error)).await);
                }
                let routes: Vec<_> = routes.into_iter().map(|(route, indices)| (route, indices.len())).collect();
                self.log(&routes, "discarded");
                return Ok((self.mid, routes));
            }
            Fate::Refuse(reply) => return Err(self.refused(deps, reply).await),
        };
        let mut routes: Vec<(RouteName, usize)> = Vec::new();
        for leg in &legs {
            match routes.iter_mut().find(|(route, _)| *route == leg.lane.route) {
                Some((_, recipients)) => *recipients += leg.recipients.len(),
                None => routes.push((leg.lane.route.clone(), leg.recipients.len())),
            }
        }
        let content = match body.finish().await {
            Ok(content) => content,
            Err(error) => return Err(self.refused(deps, of_queue(&error)).await),
        };
        // The envelope goes to the queue; the log wants a little of it.
        let record = Record::of(&self.envelope, self.mid, self.began);
        let (message_id, took) = (id.as_deref(), self.began.elapsed());
        let arrival = Arrival { message_id, took, discarded: &discarded, ..arrival };
        let note = notes.accepted(self.mid, &self.envelope, &legs, arrival, deps.table.revision());
        let message = NewMessage { mid: self.mid, envelope: self.envelope, legs, content, note };
        match deps.queue.accept(message).await {
            Ok(()) => {
                record.accepted(&routes, "accepted");
                Ok((self.mid, routes))
            }
            Err(error) => {
                let reply = of_queue(&error);
                tracing::warn!(mid = %self.mid, %error, "the queue did not take a message");
                record.refused(&reply);
                Err(reply)
            }
        }
    }

    /// Content is refused: the trail hears of it, if it can.
    async fn refused(&self, deps: &Deps, reply: Reply) -> Reply {
        let arrival = Arrival { took: self.began.elapsed(), ..Arrival::default() };
        let note = deps.notes().refused(self.mid, &self.envelope, arrival, &reply.to_string());
        if !note.is_empty()
            && let Err(error) = deps.queue.note(note).await
        {
            tracing::warn!(mid = %self.mid, %error, "the audit trail lacks a refusal");
        }
        Record::of(&self.envelope, self.mid, self.began).refused(&reply);
        reply
    }

    fn log(&self, routes: &[(RouteName, usize)], what: &str) {
        Record::of(&self.envelope, self.mid, self.began).accepted(routes, what);
    }
}

impl Body {
    /// Octets in memory.
    fn held(&self) -> usize {
        match &self.sink {
            Sink::Memory(gathered) => gathered.len(),
            // A spool's buffer is as large as one that is not yet a spool.
            Sink::Spool(_) => self.header.octets().len() + IN_MEMORY,
        }
    }

    async fn write(&mut self, deps: &Deps, mid: Mid, octets: Bytes) -> Result<(), QueueError> {
        self.size += octets.len() as u64;
        let gathered = match &mut self.sink {
            Sink::Spool(spool) => return spool.write(octets).await,
            // Copied, so that the buffer into which the connection reads is free again.
            Sink::Memory(gathered) => gathered,
        };
        gathered.extend_from_slice(&octets);
        if gathered.len() > self.header.octets().len() + IN_MEMORY {
            let gathered = std::mem::take(gathered).freeze();
            let mut spool = deps.queue.spool(mid);
            let written = spool.write(gathered).await;
            self.sink = Sink::Spool(spool);
            return written;
        }
        Ok(())
    }

    async fn finish(self) -> Result<NewContent, QueueError> {
        match self.sink {
            Sink::Memory(gathered) => Ok(NewContent::Memory(gathered.freeze())),
            Sink::Spool(spool) => spool.finish().await.map(NewContent::Spooled),
        }
    }
}

/// What the log tells of a message: no content, no secrets.
struct Record {
    mid: Mid,
    from: String,
    origin: Origin,
    recipients: usize,
    size: u64,
    began: Instant,
}

impl Record {
    fn of(envelope: &Envelope, mid: Mid, began: Instant) -> Self {
        Self {
            mid,
            from: path(envelope.reverse_path.as_ref()),
            origin: envelope.origin.clone(),
            recipients: envelope.recipients.len(),
            size: envelope.size,
            began,
        }
    }

    fn accepted(&self, routes: &[(RouteName, usize)], what: &str) {
        let routes = routes.iter().map(|(route, _)| route.as_str()).collect::<Vec<_>>().join(",");
        info!(
            mid = %self.mid,
            listener = self.origin.listener,
            client = self.origin.client.map(tracing::field::display),
            user = self.origin.user,
            from = self.from,
            recipients = self.recipients,
            size = self.size,
            routes,
            duration_ms = millis(self.began.elapsed()),
            "message {what}"
        );
    }

    fn refused(&self, reply: &Reply) {
        info!(
            mid = %self.mid,
            listener = self.origin.listener,
            client = self.origin.client.map(tracing::field::display),
            user = self.origin.user,
            from = self.from,
            recipients = self.recipients,
            reply = %reply.to_string().trim_end(),
            duration_ms = millis(self.began.elapsed()),
            "message refused"
        );
    }
}

/// A reverse-path as it stands in logs.
pub(super) fn path(reverse_path: Option<&crate::mail::Address>) -> String {
    reverse_path.map_or_else(|| "<>".to_owned(), ToString::to_string)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn of_head(fault: HeadFault) -> Reply {
    match fault {
        HeadFault::TooLarge => refusal(
            552,
            3,
            4,
            format!("The header section is larger than the {MOST_HEADER} octets that are taken here"),
        ),
        HeadFault::Nul => refusal(550, 6, 0, "NUL in the header section"),
        HeadFault::Loop => refusal(554, 4, 6, "Too many hops: the message is in a loop"),
    }
}

/// Nothing is told of paths and causes on this side: those are for the log.
pub(super) fn of_queue(error: &QueueError) -> Reply {
    match error {
        QueueError::Full { .. } | QueueError::Write { .. } => {
            refusal(452, 3, 1, "The queue has no room, try again later")
        }
        QueueError::Laden { .. } => refusal(452, 3, 1, "The queue holds as much mail as it may, try again later"),
        QueueError::Closed => refusal(421, 3, 2, "The relay is shutting down, try again later"),
        QueueError::Read { .. } | QueueError::Open { .. } | QueueError::NoRoom { .. } | QueueError::InUse { .. } => {
            refusal(451, 3, 0, "Local error, try again later")
        }
    }
}
