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

    /// A reply to one of the commands. `sent`: the last octet of the content may have left; before that, nothing but the
    /// session's end can follow what decides the message.
    pub(super) fn reply_to_whole(&mut self, mut running: Running, sent: bool, reply: Reply, out: &mut Vec<Action>) {
        let step = running.at();
        if reply.code == 421 {
            // The server is closing, whatever it was asked (RFC 5321, 4.2.3).
            running.decide_rest(&Verdict::Replied(step, reply));
            out.extend([Action::Finished(running.verdicts()), Action::Close]);
            return;
        }
        let at_chunk = step == Step::Content;
        if at_chunk && running.is_taken() && matches!(reply.code, 500 | 502..=504) {
            // What it takes the content for, nobody knows: the message is not taken, and the session over.
            self.misread_chunk = true;
            self.state = State::SendingWhole(running);
            return self.senseless(reply, out);
        }
        if at_chunk && !sent && reply.is_positive() {
            self.state = State::SendingWhole(running);
            return self.senseless(reply, out);
        }
        match running.reply(reply) {
            Ok(Next::Await) if sent => self.state = State::ExpectWhole(running),
            Ok(Next::Await) => self.state = State::SendingWhole(running),
            Ok(_) if !sent => out.extend([Action::Finished(running.verdicts()), Action::Close]),
            Ok(Next::Taken) => {
                out.push(Action::Finished(running.verdicts()));
                self.ready(out);
            }
            Ok(Next::Send | Next::Content | Next::LoneDot | Next::Done) => self.reset(running, out),
            Err(reply) => {
                self.state = if sent { State::ExpectWhole(running) } else { State::SendingWhole(running) };
                self.senseless(reply, out);
            }
        }
    }
}
