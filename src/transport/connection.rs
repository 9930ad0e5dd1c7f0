//! One SMTP connection: moves octets between a socket and the session machine, and watches the time.
//!
//! The time-outs: `connect` for TCP and for the TLS handshake, each; `command` for each reply; `content` for the
//! transfer of the content, and again for the reply to it. Where all leaves in one write, `content` is for the replies to all
//! of it: they may come together, behind the last (RFC 2920, 3.2).

mod chunks;
mod content;

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpSocket;
use tokio::time::{Instant, timeout, timeout_at};

pub(super) use chunks::Chunks;

use super::handover::Outgoing;
use super::stream::{Stream, Written};
use super::tls::{Check, Tls};
use crate::config::Timeouts;
use crate::mail::Domain;
use crate::smtp::client::{
    Action, Break, Capabilities, Client, Failure, Input, Login, Settings, StartTls, Step, Transaction, Verdict,
};

/// RSET and QUIT are courtesies: nobody waits long for them.
const COURTESY: Duration = Duration::from_secs(5);

/// What a closing server's last words are heard of.
const MOST_FAREWELL: usize = 64 * 1024;

/// How connections of one provider are opened.
pub(super) struct Opener {
    pub(super) hostname: Domain,
    pub(super) lmtp: bool,
    pub(super) login: Option<Login>,
    /// The password may go out in clear: the server is this machine.
    pub(super) clear_login: bool,
    pub(super) source: Option<IpAddr>,
    pub(super) timeouts: Timeouts,
    pub(super) tls: Tls,
    pub(super) chunks: Chunks,
}

/// Where to, and under which name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) at: At<'a>,
    /// What the certificate has to be for, and what diagnoses call the server.
    pub(super) name: &'a str,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub(super) enum At<'a> {
    Tcp(SocketAddr),
    #[cfg_attr(not(unix), expect(dead_code, reason = "the transport refuses to be built"))]
    Socket(&'a Path),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What a connection must have of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    None,
    /// By STARTTLS where it is offered and works.
    Opportunistic,
    StartTls(Check),
    Implicit(Check),
}

/// What a connection has of it. Ordered: each is better than those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Security {
    Clear,
    Encrypted,
    Verified,
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoSession {
    Connect { timed_out: bool, detail: String },
    Session(Failure),
}

pub(super) struct Connection {
    stream: Option<Stream>,
    client: Client,
    unread: BytesMut,
    actions: VecDeque<Action>,
    opener: Arc<Opener>,
    name: String,
    encryption: Encryption,
    security: Security,
    transactions: u32,
    /// When the server last said something.
    heard: Instant,
}

enum Event {
    Ready,
    SendContent,
    SendWhole(Bytes),
    Finished(Vec<Verdict>),
    Failed(Failure),
    Closed,
}

impl Connection {
    /// Connects, and opens the session up to where mail can follow. A handshake that fails where TLS is a mere
    /// opportunity is followed by a second connection without it (RFC 7435, section 3).
    pub(super) async fn open(
        opener: &Arc<Opener>,
        target: Target<'_>,
        encryption: Encryption,
    ) -> Result<Self, NoSession> {
        let failure = match Self::open_once(opener, target, encryption).await {
            Err(NoSession::Session(failure)) if encryption == Encryption::Opportunistic && is_tls_trouble(&failure) => {
                failure
            }
            opened => return opened,
        };
        tracing::info!(server = target.name, address = %target.at, %failure, "TLS failed, going on without");
        match Self::open_once(opener, target, Encryption::None).await {
            // What is wrong is TLS; that the password needs it is right.
            Err(NoSession::Session(Failure::ClearPassword)) => Err(NoSession::Session(failure)),
            opened => opened,
        }
    }

    async fn open_once(opener: &Arc<Opener>, target: Target<'_>, encryption: Encryption) -> Result<Self, NoSession> {
        let stream = connect(target.at, opener.source, opener.timeouts.connect).await?;
        let settings = Settings {
            hostname: opener.hostname.clone(),
            lmtp: opener.lmtp,
            starttls: match encryption {
                Encryption::None | Encryption::Implicit(_) => StartTls::Never,
                Encryption::Opportunistic => StartTls::IfOffered,
                Encryption::StartTls(_) => StartTls::Required,
            },
            secured: matches!(encryption, Encryption::Implicit(_)),
            login: opener.login.clone(),
            clear_login: opener.clear_login,
        };
        let mut connection = Self {
            stream: Some(stream),
            client: Client::new(settings),
            unread: BytesMut::new(),
            actions: VecDeque::new(),
            opener: opener.clone(),
            name: target.name.to_owned(),
            encryption,
            security: Security::Clear,
            transactions: 0,
            heard: Instant::now(),
        };
        if let Encryption::Implicit(_) = encryption {
            let handshake = connection.handshake().await;
            handshake.map_err(|how| NoSession::Session(Failure::Broken { step: Step::StartTls, how }))?;
        }
        match connection.advance().await {
            Event::Ready => Ok(connection),
            Event::Failed(failure) => Err(NoSession::Session(failure)),
            Event::SendContent | Event::SendWhole(_) | Event::Finished(_) | Event::Closed => {
                Err(NoSession::Session(Failure::Broken { step: Step::Greeting, how: Break::Closed }))
            }
        }
    }

    /// The server's name, for diagnoses.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn security(&self) -> Security {
        self.security
    }

    /// What the server offers of extensions.
    pub(super) fn offered(&self) -> &Capabilities {
        self.client.offered()
    }

    /// Transactions that were begun on it.
    pub(super) fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Another transaction may follow.
    pub(super) fn is_ready(&self) -> bool {
        self.stream.is_some() && self.client.is_idle() && self.unread.is_empty()
    }

    /// Ready, and the server has said nothing since: neither farewell nor end.
    pub(super) fn is_alive(&mut self) -> bool {
        let (Some(stream), true) = (&mut self.stream, self.client.is_idle() && self.unread.is_empty()) else {
            return false;
        };
        stream.read_now(&mut self.unread).is_none()
    }

    /// Hands over a message: one verdict for each of its recipients. Afterwards the connection is ready for the next
    /// one, or of no more use.
    pub(super) async fn hand_over(&mut self, outgoing: &Outgoing<'_>) -> Vec<Verdict> {
        self.transactions += 1;
        let whole = match self.whole(outgoing).await {
            Ok(whole) => whole,
            Err(error) => {
                let how = Break::Content(error.to_string());
                let lost = Failure::Broken { step: Step::Content, how };
                return vec![Verdict::Lost(lost); outgoing.recipients.len()];
            }
        };
        let transaction = Transaction {
            envelope: outgoing.envelope,
            recipients: &outgoing.recipients,
            size: outgoing.size,
            utf8_header: outgoing.utf8_header,
            chunk: whole.as_ref().map(|pieces| pieces.iter().map(Bytes::len).sum()),
        };
        let is_whole = whole.is_some();
        let mut whole = whole.unwrap_or_default();
        let replies = self.client.replies_taken();
        self.step(Input::Transaction(transaction));
        let mut verdicts = loop {
            match self.advance().await {
                Event::Finished(verdicts) => break verdicts,
                Event::SendContent => self.send_content(outgoing).await,
                Event::SendWhole(commands) => {
                    whole.push_front(commands);
                    outgoing.progress.sending_the_last();
                    self.send_whole(std::mem::take(&mut whole)).await;
                }
                Event::Ready => {}
                Event::Failed(failure) => break vec![Verdict::Lost(failure); outgoing.recipients.len()],
                Event::Closed => {
                    let closed = Failure::Broken { step: Step::Mail, how: Break::Closed };
                    break vec![Verdict::Lost(closed); outgoing.recipients.len()];
                }
            }
        };
        if is_whole {
            self.judge_whole(&mut verdicts, self.client.replies_taken() == replies);
        }
        // RSET after a refusal; nothing is left to do after an acceptance.
        match self.advance().await {
            Event::Ready => {}
            Event::SendContent | Event::SendWhole(_) | Event::Finished(_) | Event::Failed(_) | Event::Closed => {
                self.stream = None;
            }
        }
        verdicts
    }

    /// Says QUIT and closes, without waiting long.
    pub(super) async fn quit(mut self) {
        if self.client.is_idle() {
            self.step(Input::Quit);
            let _ = timeout(COURTESY, self.advance()).await;
        }
    }

    /// Does what the machine asks for, up to something that concerns the caller.
    async fn advance(&mut self) -> Event {
        let mut wait = Wait::default();
        loop {
            while let Some(action) = self.actions.pop_front() {
                match action {
                    Action::Send(octets) => {
                        self.send(octets).await;
                        wait = Wait::default();
                    }
                    Action::StartTls => match self.handshake().await {
                        Ok(()) => self.step(Input::TlsUp),
                        Err(how) => self.broken(how),
                    },
                    Action::Ready => return Event::Ready,
                    Action::SendContent => return Event::SendContent,
                    Action::SendWhole(commands) => return Event::SendWhole(commands),
                    Action::Finished(verdicts) => return Event::Finished(verdicts),
                    Action::Failed(failure) => return Event::Failed(failure),
                    Action::Close => {
                        self.stream = None;
                        return Event::Closed;
                    }
                }
            }
            let until = wait.until(&self.client, &self.opener.timeouts);
            let Some(stream) = &mut self.stream else { return Event::Closed };
            match timeout_at(until, stream.read(&mut self.unread)).await {
                Ok(Ok(1..)) => {
                    self.heard = Instant::now();
                    self.listen();
                }
                Ok(Ok(0)) => self.broken(Break::Closed),
                Ok(Err(error)) => self.broken(Break::Io(error.to_string())),
                Err(_) => self.broken(Break::TimedOut),
            }
        }
    }

    fn step(&mut self, input: Input<'_>) {
        let mut out = Vec::new();
        self.client.step(input, &mut out);
        self.actions.extend(out);
    }

    /// Lets the machine take what came in.
    fn listen(&mut self) {
        if !self.unread.is_empty() {
            let mut unread = std::mem::take(&mut self.unread);
            self.step(Input::Octets(&mut unread));
            self.unread = unread;
        }
    }

    /// The connection is gone; what the server said before that still counts.
    fn broken(&mut self, how: Break) {
        if let Some(mut stream) = self.stream.take() {
            while self.unread.len() < MOST_FAREWELL && matches!(stream.read_now(&mut self.unread), Some(Ok(1..))) {}
        }
        self.listen();
        self.step(Input::Broken(how));
    }

    async fn send(&mut self, octets: Bytes) {
        let Some(stream) = &mut self.stream else { return };
        let patience = patience(&self.client, &self.opener.timeouts);
        let mut pieces = VecDeque::from([octets]);
        match timeout(patience, stream.write(&mut pieces, &mut self.unread, false)).await {
            Ok(Ok(Written::All | Written::Heard)) => self.listen(),
            Ok(Err(error)) => self.broken(Break::Io(error.to_string())),
            Err(_) => self.broken(Break::TimedOut),
        }
    }

    async fn handshake(&mut self) -> Result<(), Break> {
        let (check, security) = match self.encryption {
            Encryption::StartTls(Check::Certificate) | Encryption::Implicit(Check::Certificate) => {
                (Check::Certificate, Security::Verified)
            }
            Encryption::None
            | Encryption::Opportunistic
            | Encryption::StartTls(Check::Unchecked)
            | Encryption::Implicit(Check::Unchecked) => (Check::Unchecked, Security::Encrypted),
        };
        let Some(Stream::Plain(stream)) = self.stream.take() else { return Err(Break::Closed) };
        let opener = self.opener.clone();
        match timeout(opener.timeouts.connect, opener.tls.handshake(stream, &self.name, check)).await {
            Ok(Ok(stream)) => {
                self.stream = Some(Stream::Tls(Box::new(stream)));
                self.security = security;
                Ok(())
            }
            Ok(Err(why)) => Err(Break::Tls(why)),
            Err(_) => Err(Break::Tls("no handshake in time".to_owned())),
        }
    }
}

/// How long one reply is waited for; lines of it that drip in win no time.
#[derive(Default)]
struct Wait(Option<(u64, Instant)>);

impl Wait {
    fn until(&mut self, client: &Client, timeouts: &Timeouts) -> Instant {
        match self.0 {
            Some((taken, until)) if taken == client.replies_taken() => until,
            _ => {
                let until = Instant::now() + patience(client, timeouts);
                self.0 = Some((client.replies_taken(), until));
                until
            }
        }
    }
}

fn patience(client: &Client, timeouts: &Timeouts) -> Duration {
    match client.at() {
        _ if client.sends_whole() => timeouts.content,
        Step::Content => timeouts.content,
        Step::Reset | Step::Quit => timeouts.command.min(COURTESY),
        Step::Greeting
        | Step::Hello
        | Step::SecureHello
        | Step::StartTls
        | Step::Auth
        | Step::Mail
        | Step::Rcpt
        | Step::Data => timeouts.command,
    }
}

/// The session got as far as TLS and failed over it. Some servers find out only when they have the client's last
/// handshake message, which is when EHLO has been sent.
fn is_tls_trouble(failure: &Failure) -> bool {
    match failure {
        Failure::Broken { step, .. } | Failure::Garbage { step, .. } => {
            matches!(step, Step::StartTls | Step::SecureHello)
        }
        Failure::Refused(..) | Failure::NoStartTls | Failure::NoAuth | Failure::ClearPassword => false,
    }
}

async fn connect(at: At<'_>, source: Option<IpAddr>, patience: Duration) -> Result<Stream, NoSession> {
    let connecting = async {
        match at {
            At::Tcp(address) => {
                let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                if let Some(source) = source {
                    socket.bind(SocketAddr::new(source, 0))?;
                }
                let stream = socket.connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Plain(stream))
            }
            #[cfg(unix)]
            At::Socket(path) => tokio::net::UnixStream::connect(path).await.map(Stream::Unix),
            #[cfg(not(unix))]
            At::Socket(_) => Err(std::io::ErrorKind::Unsupported.into()),
        }
    };
    match timeout(patience, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            let error: std::io::Error = error;
            Err(NoSession::Connect { timed_out: false, detail: format!("connecting to {at}: {error}") })
        }
        Err(_) => Err(NoSession::Connect { timed_out: true, detail: format!("connecting to {at}: no answer") }),
    }
}
