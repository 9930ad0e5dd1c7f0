//! Small mail in one write with its commands, by BDAT: when that may be, and what a server that does not bear it well costs.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::{Connection, Written};
use crate::queue::QueueError;
use crate::smtp::client::{Break, Failure, Garbage, Input, Step, Verdict};
use crate::transport::handover::{Outgoing, PIECE_SIZE};

/// A server that said something so lately is not about to close for want of mail.
const FRESH: Duration = Duration::from_secs(2);

/// Mail goes by DATA so long, after a server has ended a session at a message without a word.
const AFTER_SILENCE: Duration = Duration::from_secs(10 * 60);
/// And after one has shown that it does not know what it offers.
const AFTER_MISREADING: Duration = Duration::from_secs(24 * 3600);

/// Whether a provider's mail may leave that way: where its operator says so, and as long as its servers bear it.
pub(in crate::transport) struct Chunks {
    wanted: bool,
    /// Not before then.
    rests: Mutex<Option<Instant>>,
}

impl Chunks {
    pub(in crate::transport) fn new(wanted: bool) -> Self {
        Self { wanted, rests: Mutex::new(None) }
    }

    fn go(&self) -> bool {
        let rests = || *self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        self.wanted && rests().is_none_or(|until| Instant::now() >= until)
    }

    fn rest(&self, server: &str, span: Duration, why: &str) {
        // Those that were under way find out the same: once is enough to say.
        if self.go() {
            tracing::warn!(server, minutes = span.as_secs() / 60, "{why}: mail goes by DATA for a while");
        }
        let mut rests = self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        // The longer one stands.
        *rests = (*rests).max(Some(Instant::now() + span));
    }
}

impl Connection {
    /// The content, if it may leave in one write with the commands before it.
    pub(super) async fn whole(&self, outgoing: &Outgoing<'_>) -> Result<Option<VecDeque<Bytes>>, QueueError> {
        let fits = outgoing.at_once && outgoing.size <= PIECE_SIZE as u64;
        if !fits || !self.client.takes_chunks() || !self.opener.chunks.go() || self.heard.elapsed() >= FRESH {
            return Ok(None);
        }
        let (mut pieces, mut source) = (VecDeque::new(), outgoing.content());
        while let Some(piece) = source.next().await? {
            pieces.push_back(piece);
        }
        Ok(Some(pieces))
    }

    /// Writes commands and content. What the server says meanwhile is heard when all is written, or cannot be.
    pub(super) async fn send_whole(&mut self, mut pieces: VecDeque<Bytes>) {
        let Some(stream) = &mut self.stream else { return };
        let written = timeout(self.opener.timeouts.content, stream.write(&mut pieces, &mut self.unread, false)).await;
        if pieces.is_empty() {
            self.step(Input::EndOfContent);
        }
        match written {
            Ok(Ok(Written::All | Written::Heard)) => self.listen(),
            Ok(Err(error)) => self.broken(Break::Io(error.to_string())),
            Err(_) => self.broken(Break::TimedOut),
        }
    }

    /// What a message that left that way came to, once more. `silent`: nothing of it was answered.
    pub(super) fn judge_whole(&mut self, verdicts: &mut [Verdict], silent: bool) {
        if !self.unread.is_empty() {
            // More replies than commands: which of them was the answer to the content, nobody knows. DATA would have been
            // out of step at its 354.
            let garbage = Garbage::surplus(&self.unread);
            for verdict in verdicts.iter_mut() {
                if matches!(verdict, Verdict::Replied(Step::Content, reply) if reply.is_positive()) {
                    *verdict = Verdict::Unanswered(Failure::Garbage { step: Step::Content, garbage: garbage.clone() });
                }
            }
            self.stream = None;
        }
        if self.client.misread_chunk() {
            self.opener.chunks.rest(&self.name, AFTER_MISREADING, "the server offers CHUNKING and takes no BDAT");
        } else if silent && verdicts.iter().any(|verdict| matches!(verdict, Verdict::Unanswered(_))) {
            // By DATA it would have been at its envelope, and gone to another session.
            self.opener.chunks.rest(&self.name, AFTER_SILENCE, "the server ended a session without a word");
        }
    }
}
