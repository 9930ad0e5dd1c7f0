//! The server's side of an SMTP session, without I/O (RFC 5321, section 4). The driver in `ingress/` feeds it what it
//! reads and does, in order, what it is told.
//!
//! Invariants:
//! - each command gets one reply, in order (RFC 2920, 3.2);
//! - nothing is read on while a question is open;
//! - octets that came before TLS are dropped (RFC 3207, 4.2);
//! - under LMTP, content has one reply for each RCPT that was taken (RFC 2033, 4.2);
//! - `250` after the final dot answers `Answer::Stored` and nothing else (RFC 5321, 4.2.5);
//! - what it says and does never depends on how the octets were cut into packets;
//! - what it keeps of a peer is bounded: a line, and an envelope of `max_recipients`.

mod auth;
mod content;
mod interface;
mod lines;
mod mail;
mod replies;
mod scram;
#[cfg(test)]
mod tests;

use bytes::BytesMut;

use crate::mail::{Address, Recipient};
use crate::smtp::command::{self, Command, Fault};
use crate::smtp::reply::Reply;

use lines::{Line, Lines};

pub use interface::{Action, Answer, Input, Overdue, Peer, Question, Secured, Settings, Transaction};
pub use scram::Challenge;

/// The machine.
#[derive(Debug)]
pub struct Session {
    settings: std::sync::Arc<Settings>,
    peer: Peer,
    state: State,
    lines: Lines,
    tls: bool,
    helo: Option<Helo>,
    user: Option<String>,
    /// The user is whom the client's certificate names; AUTH may still name another.
    by_certificate: bool,
    exporter: Option<[u8; 32]>,
    /// Bad commands since a message was taken, failed logins weighing more.
    errors: u32,
    stopping: bool,
    /// It has sent something.
    spoken: bool,
    /// What it sent first begins TLS, where none is.
    spoke_tls: bool,
    /// Replies that the content has: 1, but for LMTP.
    finals: usize,
}

#[derive(Debug)]
struct Helo {
    name: String,
    extended: bool,
}

#[derive(Debug)]
enum State {
    /// Between transactions.
    Idle,
    /// Behind MAIL.
    Open(Box<Transaction>),
    /// Behind a BDAT that was not the last.
    Between(content::Chunks),
    Asking(Asking),
    Auth(auth::Step),
    Data(content::Data),
    Chunk(content::Chunk),
    StartingTls,
    Closed,
}

/// The question that is open.
#[derive(Debug)]
enum Asking {
    Mail(Box<Transaction>),
    Rcpt(Box<Transaction>, Recipient),
    Authenticate,
    Verifier(Box<scram::First>),
    /// With the server's last message.
    Proven(String),
    Store,
}

/// What a failed login counts as: guessing passwords gets few tries a connection.
const FAILED_LOGIN: u32 = 5;

impl Session {
    /// A session, and its greeting.
    pub fn new(settings: std::sync::Arc<Settings>, peer: Peer, out: &mut Vec<Action>) -> Self {
        out.push(Action::Reply(replies::greeting(&settings.hostname, settings.lmtp)));
        Self {
            settings,
            peer,
            state: State::Idle,
            lines: Lines::default(),
            tls: peer.tls,
            helo: None,
            user: None,
            by_certificate: false,
            exporter: None,
            errors: 0,
            stopping: false,
            spoken: false,
            spoke_tls: false,
            finals: 1,
        }
    }

    /// Takes what it can use, appends what the driver must do, in order. Never waits, never fails: a bad peer is ordinary
    /// input.
    pub fn step(&mut self, input: Input<'_>, out: &mut Vec<Action>) {
        match input {
            Input::Octets(octets) => {
                self.hear_first(octets, out);
                while self.read(octets, out) {
                    self.stop_where_due(out);
                }
            }
            Input::Answer(answer) => self.answered(answer, out),
            Input::TlsUp => self.tls_up(),
            Input::TimedOut(overdue) => self.hang_up(replies::timed_out(overdue), out),
            Input::Shutdown => self.stopping = true,
        }
        self.stop_where_due(out);
    }

    /// Tells what the handshake came to; to be called once it is done, before anything is read.
    pub fn secured(&mut self, secured: Secured) {
        self.exporter = secured.exporter;
        self.by_certificate = secured.user.is_some();
        self.user = secured.user;
    }

    /// The socket is to be read: no question is open, no handshake due, and the session has not ended.
    pub fn wants_octets(&self) -> bool {
        match self.state {
            State::Idle | State::Open(_) | State::Between(_) | State::Auth(_) | State::Data(_) | State::Chunk(_) => {
                true
            }
            State::Asking(_) | State::StartingTls | State::Closed => false,
        }
    }

    /// Content is on its way in: DATA, or a BDAT and what follows it up to the last.
    pub fn in_content(&self) -> bool {
        matches!(self.state, State::Data(_) | State::Chunk(_) | State::Between(_))
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Its first octet was that of a TLS handshake, though the connection is in clear: it was sent away.
    pub fn spoke_tls(&self) -> bool {
        self.spoke_tls
    }

    /// Bad commands since a message was taken, each by its weight.
    pub fn errors(&self) -> u32 {
        self.errors
    }

    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Who has signed in by AUTH.
    pub fn signed_in(&self) -> Option<&str> {
        self.user().filter(|_| !self.by_certificate)
    }

    /// The reverse-path of the transaction that is open (inner `None`: the null one).
    pub fn reverse_path(&self) -> Option<Option<&Address>> {
        match &self.state {
            State::Open(transaction) | State::Asking(Asking::Mail(transaction) | Asking::Rcpt(transaction, _)) => {
                Some(transaction.reverse_path.as_ref())
            }
            State::Idle | State::Between(_) | State::Auth(_) | State::Data(_) | State::Chunk(_) => None,
            State::Asking(Asking::Authenticate | Asking::Verifier(_) | Asking::Proven(_) | Asking::Store)
            | State::StartingTls
            | State::Closed => None,
        }
    }

    /// A client that speaks TLS here waits for an answer to it, and never ends a line: better told at once.
    fn hear_first(&mut self, octets: &BytesMut, out: &mut Vec<Action>) {
        /// ContentType `handshake` (RFC 8446, 5.1). No command begins with it.
        const HANDSHAKE: u8 = 22;
        let Some(first) = octets.first() else { return };
        if !std::mem::replace(&mut self.spoken, true) && *first == HANDSHAKE && !self.tls {
            self.spoke_tls = true;
            self.hang_up(replies::tls_too_early(self.settings.starttls), out);
        }
    }

    /// One thing out of `octets`; true where another may follow.
    fn read(&mut self, octets: &mut BytesMut, out: &mut Vec<Action>) -> bool {
        match &self.state {
            State::Idle | State::Open(_) | State::Between(_) => match self.lines.next(octets, lines::MOST_COMMAND) {
                Line::Unfinished => return false,
                Line::Whole(line) => match command::parse(&line) {
                    Ok(command) => self.command(command, octets, out),
                    Err(fault) => self.not_a_command(&fault, out),
                },
                Line::TooLong => self.blame(replies::line_too_long(), 1, out),
                Line::BareLineEnd => self.blame(replies::bare_line_end(), 1, out),
            },
            State::Auth(_) => match self.lines.next(octets, lines::MOST_AUTH) {
                Line::Unfinished => return false,
                line => self.auth_line(line, out),
            },
            State::Data(_) => return self.data(octets, out),
            State::Chunk(_) => return self.chunk(octets, out),
            State::Asking(_) | State::StartingTls => return false,
            State::Closed => {
                octets.clear();
                return false;
            }
        }
        true
    }

    fn command(&mut self, command: Command, octets: &mut BytesMut, out: &mut Vec<Action>) {
        match command {
            Command::Ehlo(_) | Command::Helo(_) if self.settings.lmtp => self.blame(replies::lmtp(), 1, out),
            Command::Lhlo(_) if !self.settings.lmtp => self.blame(replies::fault(&Fault::Unknown), 1, out),
            Command::Ehlo(name) | Command::Lhlo(name) => {
                self.reset(out);
                let lines = self.extensions();
                self.helo = Some(Helo { name, extended: true });
                out.push(Action::Reply(lines));
            }
            Command::Helo(name) => {
                self.reset(out);
                self.helo = Some(Helo { name, extended: false });
                out.push(Action::Reply(Reply::plain(250, self.settings.hostname.as_str())));
            }
            Command::Mail { reverse_path, params } => self.mail(reverse_path, params, out),
            Command::Rcpt { forward_path, params } => self.rcpt(forward_path, params, out),
            Command::Data => self.begin_data(out),
            Command::Bdat { size, last } => self.begin_chunk(size, last, out),
            Command::Rset => {
                self.reset(out);
                out.push(Action::Reply(replies::ok()));
            }
            Command::Noop => out.push(Action::Reply(replies::ok())),
            Command::Vrfy => out.push(Action::Reply(replies::vrfy())),
            Command::Help => out.push(Action::Reply(replies::help())),
            Command::Quit => self.hang_up(replies::bye(), out),
            Command::StartTls => self.start_tls(octets, out),
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial, out),
        }
    }

    fn not_a_command(&mut self, fault: &Fault, out: &mut Vec<Action>) {
        let reply = replies::fault(fault);
        match fault {
            // What follows is the body of a request, or of a chunk whose end is unknown: none of it may be obeyed.
            Fault::Foreign | Fault::Chunk => self.hang_up(reply, out),
            Fault::Unknown
            | Fault::NotOffered
            | Fault::NotText
            | Fault::Arguments(_)
            | Fault::Sender(_)
            | Fault::Recipient(_)
            | Fault::NeedsSmtpUtf8
            | Fault::UnknownParameter(_)
            | Fault::Value(_)
            | Fault::Twice(_)
            | Fault::BinaryMime => self.blame(reply, 1, out),
        }
    }

    /// RFC 5321, 4.1.1.1, in the order that most servers give.
    fn extensions(&self) -> Reply {
        let mut lines = vec![
            self.settings.hostname.to_string(),
            "PIPELINING".to_owned(),
            format!("SIZE {}", self.settings.max_message_size),
            "8BITMIME".to_owned(),
            "SMTPUTF8".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
            "DSN".to_owned(),
            "CHUNKING".to_owned(),
        ];
        if self.settings.starttls && !self.tls {
            lines.push("STARTTLS".to_owned());
        }
        if self.settings.authentication && self.safe_for_passwords() {
            lines.push(format!("AUTH {}", self.mechanisms()));
            // As drafts of RFC 2554 had it, and clients that were written by them: these know no other mechanisms.
            if self.settings.old_auth {
                lines.push("AUTH=PLAIN LOGIN".to_owned());
            }
        }
        Reply { code: 250, status: None, lines }
    }

    fn safe_for_passwords(&self) -> bool {
        self.tls || self.peer.loopback
    }

    fn start_tls(&mut self, octets: &mut BytesMut, out: &mut Vec<Action>) {
        if self.tls {
            return self.blame(replies::out_of_order("TLS is on already"), 1, out);
        }
        if !self.settings.starttls {
            return self.blame(replies::fault(&Fault::NotOffered), 1, out);
        }
        self.reset(out);
        // RFC 3207, 4.2: nothing that came in clear may be taken for something that came under TLS.
        octets.clear();
        self.state = State::StartingTls;
        out.push(Action::Reply(replies::start_tls()));
        out.push(Action::StartTls);
    }

    /// RFC 3207, 4.2: what was learnt in clear is forgotten.
    fn tls_up(&mut self) {
        if matches!(self.state, State::StartingTls) {
            self.state = State::Idle;
            self.lines = Lines::default();
            self.tls = true;
            self.helo = None;
            self.user = None;
            self.by_certificate = false;
        }
    }

    fn answered(&mut self, answer: Answer, out: &mut Vec<Action>) {
        let asking = match std::mem::replace(&mut self.state, State::Idle) {
            State::Asking(asking) => asking,
            // No question was open. That is the driver's fault, and nothing that it says can be relied on.
            state => {
                self.state = state;
                return self.hang_up(replies::local_error(), out);
            }
        };
        let reply = match (asking, answer) {
            (Asking::Mail(transaction), Answer::Accept) => {
                self.state = State::Open(transaction);
                replies::sender_ok()
            }
            (Asking::Rcpt(mut transaction, recipient), Answer::Accept) => {
                transaction.push(recipient);
                transaction.taken += 1;
                self.state = State::Open(transaction);
                replies::recipient_ok()
            }
            (Asking::Authenticate, Answer::Authenticated(user)) => {
                self.sign_in(user);
                replies::authenticated()
            }
            (Asking::Verifier(first), Answer::Challenge(challenge)) => self.scram_challenge(*first, challenge),
            (Asking::Proven(last), Answer::Authenticated(user)) => {
                self.state = State::Auth(auth::Step::ScramEnd { user });
                Reply::plain(334, last)
            }
            (Asking::Store, Answer::Stored(mid)) => {
                self.errors = 0;
                return self.reply_to_content(replies::stored(mid), out);
            }
            (asking, Answer::Refuse(reply)) => return self.refused(asking, reply, out),
            (asking, Answer::Accept | Answer::Authenticated(_) | Answer::Challenge(_) | Answer::Stored(_)) => {
                return self.refused(asking, replies::local_error(), out);
            }
        };
        out.push(Action::Reply(reply));
    }

    fn refused(&mut self, asking: Asking, reply: Reply, out: &mut Vec<Action>) {
        // A refusal can never sound like a success.
        let reply = if reply.is_transient() || reply.is_permanent() { reply } else { replies::local_error() };
        if reply.code == 421 {
            return self.hang_up(reply, out);
        }
        match asking {
            Asking::Rcpt(mut transaction, _) => {
                transaction.refused = true;
                self.state = State::Open(transaction);
                out.push(Action::Reply(reply));
            }
            // Nothing was guessed where nothing was checked.
            Asking::Authenticate | Asking::Verifier(_) | Asking::Proven(_) if reply.is_transient() => {
                self.blame(reply, 1, out);
            }
            Asking::Authenticate | Asking::Verifier(_) | Asking::Proven(_) => self.blame(reply, FAILED_LOGIN, out),
            Asking::Store => self.reply_to_content(reply, out),
            Asking::Mail(_) => out.push(Action::Reply(reply)),
        }
    }

    fn reply_to_content(&self, reply: Reply, out: &mut Vec<Action>) {
        for _ in 1..self.finals {
            out.push(Action::Reply(reply.clone()));
        }
        out.push(Action::Reply(reply));
    }

    /// Ends the transaction, if there is one (RFC 5321, 4.1.1.5).
    fn reset(&mut self, out: &mut Vec<Action>) {
        if matches!(self.state, State::Between(_)) {
            out.push(Action::Abort);
        }
        self.state = State::Idle;
    }

    /// The reply to a bad command; the last one, where there were too many.
    fn blame(&mut self, reply: Reply, weight: u32, out: &mut Vec<Action>) {
        out.push(Action::Reply(reply));
        self.errors = self.errors.saturating_add(weight);
        if self.errors >= self.settings.max_errors {
            self.hang_up(replies::too_many_errors(), out);
        }
    }

    fn hang_up(&mut self, reply: Reply, out: &mut Vec<Action>) {
        if self.is_closed() {
            return;
        }
        if self.has_begun() {
            out.push(Action::Abort);
        }
        self.state = State::Closed;
        out.push(Action::Reply(reply));
        out.push(Action::Close);
    }

    /// A transaction without content may be cut off, for the client still has the message; content is waited for.
    fn stop_where_due(&mut self, out: &mut Vec<Action>) {
        if self.stopping && matches!(self.state, State::Idle | State::Open(_) | State::Auth(_)) {
            self.hang_up(replies::shutting_down(), out);
        }
    }
}
