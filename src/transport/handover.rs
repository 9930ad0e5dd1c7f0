//! Handing a message to an open session: its content piece by piece, and what is worth a second transaction.

use bytes::{Buf as _, Bytes, BytesMut};

use super::connection::Connection;
use super::flavor;
use super::verdict::is_throttling;
use super::{Attempt, Outcome, Progress};
use crate::config::Flavor;
use crate::mail::{BodyKind, Diagnosis, EnhancedStatus, Envelope, HeaderSection, Recipient, Severity, seven_bit};
use crate::queue::{Content, QueueError};
use crate::smtp::client::{Break, Capabilities, Failure, Need, Step, Verdict};

/// A message as it goes out.
pub(super) struct Outgoing<'a> {
    pub(super) envelope: &'a Envelope,
    pub(super) recipients: Vec<&'a Recipient>,
    /// Octets of the content as it is sent, before dot-stuffing.
    pub(super) size: u64,
    pub(super) utf8_header: bool,
    /// It may leave in one write, so that an end of the connection amid it is one more outcome of `unknown`.
    pub(super) at_once: bool,
    pub(super) progress: &'a Progress,
    content: &'a Content,
    /// Goes out in place of the stored header section.
    header: Option<Bytes>,
    /// Goes out in place of the stored content.
    converted: Option<Bytes>,
}

impl<'a> Outgoing<'a> {
    /// Reads the header section only where something depends on it. Fields that would steer the provider's own service are
    /// not for submitters to send: they are left out.
    pub(super) async fn new(attempt: &'a Attempt, flavor: Option<Flavor>) -> Result<Self, Outcome> {
        let envelope = &*attempt.envelope;
        let mut outgoing = Self {
            envelope,
            recipients: attempt.recipients().collect(),
            size: attempt.content.size(),
            utf8_header: false,
            at_once: attempt.at_once,
            progress: &attempt.progress,
            content: &attempt.content,
            header: None,
            converted: None,
        };
        if flavor.is_some() || envelope.smtputf8 {
            let header = HeaderSection::new(attempt.content.header().await.map_err(|error| unreadable(&error))?);
            // SMTPUTF8 is asked of the next hop where the message needs it, not because the client was able to
            // (RFC 6531, 3.4 and 3.6).
            outgoing.utf8_header = envelope.smtputf8 && !header.octets().is_ascii();
            if let Some(flavor) = flavor {
                let kept = header.without(|field| flavor::steers(flavor, field.name()));
                let gone = header.octets().len() - kept.octets().len();
                if gone > 0 {
                    outgoing.size = outgoing.size.saturating_sub(gone as u64);
                    outgoing.header = Some(kept.octets().clone());
                }
            }
        }
        Ok(outgoing)
    }

    /// Puts the content into the form that the server takes: bodies in ASCII where it has no 8BITMIME (RFC 6152, 3). All of
    /// the content is in memory then; servers of that kind are few.
    async fn fit(&mut self, offered: &Capabilities) -> Result<(), Verdict> {
        if self.envelope.body != BodyKind::EightBit || offered.eight_bit || self.converted.is_some() {
            return Ok(());
        }
        let lost = |how: String| Verdict::Lost(Failure::Broken { step: Step::Mail, how: Break::Content(how) });
        let mut pieces = self.content();
        let mut content = BytesMut::new();
        while let Some(piece) = pieces.next().await.map_err(|error| lost(error.to_string()))? {
            content.extend_from_slice(&piece);
        }
        let content = content.freeze();
        let converted = tokio::task::spawn_blocking(move || seven_bit(&content)).await;
        let converted = converted.map_err(|error| lost(error.to_string()))?;
        let converted = Bytes::from(converted.map_err(|unfit| Verdict::NotOffered(Need::EightBit(unfit)))?);
        self.size = converted.len() as u64;
        self.converted = Some(converted);
        Ok(())
    }

    pub(super) fn content(&self) -> Pieces<'a> {
        if let Some(converted) = &self.converted {
            return Pieces { content: None, next: 0, skip: 0, rest: converted.clone() };
        }
        let skip = if self.header.is_some() { self.content.header_size() } else { 0 };
        Pieces { content: Some(self.content), next: 0, skip, rest: self.header.clone().unwrap_or_default() }
    }
}

/// The content could not be read from the queue: no fault of the provider's.
fn unreadable(error: &QueueError) -> Outcome {
    Outcome::Deferred(Diagnosis::local(EnhancedStatus::new(Severity::Transient, 3, 0), error.to_string()))
}

/// Octets of a piece at most: so much at the end of a message may be in doubt when a connection breaks.
pub(super) const PIECE_SIZE: usize = 64 * 1024;

/// The content as it is sent, in pieces.
pub(super) struct Pieces<'a> {
    /// `None`: what is left is all there is.
    content: Option<&'a Content>,
    next: u32,
    /// Octets of the stored header section that are still to be passed over.
    skip: usize,
    /// What was read and not given out yet.
    rest: Bytes,
}

impl Pieces<'_> {
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, QueueError> {
        while self.rest.is_empty() {
            let Some(content) = self.content else { return Ok(None) };
            let Some(mut chunk) = content.chunk(self.next).await? else { return Ok(None) };
            self.next += 1;
            let passed = self.skip.min(chunk.len());
            self.skip -= passed;
            chunk.advance(passed);
            self.rest = chunk;
        }
        Ok(Some(self.rest.split_to(PIECE_SIZE.min(self.rest.len()))))
    }
}

/// One verdict for each recipient. Recipients that were one too many for the transaction get another one at once
/// (RFC 5321, 4.5.3.1.10), as long as each brings some of them through.
pub(super) async fn hand_over(connection: &mut Connection, mut outgoing: Outgoing<'_>) -> Vec<Verdict> {
    if let Err(verdict) = outgoing.fit(connection.offered()).await {
        return vec![verdict; outgoing.recipients.len()];
    }
    let mut verdicts = connection.hand_over(&outgoing).await;
    let all = outgoing.recipients.clone();
    let mut took_some = verdicts.iter().any(is_taken);
    loop {
        let left: Vec<usize> = (0..verdicts.len()).filter(|&n| is_one_too_many(&verdicts[n])).collect();
        if left.is_empty() || !took_some || !connection.is_ready() {
            return verdicts;
        }
        outgoing.recipients = left.iter().filter_map(|&n| all.get(n).copied()).collect();
        let next = connection.hand_over(&outgoing).await;
        took_some = next.iter().any(is_taken);
        for (n, verdict) in left.into_iter().zip(next) {
            verdicts[n] = verdict;
        }
    }
}

fn is_taken(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Replied(Step::Content, reply) if reply.is_positive())
}

/// `452 4.5.3`, bare 452 and, from servers of old, bare 552 (RFC 5321, 4.5.3.1.10).
pub(super) fn is_one_too_many(verdict: &Verdict) -> bool {
    let Verdict::Replied(Step::Rcpt, reply) = verdict else { return false };
    match (reply.code, reply.status) {
        (452 | 552, None) => true,
        (452 | 552, Some(status)) => (status.subject(), status.detail()) == (5, 3),
        _ => false,
    }
}

/// A kept connection turned out to be dead, before the server took anything in: a new one deserves a try.
pub(super) fn was_stale(verdicts: &[Verdict]) -> bool {
    verdicts.iter().all(|verdict| match verdict {
        Verdict::Replied(Step::Mail, reply) => reply.code == 421,
        Verdict::Lost(Failure::Broken { step: Step::Mail, how: Break::Closed | Break::Io(_) }) => true,
        Verdict::Replied(..) | Verdict::Lost(_) | Verdict::Unanswered(_) | Verdict::NotOffered(_) => false,
    })
}

/// The host went away, or said that it does (421), before it took anything in: another host of the domain may do better
/// (RFC 5321, 5.1). Time-outs are not among these: each further host would cost as long.
pub(super) fn left(verdicts: &[Verdict]) -> bool {
    verdicts.iter().all(|verdict| match verdict {
        Verdict::Replied(Step::Mail | Step::Rcpt | Step::Data, reply) => reply.code == 421 && !is_throttling(reply),
        Verdict::Lost(Failure::Broken { how: Break::Closed | Break::Io(_), .. }) => true,
        Verdict::Replied(..) | Verdict::Lost(_) | Verdict::Unanswered(_) | Verdict::NotOffered(_) => false,
    })
}
