//! What goes into a session, and what comes out of it.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::scram::Challenge;
use crate::config::Secret;
use crate::mail::{Address, BodyKind, Domain, DsnRequest, Mid, Protocol, Recipient};
use crate::smtp::reply::Reply;

/// What a listener's sessions have in common.
#[derive(Debug, Clone)]
pub struct Settings {
    pub hostname: Domain,
    /// RFC 2033: LHLO, and a reply to the content for each RCPT that was taken.
    pub lmtp: bool,
    /// Octets of content.
    pub max_message_size: u64,
    pub max_recipients: usize,
    /// After so many bad commands since a message was taken a peer is no mail client, or a broken one.
    pub max_errors: u32,
    /// There is a certificate, and the listener does not speak TLS from the start.
    pub starttls: bool,
    /// Users may authenticate: over TLS, or from this host.
    pub authentication: bool,
    /// Some of them by SCRAM.
    pub scram: bool,
    /// AUTH is offered in the form of old as well (`AUTH=LOGIN`).
    pub old_auth: bool,
}

/// What the driver knows of a connection once it is under TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secured {
    /// What binds the channel (RFC 9266), where the handshake gives it.
    pub exporter: Option<[u8; 32]>,
    /// Whom the client's certificate names.
    pub user: Option<String>,
}

/// What the driver knows of the client before it has said anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// It is on this host: a password in clear passes no network.
    pub loopback: bool,
    /// The connection is TLS from the start.
    pub tls: bool,
    /// It gets nowhere without authentication.
    pub must_authenticate: bool,
}

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// What was read and not yet used. The session takes from its front what it can use.
    Octets(&'a mut BytesMut),
    /// To the question that is open.
    Answer(Answer),
    /// The handshake that `Action::StartTls` asked for is done.
    TlsUp,
    /// The client took too long.
    TimedOut(Overdue),
    /// The relay is about to stop: content on its way in is still taken, then the session ends.
    Shutdown,
}

/// What a client took too long for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// It was silent (RFC 5321, 4.5.3.2.7).
    Silence,
    /// The whole content of a message, however steadily it came.
    Message,
    /// A session in which no message came.
    Session,
}

/// What the driver must do, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    Reply(Reply),
    /// To be answered before the session reads on.
    Ask(Question),
    /// Content begins, for this envelope.
    Begin(Box<Transaction>),
    /// A piece of it, in order.
    Content(Bytes),
    /// What has begun is refused or given up: forget it.
    Abort,
    /// Once all replies are written, and without what was read so far: the handshake.
    StartTls,
    /// Once all replies are written.
    Close,
}

/// What needs I/O or a higher floor.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// May this reverse-path be used, and is there room for what is announced?
    Mail {
        reverse_path: Option<Address>,
        /// Octets of content, where the client tells (RFC 1870).
        size: Option<u64>,
    },
    /// Does any route take this recipient, and may the client relay?
    Rcpt(Recipient),
    Authenticate {
        user: String,
        password: Secret,
    },
    /// What this user's password is checked against by SCRAM; for one that is not known, something made up.
    Verifier {
        user: String,
    },
    /// The user has proven by SCRAM that it knows the password, or not: may it in?
    Proven {
        user: String,
        proven: bool,
    },
    /// All content is in: take responsibility for it.
    Store {
        /// What the content turned out to be.
        body: BodyKind,
    },
}

#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// To `Mail` and `Rcpt`.
    Accept,
    /// To any question. A reply of 421 ends the session too (RFC 5321, 3.8).
    Refuse(Reply),
    /// To `Authenticate` and `Proven`: the user's name.
    Authenticated(String),
    /// To `Verifier`.
    Challenge(Challenge),
    /// To `Store`: it is on disk.
    Stored(Mid),
}

/// An envelope in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub reverse_path: Option<Address>,
    /// Each address once.
    pub recipients: Vec<Recipient>,
    pub dsn: DsnRequest,
    pub smtputf8: bool,
    /// What the client calls itself.
    pub helo: String,
    pub protocol: Protocol,
    pub user: Option<String>,
    /// Some recipient was refused.
    pub(super) refused: bool,
    /// RCPT commands that were taken, of the same address too.
    pub(super) taken: usize,
    /// Where there are many: which recipient has an address of this hash.
    pub(super) known: HashMap<u64, usize>,
}

impl Transaction {
    /// The envelope of a message that came without a session.
    pub fn without_session(reverse_path: Option<Address>, recipients: Vec<Recipient>, dsn: DsnRequest) -> Self {
        let all = reverse_path.iter().chain(recipients.iter().map(|recipient| &recipient.address));
        let smtputf8 = all.into_iter().any(Address::needs_smtputf8);
        Self {
            reverse_path,
            recipients,
            dsn,
            smtputf8,
            helo: String::new(),
            protocol: Protocol::default(),
            user: None,
            refused: false,
            taken: 0,
            known: HashMap::new(),
        }
    }

    /// A client handed it in: it has said its name.
    pub fn has_session(&self) -> bool {
        !self.helo.is_empty()
    }
}
