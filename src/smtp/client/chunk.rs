//! A whole message in one write: MAIL, RCPT and BDAT with all of the content behind them, where the server offers PIPELINING
//! and CHUNKING (RFC 3030, section 2; RFC 2920). It saves the round trip that DATA's go-ahead takes.
//!
//! What it costs: a connection that breaks while nothing was answered leaves the message `Unanswered`, where DATA would still
//! have been at its envelope. It is for the driver to say when that is no matter.

use super::{Action, Client, Running, State, Step, Verdict};
use crate::smtp::client::transaction::Next;
use crate::smtp::reply::Reply;

impl Client {
    /// A transaction with its content at hand goes out in one write. (RFC 2033 has replies to a chunk for each recipient;
    /// servers for internal delivery are near enough for DATA.)
    pub fn takes_chunks(&self) -> bool {
        self.offered.chunking && self.offered.pipelining && !self.settings.lmtp
    }

    /// The server offered CHUNKING and knows no BDAT.
    pub fn misread_chunk(&self) -> bool {
        self.misread_chunk
    }

    /// Commands and content are out together: replies to all of them may come at once, behind the last (RFC 2920, 3.2).
    pub fn sends_whole(&self) -> bool {
        matches!(self.state, State::SendingWhole(_) | State::ExpectWhole(_))
    }

    /// A reply to one of the commands. `sent`: the last octet of the content may have left; before that, nothing but the
    /// session's end can follow what decides the message.
    pub(super) fn reply_to_whole(&mut self, mut running: Running, sent: bool, reply: Reply, out: &mut Vec<Action>) {
        let step = running.at();
        let at_chunk = step == Step::Content;
        if reply.code == 421 && step == Step::Rcpt {
            // A server that goes on all the same takes the content for those that it took: that reply is waited for.
            running.leaves(reply.clone());
        } else if reply.code == 421 {
            running.decide_rest(&Verdict::Replied(step, reply));
            out.extend([Action::Finished(running.verdicts()), Action::Close]);
            return;
        } else {
            running.goes_on();
        }
        if at_chunk && running.is_taken() && is_misread(&reply) {
            // What it takes the content for, nobody knows: the message is not taken, and the session over.
            self.misread_chunk = true;
            self.state = State::SendingWhole(running);
            return self.senseless(reply, out);
        }
        let out_of_step = at_chunk && reply.is_positive() && (!sent || is_of_the_envelope(&reply));
        let back = if sent { State::ExpectWhole } else { State::SendingWhole };
        if out_of_step {
            self.state = back(running);
            return self.senseless(reply, out);
        }
        match running.reply(reply) {
            // Nothing that it could still say matters.
            Ok(Next::Await) if running.is_leaving() && running.is_decided() => {
                out.extend([Action::Finished(running.verdicts()), Action::Close]);
            }
            Ok(Next::Await) => self.state = back(running),
            Ok(_) if !sent || running.is_leaving() => out.extend([Action::Finished(running.verdicts()), Action::Close]),
            Ok(Next::Taken) => {
                out.push(Action::Finished(running.verdicts()));
                self.ready(out);
            }
            Ok(Next::Send | Next::Content | Next::LoneDot | Next::Done) => self.reset(running, out),
            Err(reply) => {
                self.state = back(running);
                self.senseless(reply, out);
            }
        }
    }
}

/// It says of BDAT that it knows no such command, or not this form or place of it.
fn is_misread(reply: &Reply) -> bool {
    let of_syntax = reply.status.is_some_and(|status| status.subject() == 5 && matches!(status.detail(), 1 | 2 | 4));
    matches!(reply.code, 500..=504 | 555) || reply.is_permanent() && of_syntax
}

/// Sender and recipient are what `x.1.z` is of (RFC 3463, section 3.2): one reply too many came before.
fn is_of_the_envelope(reply: &Reply) -> bool {
    reply.status.is_some_and(|status| status.subject() == 1)
}
