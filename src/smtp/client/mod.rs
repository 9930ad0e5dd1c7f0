//! The client's side of an SMTP session, without I/O (RFC 5321, section 4): greeting, EHLO, STARTTLS, AUTH, then any
//! number of transactions.
//!
//! Invariants:
//! - what the server sends is taken only while a reply is due; anything that is no reply ends the session;
//! - octets that came before TLS are dropped (RFC 3207, 4.2), and what was offered then is forgotten;
//! - a password goes out only under TLS, or where the settings say that clear is safe;
//! - DATA's content is sent only where the server took a recipient (RFC 5321, 3.3; RFC 2920, 3.1); a chunk leaves with
//!   the commands before it, and a server that takes none of them drops it (RFC 3030, section 2);
//! - LMTP's replies to the content are each one recipient's, in the order of RCPT (RFC 2033, 4.2);
//! - each recipient of a transaction gets exactly one verdict, in the order given; a verdict of `Unanswered` means that
//!   the last octet of the content may have left, any other that what it says is certain.

mod capability;
mod chunk;
mod opening;
mod replies;
mod status;
mod stuffing;
#[cfg(test)]
mod tests;
mod transaction;
mod verdict;

use bytes::{Bytes, BytesMut};

use crate::config::Secret;
use crate::mail::{Domain, Envelope, Recipient};
use crate::smtp::reply::Reply;

pub use capability::Capabilities;
pub use replies::Garbage;
pub use status::status_of;
pub use stuffing::Stuffing;
pub use verdict::{Break, Failure, Need, Step, Verdict};

use opening::Auth;
use replies::Replies;
use transaction::{Next, Running};

/// What the driver tells the machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// What the server sent and was not taken yet; whole replies are taken off its front.
    Octets(&'a mut BytesMut),
    /// The handshake that `Action::StartTls` asked for is done.
    TlsUp,
    /// Hand over a message. Only while the machine is idle.
    Transaction(Transaction<'a>),
    /// All of the content has been sent; its end (`Stuffing::end`; the last octet of a chunk) is about to be.
    EndOfContent,
    /// Take leave. Only while the machine is idle.
    Quit,
    /// The connection is of no more use.
    Broken(Break),
}

/// What the driver has to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Send(Bytes),
    StartTls,
    /// The session is open and idle: a transaction may follow.
    Ready,
    /// Send the content, dot-stuffed; then `Input::EndOfContent`, then its end.
    SendContent,
    /// Send these commands and, in the same write, the content as it is; with its last octet `Input::EndOfContent`.
    SendWhole(Bytes),
    /// The transaction is over: one verdict for each of its recipients.
    Finished(Vec<Verdict>),
    /// The session did not come about.
    Failed(Failure),
    Close,
}

/// How the session is to be opened.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name given in EHLO.
    pub hostname: Domain,
    /// RFC 2033: LHLO, and a reply to the content for each recipient that was taken.
    pub lmtp: bool,
    pub starttls: StartTls,
    /// TLS is up from the start.
    pub secured: bool,
    pub login: Option<Login>,
    /// The password may go out without TLS: the server is on this machine.
    pub clear_login: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartTls {
    Never,
    IfOffered,
    Required,
}

#[derive(Debug, Clone)]
pub struct Login {
    pub username: String,
    pub password: Secret,
}

/// A message to hand over: its envelope, and which recipients of it.
#[derive(Debug, Clone, Copy)]
pub struct Transaction<'a> {
    pub envelope: &'a Envelope,
    pub recipients: &'a [&'a Recipient],
    /// Octets of the content before dot-stuffing (RFC 1870, section 5).
    pub size: u64,
    /// The header section itself is beyond ASCII (RFC 6532); addresses are seen to by the machine.
    pub utf8_header: bool,
    /// So many octets of content, all of it, are at hand to follow the commands at once. Goes by where the server takes no
    /// chunks (`Client::takes_chunks`).
    pub chunk: Option<usize>,
}

/// The session.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    state: State,
    replies: Replies,
    offered: Capabilities,
    taken: u64,
    misread_chunk: bool,
}

#[derive(Debug)]
enum State {
    ExpectGreeting,
    ExpectEhlo,
    ExpectHelo,
    ExpectStartTls,
    Handshake,
    ExpectAuth(Auth),
    Idle,
    /// MAIL, RCPT and DATA are on their way.
    ExpectEnvelope(Running),
    SendingContent(Running),
    ExpectFinal(Running),
    /// Commands and content are on their way together, in one chunk.
    SendingWhole(Running),
    ExpectWhole(Running),
    ExpectReset,
    ExpectQuit,
    Over,
}

impl Client {
    /// A session on a fresh connection: the server speaks first.
    pub fn new(settings: Settings) -> Self {
        let (replies, offered) = (Replies::default(), Capabilities::default());
        Self { settings, state: State::ExpectGreeting, replies, offered, taken: 0, misread_chunk: false }
    }

    pub fn offered(&self) -> &Capabilities {
        &self.offered
    }

    pub fn is_secured(&self) -> bool {
        self.settings.secured
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Replies taken so far: each one starts the wait for the next anew.
    pub fn replies_taken(&self) -> u64 {
        self.taken
    }

    /// Where the dialogue stands: what a time-out would be a time-out of.
    pub fn at(&self) -> Step {
        match &self.state {
            State::ExpectGreeting => Step::Greeting,
            State::ExpectEhlo | State::ExpectHelo if self.settings.secured => Step::SecureHello,
            State::ExpectEhlo | State::ExpectHelo => Step::Hello,
            State::ExpectStartTls | State::Handshake => Step::StartTls,
            State::ExpectAuth(_) => Step::Auth,
            State::ExpectEnvelope(running) | State::SendingWhole(running) | State::ExpectWhole(running) => running.at(),
            State::SendingContent(_) | State::ExpectFinal(_) => Step::Content,
            State::ExpectReset => Step::Reset,
            State::Idle | State::ExpectQuit | State::Over => Step::Quit,
        }
    }

    /// Takes what it can use, appends what the driver must do, in order. Never waits, never fails: a bad server is
    /// ordinary input.
    pub fn step(&mut self, input: Input<'_>, out: &mut Vec<Action>) {
        match input {
            Input::Octets(octets) => self.octets(octets, out),
            Input::TlsUp => self.tls_up(out),
            Input::Transaction(transaction) => self.begin(transaction, out),
            Input::EndOfContent => {
                self.state = match self.take() {
                    State::SendingContent(running) => State::ExpectFinal(running),
                    State::SendingWhole(running) => State::ExpectWhole(running),
                    state => state,
                };
            }
            Input::Quit => {
                self.state = State::ExpectQuit;
                out.push(Action::Send(Bytes::from_static(b"QUIT\r\n")));
            }
            Input::Broken(how) => {
                let step = self.at();
                self.fail(Failure::Broken { step, how }, out);
            }
        }
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Over)
    }

    fn octets(&mut self, octets: &mut BytesMut, out: &mut Vec<Action>) {
        match self.state {
            State::Over | State::Handshake => return,
            // Nothing was asked: a server that is about to close, or a broken one. Either way the session is over.
            State::Idle if !octets.is_empty() => {
                self.state = State::Over;
                out.push(Action::Close);
                return;
            }
            State::SendingContent(_) => return self.early(octets, out),
            _ => {}
        }
        while !matches!(self.state, State::Idle | State::Handshake | State::SendingContent(_) | State::Over) {
            match self.replies.next(octets) {
                Ok(Some(reply)) => self.reply(reply, octets, out),
                Ok(None) => return,
                Err(garbage) => self.fail(Failure::Garbage { step: self.at(), garbage }, out),
            }
        }
    }

    /// A reply before the content's end: a refusal counts, and the only way out of DATA is to close.
    fn early(&mut self, octets: &mut BytesMut, out: &mut Vec<Action>) {
        match self.replies.next(octets) {
            Ok(None) => {}
            Ok(Some(reply)) if reply.is_transient() || reply.is_permanent() => {
                if let State::SendingContent(mut running) = self.take() {
                    if self.settings.lmtp {
                        // One recipient's; the others do not get theirs.
                        running.decide_next(Verdict::Replied(Step::Content, reply));
                        let how = Break::Closed;
                        running.decide_rest(&Verdict::Lost(Failure::Broken { step: Step::Content, how }));
                    } else {
                        running.decide_rest(&Verdict::Replied(Step::Content, reply));
                    }
                    out.extend([Action::Finished(running.verdicts()), Action::Close]);
                }
            }
            Ok(Some(reply)) => self.senseless(reply, out),
            Err(garbage) => self.fail(Failure::Garbage { step: Step::Content, garbage }, out),
        }
    }

    fn reply(&mut self, reply: Reply, octets: &mut BytesMut, out: &mut Vec<Action>) {
        self.taken += 1;
        match self.take() {
            State::ExpectGreeting => {
                self.state = State::ExpectGreeting;
                self.greeting(reply, out);
            }
            State::ExpectEhlo => {
                self.state = State::ExpectEhlo;
                self.ehlo(reply, out);
            }
            State::ExpectHelo => {
                self.state = State::ExpectHelo;
                self.helo(reply, out);
            }
            State::ExpectStartTls => {
                self.state = State::ExpectStartTls;
                self.starttls(reply, octets, out);
            }
            State::ExpectAuth(auth) => self.auth(auth, reply, out),
            State::ExpectEnvelope(running) => self.envelope(running, reply, out),
            State::ExpectFinal(running) => self.final_reply(running, reply, out),
            State::SendingWhole(running) => self.reply_to_whole(running, false, reply, out),
            State::ExpectWhole(running) => self.reply_to_whole(running, true, reply, out),
            State::ExpectReset if reply.is_positive() => self.ready(out),
            State::ExpectReset | State::ExpectQuit => out.push(Action::Close),
            state @ (State::Handshake | State::Idle | State::SendingContent(_) | State::Over) => self.state = state,
        }
    }

    fn begin(&mut self, transaction: Transaction<'_>, out: &mut Vec<Action>) {
        if !self.is_idle() {
            let lost = Verdict::Lost(Failure::Broken { step: Step::Mail, how: Break::Closed });
            out.extend([Action::Finished(vec![lost; transaction.recipients.len()]), Action::Close]);
            return;
        }
        let chunk = transaction.chunk.filter(|_| self.takes_chunks());
        let mut running = Running::new(&transaction, &self.offered, chunk);
        if running.is_decided() {
            out.extend([Action::Finished(running.verdicts()), Action::Ready]);
            return;
        }
        let commands = running.send(self.offered.pipelining);
        if chunk.is_some() {
            out.push(Action::SendWhole(commands));
            self.state = State::SendingWhole(running);
        } else {
            out.push(Action::Send(commands));
            self.state = State::ExpectEnvelope(running);
        }
    }

    fn envelope(&mut self, mut running: Running, reply: Reply, out: &mut Vec<Action>) {
        let step = running.at();
        if reply.code == 421 {
            // The server is closing, whatever it was asked (RFC 5321, 4.2.3).
            running.decide_rest(&Verdict::Replied(step, reply));
            out.extend([Action::Finished(running.verdicts()), Action::Close]);
            return;
        }
        match running.reply(reply) {
            Ok(Next::Await) => self.state = State::ExpectEnvelope(running),
            Ok(Next::Send) => {
                out.push(Action::Send(running.send(self.offered.pipelining)));
                self.state = State::ExpectEnvelope(running);
            }
            Ok(Next::Content) => {
                out.push(Action::SendContent);
                self.state = State::SendingContent(running);
            }
            // DATA was taken although no recipient was (RFC 2920, 3.1).
            // LMTP has no reply for a dot behind no recipients (RFC 2033, 4.2): nothing more can be told apart here.
            Ok(Next::LoneDot) if self.settings.lmtp => {
                out.extend([Action::Finished(running.verdicts()), Action::Close]);
            }
            Ok(Next::LoneDot) => {
                out.push(Action::Send(Bytes::from_static(b".\r\n")));
                self.state = State::ExpectEnvelope(running);
            }
            Ok(Next::Taken | Next::Done) => self.reset(running, out),
            Err(reply) => {
                self.state = State::ExpectEnvelope(running);
                self.fail(Failure::Garbage { step, garbage: Garbage::Senseless(reply) }, out);
            }
        }
    }

    /// The reply to the content: whatever it is, the server's transaction is over (RFC 5321, 4.1.1.4).
    fn final_reply(&mut self, mut running: Running, reply: Reply, out: &mut Vec<Action>) {
        if reply.is_intermediate() {
            self.state = State::ExpectFinal(running);
            return self.senseless(reply, out);
        }
        let closing = reply.code == 421;
        let verdict = Verdict::Replied(Step::Content, reply);
        if self.settings.lmtp && !closing {
            running.decide_next(verdict);
            if !running.is_decided() {
                self.state = State::ExpectFinal(running);
                return;
            }
        } else {
            running.decide_rest(&verdict);
        }
        out.push(Action::Finished(running.verdicts()));
        if closing {
            out.push(Action::Close);
        } else {
            self.ready(out);
        }
    }

    /// The transaction came to nothing; the next one begins on clean ground.
    fn reset(&mut self, running: Running, out: &mut Vec<Action>) {
        out.push(Action::Finished(running.verdicts()));
        out.push(Action::Send(Bytes::from_static(b"RSET\r\n")));
        self.state = State::ExpectReset;
    }

    fn ready(&mut self, out: &mut Vec<Action>) {
        self.state = State::Idle;
        out.push(Action::Ready);
    }

    fn senseless(&mut self, reply: Reply, out: &mut Vec<Action>) {
        self.fail(Failure::Garbage { step: self.at(), garbage: Garbage::Senseless(reply) }, out);
    }

    fn fail(&mut self, failure: Failure, out: &mut Vec<Action>) {
        match self.take() {
            State::ExpectGreeting
            | State::ExpectEhlo
            | State::ExpectHelo
            | State::ExpectStartTls
            | State::Handshake
            | State::ExpectAuth(_) => out.push(Action::Failed(failure)),
            State::SendingWhole(mut running) | State::ExpectWhole(mut running) if running.is_left(&failure) => {
                running.decide_as_left();
                out.push(Action::Finished(running.verdicts()));
            }
            State::ExpectEnvelope(mut running)
            | State::SendingContent(mut running)
            | State::SendingWhole(mut running) => {
                running.decide_rest(&Verdict::Lost(failure));
                out.push(Action::Finished(running.verdicts()));
            }
            State::ExpectFinal(mut running) | State::ExpectWhole(mut running) => {
                running.decide_rest(&Verdict::Unanswered(failure));
                out.push(Action::Finished(running.verdicts()));
            }
            State::Idle | State::ExpectReset | State::ExpectQuit => {}
            State::Over => return,
        }
        out.push(Action::Close);
    }
}
