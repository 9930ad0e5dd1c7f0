//! One mail transaction: its commands, and what the replies to them mean for each recipient (RFC 5321, 3.3).

use std::collections::VecDeque;
use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};

use super::{Break, Capabilities, Failure, Need, Step, Transaction, Verdict};
use crate::mail::{BodyKind, Envelope, Notify, Recipient, Ret};
use crate::smtp::reply::Reply;
use crate::smtp::xtext;

#[derive(Debug)]
pub(super) struct Running {
    /// Commands that were not sent yet.
    unsent: VecDeque<(Expect, Bytes)>,
    /// What the replies to come answer, in order.
    awaited: VecDeque<Expect>,
    recipients: Vec<State>,
    mail_taken: bool,
    /// The server said, to a recipient, that it is closing.
    leaving: Option<Reply>,
    /// And answered something behind that all the same.
    went_on: bool,
}

#[derive(Debug, Clone)]
enum State {
    Open,
    Taken,
    Decided(Verdict),
}

#[derive(Debug, Clone, Copy)]
enum Expect {
    Mail,
    /// The recipient with this index.
    Rcpt(usize),
    Data,
    LoneDot,
    /// The one chunk, which is all of the content (RFC 3030, section 2).
    Chunk,
}

/// What follows from a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Await,
    Send,
    Content,
    LoneDot,
    /// The server took the chunk, and the transaction is over on its side too.
    Taken,
    Done,
}

impl Running {
    /// `chunk`: the octets of the content, which follows the commands unasked.
    pub(super) fn new(transaction: &Transaction<'_>, offered: &Capabilities, chunk: Option<usize>) -> Self {
        let &Transaction { envelope, recipients, size, utf8_header, .. } = transaction;
        let utf8_sender = utf8_header || envelope.reverse_path.as_ref().is_some_and(|path| path.needs_smtputf8());
        let lack = |recipient: &Recipient| {
            if let Some(largest) = offered.largest().filter(|&largest| size > largest) {
                return Some(Need::Size(largest));
            }
            let utf8 = utf8_sender || recipient.address.needs_smtputf8();
            (utf8 && !offered.smtputf8).then_some(Need::Smtputf8)
        };
        let states: Vec<State> = recipients
            .iter()
            .map(|recipient| lack(recipient).map_or(State::Open, |need| State::Decided(Verdict::NotOffered(need))))
            .collect();

        let open = || recipients.iter().zip(&states).enumerate().filter(|(_, (_, state))| matches!(state, State::Open));
        let utf8 = utf8_sender || open().any(|(_, (recipient, _))| recipient.address.needs_smtputf8());
        let mut unsent = VecDeque::with_capacity(recipients.len() + 2);
        unsent.push_back((Expect::Mail, mail(envelope, size, utf8, offered)));
        for (index, (recipient, _)) in open() {
            unsent.push_back((Expect::Rcpt(index), rcpt(recipient, offered)));
        }
        unsent.push_back(match chunk {
            Some(octets) => (Expect::Chunk, format!("BDAT {octets} LAST\r\n").into()),
            None => (Expect::Data, Bytes::from_static(b"DATA\r\n")),
        });
        Self { unsent, awaited: VecDeque::new(), recipients: states, mail_taken: false, leaving: None, went_on: false }
    }

    /// The step whose reply is due.
    pub(super) fn at(&self) -> Step {
        match self.awaited.front() {
            Some(Expect::Mail) | None => Step::Mail,
            Some(Expect::Rcpt(_)) => Step::Rcpt,
            Some(Expect::Data | Expect::LoneDot) => Step::Data,
            Some(Expect::Chunk) => Step::Content,
        }
    }

    pub(super) fn is_decided(&self) -> bool {
        self.recipients.iter().all(|state| matches!(state, State::Decided(_)))
    }

    /// The server took one of the recipients.
    pub(super) fn is_taken(&self) -> bool {
        self.recipients.iter().any(|state| matches!(state, State::Taken))
    }

    /// All commands in one write (RFC 2920), or the next one.
    pub(super) fn send(&mut self, pipelining: bool) -> Bytes {
        let count = if pipelining { self.unsent.len() } else { 1 };
        let mut octets = BytesMut::new();
        for (expect, command) in self.unsent.drain(..count.min(self.unsent.len())) {
            self.awaited.push_back(expect);
            octets.extend_from_slice(&command);
        }
        octets.freeze()
    }

    /// Takes the next reply in; gives it back where it makes no sense.
    pub(super) fn reply(&mut self, reply: Reply) -> Result<Next, Reply> {
        let Some(expect) = self.awaited.pop_front() else { return Err(reply) };
        let refused = reply.is_transient() || reply.is_permanent();
        match expect {
            Expect::Mail if reply.is_positive() => self.mail_taken = true,
            Expect::Mail if refused => self.decide_rest(&Verdict::Replied(Step::Mail, reply)),
            Expect::Rcpt(index) if reply.is_positive() || refused => {
                if let Some(state @ State::Open) = self.recipients.get_mut(index) {
                    // 251 and 252 are acceptances too.
                    *state = match reply.is_positive() {
                        true => State::Taken,
                        false => State::Decided(Verdict::Replied(Step::Rcpt, reply)),
                    };
                }
            }
            Expect::Data if refused => {
                self.decide_rest(&Verdict::Replied(Step::Data, reply));
                return Ok(Next::Done);
            }
            Expect::Data if reply.is_intermediate() && self.is_taken() => return Ok(Next::Content),
            Expect::Data if reply.is_intermediate() => {
                self.awaited.push_back(Expect::LoneDot);
                return Ok(Next::LoneDot);
            }
            Expect::LoneDot => return Ok(Next::Done),
            Expect::Chunk if reply.is_positive() || refused => {
                let next = if reply.is_positive() { Next::Taken } else { Next::Done };
                self.decide_rest(&Verdict::Replied(Step::Content, reply));
                return Ok(next);
            }
            Expect::Mail | Expect::Rcpt(_) | Expect::Data | Expect::Chunk => {
                self.awaited.push_front(expect);
                return Err(reply);
            }
        }
        match (self.awaited.is_empty(), self.unsent.front()) {
            (false, _) => Ok(Next::Await),
            (true, None) => Ok(Next::Done),
            // Without PIPELINING: no further command where it cannot come to anything.
            (true, Some((Expect::Data, _))) if !self.is_taken() => Ok(Next::Done),
            (true, Some(_)) if !self.mail_taken => Ok(Next::Done),
            (true, Some(_)) => Ok(Next::Send),
        }
    }

    /// The server is closing, it says (RFC 5321, 4.2.3); or, as some do, it means this recipient alone and goes on.
    pub(super) fn leaves(&mut self, reply: Reply) {
        self.leaving = Some(reply);
    }

    /// It answers all the same.
    pub(super) fn goes_on(&mut self) {
        self.went_on = self.leaving.is_some();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// It has gone as it said, at once: what it had not answered by then it did not take.
    pub(super) fn is_left(&self, failure: &Failure) -> bool {
        self.is_leaving()
            && !self.went_on
            && matches!(failure, Failure::Broken { how: Break::Closed | Break::Io(_), .. })
    }

    pub(super) fn decide_as_left(&mut self) {
        if let Some(reply) = self.leaving.take() {
            self.decide_rest(&Verdict::Replied(Step::Rcpt, reply));
        }
    }

    /// Every recipient that has no verdict gets this one.
    pub(super) fn decide_rest(&mut self, verdict: &Verdict) {
        for state in &mut self.recipients {
            if !matches!(state, State::Decided(_)) {
                *state = State::Decided(verdict.clone());
            }
        }
    }

    /// The first recipient that was taken and has no verdict gets this one.
    pub(super) fn decide_next(&mut self, verdict: Verdict) {
        if let Some(state) = self.recipients.iter_mut().find(|state| matches!(state, State::Taken)) {
            *state = State::Decided(verdict);
        }
    }

    pub(super) fn verdicts(self) -> Vec<Verdict> {
        let lost = || Verdict::Lost(Failure::Broken { step: Step::Mail, how: Break::Closed });
        let verdict = |state| match state {
            State::Decided(verdict) => verdict,
            State::Open | State::Taken => lost(),
        };
        self.recipients.into_iter().map(verdict).collect()
    }
}

/// MAIL, with what the server offers of SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET and ENVID (RFC 3461).
///
/// Where 8BITMIME is not offered, the driver sends content of which the bodies were put into seven bits.
fn mail(envelope: &Envelope, size: u64, utf8: bool, offered: &Capabilities) -> Bytes {
    let mut line = match &envelope.reverse_path {
        Some(path) => format!("MAIL FROM:<{path}>"),
        None => "MAIL FROM:<>".to_owned(),
    };
    if offered.size.is_some() {
        let _ = write!(line, " SIZE={size}");
    }
    if envelope.body == BodyKind::EightBit && offered.eight_bit {
        line.push_str(" BODY=8BITMIME");
    }
    if utf8 {
        line.push_str(" SMTPUTF8");
    }
    if offered.dsn {
        match envelope.dsn.ret {
            Some(Ret::Full) => line.push_str(" RET=FULL"),
            Some(Ret::Headers) => line.push_str(" RET=HDRS"),
            None => {}
        }
        if let Some(envid) = &envelope.dsn.envid {
            let _ = write!(line, " ENVID={}", xtext::encode(envid));
        }
    }
    line.push_str("\r\n");
    line.into()
}

fn rcpt(recipient: &Recipient, offered: &Capabilities) -> Bytes {
    let mut line = format!("RCPT TO:<{}>", recipient.address);
    if offered.dsn {
        if let Some(Notify { success, failure, delay }) = recipient.notify {
            let asked = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
            let asked: Vec<_> = asked.iter().filter(|(asked, _)| *asked).map(|&(_, word)| word).collect();
            let _ = write!(line, " NOTIFY={}", if asked.is_empty() { "NEVER".to_owned() } else { asked.join(",") });
        }
        if let Some(orcpt) = &recipient.orcpt {
            // RFC 6533, section 3: an address beyond ASCII has a form of its own, which every hop can carry.
            let ascii = orcpt.address.is_ascii();
            let address = if ascii { xtext::encode(&orcpt.address) } else { xtext::seven_bit(&orcpt.address) };
            let _ = write!(line, " ORCPT={};{address}", orcpt.kind);
        }
    }
    line.push_str("\r\n");
    line.into()
}
